"""Numbers as the cases of a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ebmlang.compiler.typed import Expr, Position, SizeOf
from ebmlang.compiler.types import Type


def as_case(value: Expr, type_: Type | None, floors: Mapping[str, int]) -> Expr:
    """A number that is known to count a case of the class `type_` as that case: an index over the cases, or
    a constant. Any other value as it is. `floors` are lower bounds of sizes."""
    if type_ is None or type_.kind != "class" or type_.classes is None or value.type.kind != "int":
        return value
    match value:
        case Position(axis=axis) if axis.size is not None and not axis.parents:
            first, last = axis.start, axis.start + axis.size - 1
        case SizeOf(size=size):
            first = last = size
        case _:
            return value
    inside = all(bound.known_positive(0, floors) for bound in (first, type_.classes - 1 - last))
    return replace(value, type=Type("class", (), type_.classes)) if inside else value
