"""Linear and convex quadratic programs, from their functions to an outcome and what it is worth.

What the method of the program leaves open is looked at by linear programs: rows without a feasible point and
rows whose energy falls without end are proven to be so. The augmented Lagrangian takes up the others, and
rows that did not reach the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.constrained import (
    augmented_lagrangian,
    interior_point,
    linear,
    quadratic,
    staged_interior_point,
)
from ebmlang.runtime.constrained.judging import Judgement, judge
from ebmlang.runtime.constrained.opened import opened
from ebmlang.runtime.constrained.problem import (
    Constrained,
    ConstrainedOutcome,
    excess,
    feasible_within,
    largest,
    sentence,
)
from ebmlang.runtime.constrained.stages import staged
from ebmlang.runtime.constrained.staging import Staging
from ebmlang.runtime.driver import Limits, Progress, Starts
from ebmlang.runtime.falling import named_fall
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.solver import AbstractSolver, where_rows

NEAR = 1e4
"""An answer this many tolerances off is a start for the augmented Lagrangian."""

FAR_OUT = 1e6
"""How far along a way down the energy and the constraints are looked at before anything is claimed."""

AS_STEEP = 0.9
"""The share of the fall that the slope foretells that must be met there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about programs: the points x [R, N] to start from, and who takes up what is left; `starts`
    says how many more starts there are."""

    constrained: Constrained
    solver: AbstractSolver
    x: Tensor
    limits: Limits
    progress: Callable[[Progress], None] | None
    trace: bool
    starts: Starts = Starts()


def by_interior_point(asked: Asked) -> tuple[str, ConstrainedOutcome | None]:
    """The outcome of the interior point, or why it does not apply."""
    x = asked.x
    constrained = opened(asked.constrained)
    if isinstance(constrained, str):
        return f"{constrained}, so interior_point does not apply", None
    if not quadratic.fits(constrained, x):
        return f"the program is too large for dense matrices ({x.shape[1]:,} unknowns)", None
    program = quadratic.measure(constrained, x)
    positive = quadratic.convex(program)
    if not bool(positive.all()):
        row = int((~positive).nonzero()[0])
        return f"the energy is not convex (row {row}), so interior_point does not apply", None
    answer = interior_point.solve(program, asked.limits.steps)
    at, y, found = _best(constrained, program, answer, x, asked.limits)
    if constrained is asked.constrained:
        return "", _finished(asked, at, y, found, answer.steps, lambda row: linear.part_of(program, row))
    own = asked.constrained.equal(x).shape[0]
    at = asked.constrained.problem.space.project(at)  # sums of 1 to the last digit
    return "", _finished(asked, at, y[:, :own], found, answer.steps, None)


def by_stages(asked: Asked) -> tuple[str, ConstrainedOutcome | None]:
    """The outcome of the interior point over the stages of a rollout, or why it does not apply."""
    constrained, x, limits = asked.constrained, asked.x, asked.limits
    if constrained.problem.space.mask is not None:
        return "some actions are given, so staged_interior_point does not apply", None
    staging = Staging(constrained)
    program = staged(staging)
    if not staged_interior_point.convex(program):
        return "the energy is not convex, so staged_interior_point does not apply", None
    plain, fine = staged_interior_point.solve(program, limits.steps)
    equal = constrained.equal(x)

    def placed(answer: staged_interior_point.StagedAnswer) -> tuple[Tensor, Tensor]:
        y = staging.multipliers(answer.multipliers, answer.costates)
        at = constrained.problem.space.project(staging.coordinates(answer.z))
        return at, torch.where(equal, y, y.clamp(min=0))

    at, y = placed(fine)
    found = judge(constrained, x, at, y, limits)
    if bool((found.off > 1).any()):
        there, multipliers = placed(plain)
        judged = judge(constrained, x, there, multipliers, limits)
        take = judged.off < found.off
        at, y = where_rows(take, there, at), where_rows(take, multipliers, y)
        found = found.improved(judged, take)
    steps = torch.from_numpy(plain.steps).to(x.device)
    return "", _finished(asked, at, y, found, steps, lambda row: _program_of(constrained, x, row))


def _program_of(constrained: Constrained, x: Tensor, row: int) -> linear.LinearProgram:
    """The linear part of one row of a quadratic program."""
    index = torch.tensor([row], device=x.device)
    return linear.part_of(quadratic.measure(constrained.select(index), x[index]), 0)


def by_linear_program(asked: Asked) -> tuple[str, ConstrainedOutcome | None]:
    """The outcome of the linear program, or why it does not apply."""
    constrained, x = asked.constrained, asked.x
    if not linear.fits(constrained, x):
        return f"the program has too many coefficients ({x.shape[1]:,} unknowns)", None
    programs = linear.measure(constrained, x)
    near, most = feasible_within(asked.limits.tolerance(x.dtype)), asked.limits.steps
    pairs = zip(linear.solve(programs, most), programs, strict=True)
    answers = [a if a is not None else linear.solve_nearly(p, near, most) for a, p in pairs]
    at, y = x.clone(), x.new_zeros(x.shape[0], constrained.equal(x).shape[0])
    steps = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    for row, answer in enumerate(answers):
        if answer is not None:
            at[row] += torch.from_numpy(answer.d).to(x)
            y[row] = torch.from_numpy(answer.multipliers).to(x)
            steps[row] = answer.steps
    at = constrained.problem.space.project(at)
    y = torch.where(constrained.equal(x), y, y.clamp(min=0))
    found = judge(constrained, x, at, y, asked.limits)
    return "", _finished(asked, at, y, found, steps, lambda row: programs[row])


def _finished(
    asked: Asked,
    at: Tensor,
    y: Tensor,
    found: Judgement,
    steps: Tensor,
    program_of: Callable[[int], linear.LinearProgram] | None,
) -> ConstrainedOutcome:
    """The outcome at points [R, N] with multipliers [R, M]; other methods take up rows that are not done.
    Without programs of their linear parts nothing is proven of these."""
    constrained, x, limits = asked.constrained, asked.x, asked.limits
    broken = constrained.failed_checks(at, feasible_within(limits.tolerance(x.dtype)))
    done = (found.off <= 1) & ~broken
    energy = constrained.problem.energy(at)
    lines = torch.stack([constrained.problem.energy(x), energy]) if asked.trace else None
    status = tuple(Status.CONVERGED if ok else Status.STEP_LIMIT for ok in done.tolist())
    outcome = ConstrainedOutcome(
        at,
        energy,
        found.stationarity,
        y,
        found.violation,
        found.complementarity,
        steps,
        status,
        tuple(kind.sentence() for kind in status),
        lines,
        found.gap,
    )
    # Far out rounding may make any slope 0.
    far = at.abs().amax(1) > FAR_OUT * (1 + x.abs().amax(1)) if x.shape[1] else ~done
    doubtful = ((~done | far) & ~broken).nonzero()[:, 0].tolist() if program_of is not None else []
    for row in doubtful:
        assert program_of is not None
        settled = _without_answer(asked, row, program_of(row))
        if settled is not None:
            outcome = replaced(outcome, torch.tensor([row], device=x.device), settled)
    index = torch.tensor(
        [row for row, kind in enumerate(outcome.status) if kind is Status.STEP_LIMIT],
        dtype=torch.int64,
        device=x.device,
    )
    if not index.shape[0]:
        if asked.progress is not None:
            rows = x.shape[0]
            asked.progress(Progress(int(steps.max()) if rows else 0, rows, rows, limits.steps))
        return outcome
    near = (found.off < NEAR)[index, None]
    begin, held = torch.where(near, at[index], x[index]), torch.where(near, y[index], 0.0)
    left = replace(limits, steps=limits.steps - int(steps.max()))
    rest = augmented_lagrangian.solve(
        constrained.select(index), begin, asked.solver, left, held, asked.progress, False
    )
    return replaced(outcome, index, rest)


# --- rows without an answer ------------------------------------------------------------------------


def _without_answer(asked: Asked, row: int, program: linear.LinearProgram) -> ConstrainedOutcome | None:
    """The outcome of a row that is proven to have no feasible point, or no minimum; None for others."""
    if not program.finite:
        return None
    least = linear.least_violation(program)
    if least is None:
        return None
    index = torch.tensor([row], device=asked.x.device)
    constrained, start = asked.constrained.select(index), asked.x[row : row + 1]
    near = feasible_within(asked.limits.tolerance(start.dtype))
    by, d = least
    at = constrained.problem.space.project(start + torch.from_numpy(d).to(start))
    if by > augmented_lagrangian.CLEAR * near:
        return _infeasible(constrained, _least_squares(constrained, start, at))
    way = linear.way_down(program)
    if way is None:
        return None
    return _endless(constrained, at, torch.from_numpy(way).to(start)[None], near)


def _least_squares(constrained: Constrained, x: Tensor, at: Tensor) -> Tensor:
    """The point [1, N] that leaves the least squares of violations v: the least v'v/2 with A d + c - v == 0
    or <= 0, a program as any other. Where that is large it is `at`, whose largest violation is least."""
    size, entries = x.shape[1], constrained.equal(x).shape[0]
    if size + entries > quadratic.LARGEST_UNKNOWNS:
        return at
    program = quadratic.measure(constrained, x)
    unit = torch.eye(entries, dtype=x.dtype, device=x.device)
    everywhere = torch.full((1, entries), torch.inf, dtype=x.dtype, device=x.device)
    moved = quadratic.QuadraticProgram(
        torch.cat([program.base, torch.zeros_like(everywhere)], 1),
        torch.block_diag(torch.zeros_like(program.hessian[0]), unit)[None],
        torch.zeros_like(torch.cat([program.gradient, everywhere], 1)),
        torch.cat([program.jacobian, -unit[None]], 2),
        program.offset,
        program.equal,
        torch.cat([program.lo, -everywhere], 1),
        torch.cat([program.hi, everywhere], 1),
    )
    answer = interior_point.solve(moved)
    found = constrained.problem.space.project(program.base + answer.d[:, :size])
    return found if bool(torch.isfinite(found).all()) else at


def _infeasible(constrained: Constrained, at: Tensor) -> ConstrainedOutcome:
    """The outcome of a row without a feasible point, at the point [1, N] that is nearest to one."""
    energy, gradient = constrained.problem.energy_and_gradient(at)
    (worst,) = constrained.worst(at)
    nothing = torch.zeros(1, constrained.equal(at).shape[0], dtype=at.dtype, device=at.device)
    return ConstrainedOutcome(
        at,
        energy,
        constrained.problem.space.optimality(at, gradient),
        nothing,
        torch.full_like(energy, worst.by),
        torch.zeros_like(energy),
        torch.zeros_like(energy, dtype=torch.int64),
        (Status.INFEASIBLE,),
        (sentence(Status.INFEASIBLE, worst),),
    )


def _endless(constrained: Constrained, at: Tensor, way: Tensor, near: float) -> ConstrainedOutcome | None:
    """The outcome of a row whose energy falls without end from the feasible point at [1, N] along `way`;
    None where the functions themselves do not show it far out."""
    problem = constrained.problem
    length = FAR_OUT * (1 + at.abs().amax())
    there = problem.space.project(at + length * way)
    energy, gradient = problem.energy_and_gradient(at)
    with torch.no_grad():
        before, after = constrained.values(at), constrained.values(there)
    equal = constrained.equal(at)
    fall, foretold = energy - problem.energy(there), -(gradient * (there - at)).sum(1)
    held = largest(excess(after, equal) / (1 + before.abs())) <= near * length
    if not bool((fall >= AS_STEEP * foretold) & (foretold > 0) & held):
        return None
    named = named_fall(problem, at, there)
    return ConstrainedOutcome(
        at,
        energy,
        problem.space.optimality(at, gradient),
        torch.zeros_like(before),
        largest(excess(before, equal)),
        torch.zeros_like(energy),
        torch.zeros_like(energy, dtype=torch.int64),
        (Status.UNBOUNDED,),
        (Status.UNBOUNDED.sentence(f": {named}" if named else ""),),
    )


# --- points, multipliers and what they are worth --------------------------------------------------


def _best(
    constrained: Constrained,
    program: quadratic.QuadraticProgram,
    answer: interior_point.Answer,
    start: Tensor,
    limits: Limits,
) -> tuple[Tensor, Tensor, Judgement]:
    """Points [R, N] and multipliers [R, M]: the answer itself, or what makes it more exact, row by row."""
    at, y = _placed(constrained, program, answer)
    found = judge(constrained, start, at, y, limits)

    def improved(other: interior_point.Answer) -> None:
        nonlocal at, y, found
        there, multipliers = _placed(constrained, program, other)
        judged = judge(constrained, start, there, multipliers, limits)
        take = judged.off < found.off
        at, y = where_rows(take, there, at), where_rows(take, multipliers, y)
        found = found.improved(judged, take)

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


def replaced(outcome: ConstrainedOutcome, index: Tensor, rest: ConstrainedOutcome) -> ConstrainedOutcome:
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
        outcome.gap,
    )
