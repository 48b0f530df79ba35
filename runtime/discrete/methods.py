"""The methods of the table for discrete unknowns: elimination, enumeration, coordinate search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime import seeded
from ebmlang.runtime.discrete import cross_entropy, local
from ebmlang.runtime.discrete.arranged import descend, least_arrangements, single_entries
from ebmlang.runtime.discrete.eliminate import lowest
from ebmlang.runtime.discrete.network import Network
from ebmlang.runtime.discrete.question import Question
from ebmlang.runtime.discrete.schedule import Order, Schedule, TooWide, find_order, schedule
from ebmlang.runtime.discrete.stocks import arrangements, bits, shuffled
from ebmlang.runtime.result import Status

MOST_STATES = 2**20
"""Assignments that enumeration goes through, for each row."""

MOST_ARRANGED = 2**16
"""The same where there are orders or subsets: all orders of 8."""

_WIDEST = 2.0**26
"""Numbers in the largest table of elimination, whatever memory there is."""

_MOST_WORK = 2.0**33
"""Numbers in all tables of elimination together, for one row."""

STARTS = 8
"""Starts of coordinate search, or groups of draws, where nobody says how many."""


class Unfit(Exception):
    """The method cannot work at these sizes; `because` says what is too large."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a search may take: steps and starts for coordinate search, bytes for tables."""

    steps: int
    starts: int
    seed: int
    first_row: int
    memory: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Assignments int64 [rows, N], their energies [rows], how each row ended, and iterations [rows].
    `note` says what was learnt from the sizes."""

    assignment: Tensor
    energy: Tensor
    status: tuple[Status, ...]
    iterations: Tensor
    note: str


Method = Callable[[Question, Effort], Found]


# --- elimination --------------------------------------------------------------------------------


def planned(network: Network, memory: int) -> Schedule:
    """The steps of elimination. Raises Unfit when its tables would be too large."""
    # A joined table in float64, its copy and the least entries are there at once.
    limit = max(min(_WIDEST, memory / 32), 4096.0)
    order = find_order(network, limit)
    if isinstance(order, TooWide):
        digits = f"{order.largest:,.0f}" if order.largest < 1e12 else f"2^{math.log2(order.largest):.0f}"
        raise Unfit(
            f"elimination has width {order.width} and needs a table of {digits} numbers; "
            f"at most {limit:,.0f} fit"
        )
    if order.total > _MOST_WORK:
        raise Unfit(f"elimination has width {order.width} and needs {order.total:.2g} numbers in all")
    return schedule(network, order)


def chunks(network: Network, order: Order, memory: int, kept: float) -> Iterator[Network]:
    """The network in parts of rows that fit into memory; `kept` bytes stay per number of all tables."""
    row = 32 * min(order.total, 2.0**22 + order.largest) + kept * order.total
    step = max(1, int(memory / max(row, 1.0)))
    if step >= network.batch or all(p.table.shape[0] == 1 for p in network.potentials):
        yield network
        return
    for start in range(0, network.batch, step):
        yield network.rows(start, min(start + step, network.batch))


def by_elimination(question: Question, effort: Effort) -> Found:
    """The minimum by min-sum over an elimination order: exact."""
    found = []
    note = ""
    for network in question.networks():
        plan = planned(network, effort.memory)
        note = described(network, plan.order)
        with torch.no_grad():
            found += [lowest(part, plan) for part in chunks(network, plan.order, effort.memory, 1.0)]
    energy = torch.cat([e for e, _ in found])
    assignment = _restored(torch.cat([a for _, a in found]), question)
    return Found(assignment, energy, _exact(energy), _zeros(energy), note)


def described(network: Network, order: Order) -> str:
    return (
        f"{len(network.cases):,} entries, elimination width {order.width}, "
        f"largest table {order.largest:,.0f} numbers"
    )


def _restored(assignment: Tensor, question: Question) -> Tensor:
    """Assignments with the given entries put back: those that left the tables stand at 0."""
    if question.fixed is None:
        return assignment
    return torch.where(question.fixed >= 0, question.fixed, assignment)


def _exact(energy: Tensor) -> tuple[Status, ...]:
    finite = torch.isfinite(energy).tolist()
    return tuple(Status.EXACT if f else Status.IMPOSSIBLE for f in finite)


def _zeros(energy: Tensor) -> Tensor:
    return torch.zeros(energy.shape[0], dtype=torch.int64)


# --- enumeration --------------------------------------------------------------------------------

_EVALUATED = 2**16
"""Assignments that are evaluated at once, over all rows."""


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Entries [w] that are chosen together, and all their cases int64 [S, w]."""

    entries: np.ndarray
    cases: np.ndarray


def _choices(question: Question) -> list[_Choice]:
    """What an assignment is made of: free entries one by one, and whole arrangements with a free entry."""
    free = free_entries(question)
    found = []
    for own in question.fields:
        entries = np.arange(own.offset, own.offset + own.count)
        open_ = entries[np.isin(entries, free)]
        if not own.stock:
            found += [_Choice(np.array([e]), np.arange(own.cases)[:, None]) for e in open_]
        elif len(open_):
            every = arrangements(own.stock)
            groups = entries.reshape(-1, len(own.stock))
            found += [_Choice(g, every) for g in groups if np.isin(g, open_).any()]
    return found


def free_entries(question: Question) -> np.ndarray:
    """The entries that are not given in every row."""
    count = len(question.cases)
    if question.fixed is None:
        return np.arange(count)
    return np.flatnonzero(~(question.fixed >= 0).all(0).cpu().numpy())


def state_count(question: Question) -> float:
    """The base-2 logarithm of the number of assignments of what is not given in every row."""
    free = free_entries(question)
    total = 0.0
    for own in question.fields:
        open_ = free[(free >= own.offset) & (free < own.offset + own.count)]
        if own.stock:
            total += bits(own.stock) * len(np.unique((open_ - own.offset) // len(own.stock)))
        else:
            total += len(open_) * math.log2(own.cases)
    return total


def listed(question: Question, most: int, at_once: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Every assignment, in parts of about `at_once` over all rows: int64 [rows, S, N], and which of them
    differ from what is given, bool [rows, S], or None where none does. Raises Unfit when there are more
    than `most`."""
    count = state_count(question)
    if count > math.log2(most) + 1e-9:
        raise Unfit(f"there are 2^{count:.0f} assignments; at most {most:,} are gone through")
    choices = _choices(question)
    sizes = tuple(len(c.cases) for c in choices)
    states, rows = math.prod(sizes), question.rows
    device = question.bound.settings.device
    base = torch.zeros(rows, len(question.cases), dtype=torch.int64, device=device)
    if question.fixed is not None:
        base = question.fixed.clamp(min=0)
    step = max(1, at_once // rows)
    for start in range(0, states, step):
        numbers = np.arange(start, min(start + step, states))
        digits = np.unravel_index(numbers, sizes) if sizes else ()
        part = base[:, None].expand(-1, len(numbers), -1).clone()
        for choice, digit in zip(choices, digits, strict=True):
            own = torch.from_numpy(choice.cases[digit]).to(device)
            part[:, :, torch.from_numpy(choice.entries).to(device)] = own
        wrong = None
        if question.fixed is not None:
            wrong = ((part != question.fixed[:, None]) & (question.fixed >= 0)[:, None]).any(2)
        yield part, wrong


def assignments(question: Question, *, graph: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Every assignment with its energy, in parts: [rows, S, N] and [rows, S]; with `graph` the energy is
    differentiable in the held values.

    An assignment that differs from what is given has the energy inf. Raises Unfit when there are
    too many.
    """
    rows = question.rows
    most = MOST_ARRANGED if question.arranged else MOST_STATES
    for part, wrong in listed(question, most, _EVALUATED):
        which = torch.arange(rows, device=part.device).repeat_interleave(part.shape[1])
        energy = question.energies(part.flatten(0, 1), which, graph=graph)
        energy = energy.reshape(rows, part.shape[1])
        if wrong is not None:
            energy = energy.masked_fill(wrong, math.inf)
        yield part, energy


def by_enumeration(question: Question, effort: Effort) -> Found:
    """The minimum over every assignment: exact."""
    del effort
    best: Tensor | None = None
    chosen, count = torch.zeros(0), 0
    faulty = torch.zeros(question.rows, dtype=torch.bool)
    for part, energy in assignments(question):
        count += part.shape[1]
        faulty |= (torch.isnan(energy) | (energy == -math.inf)).any(1).cpu()
        least, place = energy.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).min(1)
        own = part.gather(1, place[:, None, None].expand(-1, 1, part.shape[2]))[:, 0]
        if best is None:
            best, chosen = least, own
        else:
            lower = least < best
            best, chosen = torch.where(lower, least, best), torch.where(lower[:, None], own, chosen)
    assert best is not None
    status = tuple(
        Status.NON_FINITE if bad else status
        for bad, status in zip(faulty.tolist(), _exact(best), strict=True)
    )
    return Found(chosen, best, status, _zeros(best), f"{count:,} assignments")


# --- coordinate search --------------------------------------------------------------------------


def by_coordinates(question: Question, effort: Effort) -> Found:
    """Coordinate search from many starts: no single change lowers the energy of the answer."""
    if question.bound.module.TABLES:
        networks = question.networks()
        starts = drawn_starts(question, effort)
        parts, row = [], 0
        for network in networks:
            own = starts[row : row + network.batch].flatten(0, 1)
            if question.fixed is not None:
                own = _reduced_start(own, network)
            parts.append(local.search(network, own, effort.steps))
            row += network.batch
        ended = local.Local(
            torch.cat([p.assignment for p in parts]),
            torch.cat([p.energy for p in parts]),
            torch.cat([p.sweeps for p in parts]),
            torch.cat([p.settled for p in parts]),
        )
    else:
        ended = _single_changes(question, drawn_starts(question, effort).flatten(0, 1), effort)
    return _best(question, ended, effort)


def by_cross_entropy(question: Question, effort: Effort) -> Found:
    """The cross-entropy method from many groups of draws, then single changes of the best of each."""
    best, rounds = cross_entropy.drawn(question, effort.seed, effort.first_row, effort.steps, effort.starts)
    found = _best(question, _single_changes(question, best, effort), effort)
    most = rounds.reshape(question.rows, -1).amax(1)
    note = f"{len(question.cases):,} entries, {effort.starts} groups of draws"
    return replace(found, iterations=found.iterations + most, note=note)


def drawn_starts(question: Question, effort: Effort) -> Tensor:
    """[rows, starts, N]: draws that depend on the seed and the row's number."""
    rows, count = question.rows, effort.starts
    device = question.bound.settings.device
    numbers = (0 if question.joint else effort.first_row) + np.arange(rows, dtype=np.int64)
    drawn = seeded.uniform(effort.seed, "discrete starts", numbers, (count, len(question.cases)))
    cases = np.floor(drawn * question.cases).astype(np.int64)
    found = np.minimum(cases, question.cases - 1)
    for own in (f for f in question.fields if f.stock):
        part = slice(own.offset, own.offset + own.count)
        given = None if question.fixed is None else question.fixed[:, None, part].cpu().numpy()
        shape = (rows, count, -1, len(own.stock))
        given = None if given is None else given.reshape(rows, 1, -1, len(own.stock))
        arranged = shuffled(own.stock, drawn[:, :, part].reshape(shape), given)
        found[:, :, part] = arranged.reshape(rows, count, -1)
    start = torch.from_numpy(found).to(device)
    if question.fixed is not None:
        start = torch.where(question.fixed[:, None] >= 0, question.fixed[:, None], start)
    return start


def _reduced_start(start: Tensor, network: Network) -> Tensor:
    """Entries that left the tables have one case."""
    most = torch.from_numpy(network.cases - 1).to(start.device)
    return torch.minimum(start, most)


def _single_changes(question: Question, start: Tensor, effort: Effort) -> local.Local:
    """The best single change again and again, by evaluating the energy of each."""
    device = start.device
    runs = start.shape[0]
    row = torch.arange(runs, device=device) // effort.starts
    changes = [(e, c) for e in free_entries(question).tolist() for c in range(int(question.cases[e]))]
    entries = torch.tensor([e for e, _ in changes], dtype=torch.int64, device=device)
    cases = torch.tensor([c for _, c in changes], dtype=torch.int64, device=device)
    given = question.fixed[row][:, entries] >= 0 if question.fixed is not None else None
    current = start.clone()
    energy = question.energies(current, row)
    steps = torch.zeros(runs, dtype=torch.int64, device=device)
    running = torch.arange(runs, device=device) if changes else torch.zeros(0, dtype=torch.int64)
    for _ in range(effort.steps):
        if not len(running):
            break
        trial = current[running][:, None].expand(-1, len(changes), -1).clone()
        trial[:, torch.arange(len(changes), device=device), entries] = cases
        which = row[running].repeat_interleave(len(changes))
        found = torch.cat(
            [
                question.energies(a, r)
                for a, r in zip(trial.flatten(0, 1).split(_EVALUATED), which.split(_EVALUATED), strict=True)
            ]
        ).reshape(len(running), len(changes))
        found = found.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
        if given is not None:
            found = found.masked_fill(given[running], math.inf)
        least, place = found.min(1)
        now = energy[running]
        lower = least < now - 1e-6 * now.abs().clamp(min=1.0).nan_to_num(posinf=0.0)
        moved = running[lower]
        current[moved, entries[place[lower]]] = cases[place[lower]]
        energy[moved] = least[lower]
        steps[running] += 1
        running = moved
    settled = torch.ones(runs, dtype=torch.bool, device=device)
    settled[running] = False
    return local.Local(current, energy, steps, settled)


def _best(question: Question, ended: local.Local, effort: Effort) -> Found:
    rows = question.rows
    energy = ended.energy.reshape(rows, -1)
    least, place = energy.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).min(1)
    at = torch.arange(rows, device=energy.device) * effort.starts + place
    status = []
    for value, settled in zip(least.tolist(), ended.settled[at].tolist(), strict=True):
        if not math.isfinite(value):
            status.append(Status.NO_FINITE_STATE)
        else:
            local = Status.EXCHANGED if question.arranged else Status.LOCAL
            status.append(local if settled else Status.STEP_LIMIT)
    assignment = _restored(ended.assignment[at], question)
    note = f"{len(question.cases):,} entries, {effort.starts} starts"
    return Found(assignment, least, tuple(status), ended.sweeps[at].cpu(), note)


# --- orders and subsets -------------------------------------------------------------------------


def by_assignment(question: Question, effort: Effort) -> Found:
    """The minimum where every entry has costs of its own: linear assignment, and least prices."""
    del effort
    if not question.bound.module.TABLES or not single_entries(question):
        raise Unfit("a table joins several entries")
    assignment, energy = least_arrangements(question)
    note = f"{len(question.cases):,} entries, costs of single entries"
    return Found(assignment, energy, _exact(energy), _zeros(energy), note)


def by_exchanges(question: Question, effort: Effort) -> Found:
    """Exchanges of two entries, and changes of others, from many starts."""
    start = drawn_starts(question, effort).flatten(0, 1)
    return _best(question, descend(question, start, effort.starts, effort.steps), effort)


DISCRETE: Mapping[str, Method] = MappingProxyType(
    {
        "assignment": by_assignment,
        "elimination": by_elimination,
        "enumeration": by_enumeration,
        "cross_entropy": by_cross_entropy,
        "coordinate_search": by_coordinates,
        "exchange_search": by_exchanges,
    }
)
