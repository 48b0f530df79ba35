"""The pattern of a question's Hessian and where its entries stand, found once for the same index lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.generated import HessianPlaces
from ebmlang.runtime.hessian import HessianForm
from ebmlang.runtime.kept import Remembered
from ebmlang.runtime.linear.patterns import Pattern
from ebmlang.runtime.linear.placing import Placing, placing
from ebmlang.runtime.pattern import pattern_of
from ebmlang.runtime.problem import Derivatives
from ebmlang.runtime.space import Space
from ebmlang.runtime.watched import Watched

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the last questions of some sizes have found: a pattern, and a pattern with its placing."""

    pattern: Remembered = field(default_factory=Remembered)
    placed: Remembered = field(default_factory=Remembered)


def hessian_form(bound: Bound, space: Space, functions: Derivatives, held: Values) -> HessianForm:
    """What is known of the Hessian of a question; patterns and places are looked for when they are needed."""
    module, layout = bound.module, _kept(bound, space)

    def pattern() -> Pattern:
        known: Pattern | None = layout.pattern.find(bound.values)
        if known is not None:
            return known
        watched = Watched(bound.values)
        found = pattern_of(replace(bound, values=watched), space)
        layout.pattern.keep(bound.values, watched.reads, found, _bytes(found))
        return found

    def place(within: Pattern) -> Placing:
        known: tuple[Pattern, Placing] | None = layout.placed.find(held)
        if known is not None and known[0] is within:
            return known[1]
        watched = Watched(held)
        found = placing(within, _places(functions, space, watched))
        layout.placed.keep(held, watched.reads, (within, found), _bytes(within) + _bytes(found))
        return found

    written = "hessian_places" in module.WRITTEN
    return HessianForm(pattern, module.HESSIAN_SHARED, module.HESSIAN_CONSTANT, place if written else None)


def _places(functions: Derivatives, space: Space, held: Values) -> HessianPlaces:
    return functions.hessian_places(held, coordinate_numbers(space))


def coordinate_numbers(space: Space) -> dict[str, Tensor]:
    """The number of every coordinate of a row, int64 [1, ...], in the shapes of the unknowns."""
    parts = torch.arange(space.size, device=space.device)[None].split(space.sizes, 1)
    shaped = zip(space.unknowns, parts, space.row_shapes, strict=True)
    return {unknown.name: part.reshape(1, *shape) for unknown, part, shape in shaped}


def _kept(bound: Bound, space: Space) -> Layout:
    """Where the layout stays for the next question of these sizes, if anywhere."""
    if bound.kept is None:
        return Layout()
    key = tuple(sorted(bound.sizes.items())), bound.batch, space.size, str(space.device)
    found = bound.kept.layouts.find(key)
    if found is None:
        found = Layout()
        bound.kept.layouts.keep(key, found)
    return found


def _bytes(value: Any) -> int:
    """Of the arrays in nested dataclasses and tuples."""
    if isinstance(value, Tensor | np.ndarray):
        return value.nbytes
    if isinstance(value, tuple):
        return sum(_bytes(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_bytes(getattr(value, item.name)) for item in fields(value))
    return 0
