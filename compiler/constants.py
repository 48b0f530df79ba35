"""Numbers that are known when compiling."""

from __future__ import annotations

from ebmlang.compiler import typed


def constant_of(value: typed.Expr) -> float | int | None:
    """The number that a scalar is known to be before anything is bound, or None."""
    if isinstance(value, typed.SizeOf):
        return value.size.constant
    if isinstance(value, typed.Constant) and value.type.kind != "error":
        return float(value.value)
    return None
