"""Rule: where the sought variables live."""

from __future__ import annotations

from ebmlang.compiler import notation
from ebmlang.compiler.structure.barrier import find_barrier
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.typed import Variable

_SEPARABLE = ("reals", "interval", "nonnegative")
MOST_SHOWN = 40
"""Letters up to which bounds are shown as they are written."""


def find_domains(block: Block) -> tuple[Finding, ...]:
    """`unconstrained`, `constrained`, `separable bounds`, `separate coordinates`, and `linear bounds` of
    simplexes under hard constraints; nothing for discrete unknowns alone.

    Open domains count as unconstrained: they are searched in transformed coordinates.
    """
    found: list[Finding] = []
    names = tuple(v.name for v in block.sought)
    if block.discrete and len(block.discrete) == len(block.sought):
        return ()
    interior = interior_names(block)
    closed = [
        v
        for v in block.sought
        if v.domain.rule.geometry in ("closed convex", "manifold") and v.name not in interior
    ]
    where = domain_text(block.sought)
    if any(v.domain.rule.geometry == "closed" for v in block.sought):
        # Neither: a straight way between two points of such a set leaves it.
        return ()
    if closed:
        found.append(Finding("constrained", tuple(v.name for v in closed), where))
    else:
        found.append(Finding("unconstrained", names, _open_text(where, interior)))
    if all(v.domain.name in _SEPARABLE for v in block.sought):
        why = "every entry has its own bounds" if closed else "no entry is bounded"
        found.append(Finding("separable bounds", names, why))
    elif block.limits and all(v.domain.name in (*_SEPARABLE, "simplex") for v in block.sought):
        found.append(Finding("linear bounds", names, "entries have bounds, and those of a simplex a sum"))
    elif all(v.domain.name in (*_SEPARABLE, "positive") for v in block.sought):
        found.append(Finding("separate coordinates", names, "every entry has a coordinate of its own"))
    return tuple(found)


def _open_text(where: str, interior: frozenset[str]) -> str:
    if not where:
        return "no domain is declared"
    inside = f"; the minimum of {', '.join(sorted(interior))} is inside" if interior else ""
    return f"searched in coordinates without bounds: {where}{inside}"


def interior_names(block: Block) -> frozenset[str]:
    """Simplex variables whose minimiser is proven to lie inside."""
    return frozenset(f.variables[0] for f in find_barrier(block))


def domain_text(variables: tuple[Variable, ...]) -> str:
    """The declared domains of variables, as `x in sphere`."""
    return ", ".join(f"{v.name} in {_spelled(v)}" for v in variables if v.domain.written)


def _spelled(v: Variable) -> str:
    if v.domain.name == "sparse_simplex":
        return f"simplex({notation.text(v.domain.arguments[0])})"
    if v.domain.name != "interval":
        return v.domain.name
    bounds = f"[{', '.join(notation.text(a) for a in v.domain.arguments)}]"
    return bounds if len(bounds) <= MOST_SHOWN else "[lo, hi]"
