"""The augmented Lagrangian of some rows as a problem that any method for the energy minimises."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.constrained.problem import Constrained, Everything, joined
from ebmlang.runtime.constrained.problem import flat as flat_values
from ebmlang.runtime.driver import Limits, Outcome, solve_from
from ebmlang.runtime.problem import Problem, Values
from ebmlang.runtime.solvers.solver import AbstractSolver
from ebmlang.runtime.spec import ConstraintSpec

MULTIPLIERS, PENALTY = "multipliers of constraints", "penalty of constraints"
"""Names of held values; no variable can be called so."""


@dataclass(frozen=True, slots=True)
class Augmented:
    """The energy with its constraints added; takes the place of the generated functions."""

    base: Everything
    specs: tuple[ConstraintSpec, ...]
    equal: Tensor
    joint: bool
    only_violation: bool = False

    def energy(self, unknown: Values, held: Values) -> Tensor:
        added = self._added(unknown, held)
        return added if self.only_violation else self.base.energy(unknown, held) + added

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        added = self._added(unknown, held)
        return added if self.only_violation else self.base.smooth(unknown, held) + added

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return {} if self.only_violation else self.base.absolute(held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """Terms and constraints by name, so that one which is not finite can be named."""
        found = {} if self.only_violation else dict(self.base.terms(unknown, held))
        rows = held[MULTIPLIERS].shape[0]
        for name, value in self._each(unknown, held, rows).items():
            found[name] = value.sum(1).sum() if self.joint else value.sum(1)
        return found

    def _each(self, unknown: Values, held: Values, rows: int) -> dict[str, Tensor]:
        values = self.base.constraints(unknown, held)
        if self.joint:
            return {s.name: values[s.name].reshape(1, -1) for s in self.specs}
        return {s.name: flat_values(values[s.name], s, rows) for s in self.specs}

    def _added(self, unknown: Values, held: Values) -> Tensor:
        y, r = held[MULTIPLIERS], held[PENALTY]
        c = joined(list(self._each(unknown, held, y.shape[0]).values()), y)
        moved = y + r * c
        moved = torch.where(self.equal, moved, moved.clamp(min=0))
        added = ((moved.square() - y.square()) / (2 * r)).sum(1)
        return added[0] if self.joint else added


def augmented(
    constrained: Constrained, equal: Tensor, y: Tensor, r: Tensor, only_violation: bool = False
) -> Problem:
    """The problem with its constraints added, for multipliers y [R, M] and penalties r [R]; `equal` [M] marks
    equations. With `only_violation` the energy is left out."""
    problem = constrained.problem
    functions = Augmented(
        constrained.functions, constrained.specs, equal, problem.space.joint, only_violation
    )
    return replace(
        problem,
        functions=functions,
        held={**problem.held, MULTIPLIERS: y, PENALTY: r[:, None]},
        row_values=problem.row_values | {MULTIPLIERS, PENALTY},
        split=functions if problem.split is not None else None,
        derivatives=None,
    )


@dataclass(slots=True)
class Search:
    """One call: what stays the same over its outer steps."""

    constrained: Constrained
    solver: AbstractSolver
    limits: Limits
    equal: Tensor
    bound: Tensor
    scale: Tensor
    tol: float
    near: float
    start: Tensor

    def minimise(
        self, rows: Tensor, x: Tensor, y: Tensor, r: Tensor, tol: float, steps: int, only: bool = False
    ) -> Outcome:
        """The augmented energy of some rows minimised from x, with `only` the violation alone."""
        problem = augmented(self.constrained.select(rows), self.equal, y, r, only)
        return solve_from(problem, self.solver, x, Limits(steps, tol, self.limits.deadline))
