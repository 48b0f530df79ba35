"""The minimum over countable and real unknowns: every state, or each kind given the other in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.compiler.choose import MOST_STATES
from ebmlang.compiler.methods import find_method
from ebmlang.errors import DataError
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.methods import (
    DISCRETE,
    STARTS,
    Effort,
    Unfit,
    drawn_starts,
    listed,
    state_count,
)
from ebmlang.runtime.discrete.question import Question
from ebmlang.runtime.mixed.states import (
    Values,
    at_states,
    copied,
    discrete_question,
    real_masks,
    repeated,
    rows_of,
)
from ebmlang.runtime.result import Result, Status

_ROUNDS = 100
"""Most alternations."""

Solve = Callable[[Bound, Values], Result]
"""Searches the real unknowns of a bound question; the masks are those of real unknowns."""

Evaluate = Callable[[Bound, Values], Result]
"""Energies, terms and lets of a bound question at values of all its unknowns."""


@dataclass(frozen=True, slots=True)
class Tools:
    """How to ask about the parts. `method` is the one asked for, "" for the plan's."""

    solve: Solve
    evaluate: Evaluate
    method: str
    restarts: int | None
    seed: int


def search(bound: Bound, held: Values, observed: Values, tools: Tools) -> Result:
    """The answer for every row. Raises DataError where a method that was asked for is too large."""
    question = discrete_question(bound, observed, held)
    name = tools.method or bound.module.METHOD
    because = bound.module.BECAUSE
    if name == "states":
        try:
            return by_states(bound, question, observed, tools, because)
        except Unfit as unfit:
            if not bound.module.FALLBACK:
                raise DataError(
                    f"{name} is too large: {unfit.because}", "leave the method out, or make it smaller"
                ) from None
            because = f"{unfit.because}, so alternation instead"
    return by_turns(bound, question, observed, tools, because)


def first_state(bound: Bound, held: Values, observed: Values) -> tuple[Bound, int]:
    """The question over the real unknowns at one state, and how many states stand side by side."""
    question = discrete_question(bound, observed, held)
    first = question.some_assignment()[:, None]
    bits = state_count(question)
    states = round(2**bits) if bits <= math.log2(MOST_STATES) + 1e-9 else STARTS
    return at_states(bound, question, first), states


# --- every state --------------------------------------------------------------------------------


def by_states(bound: Bound, question: Question, observed: Values, tools: Tools, because: str) -> Result:
    """The real unknowns searched at every state of the others; the lowest counts."""
    if question.joint:
        return _joint_states(bound, question, observed, tools, because)
    ((part, wrong),) = listed(question, MOST_STATES, question.rows * MOST_STATES)
    count = part.shape[1]
    found = tools.solve(at_states(bound, question, part), real_masks(bound, observed, count))
    energy = found.energy.double().reshape(-1, count)
    usable = torch.isfinite(energy) & _feasible(found).to(energy.device).reshape(-1, count)
    left_out = torch.zeros_like(usable) if wrong is None else wrong
    usable &= ~left_out
    chosen = energy.masked_fill(~usable, math.inf).argmin(1)
    states = part[torch.arange(len(chosen), device=part.device), chosen]
    result = picked(found, rows_of(chosen, count), bound.batch * count)
    # A state is done with when its search ended well, no feasible point is there, or its energy is inf. One
    # that stopped before its constraints held, or is not a number, may hide a lower energy.
    empty = _starting(found, Status.INFEASIBLE).reshape(-1, count)
    settled = (found.converged.reshape(-1, count) & usable.cpu()) | empty
    settled |= left_out.cpu() | (energy == math.inf).cpu()
    status = _statuses(found, usable.cpu(), settled, chosen.tolist(), count)
    converged = settled.all(1) & usable.any(1).cpu()
    claim = f"the lowest of {count:,} states, where each answer is {_claim(found)}"
    if bool(empty.any()):
        claim = f"{claim}; states in which no feasible point was found are left out"
    return replace(
        result,
        values={**question.values(states), **result.values},
        converged=converged,
        status=status,
        iterations=found.iterations.reshape(-1, count).sum(1),
        method="states",
        because=f"{because}; {count:,} states, {found.method} in each",
        certificate=_part_of_rows(claim, converged),
    )


def _claim(found: Result) -> str:
    row = find_method(found.method)
    return row.certificate if row is not None else found.certificate


def _part_of_rows(claim: str, converged: Tensor) -> str:
    count, total = int(converged.sum()), int(converged.numel())
    if count == total:
        return claim
    return f"{claim} in {count:,} of {total:,} rows; see the status of the others"


def _starting(found: Result, *kinds: Status) -> Tensor:
    """Rows that ended in one of the ways."""
    words = tuple(kind.value.split("{")[0] for kind in kinds)
    return torch.tensor([s.startswith(words) for s in found.status], dtype=torch.bool)


def _feasible(found: Result) -> Tensor:
    """Rows whose search did not end outside of its constraints."""
    return ~_starting(found, Status.INFEASIBLE, Status.VIOLATED)


def _statuses(
    found: Result, usable: Tensor, settled: Tensor, chosen: list[int], count: int
) -> tuple[str, ...]:
    """The sentence of the best state, unless others did not get as far."""
    sentences = []
    for row, place in enumerate(chosen):
        if not bool(usable[row].any()):
            first = found.status[row * count]
            outside = not bool(_feasible(replace(found, status=(first,)))[0])
            sentences.append(first if outside else Status.NO_FINITE_STATE.sentence())
            continue
        missing = torch.nonzero(~settled[row])[:, 0].tolist()
        own = found.status[row * count + place]
        if missing and not (
            len(missing) == count and all(found.status[row * count + m] == own for m in missing)
        ):
            other = found.status[row * count + missing[0]]
            own = f"{len(missing):,} of {count:,} states did not reach the tolerance: {other}"
        sentences.append(own)
    return tuple(sentences)


def picked(found: Result, rows: Tensor, batch: int) -> Result:
    """The result of some of its rows [B] of `batch`."""

    def own(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: v[rows] if v.ndim and v.shape[0] == batch else v for n, v in values.items()}

    where = rows.tolist()
    on_cpu = rows.cpu()
    return replace(
        found,
        values=own(found.values),
        energy=found.energy[rows],
        terms=own(found.terms),
        factors=own(found.factors),
        converged=found.converged[on_cpu],
        status=tuple(found.status[r] for r in where),
        iterations=found.iterations[on_cpu],
        violations=own(found.violations),
        multipliers=own(found.multipliers),
        trace=None if found.trace is None else found.trace[:, rows],
    )


def _joint_states(bound: Bound, question: Question, observed: Values, tools: Tools, because: str) -> Result:
    """One problem of all examples: one search for every state."""
    best: Result | None = None
    least, steps, count = math.inf, 0, 0
    complete = True
    kept: Result | None = None
    for part, wrong in listed(question, MOST_STATES, 1):
        if wrong is not None and bool(wrong.any()):
            continue
        count += 1
        found = tools.solve(at_states(bound, question, part), real_masks(bound, observed, 1))
        steps += int(found.iterations.max())
        values = {**question.values(part.flatten(0, 1)), **_sought(bound, found.values)}
        whole = tools.evaluate(bound, values)
        energy = float(_total(question, values))
        feasible = bool(_feasible(found).all())
        empty = bool(_starting(found, Status.INFEASIBLE).any())
        complete &= bool(found.converged.all()) or empty or energy == math.inf
        if best is None or (feasible and energy < least):
            best, kept = whole, found
            least = energy if feasible and math.isfinite(energy) else least
    assert best is not None
    assert kept is not None
    reached = complete and math.isfinite(least)
    status = kept.status if reached or not bool(kept.converged.all()) else _SOME_STATES * bound.batch
    return replace(
        best,
        converged=torch.full((bound.batch,), reached),
        status=status if math.isfinite(least) else (Status.NO_FINITE_STATE.sentence(),) * bound.batch,
        iterations=torch.full((bound.batch,), steps),
        method="states",
        because=f"{because}; {count:,} states, {kept.method} in each",
        certificate=f"the lowest of {count:,} states, where each answer is {_claim(kept)}",
        multipliers=kept.multipliers,
    )


_SOME_STATES = ("some state did not reach the tolerance",)


def _total(question: Question, values: Values) -> Tensor:
    """The energy of all examples together, float64 [1]."""
    with torch.no_grad():
        return question.bound.instance.energy(values, question.held).double().sum().reshape(1)


def _sought(bound: Bound, values: Values) -> dict[str, Tensor]:
    return {n: values[n] for n in bound.module.SOUGHT if n in values and bound.specs[n].kind == "real"}


# --- in turns -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Turns:
    """Where the runs [R] of a search in turns are: the best assignments, energies and real values."""

    assignment: Tensor
    energy: Tensor
    steps: Tensor
    settled: Tensor
    real: dict[str, Tensor]

    def keep(self, assignment: Tensor, energy: Tensor, found: Result, real: Values, joint: bool) -> Tensor:
        """Take what is lower; returns the runs that were."""
        lower = energy < self.energy - 1e-9 * self.energy.abs().clamp(min=1.0).nan_to_num(posinf=0.0)
        lower &= torch.isfinite(energy)
        reached = found.converged.all().reshape(1) if joint else found.converged
        self.settled = torch.where(lower, reached, self.settled)
        self.steps = self.steps + (found.iterations.max().reshape(1) if joint else found.iterations)
        self.energy = torch.where(lower, energy, self.energy)
        self.assignment = torch.where(lower[:, None].to(assignment.device), assignment, self.assignment)
        for name, value in real.items():
            old = self.real.get(name)
            if old is None or joint:
                self.real[name] = value if old is None or bool(lower[0]) else old
            else:
                where = lower.to(value.device).reshape(-1, *[1] * (value.ndim - 1))
                self.real[name] = torch.where(where, value, old)
        return lower


def by_turns(bound: Bound, question: Question, observed: Values, tools: Tools, because: str) -> Result:
    """Countable unknowns given the real ones, and the other way round, from several starts."""
    starts = int(tools.restarts or (1 if question.joint else STARTS))
    effort = Effort(_ROUNDS, starts, tools.seed, bound.settings.first_row, bound.settings.chunk_bytes)
    drawn = drawn_starts(question, effort)
    if not question.joint:
        return _in_turns(bound, question, observed, tools, effort, drawn, because)
    # All examples are one problem, which has no copies side by side: one start after the other.
    one = replace(effort, starts=1)
    found = (
        _in_turns(
            bound, question, observed, tools, one, drawn[:, k, None], f"{because}; start {k + 1} of {starts}"
        )
        for k in range(starts)
    )
    return min(found, key=lambda result: float(result.energy.double().sum().nan_to_num(nan=math.inf)))


def _in_turns(
    bound: Bound,
    question: Question,
    observed: Values,
    tools: Tools,
    effort: Effort,
    drawn: Tensor,
    because: str,
) -> Result:
    """The best of searches that begin at drawn assignments [rows, starts, N], side by side."""
    joint, count = question.joint, effort.starts
    assignment = drawn.flatten(0, 1)
    runs = assignment.shape[0]
    many = _copies(bound, question, observed, count)
    turns = _Turns(
        assignment,
        torch.full((runs,), math.inf, dtype=torch.float64),
        torch.zeros(runs, dtype=torch.int64),
        torch.zeros(runs, dtype=torch.bool),
        {},
    )
    masks = real_masks(bound, observed, count)
    inner, step, rounds = "", "", 0
    while rounds < _ROUNDS:
        rounds += 1
        states = assignment.reshape(-1, count, assignment.shape[1])
        found = tools.solve(at_states(bound, question, states), masks)
        inner = found.method
        real = _sought(bound, found.values)
        energy = found.energy.double().cpu()
        if joint:
            energy = _total(question, {**question.values(assignment), **real}).cpu()
        lower = turns.keep(assignment, energy, found, real, joint)
        if not bool(lower.any()):
            break
        assignment, step = _discrete_step(replace(many, other=turns.real), effort)
        if bool((assignment == turns.assignment).all()):
            break
    note = f"{count} starts, {rounds} rounds of {inner} and {step or 'nothing'}"
    return _turned(bound, question, tools, turns, count, f"{because}; {note}")


def _copies(bound: Bound, question: Question, observed: Values, count: int) -> Question:
    """The countable unknowns for `count` copies of every row."""
    whole = bound if question.joint else repeated(bound, bound.module, count)
    masks = {n: m if question.joint else copied(m, count) for n, m in observed.items()}
    return discrete_question(whole, masks, posing.held_values(whole))


def _discrete_step(question: Question, effort: Effort) -> tuple[Tensor, str]:
    """The best assignments [R, N] given the real unknowns, and how they were found."""
    names = ("elimination" if question.bound.module.TABLES else "enumeration", "coordinate_search")
    for name in ("assignment", "enumeration", "exchange_search") if question.arranged else names:
        try:
            return DISCRETE[name](question, replace(effort, starts=STARTS)).assignment, name
        except Unfit:
            continue
    raise AssertionError("a local search fits always")


def _turned(
    bound: Bound, question: Question, tools: Tools, turns: _Turns, count: int, because: str
) -> Result:
    """The best run of every row."""
    energy = turns.energy.reshape(-1, count)
    chosen = energy.argmin(1)
    at = rows_of(chosen, count)
    assignment = turns.assignment[at.to(turns.assignment.device)]
    real = turns.real if question.joint else {n: v[at.to(v.device)] for n, v in turns.real.items()}
    result = tools.evaluate(bound, {**question.values(assignment), **real})
    finite, settled = torch.isfinite(energy.min(1).values), turns.settled[at]
    words = [
        Status.NO_FINITE_STATE.sentence() if not f else TURNS if s else Status.STEP_LIMIT.sentence()
        for f, s in zip(finite.tolist(), settled.tolist(), strict=True)
    ]
    converged = (finite & settled).expand(bound.batch)
    row = find_method("alternation")
    assert row is not None
    return replace(
        result,
        converged=converged,
        status=tuple(words * (bound.batch if question.joint else 1)),
        iterations=turns.steps[at].expand(bound.batch),
        method="alternation",
        because=because,
        certificate=_part_of_rows(row.certificate, converged),
    )


TURNS = "local: no change of one kind of unknowns lowers the energy"
