"""What a search says of its answers, held against the energy before anybody reads it.

A slope below the tolerance may mean little: the whole energy may be small, one entry may be measured in other
units than the rest, or the slope may fade because the search has gone far, as that of `-log(x)` does. So the
slope of each entry is compared with the slopes half its own length away, which have the same units and change
with the energy when that is multiplied by a number. And a point without slope may be a saddle: directions
along which the energy curves down are looked for where a search has left entries as they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_norm
from ebmlang.runtime.driver import Limits, Outcome, solve_from
from ebmlang.runtime.falling import (
    falls_at_edge,
    falls_without_end,
    floor_under,
    named_fall,
    nearly_singular,
)
from ebmlang.runtime.mixture import MixtureForm
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.result import Status
from ebmlang.runtime.saddles import across_a_jump, way_down
from ebmlang.runtime.solvers.solver import AbstractSolver, where_rows
from ebmlang.runtime.steepness import Slopes, slopes_at

CLOSE_BY = 0.01
"""The share of the way to where slopes are usual, at which slopes close by are looked at."""

WORTH = 1e-6
"""The share of its energy, or ten tolerances if that is more, that a row may still fall by where its start
was steep."""

STEEP = 1e3
"""Slopes up to this many tolerances are small, whatever they are compared with."""

ROUNDS = 6
"""Searches from where the last one has ended, at most."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What the compiler has proven of the energy, as far as answers are judged by it. With `jumps` parts of
    it are piecewise constant."""

    convex: bool
    quadratic: bool
    jumps: bool = False


def vetted(
    problem: Problem, solver: AbstractSolver, start: Tensor, outcome: Outcome, limits: Limits, proven: Proven
) -> Outcome:
    """The outcome of a search from `start` [R, N], with rows searched on whose claim does not hold.

    Rows that stopped for lack of digits count as converged where their slopes are below the tolerance on
    their own scale. Where the time is over before a claim is looked at, it is not made.
    """
    problem = problem.detached()
    if problem.blocks is not None and any(part.problem.split is not None for part in problem.blocks.parts):
        # Kinks of a group stand apart in its own problem only.
        return _named(problem, start, outcome)
    rows = _rows_of(outcome, Status.PRECISION)
    claimed = _rows_of(outcome, Status.CONVERGED)
    if problem.mixture is not None and claimed:
        far = ~_short_steps(problem.mixture, start, outcome, limits)
        claimed = _where(claimed, far[claimed]) if bool(far.any()) else []
    rows = sorted(rows + claimed)
    for _ in range(ROUNDS):
        if not rows or limits.passed:
            break
        outcome, rows = _round(problem, solver, start, outcome, limits, proven, rows)
    if rows and limits.passed:
        outcome = _marked(outcome, rows, Status.TIME_LIMIT)
    elif rows:
        index = torch.tensor(rows, device=start.device)
        slopes = _slopes(problem.select(index), solver, start[index], outcome.x[index])
        steep = ~slopes.negligible(limits.tolerance(start.dtype))
        outcome = _marked(outcome, _where(rows, steep), Status.RECEDING)
    return _named(problem, start, _on_their_own_scale(problem, solver, start, outcome, limits))


def _on_their_own_scale(
    problem: Problem, solver: AbstractSolver, start: Tensor, outcome: Outcome, limits: Limits
) -> Outcome:
    """The outcome with rows searched on that have converged by the measure of a very steep start alone.

    There what a parabola through the slopes close by has left to fall may be much of the energy that is left.
    Each round begins where the last one has ended, and is judged by the slope there.
    """
    tol = limits.tolerance(start.dtype)
    if limits.tol is not None:
        return outcome
    for _ in range(ROUNDS):
        steep = outcome.optimality > STEEP * tol
        claimed = _rows_of(outcome, Status.CONVERGED) if bool(steep.any()) else []
        rows = _where(claimed, steep[claimed])
        if not rows or limits.passed:
            break
        index = torch.tensor(rows, device=start.device)
        slopes = _slopes(problem.select(index), solver, start[index], outcome.x[index], reach=CLOSE_BY)
        left = CLOSE_BY * slopes.left > max(WORTH, 10 * tol) * slopes.energy.abs()
        again, index = _where(rows, left), index[left]
        steps = limits.steps - max((int(outcome.iterations[row]) for row in again), default=0)
        if not again or steps <= 0:
            break
        more = solve_from(problem.select(index), solver, outcome.x[index], replace(limits, steps=steps))
        lower = more.energy < outcome.energy[index]
        if not bool(lower.any()):
            break
        outcome = _merged(outcome, _where(again, lower), more.select(lower.nonzero()[:, 0]))
        # What has converged before, and now lacks digits to go on, has converged.
        outcome = _marked(
            outcome, [r for r in again if outcome.status[r] is Status.PRECISION], Status.CONVERGED
        )
    return outcome


def _short_steps(form: MixtureForm, start: Tensor, outcome: Outcome, limits: Limits) -> Tensor:
    """Rows whose next concave-convex step would move them by less than the root of the tolerance, as a share
    of their size, bool [R]: known without another gradient, which costs as much as several such steps."""
    if form.factor is not None:
        return torch.zeros_like(outcome.energy, dtype=torch.bool)
    size = torch.maximum(outcome.x.amax(1), start.amax(1))
    size = torch.maximum(size, -torch.minimum(outcome.x.amin(1), start.amin(1)))
    share = math.sqrt(limits.tolerance(outcome.x.dtype))
    result: Tensor = outcome.optimality <= share * form.quadratic.amin(1) * size
    return result


def _round(
    problem: Problem,
    solver: AbstractSolver,
    start: Tensor,
    outcome: Outcome,
    limits: Limits,
    proven: Proven,
    rows: list[int],
) -> tuple[Outcome, list[int]]:
    """Judge the rows, search on where that is called for, and say which rows are to be judged once more."""
    index = torch.tensor(rows, device=outcome.x.device)
    part, at, begin = problem, outcome.x, start
    if len(rows) < at.shape[0]:
        part, at, begin = problem.select(index), at[index], start[index]
    tol = limits.tolerance(at.dtype)
    claimed = torch.tensor([outcome.status[row] is Status.CONVERGED for row in rows], device=at.device)
    slopes = _slopes(part, solver, begin, at, tol if bool(claimed.all()) else None)
    if not bool(claimed.all()):
        flat = _flat(part, solver, begin, at, ~claimed & slopes.below(tol), tol)
        outcome = _marked(outcome, _where(rows, flat), Status.CONVERGED)
    x, dropped = at, torch.zeros_like(claimed)
    if proven.jumps:
        blind = claimed & (slopes.usual == 0).any(1)
        outcome, claimed = _marked(outcome, _where(rows, blind), Status.BLIND), claimed & ~blind
        x, dropped = across_a_jump(part, at, slopes, claimed, tol)
    endless, at_edge = falls_at_edge(part, begin, at), nearly_singular(part, at)
    outcome = _marked(outcome, _where(rows, claimed & at_edge & ~endless), Status.PRECISION)
    claimed = claimed & ~at_edge
    steep = claimed & ~endless & ~slopes.negligible(tol)
    if bool(steep.any()):
        far = steep.nonzero()[:, 0]
        floor = floor_under(part.energy(begin))
        endless[far] |= falls_without_end(part.select(far), begin[far], at[far], floor[far])
    outcome = _marked(outcome, _where(rows, endless), Status.UNBOUNDED)
    go_on = (steep & ~endless & ~_taken_at_word(slopes, limits)) | dropped
    anew = dropped
    if not proven.convex:
        suspected = (slopes.idle(begin) | proven.quadratic) & (claimed & ~steep & ~endless)[:, None]
        if bool(suspected.any()):
            suspected = suspected & ~solver.curves_up(part, at)[:, None]
        there, lower = way_down(part, at, slopes, suspected & ~dropped[:, None])
        x, go_on, anew = where_rows(lower, there, x), go_on | lower, dropped | lower
    again = _where(rows, go_on)
    left = limits.steps - max((int(outcome.iterations[row]) for row in again), default=0)
    if left <= 0:
        return _marked(outcome, again, Status.STEP_LIMIT), []
    if again:
        some = go_on.nonzero()[:, 0]
        bound = torch.where(anew, torch.inf, slopes.bound(tol, outcome.optimality[index]))
        more = solve_from(part.select(some), solver, x[some], replace(limits, steps=left), bound=bound[some])
        outcome = _merged(outcome, again, more)
    return outcome, [r for r in again if outcome.status[r] in (Status.CONVERGED, Status.PRECISION)]


def _taken_at_word(slopes: Slopes, limits: Limits) -> Tensor:
    """Rows that claim no more than that their slope has fallen to a tolerance which somebody has loosened,
    bool [R]: where slopes are usually no small numbers."""
    loose = limits.tol is not None and limits.tol > Limits().tolerance(slopes.x.dtype)
    return row_norm(slopes.usual) >= 1 if loose else torch.zeros_like(slopes.energy, dtype=torch.bool)


def _flat(
    problem: Problem, solver: AbstractSolver, start: Tensor, x: Tensor, stuck: Tensor, tol: float
) -> Tensor:
    """Those of the rows `stuck` [R] that have run out of digits where the slope is small close by too: far
    out an energy may be steep beyond measure."""
    some = stuck.nonzero()[:, 0]
    if some.shape[0] == 0:
        return stuck
    near = _slopes(problem.select(some), solver, start[some], x[some], reach=CLOSE_BY)
    return stuck.index_copy(0, some, near.below(tol / CLOSE_BY))


def _slopes(
    problem: Problem,
    solver: AbstractSolver,
    start: Tensor,
    x: Tensor,
    enough: float | None = None,
    reach: float = 1.0,
) -> Slopes:
    return slopes_at(problem, start, x, View.SMOOTH_PLUS_ABSOLUTE in solver.needs, enough, reach)


def _where(rows: list[int], flags: Tensor) -> list[int]:
    return [row for row, flag in zip(rows, flags.tolist(), strict=True) if flag]


def _rows_of(outcome: Outcome, *kinds: Status) -> list[int]:
    status = outcome.status
    if status and status.count(status[0]) == len(status):  # much quicker than one by one, and most often so
        return list(range(len(status))) if status[0] in kinds else []
    return [row for row, kind in enumerate(status) if kind in kinds]


def _marked(outcome: Outcome, rows: list[int], kind: Status) -> Outcome:
    """The outcome with another status in some rows."""
    if not rows:
        return outcome
    status, sentences = list(outcome.status), list(outcome.sentences)
    said = kind.sentence(str(outcome.x.dtype).removeprefix("torch.") if kind is Status.PRECISION else "")
    for row in rows:
        status[row], sentences[row] = kind, said
    return replace(outcome, status=tuple(status), sentences=tuple(sentences))


def _merged(outcome: Outcome, rows: list[int], more: Outcome) -> Outcome:
    """The outcome with rows that were searched on."""
    index = torch.tensor(rows, device=outcome.x.device)
    status, sentences = list(outcome.status), list(outcome.sentences)
    for row, kind, sentence in zip(rows, more.status, more.sentences, strict=True):
        status[row], sentences[row] = kind, sentence
    trace = outcome.trace
    if trace is not None:
        trace = torch.cat([trace, trace[-1:].index_copy(1, index, more.energy[None])])
    return Outcome(
        outcome.x.index_copy(0, index, more.x),
        outcome.energy.index_copy(0, index, more.energy),
        outcome.optimality.index_copy(0, index, more.optimality),
        outcome.iterations.index_add(0, index, more.iterations),
        tuple(status),
        tuple(sentences),
        trace,
    )


def _named(problem: Problem, start: Tensor, outcome: Outcome) -> Outcome:
    """Rows without end say in which term the energy falls, and which unknown has gone furthest."""
    rows = _rows_of(outcome, Status.UNBOUNDED)
    if not rows:
        return outcome
    sentences = list(outcome.sentences)
    for row in rows:
        index = torch.tensor([row], device=outcome.x.device)
        fall = named_fall(problem.select(index), start[index], outcome.x[index])
        if fall:
            sentences[row] = Status.UNBOUNDED.sentence(f": {fall}")
    return replace(outcome, sentences=tuple(sentences))
