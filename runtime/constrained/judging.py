"""What an answer under hard constraints is worth, by the conditions of Karush, Kuhn and Tucker."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.constrained.problem import Constrained, excess, feasible_within, largest
from ebmlang.runtime.driver import Limits


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the conditions of Karush, Kuhn and Tucker leave at a point, per row; `off` is in tolerances.

    `gap` is how far the energy may lie above the minimum at most, by the Lagrangian at the multipliers, apart
    from the slope along entries without a bound on that side, which is part of `stationarity`.
    """

    stationarity: Tensor
    violation: Tensor
    complementarity: Tensor
    gap: Tensor
    off: Tensor

    def select(self, rows: Tensor) -> Judgement:
        return Judgement(
            self.stationarity[rows],
            self.violation[rows],
            self.complementarity[rows],
            self.gap[rows],
            self.off[rows],
        )

    def improved(self, other: Judgement, take: Tensor) -> Judgement:
        """With the rows to take, bool [R], from another one."""
        return Judgement(
            torch.where(take, other.stationarity, self.stationarity),
            torch.where(take, other.violation, self.violation),
            torch.where(take, other.complementarity, self.complementarity),
            torch.where(take, other.gap, self.gap),
            torch.where(take, other.off, self.off),
        )


def judge(constrained: Constrained, start: Tensor, x: Tensor, y: Tensor, limits: Limits) -> Judgement:
    """How far x [R, N] with multipliers y [R, M] is from optimal, measured on the functions themselves."""
    problem, tol = constrained.problem, limits.tolerance(start.dtype)
    _, gradient = problem.energy_and_gradient(x)
    c, pull = constrained.pulled_back(x, y)
    _, first = problem.energy_and_gradient(start)
    with torch.no_grad():
        scale = 1 + constrained.values(start).abs()
    equal = constrained.equal(start)
    stationarity = problem.space.optimality(x, gradient + pull)
    usual = 1 + problem.space.optimality(start, first)
    violated = excess(c, equal)
    slack = torch.where(equal, 0.0, torch.minimum(-c, y).abs())
    measure = largest(torch.maximum(violated, slack) / scale)
    off = torch.maximum(stationarity / (tol * usual), measure / feasible_within(tol))
    off = torch.where(torch.isnan(off), torch.inf, off)
    gap = _gap(problem.space.bounds(), x, gradient + pull, torch.where(equal, y.abs() * c.abs(), -y * c))
    return Judgement(stationarity, largest(violated), largest(slack), gap, off)


def _gap(bounds: tuple[Tensor, Tensor], x: Tensor, slope: Tensor, slack: Tensor) -> Tensor:
    """How far the energy of x [R, N] may lie above its least value at most, by weak duality: slack times
    multiplier [R, M], and the slope of the Lagrangian [R, N] over the way to the bound that it falls towards.
    """
    lo, hi = bounds
    room = torch.where(slope > 0, x - lo, hi - x)
    each = torch.where(torch.isfinite(room), slope.abs() * room, 0.0)
    return (slack.clamp(min=0).sum(1) + each.sum(1)).clamp(min=0)
