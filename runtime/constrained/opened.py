"""Simplexes as bounds and equations, for methods that know only these.

A point of a simplex has entries >= 0 whose sum is 1. Both are affine, so that a quadratic program over
simplexes is one with bounds, and with an equation for each simplex.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ebmlang.runtime.constrained.problem import Constrained, Everything
from ebmlang.runtime.domains import Nonnegative
from ebmlang.runtime.problem import Values
from ebmlang.runtime.simplexes import Simplex
from ebmlang.runtime.spec import ConstraintSpec


@dataclass(frozen=True, slots=True)
class _WithSums:
    """Generated functions with the sums of simplexes, less 1, after the constraints of the model."""

    base: Everything
    simplexes: tuple[str, ...]

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.base.energy(unknown, held)

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        return self.base.smooth(unknown, held)

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return self.base.absolute(held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.base.terms(unknown, held)

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        sums = {_sum_of(name): unknown[name].sum(-1) - 1 for name in self.simplexes}
        return {**self.base.constraints(unknown, held), **sums}


def opened(constrained: Constrained) -> Constrained | str:
    """The same question without simplexes; the equations of their sums follow the constraints. Or why it
    cannot be asked so."""
    space = constrained.problem.space
    names = tuple(u.name for u in space.unknowns if isinstance(u.domain, Simplex))
    if not names:
        return constrained
    if space.joint:
        return "examples share a simplex"
    if any(isinstance(u.domain, Simplex) and u.domain.where is not None for u in space.unknowns):
        return "a simplex has a mask"
    unknowns = tuple(replace(u, domain=Nonnegative()) if u.name in names else u for u in space.unknowns)
    return replace(
        constrained,
        problem=replace(constrained.problem, space=replace(space, unknowns=unknowns)),
        functions=_WithSums(constrained.functions, names),
        specs=(*constrained.specs, *(ConstraintSpec(_sum_of(name), "==", True) for name in names)),
    )


def _sum_of(name: str) -> str:
    """A name that no constraint of a model can have."""
    return f"sum of {name}"
