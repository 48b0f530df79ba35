"""Answers under hard constraints, looked at once more.

A point that meets the conditions of Karush, Kuhn and Tucker may be a saddle or a maximum, and a point where
no small step lessens the violation may be one of the violation. Both happen where a search begins at such a
point. So directions along which the augmented energy, or the violation, curves down are looked for, and the
search goes on below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from ebmlang.runtime.constrained.augmented import augmented
from ebmlang.runtime.constrained.problem import (
    WITHOUT_A_POINT,
    Constrained,
    ConstrainedOutcome,
    feasible_within,
)
from ebmlang.runtime.driver import Limits
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.saddles import first_fall, lowest_directions, way_down
from ebmlang.runtime.solvers.solver import where_rows
from ebmlang.runtime.steepness import slopes_at

ROUNDS = 4
"""Searches from below an answer, at most."""

FIRM = 1e3
"""The penalty, in units of 1 + the largest multiplier, under which only ways along the constraints lead
down."""

Again = Callable[[Constrained, Tensor], ConstrainedOutcome]
"""The search from points x [R, N]."""


def looked_again(
    constrained: Constrained, start: Tensor, outcome: ConstrainedOutcome, limits: Limits, again: Again
) -> ConstrainedOutcome:
    """The outcome of a search from `start` [R, N], with rows that a way leads down from searched again.

    A row takes the new answer where that is lower and meets the constraints, or falls without end.
    """
    constrained = constrained.detached()
    rows = torch.arange(start.shape[0], device=start.device)
    for _ in range(ROUNDS):
        kinds = [outcome.status[row] for row in rows.tolist()]
        rows = rows[[k in (Status.CONVERGED, Status.INFEASIBLE) for k in kinds]]
        if rows.shape[0] == 0 or limits.passed:
            break
        rows, below = _below(constrained, start, outcome, limits, rows)
        if rows.shape[0] == 0:
            break
        found = again(constrained.select(rows), below)
        better = _better(outcome, rows, found)
        outcome = _merged(outcome, rows, found, better)
        rows = rows[better]
    return outcome


def _below(
    constrained: Constrained, start: Tensor, outcome: ConstrainedOutcome, limits: Limits, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Those of the rows from whose answers a way leads down, and points on these ways."""
    part, x, y = constrained.select(rows), outcome.x[rows], outcome.multipliers[rows]
    infeasible = [outcome.status[row] is Status.INFEASIBLE for row in rows.tolist()]
    lost = torch.tensor(infeasible, device=x.device) & ~part.failed_checks(x, torch.inf)
    equal, found, below = part.equal(x), torch.zeros_like(lost), x
    firm = FIRM * (1 + y.abs().amax(1)) if y.shape[1] else torch.ones_like(x[:, 0])
    for some, multipliers, only in ((~lost, y, False), (lost, torch.zeros_like(y), True)):
        if bool(some.any()):
            asked = augmented(part.select(some.nonzero()[:, 0]), equal, multipliers[some], firm[some], only)
            found[some], below[some] = _lower(asked, start[rows][some], x[some], limits)
    left = (~lost & ~found).nonzero()[:, 0]
    if left.shape[0]:
        found[left], below[left] = _out_of_corner(part.select(left), x[left], y[left], firm[left], limits)
    return rows[found], below[found]


def _lower(problem: Problem, start: Tensor, x: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
    """Whether a way leads down from x [R, N] by more than the tolerance leaves open, and where to."""
    slopes = slopes_at(problem, start, x, False)
    there, found = way_down(problem, x, slopes, torch.ones_like(x, dtype=torch.bool))
    before, after = problem.energy(x), problem.energy(there)
    found = found & (before - after > limits.tolerance(x.dtype) * (1 + before.abs()))
    return found, where_rows(found, there, x)


def _out_of_corner(
    constrained: Constrained, x: Tensor, y: Tensor, firm: Tensor, limits: Limits
) -> tuple[Tensor, Tensor]:
    """Whether a way that stays on the feasible side of the constraints which touch without a push leads down
    from x [R, N], and where to."""
    with torch.no_grad():
        c = constrained.values(x)
    equal, near = constrained.equal(x), feasible_within(limits.tolerance(x.dtype))
    touching = ~equal & (c.abs() <= near * (1 + x.abs().amax(1))[:, None]) & (y <= near)
    rows = touching.any(1).nonzero()[:, 0]
    found, below = torch.zeros_like(firm, dtype=torch.bool), x
    if rows.shape[0] == 0 or x.shape[1] == 0:
        return found, below
    part, at, touching = constrained.select(rows), x[rows], touching[rows]
    # With a multiplier far below 0 a constraint does not count until it is broken by 1.
    without = augmented(part, equal, torch.where(touching, -firm[rows, None], y[rows]), firm[rows])
    asked = augmented(part, equal, y[rows], firm[rows])
    size = slopes_at(asked, at, at, False).length.amax(1)
    free = torch.ones_like(at, dtype=torch.bool)
    normals = part.jacobian(at, range(c.shape[1])) * touching[..., None]
    best, lowest = at, asked.energy(at)
    least = lowest - limits.tolerance(x.dtype) * (1 + lowest.abs())
    for direction in lowest_directions(without, at, size, free, free):
        for side in (1, -1):
            there, energy = first_fall(asked, at, _kept_inside(side * direction, normals), size)
            lower = (energy < least) & (energy < lowest)
            best, lowest = where_rows(lower, there, best), torch.where(lower, energy, lowest)
    found[rows] = (best != at).any(1)
    return found, below.index_copy(0, rows, best)


def _kept_inside(direction: Tensor, normals: Tensor) -> Tensor:
    """The nearest directions [R, N] d with normals @ d <= 0, normals [R, M, N]: what is left of a direction
    without its part in the cone of the normals."""
    kept = []
    for d, n in zip(direction.double().cpu().numpy(), normals.double().cpu().numpy(), strict=True):
        bounding = n[n.any(1)].T
        kept.append(d - bounding @ nnls(bounding, d)[0] if bounding.shape[1] else d)
    return torch.from_numpy(np.stack(kept)).to(direction)


def _better(outcome: ConstrainedOutcome, rows: Tensor, found: ConstrainedOutcome) -> Tensor:
    """Which rows of `found` take the place of the rows of the outcome, bool [R]."""
    better = []
    for i, row in enumerate(rows.tolist()):
        point = found.status[i] not in WITHOUT_A_POINT
        first = outcome.status[row] is Status.INFEASIBLE or found.status[i] is Status.UNBOUNDED
        better.append(point and (first or bool(found.energy[i] < outcome.energy[row])))
    return torch.tensor(better, device=rows.device)


def _merged(
    outcome: ConstrainedOutcome, rows: Tensor, found: ConstrainedOutcome, better: Tensor
) -> ConstrainedOutcome:
    """The outcome with the better rows of `found`, and with the steps of all of them."""
    status, sentences = list(outcome.status), list(outcome.sentences)
    for i in better.nonzero()[:, 0].tolist():
        status[int(rows[i])], sentences[int(rows[i])] = found.status[i], found.sentences[i]
    taken = {
        field.name: getattr(outcome, field.name).index_copy(
            0, rows[better], getattr(found, field.name)[better]
        )
        for field in fields(ConstrainedOutcome)
        if field.name in ("x", "energy", "optimality", "multipliers", "violation", "complementarity")
    }
    iterations = outcome.iterations.index_add(0, rows, found.iterations)
    return replace(outcome, **taken, iterations=iterations, status=tuple(status), sentences=tuple(sentences))
