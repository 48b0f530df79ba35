"""Orders of elimination, and the batches of equal steps that they fall into.

Eliminating an entry joins its tables and leaves one over its neighbours (Dechter 1999). Entries with
at most two neighbours go first, no two neighbours in one round, so a chain or a tree of T entries takes
about log T rounds; this never widens the rest (Arnborg & Proskurowski 1986). For what is left the
cheapest of several orders is taken: the index order along each axis, min-degree and min-fill
(Kjaerulff 1990).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ebmlang.runtime.discrete.network import Network, Numbers

_MOST_FOR_MIN_FILL = 3000
"""Entries of a core beyond which min-fill takes longer than it saves."""

_SMALL = 4096.0
"""Tables of at most this many numbers may be made without asking what they cost."""

Adjacency = list[set[int]]


@dataclass(frozen=True, slots=True)
class Order:
    """Entries in the order of their elimination, with their neighbours at that time.

    `width` is the largest number of neighbours, `largest` the numbers in the largest joined table
    of one row, `total` those in all of them.
    """

    entries: tuple[int, ...]
    neighbours: tuple[tuple[int, ...], ...]
    width: int
    largest: float
    total: float
    name: str


@dataclass(frozen=True, slots=True)
class TooWide:
    """No order was found that stays within the limit; the best one has this width and largest table."""

    width: int
    largest: float


@dataclass(slots=True)
class _Elimination:
    """Elimination played through on the graph alone."""

    cases: Sequence[float]
    around: Adjacency
    limit: float
    entries: list[int] = field(default_factory=list)
    neighbours: list[tuple[int, ...]] = field(default_factory=list)
    width: int = 0
    largest: float = 0.0
    total: float = 0.0

    def size(self, entry: int) -> float:
        return math.prod((self.cases[n] for n in self.around[entry]), start=self.cases[entry])

    def take(self, entry: int) -> tuple[int, ...]:
        near = tuple(sorted(self.around[entry]))
        size = self.size(entry)
        self.entries.append(entry)
        self.neighbours.append(near)
        self.width = max(self.width, len(near))
        self.largest, self.total = max(self.largest, size), self.total + size
        members = self.around[entry]
        for n in near:
            own = self.around[n]
            own |= members
            own.discard(n)
            own.discard(entry)
        self.around[entry] = set()
        return near

    @property
    def broken(self) -> bool:
        return self.largest > self.limit

    def order(self, name: str) -> Order:
        return Order(tuple(self.entries), tuple(self.neighbours), self.width, self.largest, self.total, name)

    def copy(self) -> _Elimination:
        return _Elimination(
            self.cases,
            [set(a) for a in self.around],
            self.limit,
            list(self.entries),
            list(self.neighbours),
            self.width,
            self.largest,
            self.total,
        )


def find_order(network: Network, limit: float) -> Order | TooWide:
    """The cheapest order found whose joined tables hold at most `limit` numbers a row."""
    start = _Elimination(network.cases.astype(float).tolist(), _graph(network), limit)
    _rounds(start)
    left = [e for e in range(len(network.cases)) if start.around[e]]
    if not left:
        return _finished(start, "rounds")
    best: _Elimination | None = None
    name, tried = "", TooWide(len(network.cases), math.inf)
    if _degeneracy(start.around) > math.log2(limit):
        width = _degeneracy(start.around)
        return TooWide(width, 2.0 ** min(width + 1, 1000))
    for kind, play in _candidates(network, left):
        run = start.copy()
        bound = best.total if best is not None else math.inf
        play(run, bound)
        if run.broken or run.total >= bound or any(run.around):
            if run.broken and run.largest < tried.largest:
                tried = TooWide(run.width, run.largest)
            continue
        best, name = run, kind
    return tried if best is None else _finished(best, name)


def _finished(run: _Elimination, name: str) -> Order | TooWide:
    """The order with the entries that stand alone at its end."""
    taken = set(run.entries)
    for entry in range(len(run.cases)):
        if entry not in taken:
            run.take(entry)
    return TooWide(run.width, run.largest) if run.broken else run.order(name)


def _graph(network: Network) -> Adjacency:
    around: Adjacency = [set() for _ in network.cases]
    for p in network.potentials:
        if p.scope.shape[1] < 2:
            continue
        for row in p.scope.tolist():
            for e in row:
                around[e].update(row)
    for entry, near in enumerate(around):
        near.discard(entry)
    return around


def _rounds(run: _Elimination) -> None:
    """Entries with at most two neighbours, none of them side by side in a round."""
    waiting: Iterable[int] = range(len(run.around))
    while True:
        blocked: set[int] = set()
        taken, touched = [], set()
        for entry in sorted(waiting):
            near = run.around[entry]
            if not near or len(near) > 2:
                continue
            if entry in blocked:
                touched.add(entry)
                continue
            if len(near) == 2 and not _cheap(run, entry):
                continue
            taken.append(entry)
            blocked |= near
        if not taken:
            return
        for entry in taken:
            touched.update(run.take(entry))
        waiting = touched


def _cheap(run: _Elimination, entry: int) -> bool:
    """Whether joining two neighbours makes no table larger than what is there or small anyway."""
    a, b = run.around[entry]
    own, left, right = run.cases[entry], run.cases[a], run.cases[b]
    return own * left * right <= _SMALL or b in run.around[a]


def _degeneracy(around: Adjacency) -> int:
    """A lower bound of the width of every order: the largest smallest degree of a subgraph."""
    degree = {e: len(a) for e, a in enumerate(around) if a}
    heap = [(d, e) for e, d in degree.items()]
    heapq.heapify(heap)
    gone: set[int] = set()
    best = 0
    while heap:
        d, e = heapq.heappop(heap)
        if e in gone or d != degree[e]:
            continue
        best = max(best, d)
        gone.add(e)
        for n in around[e]:
            if n not in gone:
                degree[n] -= 1
                heapq.heappush(heap, (degree[n], n))
    return best


# --- candidates ---------------------------------------------------------------------------------

Play = Callable[[_Elimination, float], None]


def _candidates(network: Network, left: list[int]) -> list[tuple[str, Play]]:
    found: list[tuple[str, Play]] = []
    keys = _index_keys(network)
    ranks = max((len(f.shape) for f in network.fields), default=0)
    for axes in itertools.islice(itertools.permutations(range(ranks)), 6):
        order = sorted(left, key=lambda e, axes=axes: _key(keys[e], axes))  # type: ignore[misc]
        found.append(("index order", _sequence(order)))
    found.append(("min-degree", _greedy(left, lambda run, e: run.size(e))))
    if len(left) <= _MOST_FOR_MIN_FILL:
        found.append(("min-fill", _greedy(left, _fill)))
    return found


def _index_keys(network: Network) -> list[tuple[tuple[int, ...], int]]:
    """The subscripts and the variable of every entry."""
    keys: list[tuple[tuple[int, ...], int]] = []
    for number, own in enumerate(network.fields):
        grid = np.indices(own.shape).reshape(len(own.shape), -1).T if own.shape else np.zeros((1, 0), int)
        keys += [(tuple(row), number) for row in grid.tolist()]
    return keys


def _key(key: tuple[tuple[int, ...], int], axes: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    subscripts, number = key
    return tuple(subscripts[a] if a < len(subscripts) else -1 for a in axes), number


def _sequence(order: list[int]) -> Play:
    def play(run: _Elimination, bound: float) -> None:
        for entry in order:
            if run.around[entry]:
                run.take(entry)
                if run.broken or run.total >= bound:
                    return

    return play


def _greedy(left: list[int], cost: Callable[[_Elimination, int], float]) -> Play:
    """The entry of lowest cost next; costs of neighbours follow what was taken."""

    def play(run: _Elimination, bound: float) -> None:
        current = {e: cost(run, e) for e in left}
        heap = [(c, e) for e, c in current.items()]
        heapq.heapify(heap)
        gone: set[int] = set()
        while heap:
            c, entry = heapq.heappop(heap)
            if entry in gone or c != current[entry]:
                continue
            gone.add(entry)
            if not run.around[entry]:
                continue
            for n in run.take(entry):
                current[n] = cost(run, n)
                heapq.heappush(heap, (current[n], n))
            if run.broken or run.total >= bound:
                return

    return play


def _fill(run: _Elimination, entry: int) -> float:
    """Edges that eliminating an entry would add, ties by size."""
    near = run.around[entry]
    missing = sum(len(near) - 1 - len(near & run.around[n]) for n in near)
    return missing + run.size(entry) / (1.0 + run.size(entry))


# --- batches of steps ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One operand of a batch: where the G tables come from, and their axes among (own, neighbours).

    `stores` and `rows` name the tables: row `rows[g]` of store `stores[g]`. `axes` are rising
    places after `permuted` has been applied to the axes of the stored table.
    """

    stores: Numbers
    rows: Numbers
    permuted: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """G eliminations of the same form. `neighbours` is [G, d]; task g adds its result to row `out[g]`
    of store number `store`, which holds `outputs` tables."""

    entries: Numbers
    neighbours: Numbers
    cases: tuple[int, ...]
    inputs: tuple[Input, ...]
    store: int
    out: Numbers
    outputs: int

    @property
    def size(self) -> float:
        """Numbers in the joined tables of one row."""
        return len(self.entries) * math.prod(map(float, self.cases))


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Batches in an order in which every table is there before it is read. Stores 0.. are the
    potentials of the network, each batch adds one; `constants` are (store, row) of tables without
    entries."""

    batches: tuple[Batch, ...]
    order: Order
    constants: tuple[tuple[int, int], ...]


_MOST_TOGETHER = 2.0**22
"""Numbers of one row that a batch may join at once; a larger one is cut."""


@dataclass(slots=True)
class _Table:
    scope: tuple[int, ...]
    level: int
    store: int = -1
    row: int = -1


@dataclass(slots=True)
class _Task:
    entry: int
    neighbours: tuple[int, ...]
    inputs: list[int]
    output: int
    level: int


def schedule(network: Network, order: Order) -> Schedule:
    """The steps of an order, those of the same form and depth side by side."""
    tables: list[_Table] = []
    holding: list[list[int]] = [[] for _ in network.cases]
    for store, p in enumerate(network.potentials):
        for row, scope in enumerate(p.scope.tolist()):
            for e in scope:
                holding[e].append(len(tables))
            tables.append(_Table(tuple(scope), 0, store, row))
    used = bytearray(len(tables) + len(order.entries))
    levels: dict[int, list[_Task]] = {}
    for entry, near in zip(order.entries, order.neighbours, strict=True):
        inputs = [t for t in holding[entry] if not used[t]]
        for t in inputs:
            used[t] = 1
        level = 1 + max((tables[t].level for t in inputs), default=0)
        output = len(tables)
        tables.append(_Table(near, level))
        for n in near:
            holding[n].append(output)
        levels.setdefault(level, []).append(_Task(entry, near, inputs, output, level))
    batches: list[Batch] = []
    stores = len(network.potentials)
    for level in sorted(levels):
        for tasks in _alike(levels[level], tables, network.cases):
            batches.append(_batch(tasks, tables, network.cases, stores))
            stores += 1
    constants = {(t.store, t.row) for t in tables if not t.scope}
    return Schedule(tuple(batches), order, tuple(sorted(constants)))


def _alike(tasks: list[_Task], tables: list[_Table], cases: Numbers) -> list[list[_Task]]:
    """Tasks of the same form, in groups that fit together."""
    groups: dict[object, list[_Task]] = {}
    for task in tasks:
        groups.setdefault(_form(task, tables, cases), []).append(task)
    found = []
    for group in groups.values():
        first = group[0]
        size = float(cases[first.entry]) * math.prod(float(cases[n]) for n in first.neighbours)
        step = max(1, int(_MOST_TOGETHER / size))
        found += [group[i : i + step] for i in range(0, len(group), step)]
    return found


def _operands(task: _Task, tables: list[_Table]) -> list[tuple[tuple[int, ...], int, int]]:
    """The distinct tables of a task as (places of their entries, store, row), in a fixed order."""
    place = {n: i + 1 for i, n in enumerate(task.neighbours)}
    place[task.entry] = 0
    found = {(tuple(place[e] for e in tables[t].scope), tables[t].store, tables[t].row) for t in task.inputs}
    return sorted(found)


def _form(task: _Task, tables: list[_Table], cases: Numbers) -> object:
    shapes = tuple(places for places, _, _ in _operands(task, tables))
    return (int(cases[task.entry]), tuple(int(cases[n]) for n in task.neighbours), shapes)


def _batch(tasks: list[_Task], tables: list[_Table], cases: Numbers, store: int) -> Batch:
    operands = [_operands(task, tables) for task in tasks]
    first = tasks[0]
    inputs = []
    for slot, (places, _, _) in enumerate(operands[0]):
        permuted = tuple(sorted(range(len(places)), key=lambda i, p=places: p[i]))  # type: ignore[misc]
        inputs.append(
            Input(
                np.array([o[slot][1] for o in operands], np.int64),
                np.array([o[slot][2] for o in operands], np.int64),
                permuted,
                tuple(sorted(places)),
            )
        )
    rows: dict[tuple[int, ...], int] = {}
    out = np.array([rows.setdefault(t.neighbours, len(rows)) for t in tasks], np.int64)
    for task, row in zip(tasks, out.tolist(), strict=True):
        tables[task.output].store, tables[task.output].row = store, row
    return Batch(
        np.array([t.entry for t in tasks], np.int64),
        np.array([t.neighbours for t in tasks], np.int64).reshape(len(tasks), len(first.neighbours)),
        (int(cases[first.entry]), *(int(cases[n]) for n in first.neighbours)),
        tuple(inputs),
        store,
        out,
        len(rows),
    )
