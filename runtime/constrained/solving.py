"""A constrained question from its start to its outcome: which method, and what its answer is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ebmlang.runtime.constrained import augmented_lagrangian, null_space, programs
from ebmlang.runtime.constrained.multiple_shooting import by_shooting
from ebmlang.runtime.constrained.problem import WITHOUT_A_POINT, Constrained, ConstrainedOutcome
from ebmlang.runtime.constrained.second_look import looked_again
from ebmlang.runtime.constrained.units import in_own_units, in_units, units_of
from ebmlang.runtime.driver import Limits, Progress, Starts
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.solver import AbstractSolver


@dataclass(frozen=True, slots=True)
class Solved:
    """The outcome, the method that made it, and why another one than planned (empty: it was as planned)."""

    outcome: ConstrainedOutcome
    method: str
    because: str


PROGRAMS = {
    "staged_interior_point": programs.by_stages,
    "multiple_shooting": by_shooting,
    "interior_point": programs.by_interior_point,
    "linear_program": programs.by_linear_program,
}
"""Methods that solve a whole program; the augmented Lagrangian takes what they leave."""


def solve(
    constrained: Constrained,
    method: str,
    solver: AbstractSolver,
    limits: Limits,
    starts: Starts,
    progress: Callable[[Progress], None] | None = None,
    trace: bool = False,
) -> Solved:
    """Minimise every row under constraints, by a method of `PROGRAMS`, or by `null_space` or
    `augmented_lagrangian` around `solver`.

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
    if method in PROGRAMS:
        asked = programs.Asked(constrained, solver, start.x, limits, progress, trace, starts)
        because, found = PROGRAMS[method](asked)
        if found is not None:
            return solved(found, method, "")
    if method == "null_space":
        if null_space.fits(constrained, start.x):
            eliminated = partial(
                null_space.solve, solver=solver, limits=limits, progress=progress, trace=trace
            )
            return solved(_from_starts(constrained, eliminated, starts, start.x), method, "")
        because = "the equations are too many, or join all examples, so null_space does not apply"
    around = partial(augmented_lagrangian.solve, solver=solver, limits=limits, progress=progress, trace=trace)

    def twice(constrained: Constrained, x: Tensor) -> ConstrainedOutcome:
        return looked_again(constrained, x, around(constrained, x), limits, around)

    outcome = _from_starts(constrained, twice, starts, start.x)
    return solved(outcome, "augmented_lagrangian", because)


Search = Callable[[Constrained, Tensor], ConstrainedOutcome]
"""A search from points x [R, N]."""


def _from_starts(constrained: Constrained, search: Search, starts: Starts, x: Tensor) -> ConstrainedOutcome:
    """The search from every start; of the answers that hold the constraints the lowest wins."""
    space = constrained.problem.space
    if starts.restarts <= 1:
        return search(constrained, x)
    numbers = starts.numbers(space.batch)
    draws = [space.draw(x, starts.seed, numbers, k) for k in range(1, starts.restarts)]
    repeated = torch.arange(space.rows, device=x.device).repeat(starts.restarts)
    many = search(constrained.select(repeated), torch.cat([x, *draws]))
    good = torch.tensor([s not in WITHOUT_A_POINT for s in many.status], device=x.device)
    # Rows without a feasible point compete by their violation, behind all that have one.
    key = torch.where(good, many.energy, many.violation)
    key = torch.where(torch.isnan(key), torch.inf, key).reshape(starts.restarts, space.rows)
    good = good.reshape(key.shape)
    rank = torch.where(good.any(0) & ~good, torch.inf, key)
    chosen = rank.argmin(0) * space.rows + torch.arange(space.rows, device=x.device)
    return many.select(chosen)


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
