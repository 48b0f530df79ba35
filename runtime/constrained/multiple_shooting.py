"""Multiple shooting: from a question to an outcome and what it is worth.

Every row is searched from its start - with states that stay where they are, if they are no unknowns - and
from the states that its actions lead to; further starts are random courses of actions. Rows of which no start
ends at a feasible point are looked at without their cost: where the squares of what limits are missed by have
their least value, and that is not 0, there is no feasible point nearby.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.constrained.judging import Judgement, judge
from ebmlang.runtime.constrained.problem import ConstrainedOutcome, feasible_within, sentence
from ebmlang.runtime.constrained.programs import Asked, replaced
from ebmlang.runtime.constrained.shooting_search import Found, polished, search
from ebmlang.runtime.constrained.soft_limits import SoftLimits
from ebmlang.runtime.constrained.stage_model import StageModel
from ebmlang.runtime.constrained.staging import Staging
from ebmlang.runtime.courses import best_courses
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.driver import Progress
from ebmlang.runtime.recursion import as_numpy
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.solver import where_rows

Array = Any
"""A numpy array of float64, unless it says otherwise."""

MOST_STEPS = 400
"""Steps of one search; most take between 10 and 60."""

CLEAR = 1e3
"""A violation counts as proof that there is no feasible point nearby only above this many tolerances."""

SETTLED = 1e-6
"""What the conditions may leave where the least violation is said to be found."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """Where searches ended: x [R, N] with multipliers y [R, M], what they are worth, and steps [R]."""

    x: Tensor
    y: Tensor
    worth: Judgement
    steps: Tensor


def by_shooting(asked: Asked) -> tuple[str, ConstrainedOutcome | None]:
    """The outcome of multiple shooting, or why it does not apply."""
    # Rows that are not finite end where they stand, and their status says so.
    with np.errstate(all="ignore"):
        return _by_shooting(asked)


def _by_shooting(asked: Asked) -> tuple[str, ConstrainedOutcome | None]:
    problem = asked.constrained.problem
    if problem.space.mask is not None:
        return "some unknowns are given in part, so multiple_shooting does not apply", None
    if not problem.space.kinds <= {Kind.LINEAR, Kind.BOX}:
        return "multiple_shooting knows no domains but bounds", None
    begun = _begun(asked)
    copies = begun.shape[1] // problem.space.rows
    index = torch.arange(problem.space.rows, device=asked.x.device).repeat(copies)
    ends = _ends(_asked_about(asked, index), begun)
    pick = _best(ends, asked, index, copies)
    outcome = _outcome(asked, _picked(ends, pick))
    stuck = [row for row, kind in enumerate(outcome.status) if kind is not Status.CONVERGED]
    if stuck and not asked.limits.passed:
        outcome = _looked_at(asked, outcome, torch.tensor(stuck, device=asked.x.device))
    if asked.progress is not None:
        rows = problem.space.rows
        most = int(outcome.iterations.max()) if rows else 0
        asked.progress(Progress(most, rows, rows, asked.limits.steps))
    return "", outcome


def _asked_about(asked: Asked, index: Tensor) -> Asked:
    """The question about some of the rows, which may repeat."""
    return replace(asked, constrained=asked.constrained.select(index), x=asked.x[index])


# --- starts --------------------------------------------------------------------------------------


def _begun(asked: Asked) -> Array:
    """Where searches begin, z [T + 1, C * R, n], all rows of one start after the other."""
    staging = Staging(asked.constrained)
    z = staging.along(asked.x)
    model = StageModel.of(staging, z)
    d = staging.shapes.states
    z[0, :, :d] = model.first
    if not staging.rollout.lifted:
        z[:, :, :d] = model.first
    starts = [z]
    rolled = model.rolled_out(z)
    if np.isfinite(rolled).all():
        starts.append(rolled)
    if asked.starts.restarts > 1:
        starts += _courses(asked, model, z)
    return np.concatenate(starts, 1)


def _courses(asked: Asked, model: StageModel, z: Array) -> list[Array]:
    """Random courses of actions with the states that they lead to."""
    d, rows = model.staging.shapes.states, z.shape[1]
    numbers = asked.starts.numbers(asked.constrained.problem.space.batch)
    count = asked.starts.restarts
    drawn = best_courses(model.around, model.actions(z), asked.starts.seed, numbers, count)[rows:]
    found = []
    for part in drawn.split(rows):
        other = z.copy()
        other[:-1, :, d:] = as_numpy(part.reshape(rows, z.shape[0] - 1, -1)).swapaxes(0, 1)
        found.append(model.rolled_out(other))
    return found


# --- ends ----------------------------------------------------------------------------------------


def _ends(asked: Asked, begun: Array) -> _Ends:
    """The search of every row from where it begins, and Newton steps on the limits that are active there."""
    model = StageModel.of(Staging(asked.constrained), begun)
    found = search(model, begun, min(asked.limits.steps, MOST_STEPS), lambda: asked.limits.passed)
    x, y = _placed(asked, model, found)
    worth = judge(asked.constrained, asked.x, x, y, asked.limits)
    near = torch.from_numpy(np.isfinite(found.error) & (found.error < SETTLED)).to(x.device)
    if bool((near & (worth.off > 0.1)).any()):
        there, multipliers = _placed(asked, model, polished(model, found))
        judged = judge(asked.constrained, asked.x, there, multipliers, asked.limits)
        take = judged.off < worth.off
        x, y = where_rows(take, there, x), where_rows(take, multipliers, y)
        worth = worth.improved(judged, take)
    return _Ends(x, y, worth, torch.from_numpy(found.steps).to(x.device))


def _placed(asked: Asked, model: StageModel, found: Found) -> tuple[Tensor, Tensor]:
    """The coordinates of what was found, inside the bounds, and the multipliers of all constraints."""
    staging, rows = model.staging, found.z.shape[1]
    width, at = max(model.slots.width, 1), model.slots.place
    y = np.where(model.live, found.y, 0.0).swapaxes(0, 1)[:, at // width, at % width]
    whole = staging.multipliers(y.reshape(rows, -1), found.costates)
    equal = asked.constrained.equal(asked.x)
    x = asked.constrained.problem.space.project(staging.coordinates(found.z))
    return x, torch.where(equal, whole, whole.clamp(min=0))


def _best(ends: _Ends, asked: Asked, index: Tensor, copies: int) -> Tensor:
    """The number of the best start of every row: of those that converged the lowest energy, else the least
    violation."""
    energy = asked.constrained.select(index).problem.energy(ends.x)
    good = (ends.worth.off <= 1) & torch.isfinite(energy)
    key = torch.where(good, energy, ends.worth.violation).nan_to_num(nan=torch.inf)
    key, good = key.reshape(copies, -1), good.reshape(copies, -1)
    rank = torch.where(good.any(0) & ~good, torch.inf, key)
    rows = key.shape[1]
    return rank.argmin(0) * rows + torch.arange(rows, device=key.device)


def _picked(ends: _Ends, rows: Tensor) -> _Ends:
    return _Ends(ends.x[rows], ends.y[rows], ends.worth.select(rows), ends.steps[rows])


# --- outcome -------------------------------------------------------------------------------------


def _outcome(asked: Asked, ends: _Ends) -> ConstrainedOutcome:
    constrained, limits = asked.constrained, asked.limits
    near = feasible_within(limits.tolerance(asked.x.dtype))
    broken = constrained.failed_checks(ends.x, near)
    energy, before = constrained.problem.energy(ends.x), constrained.problem.energy(asked.x)
    worst = constrained.worst(ends.x)
    ran_out = Status.TIME_LIMIT if limits.passed else Status.STEP_LIMIT
    kinds = []
    for row in range(len(worst)):
        kind = Status.PRECISION if int(ends.steps[row]) < min(limits.steps, MOST_STEPS) else ran_out
        if limits.passed:
            kind = ran_out
        if float(ends.worth.violation[row]) > CLEAR * near:
            kind = Status.VIOLATED
        if not bool(torch.isfinite(energy[row])):
            kind = Status.NON_FINITE_START
        if bool(ends.worth.off[row] <= 1):
            kind = Status.CONVERGED
        kinds.append(Status.INFEASIBLE if bool(broken[row]) else kind)
    return ConstrainedOutcome(
        ends.x,
        energy,
        ends.worth.stationarity,
        ends.y,
        ends.worth.violation,
        ends.worth.complementarity,
        ends.steps,
        tuple(kinds),
        tuple(sentence(kind, w) for kind, w in zip(kinds, worst, strict=True)),
        torch.stack([before, energy]) if asked.trace else None,
    )


def _looked_at(asked: Asked, outcome: ConstrainedOutcome, rows: Tensor) -> ConstrainedOutcome:
    """The outcome with rows that did not converge once more: said to have no feasible point nearby, or
    searched again from one."""
    part = _with_steps(_asked_about(asked, rows), asked.limits.steps - int(outcome.iterations[rows].max()))
    if part.limits.steps <= 0:
        return outcome
    staging = Staging(part.constrained)
    z = staging.along(outcome.x[rows])
    model = StageModel.of(staging, z)
    z[0, :, : staging.shapes.states] = model.first
    soft, steps = SoftLimits(model), min(part.limits.steps, MOST_STEPS)
    found = search(soft, model.rolled_out(z), steps, lambda: part.limits.passed)
    x, y = _placed(part, model, found)
    worth = judge(part.constrained, part.x, x, 0 * y, part.limits)
    ends = _Ends(x, 0 * y, worth, torch.from_numpy(found.steps).to(x.device))
    clear = ends.worth.violation > CLEAR * feasible_within(part.limits.tolerance(part.x.dtype))
    none = clear & torch.from_numpy(found.error < SETTLED).to(x.device)
    outcome = replaced(outcome, rows[none], _nowhere(_outcome(part, ends)).select(none.nonzero()[:, 0]))
    index = (~none & ~clear).nonzero()[:, 0]
    if not index.shape[0]:
        return outcome
    some = _with_steps(_asked_about(part, index), part.limits.steps - int(found.steps.max()))
    return replaced(outcome, rows[index], _outcome(some, _ends(some, found.z[:, index.cpu().numpy()])))


def _with_steps(asked: Asked, steps: int) -> Asked:
    return replace(asked, limits=replace(asked.limits, steps=max(steps, 0)))


def _nowhere(outcome: ConstrainedOutcome) -> ConstrainedOutcome:
    """Rows that end where the limits are missed by the least."""
    rows = len(outcome.status)
    words = tuple(
        text.replace(Status.VIOLATED.sentence(""), Status.INFEASIBLE.sentence(""))
        for text in outcome.sentences
    )
    return replace(outcome, status=(Status.INFEASIBLE,) * rows, sentences=words)
