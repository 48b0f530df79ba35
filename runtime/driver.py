"""The one loop around every solver: limits, tolerances, non-finite checks, and rows that leave early.

Rules, the same for all solvers:

- A row converges when its optimality is at most tol * (1 + its optimality at the start). - A row that has
ended does not move. When at least a quarter of the rows in play have ended, they are cut out of the problem
and of the solver's state: each cut costs at most about four evaluations' worth of copying in total. - The
answer of a row is never above its start. A row that converged keeps its last iterate (up to the rounding of
the energy); any other row gets its best iterate: lowest energy, and of those that rounding cannot tell apart
the one with the smallest optimality. - On an accelerator the loop looks at results only every `CHECK_EVERY`
steps; what happens to a row does not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.falling import falls_without_end, floor_under
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.racing import Race
from ebmlang.runtime.result import Status
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    State,
    rounding,
    select_rows,
    where_rows,
)

CHECK_EVERY = 8
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: at most `steps` steps; `tol` None stands for 1e-9 in float64 and 1e-5 in float32.

    No step begins after `deadline`, a time of `time.monotonic`, nor one that would end after it if it took as
    long as the one before.
    """

    steps: int = 10_000
    tol: float | None = None
    deadline: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self.passed_after(0.0)

    def passed_after(self, seconds: float) -> bool:
        """Whether the time will be over by then."""
        return self.deadline is not None and time.monotonic() + seconds >= self.deadline

    def tolerance(self, dtype: torch.dtype) -> float:
        return TOLERANCES.get(dtype, 1e-3) if self.tol is None else self.tol


@dataclass(frozen=True, slots=True)
class Starts:
    """Where to start. `first_row` is the global number of the problem's first row, on which draws depend;
    `rows` are the numbers of all of them where they do not follow each other.

    With `restarts` > 1 each row is solved from its declared start and from drawn ones; the lowest energy
    wins.
    """

    seed: int = 0
    first_row: int = 0
    restarts: int = 1
    rows: Rows | None = field(default=None, compare=False)

    def numbers(self, batch: int) -> Rows:
        """The global numbers of the rows."""
        return self.rows if self.rows is not None else self.first_row + np.arange(batch, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress callback hears: steps taken, rows that have ended, rows in all, and the step limit."""

    iteration: int
    finished: int
    rows: int
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How the search ended, per row of the problem.

    x: coordinates [R, N] (`problem.space.values(x)` is what the user sees). energy, optimality [R];
    iterations int64 [R]; status, sentences: R each. trace: None, or [steps + 1, R] with the start as its
    first row. gap: None, or how far the energy may lie above the minimum at most, NaN where nothing is known,
    [R].
    """

    x: Tensor
    energy: Tensor
    optimality: Tensor
    iterations: Tensor
    status: tuple[Status, ...]
    sentences: tuple[str, ...]
    trace: Tensor | None
    gap: Tensor | None = None

    @property
    def converged(self) -> Tensor:
        """bool [R]."""
        flags = [status.converged for status in self.status]
        return torch.tensor(flags, dtype=torch.bool, device=self.energy.device)

    def select(self, rows: Tensor) -> Outcome:
        """The given rows, by their numbers int64 [K]."""
        order = rows.tolist()
        return Outcome(
            self.x.index_select(0, rows),
            self.energy.index_select(0, rows),
            self.optimality.index_select(0, rows),
            self.iterations.index_select(0, rows),
            tuple(self.status[row] for row in order),
            tuple(self.sentences[row] for row in order),
            None if self.trace is None else self.trace.index_select(1, rows),
        )


class _Code(IntEnum):
    """`Status` as small numbers for tensors; the values of `Halt` keep their meaning."""

    RUNNING = Halt.RUNNING
    PRECISION = Halt.PRECISION
    SETTLED = Halt.SETTLED
    MANY = Halt.MANY
    UNBOUNDED = Halt.UNBOUNDED
    CONVERGED = 10
    STEP_LIMIT = 11
    NON_FINITE = 12
    NON_FINITE_START = 13
    NON_FINITE_GRADIENT = 14
    OUTSIDE = 15
    TIME_LIMIT = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Everything the loop knows about the rows in play; tensors with leading dimension R."""

    index: Tensor
    start: Tensor
    code: Tensor
    iterations: Tensor
    ceiling: Tensor
    floor: Tensor
    bound: Tensor
    lowest: Tensor
    best: Tensor
    best_energy: Tensor
    best_optimality: Tensor


class _Ledger:
    """Results of rows that have ended, in the order of the whole problem."""

    def __init__(self, problem: Problem, x: Tensor, keep_trace: bool) -> None:
        rows = x.shape[0]
        self.x = x.clone()
        self.energy = x.new_full((rows,), torch.nan)
        self.optimality = x.new_full((rows,), torch.nan)
        self.iterations = torch.zeros(rows, dtype=torch.int64, device=x.device)
        self.code = torch.full((rows,), int(_Code.RUNNING), dtype=torch.int8, device=x.device)
        self.terms: dict[int, str] = {}
        self.trace: list[Tensor] | None = [] if keep_trace else None

    def record(self, problem: Problem, x: Tensor, rows: _Rows, ended: Tensor) -> None:
        """Enter the marked rows; `x` holds their last iterates."""
        at = ended.nonzero()[:, 0]
        if at.shape[0] == 0:
            return
        whole = at.shape[0] == ended.shape[0]
        index = rows.index if whole else rows.index.index_select(0, at)
        for entered, value in (
            (self.x, rows.best),
            (self.energy, rows.best_energy),
            (self.optimality, rows.best_optimality),
            (self.iterations, rows.iterations),
            (self.code, rows.code),
        ):
            entered.index_copy_(0, index, value if whole else value.index_select(0, at))
        self._name_faults(problem, x, rows, at)

    def follow(self, rows: _Rows, energy: Tensor) -> None:
        """One more line of the trace. Rows that have ended repeat their last energy."""
        if self.trace is None:
            return
        line = self.trace[-1].clone() if self.trace else self.energy.clone()
        line.index_copy_(0, rows.index, energy)
        self.trace.append(line)

    def _name_faults(self, problem: Problem, x: Tensor, rows: _Rows, at: Tensor) -> None:
        code = rows.code.index_select(0, at)
        if not bool(((code >= int(_Code.NON_FINITE)) | (code == int(_Code.UNBOUNDED))).any()):
            return
        slope = code == int(_Code.NON_FINITE_GRADIENT)
        value = (code == int(_Code.NON_FINITE)) | (code == int(_Code.NON_FINITE_START))
        for faulty, gradient in ((value, False), (slope, True)):
            some = at[faulty]
            if some.shape[0] == 0:
                continue
            names = problem.select(some).faulty_terms(x.index_select(0, some), gradient)
            self._note(rows, some, names)
        fallen = at[code == int(_Code.UNBOUNDED)]
        if fallen.shape[0]:
            names = problem.select(fallen).lowest_terms(rows.best.index_select(0, fallen))
            self._note(rows, fallen, names)

    def _note(self, rows: _Rows, some: Tensor, names: list[str | None]) -> None:
        for row, name in zip(rows.index.index_select(0, some).tolist(), names, strict=True):
            if name is not None:
                self.terms[row] = name


def solve(
    problem: Problem,
    solver: AbstractSolver,
    limits: Limits | None = None,
    starts: Starts | None = None,
    progress: Callable[[Progress], None] | None = None,
    trace: bool = False,
) -> Outcome:
    """Minimise every row of the problem.

    Never raises for a numeric outcome: it is in the status of the row. Raises ValueError when the solver
    cannot handle the problem at all (a view or a kind of domain it does not know).
    """
    limits, starts = limits or Limits(), starts or Starts()
    _check_fit(problem, solver)
    problem = problem.detached()
    rows = _row_numbers(problem, starts)
    start = problem.space.start(starts.seed, rows)
    if starts.restarts <= 1:
        return _search(problem, solver, limits, start.x, start.outside, progress, trace)
    return _restarted(problem, solver, limits, starts, progress, trace)


def solve_from(
    problem: Problem,
    solver: AbstractSolver,
    x: Tensor,
    limits: Limits | None = None,
    progress: Callable[[Progress], None] | None = None,
    trace: bool = False,
    bound: Tensor | None = None,
) -> Outcome:
    """Minimise every row from the coordinates x [R, N], which are projected first.

    `bound` [R] is an optimality at which rows have converged, where that is smaller than the usual one.
    """
    _check_fit(problem, solver)
    problem = problem.detached()
    outside = torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
    limits = limits or Limits()
    return _search(problem, solver, limits, problem.space.project(x), outside, progress, trace, bound)


def _check_fit(problem: Problem, solver: AbstractSolver) -> None:
    missing = sorted(view.value for view in solver.needs - problem.views)
    if missing:
        raise ValueError(f"{type(solver).__name__} needs {', '.join(missing)}")
    foreign = sorted(kind.value for kind in problem.space.kinds - solver.handles)
    if foreign:
        raise ValueError(f"{type(solver).__name__} does not handle {', '.join(foreign)}")


def _row_numbers(problem: Problem, starts: Starts) -> Rows:
    return starts.numbers(problem.space.batch)


def _restarted(
    problem: Problem,
    solver: AbstractSolver,
    limits: Limits,
    starts: Starts,
    progress: Callable[[Progress], None] | None,
    trace: bool,
) -> Outcome:
    """Restarts are further rows of one problem: restart k of row i is row k * R + i."""
    space, numbers = problem.space, _row_numbers(problem, starts)
    start = space.start(starts.seed, numbers)
    begun = solver.starts(problem, start.x, starts.seed, numbers, starts.restarts)
    repeated = torch.arange(space.rows, device=space.device).repeat(starts.restarts)
    outside = start.outside.repeat(starts.restarts)
    many = _search(
        problem.select(repeated), solver, limits, begun, outside, progress, trace,
        groups=space.rows if solver.races else None,
    )  # fmt: skip
    table = many.energy.reshape(starts.restarts, space.rows)
    winner = torch.where(torch.isnan(table), torch.inf, table).argmin(0)
    chosen = winner * space.rows + torch.arange(space.rows, device=space.device)
    return many.select(chosen)


def _search(
    problem: Problem,
    solver: AbstractSolver,
    limits: Limits,
    x: Tensor,
    outside: Tensor,
    progress: Callable[[Progress], None] | None,
    trace: bool,
    bound: Tensor | None = None,
    groups: int | None = None,
) -> Outcome:
    ledger = _Ledger(problem, x, trace)
    state = solver.init(problem, x)
    rows = _first_rows(limits, x, outside, state, bound)
    state = _judged(state, rows)
    ledger.follow(rows, state.energy)
    race = None if groups is None else Race(groups, state.energy)
    total, period, stopped = x.shape[0], CHECK_EVERY if x.is_cuda else 1, _Code.STEP_LIMIT
    pace = 0.0
    for iteration in range(limits.steps):
        if iteration % period == 0:
            ended = rows.code != int(_Code.RUNNING)
            count, size = int(ended.sum()), int(ended.shape[0])
            if progress is not None:
                progress(Progress(iteration, total - size + count, total, limits.steps))
            if count == size:
                break
            if limits.passed_after(pace):
                stopped = _Code.TIME_LIMIT
                break
            if 4 * count >= size:
                rows = _look_ahead(problem, rows, _Code.PRECISION)
                ledger.record(problem, x, rows, ended)
                kept = (~ended).nonzero()[:, 0]
                problem, x = problem.select(kept), x.index_select(0, kept)
                state, rows = select_rows(state, kept), select_rows(rows, kept)
        begin = time.monotonic()
        x, state = solver.step(problem, x, state)
        rows = _advance(rows, x, state, solver.done(problem, x, state))
        if race is not None:
            behind = race.losers(rows.index, rows.best_energy) & (rows.code == int(_Code.RUNNING))
            rows = replace(rows, code=rows.code.masked_fill(behind, int(_Code.SETTLED)))
        if iteration + 1 in _LOOKS:
            rows = _look_ahead(problem, rows, _Code.RUNNING)
        state = _judged(state, rows)
        ledger.follow(rows, torch.where(torch.isfinite(state.energy), state.energy, rows.best_energy))
        pace = time.monotonic() - begin
    limit = torch.where(rows.code == int(_Code.RUNNING), int(stopped), rows.code.int())
    rows = replace(rows, code=limit.to(torch.int8))
    rows = _look_ahead(problem, rows, _Code.PRECISION, _Code.STEP_LIMIT)
    ledger.record(problem, x, rows, torch.ones_like(rows.code, dtype=torch.bool))
    if progress is not None:
        progress(Progress(int(rows.iterations.max()) if total else 0, total, total, limits.steps))
    return _outcome(ledger, problem.space.dtype)


def _judged(state: State, rows: _Rows) -> State:
    """The state with what the driver enters."""
    running = rows.code == int(_Code.RUNNING)
    return State(state.energy, state.optimality, running, state.memory, rows.bound)


def _look_ahead(problem: Problem, rows: _Rows, *codes: _Code) -> _Rows:
    """Mark rows of these codes whose energy falls without end along the way that they have gone."""
    some = torch.stack([rows.code == int(code) for code in codes]).any(0).nonzero()[:, 0]
    if some.shape[0] == 0:
        return rows
    part = select_rows(rows, some)
    fallen = falls_without_end(problem.select(some), part.start, part.best, part.floor)
    code = part.code.masked_fill(fallen, int(_Code.UNBOUNDED))
    return replace(rows, code=rows.code.index_copy(0, some, code))


def _first_rows(limits: Limits, x: Tensor, outside: Tensor, state: State, least: Tensor | None) -> _Rows:
    code = torch.full_like(state.energy, int(_Code.RUNNING), dtype=torch.int32)
    bound = limits.tolerance(x.dtype) * (1 + state.optimality)
    if least is not None:
        bound = torch.minimum(bound, least)
    code = code.masked_fill(state.optimality <= bound, int(_Code.CONVERGED))
    code = code.masked_fill(~torch.isfinite(state.optimality), int(_Code.NON_FINITE_GRADIENT))
    code = code.masked_fill(~torch.isfinite(state.energy), int(_Code.NON_FINITE_START))
    code = code.masked_fill(outside, int(_Code.OUTSIDE))
    slack = 4 * torch.finfo(x.dtype).eps * state.energy.abs()
    return _Rows(
        index=torch.arange(x.shape[0], device=x.device),
        start=x,
        code=code.to(torch.int8),
        iterations=torch.zeros_like(code, dtype=torch.int64),
        ceiling=state.energy + slack,
        floor=floor_under(state.energy),
        bound=bound,
        lowest=state.energy,
        best=x,
        best_energy=state.energy,
        best_optimality=state.optimality,
    )


def _advance(rows: _Rows, x: Tensor, state: State, halt: Tensor) -> _Rows:
    """Judge one step. No decision here depends on another row, and nothing waits for an accelerator."""
    if not x.is_cuda and (plain := _plain_advance(rows, x, state, halt)) is not None:
        return plain
    moved = rows.code == int(_Code.RUNNING)
    finite = torch.isfinite(state.energy)
    smooth = torch.isfinite(state.optimality)
    small = moved & finite & (state.optimality <= rows.bound)
    converged = small & (state.energy <= rows.ceiling)
    # Stationary, yet above the start by more than rounding: the start is as good as this precision gets.
    above = small & ~converged
    usable = moved & finite & smooth & (state.energy <= rows.ceiling)
    lowest = torch.where(usable, torch.minimum(state.energy, rows.lowest), rows.lowest)
    # Among energies that rounding cannot tell apart, the smaller optimality wins: the lowest is often just
    # lucky.
    level = lowest + rounding(lowest)
    finer = (state.optimality < rows.best_optimality) | (rows.best_energy > level)
    take = (usable & (state.energy <= level) & finer) | converged
    halted = moved & (halt != int(Halt.RUNNING))
    code = torch.where(halted, halt.int(), rows.code.int())
    code = code.masked_fill(above, int(_Code.PRECISION))
    code = code.masked_fill(moved & ~smooth, int(_Code.NON_FINITE_GRADIENT))
    code = code.masked_fill(moved & ~finite, int(_Code.NON_FINITE))
    code = code.masked_fill(moved & (state.energy < rows.floor), int(_Code.UNBOUNDED))
    code = code.masked_fill(halted & (halt == int(Halt.MANY)) & ~converged, int(_Code.PRECISION))
    code = code.masked_fill(converged & (halt != int(Halt.MANY)), int(_Code.CONVERGED))
    everything = not x.is_cuda and bool(take.all())
    return replace(
        rows,
        code=code.to(torch.int8),
        iterations=rows.iterations + moved,
        lowest=lowest,
        best=x if everything else where_rows(take, x, rows.best),
        best_energy=torch.where(take, state.energy, rows.best_energy),
        best_optimality=torch.where(take, state.optimality, rows.best_optimality),
    )


def _plain_advance(rows: _Rows, x: Tensor, state: State, halt: Tensor) -> _Rows | None:
    """What `_advance` does where every row is running, goes on, and has a new best point; None elsewhere.

    It is most of the steps of a small problem, whose time is the number of operations.
    """
    energy, optimality = state.energy, state.optimality
    lower = (energy <= rows.lowest) & (energy > rows.floor)
    goes_on = (optimality > rows.bound) & (optimality < torch.inf)
    # Codes of rows that run, and of solvers that go on, are 0.
    if not bool((lower & goes_on & ((rows.code | halt) == 0)).all()):
        return None
    finer = (optimality < rows.best_optimality) | (rows.best_energy > energy + rounding(energy))
    if not bool(finer.all()):
        return None
    return replace(
        rows,
        iterations=rows.iterations + 1,
        lowest=energy,
        best=x,
        best_energy=energy,
        best_optimality=optimality,
    )


_LOOKS = (100, 1000)
"""Steps after which rows that are still searched are looked at for an energy without end."""

_DETAIL = {Status.UNBOUNDED: ": the energy falls without end in term '{}'"}
"""How a term is named in the sentence of a status, where not as the place of a value that is not finite."""


def _outcome(ledger: _Ledger, dtype: torch.dtype) -> Outcome:
    # Looked up by small numbers: a hash of an enumeration's member costs as much as all else of a row.
    codes = ledger.code.tolist()
    precision = str(dtype).removeprefix("torch.")
    names, plain = {}, {}
    for code in set(codes):
        names[code] = kind = Status[_Code(code).name]
        plain[code] = kind.sentence(precision if kind is Status.PRECISION else "")
    status, sentences = tuple(map(names.__getitem__, codes)), list(map(plain.__getitem__, codes))
    for row, term in ledger.terms.items():
        sentences[row] = status[row].sentence(_DETAIL.get(status[row], " in term '{}'").format(term))
    trace = None if ledger.trace is None else torch.stack(ledger.trace)
    found = ledger.x, ledger.energy, ledger.optimality, ledger.iterations
    return Outcome(*found, status, tuple(sentences), trace)
