"""Signs of values that the block does not move, proven or as conditions."""

from __future__ import annotations

from ebmlang.compiler import notation
from ebmlang.compiler.curvature.obligation import Obligation, Proof
from ebmlang.compiler.curvature.ranges import Ranges
from ebmlang.compiler.typed import Apply, Expr


def nonnegative(value: Expr, ranges: Ranges) -> Proof | None:
    """`value >= 0`: proven, or a condition on it; None when it is proven negative."""
    found = ranges(value)
    if found.nonnegative:
        return ()
    if found.negative or value.type.kind not in ("real", "int"):
        return None
    bare, sign = _bare(value, ranges)
    relation = ">=" if sign > 0 else "<="
    return (Obligation(value, f"{notation.text(bare, 4)} {relation} 0"),)


def nonpositive(value: Expr, ranges: Ranges) -> Proof | None:
    """`value <= 0`, in the same way."""
    if ranges(value).nonpositive:
        return ()
    turned = Apply(value.type, value.axes, value.level, value.coupled, value.span, "neg", (value,))
    return nonnegative(turned, ranges)


def _bare(value: Expr, ranges: Ranges) -> tuple[Expr, int]:
    """A part with the same sign as the value, or the opposite one, without proven factors."""
    sign = 1
    while isinstance(value, Apply):
        match value.function, value.arguments:
            case "neg", (a,):
                value, sign = a, -sign
            case "mul", (a, b) if ranges(a).positive:
                value = b
            case "mul" | "div", (a, b) if ranges(b).positive:
                value = a
            case "mul", (a, b) if ranges(a).negative:
                value, sign = b, -sign
            case _:
                break
    return value, sign
