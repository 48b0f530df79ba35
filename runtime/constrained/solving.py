"""A constrained question from its start to its outcome: which method, and what its answer is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.constrained import augmented_lagrangian, interior_point, quadratic
from ebmlang.runtime.constrained.problem import (
    Constrained,
    ConstrainedOutcome,
    excess,
    feasible_within,
    largest,
)
from ebmlang.runtime.constrained.units import in_own_units, in_units, units_of
from ebmlang.runtime.driver import Limits, Progress, Starts
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.solver import AbstractSolver, where_rows

NEAR = 1e4
"""An answer of the interior point this many tolerances off is a start for the augmented Lagrangian."""


@dataclass(frozen=True, slots=True)
class Solved:
    """The outcome, the method that made it, and why another one than planned (empty: it was as planned)."""

    outcome: ConstrainedOutcome
    method: str
    because: str


@dataclass(frozen=True, slots=True, eq=False)
class _Judgement:
    """What the conditions of Karush, Kuhn and Tucker leave at a point, per row; `off` is in tolerances."""

    stationarity: Tensor
    violation: Tensor
    complementarity: Tensor
    off: Tensor


def solve(
    constrained: Constrained,
    method: str,
    solver: AbstractSolver,
    limits: Limits,
    starts: Starts,
    progress: Callable[[Progress], None] | None = None,
    trace: bool = False,
) -> Solved:
    """Minimise every row under constraints, by `interior_point`, or `augmented_lagrangian` around `solver`.

    Never raises for a numeric outcome: it is in the status of the row.
    """
    written = constrained.detached()
    start = written.problem.space.start(starts.seed, starts.numbers(written.problem.space.batch))
    units = units_of(written, start.x)
    constrained = written if units.plain else in_units(written, units)

    def solved(outcome: ConstrainedOutcome, method: str, because: str) -> Solved:
        outcome = outcome if units.plain else in_own_units(written, outcome, units)
        return Solved(_without(outcome, start.outside), method, because)

    because = ""
    if method == "interior_point":
        because, found = _interior(constrained, solver, start.x, limits, progress, trace)
        if found is not None:
            return solved(found, method, "")
    outcome = _from_starts(constrained, solver, limits, starts, start.x, progress, trace)
    return solved(outcome, "augmented_lagrangian", because)


def _from_starts(
    constrained: Constrained,
    solver: AbstractSolver,
    limits: Limits,
    starts: Starts,
    x: Tensor,
    progress: Callable[[Progress], None] | None,
    trace: bool,
) -> ConstrainedOutcome:
    """The augmented Lagrangian from every start; of the answers that hold the constraints the lowest wins."""
    space = constrained.problem.space
    if starts.restarts <= 1:
        return augmented_lagrangian.solve(constrained, solver, x, limits, None, progress, trace)
    numbers = starts.numbers(space.batch)
    draws = [space.draw(x, starts.seed, numbers, k) for k in range(1, starts.restarts)]
    repeated = torch.arange(space.rows, device=x.device).repeat(starts.restarts)
    many = augmented_lagrangian.solve(
        constrained.select(repeated), solver, torch.cat([x, *draws]), limits, None, progress, trace
    )
    good = torch.tensor([s not in _WITHOUT_A_POINT for s in many.status], device=x.device)
    # Rows without a feasible point compete by their violation, behind all that have one.
    key = torch.where(good, many.energy, many.violation)
    key = torch.where(torch.isnan(key), torch.inf, key).reshape(starts.restarts, space.rows)
    good = good.reshape(key.shape)
    rank = torch.where(good.any(0) & ~good, torch.inf, key)
    chosen = rank.argmin(0) * space.rows + torch.arange(space.rows, device=x.device)
    return _picked(many, chosen)


_WITHOUT_A_POINT = (
    Status.INFEASIBLE,
    Status.VIOLATED,
    Status.NON_FINITE_START,
    Status.NON_FINITE,
    Status.NON_FINITE_GRADIENT,
    Status.OUTSIDE,
)


def _picked(many: ConstrainedOutcome, rows: Tensor) -> ConstrainedOutcome:
    order = rows.tolist()
    return ConstrainedOutcome(
        many.x[rows],
        many.energy[rows],
        many.optimality[rows],
        many.multipliers[rows],
        many.violation[rows],
        many.complementarity[rows],
        many.iterations[rows],
        tuple(many.status[i] for i in order),
        tuple(many.sentences[i] for i in order),
        None if many.trace is None else many.trace[:, rows],
    )


def _without(outcome: ConstrainedOutcome, outside: Tensor) -> ConstrainedOutcome:
    """Rows whose declared start lies outside of an open domain claim nothing."""
    if not bool(outside.any()):
        return outcome
    marks = outside.tolist()
    status = tuple(Status.OUTSIDE if o else s for o, s in zip(marks, outcome.status, strict=True))
    words = tuple(
        Status.OUTSIDE.sentence() if o else s for o, s in zip(marks, outcome.sentences, strict=True)
    )
    return replace(outcome, status=status, sentences=words)


# --- quadratic programs --------------------------------------------------------------------------


def _interior(
    constrained: Constrained,
    solver: AbstractSolver,
    x: Tensor,
    limits: Limits,
    progress: Callable[[Progress], None] | None,
    trace: bool,
) -> tuple[str, ConstrainedOutcome | None]:
    """The outcome of the interior point, or why it does not apply. What it leaves open, the augmented
    Lagrangian takes up: rows without a feasible point, and rows that did not reach the tolerance."""
    if not quadratic.fits(constrained, x):
        return f"the program is too large for dense matrices ({x.shape[1]:,} unknowns)", None
    program = quadratic.measure(constrained, x)
    positive = quadratic.convex(program)
    if not bool(positive.all()):
        row = int((~positive).nonzero()[0])
        return f"the energy is not convex (row {row}), so interior_point does not apply", None
    answer = interior_point.solve(program, limits.steps)
    at, y, found = _best(constrained, program, answer, x, limits)
    broken = constrained.failed_checks(at, feasible_within(limits.tolerance(x.dtype)))
    done = (found.off <= 1) & ~broken
    energy = constrained.problem.energy(at)
    lines = torch.stack([constrained.problem.energy(x), energy]) if trace else None
    status = tuple(Status.CONVERGED if ok else Status.STEP_LIMIT for ok in done.tolist())
    outcome = ConstrainedOutcome(
        at,
        energy,
        found.stationarity,
        y,
        found.violation,
        found.complementarity,
        answer.steps,
        status,
        tuple(kind.sentence() for kind in status),
        lines,
    )
    if bool(done.all()):
        if progress is not None:
            rows = x.shape[0]
            progress(Progress(int(answer.steps.max()) if rows else 0, rows, rows, limits.steps))
        return "", outcome
    index = (~done).nonzero()[:, 0]
    near = (found.off < NEAR)[index, None]
    begin, held = torch.where(near, at[index], x[index]), torch.where(near, y[index], 0.0)
    left = replace(limits, steps=limits.steps - int(answer.steps.max()))
    rest = augmented_lagrangian.solve(constrained.select(index), solver, begin, left, held, progress, False)
    return "", _replaced(outcome, index, rest)


def _best(
    constrained: Constrained,
    program: quadratic.QuadraticProgram,
    answer: interior_point.Answer,
    start: Tensor,
    limits: Limits,
) -> tuple[Tensor, Tensor, _Judgement]:
    """Points [R, N] and multipliers [R, M]: the answer itself, or what makes it more exact, row by row."""
    at, y = _placed(constrained, program, answer)
    found = _judge(constrained, start, at, y, limits)

    def improved(other: interior_point.Answer) -> None:
        nonlocal at, y, found
        there, multipliers = _placed(constrained, program, other)
        judged = _judge(constrained, start, there, multipliers, limits)
        take = judged.off < found.off
        at, y = where_rows(take, there, at), where_rows(take, multipliers, y)
        found = _Judgement(
            torch.where(take, judged.stationarity, found.stationarity),
            torch.where(take, judged.violation, found.violation),
            torch.where(take, judged.complementarity, found.complementarity),
            torch.where(take, judged.off, found.off),
        )

    refined = interior_point.polished(program, answer)
    improved(refined)
    for candidate in (refined, answer):
        left = ((found.off > 1) & torch.isfinite(candidate.d).all(1)).nonzero()[:, 0].tolist()
        if left:
            improved(interior_point.with_least_multipliers(program, candidate, left))
    return at, y, found


def _placed(
    constrained: Constrained, program: quadratic.QuadraticProgram, answer: interior_point.Answer
) -> tuple[Tensor, Tensor]:
    """The point of an answer inside the domain, and its multipliers with the signs that they must have."""
    y = torch.where(program.equal, answer.multipliers, answer.multipliers.clamp(min=0))
    return constrained.problem.space.project(program.base + answer.d), y


def _judge(constrained: Constrained, start: Tensor, x: Tensor, y: Tensor, limits: Limits) -> _Judgement:
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
    return _Judgement(stationarity, largest(violated), largest(slack), off)


def _replaced(outcome: ConstrainedOutcome, index: Tensor, rest: ConstrainedOutcome) -> ConstrainedOutcome:
    """The outcome with some rows from another one."""

    def put(name: str) -> Tensor:
        old: Tensor = getattr(outcome, name)
        return old.index_copy(0, index, getattr(rest, name))

    status, words = list(outcome.status), list(outcome.sentences)
    for at, kind, text in zip(index.tolist(), rest.status, rest.sentences, strict=True):
        status[at], words[at] = kind, text
    iterations = outcome.iterations.index_add(0, index, rest.iterations)
    energy = put("energy")
    trace = outcome.trace
    if trace is not None:
        trace = torch.cat([trace, energy[None]])
    return ConstrainedOutcome(
        put("x"),
        energy,
        put("optimality"),
        put("multipliers"),
        put("violation"),
        put("complementarity"),
        iterations,
        tuple(status),
        tuple(words),
        trace,
    )
