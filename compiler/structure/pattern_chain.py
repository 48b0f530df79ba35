"""Indices along which couplings keep their distance: chains, independent blocks, and what stands beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, permutations

from ebmlang.compiler.couplings import ROWS, Coupling, Index, Running, Slot, Table
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.structure.block import Block

MOST_TRIED = 3000
"""Steps of the search for ways to lay variables along an index."""

Shapes = dict[str, tuple[Size, ...]]

Along = dict[str, tuple[int, ...]]
"""For each variable the dimensions that separate, and last the one that couplings run along."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Variables laid along an index, in blocks of the dimensions that are left.

    All couplings of these variables have the distance 0 in all but the last dimension of `along`, and at
    most `bandwidth` in that one. `hubs` are the other variables; `fixed` couplings read entries at fixed
    places, as in x[0], and are left out of this.
    """

    along: Along
    hubs: tuple[str, ...]
    bandwidth: int
    fixed: tuple[Coupling, ...]
    left: int
    """How many dimensions of no constant size are inside a block."""

    @property
    def separating(self) -> int:
        """How many dimensions separate: all, where no coupling has a distance."""
        return len(next(iter(self.along.values()))) - (self.bandwidth > 0)


def shapes_of(block: Block) -> Shapes:
    """Dimensions of each sought variable; the examples come first in a joint problem."""
    joint = block.joint is not None
    rows = (Size.of(ROWS),)
    return {v.name: (*(rows if joint and v.per_example else ()), *v.type.shape) for v in block.sought}


@dataclass(slots=True)
class Chains:
    """Looks for chains among the couplings of a block. Gives up, without a chain, after so many steps."""

    shapes: Shapes
    couplings: tuple[Coupling, ...]
    steps: int = 0
    _distances: dict[tuple[int, int, int], int | None] = field(default_factory=dict)

    def best(self, hubs: tuple[str, ...] = ()) -> Chain | None:
        """The way with the smallest blocks to lay all variables but the hubs; None when there is none."""
        names = tuple(n for n in self.shapes if n not in hubs)
        if not names or any(not self.shapes[n] for n in names):
            return None
        inner: dict[str, list[int]] = {n: [] for n in names}
        for at, c in enumerate(self.couplings):
            ends = (c.first.variable, c.second.variable)
            if all(e in names for e in ends):
                # Looked at as soon as the later of its two variables has a place.
                inner[max(ends, key=names.index)].append(at)
        found = [
            chain
            for length in range(1, min(len(self.shapes[n]) for n in names) + 1)
            for along in self._ways(names, inner, length, {})
            if (chain := self._chain(inner, along, hubs)) is not None
        ]
        return min(found, key=_cost, default=None)

    def with_hubs(self) -> Iterator[Chain]:
        """Chains with fewest variables beside them first."""
        for count in range(min(len(self.shapes), 4)):
            found = [c for names in combinations(self.shapes, count) if (c := self.best(names)) is not None]
            yield from sorted(found, key=_cost)

    def _ways(
        self, names: tuple[str, ...], inner: dict[str, list[int]], length: int, placed: Along
    ) -> Iterator[Along]:
        if len(placed) == len(names):
            yield dict(placed)
            return
        name = names[len(placed)]
        for dims in permutations(range(len(self.shapes[name])), length):
            self.steps += 1
            if self.steps > MOST_TRIED:
                return
            own = {**placed, name: dims}
            if all(self._fits(at, own) for at in inner[name]):
                yield from self._ways(names, inner, length, own)

    def _fits(self, at: int, along: Along) -> bool:
        coupling = self.couplings[at]
        first, second = along[coupling.first.variable], along[coupling.second.variable]
        if any(self._distance(at, a, b) != 0 for a, b in zip(first[:-1], second[:-1], strict=True)):
            return False
        if self._distance(at, first[-1], second[-1]) is not None:
            return True
        return coupling.first.index[first[-1]].fixed or coupling.second.index[second[-1]].fixed

    def _distance(self, at: int, a: int, b: int) -> int | None:
        key = (at, a, b)
        if key not in self._distances:
            coupling = self.couplings[at]
            self._distances[key] = distance(coupling.first.index[a], coupling.second.index[b])
        return self._distances[key]

    def _chain(self, inner: dict[str, list[int]], along: Along, hubs: tuple[str, ...]) -> Chain | None:
        bandwidth = 0
        fixed = []
        for at in (at for group in inner.values() for at in group):
            c = self.couplings[at]
            last = self._distance(at, along[c.first.variable][-1], along[c.second.variable][-1])
            if last is None:
                fixed.append(c)
            else:
                bandwidth = max(bandwidth, last)
        if not _long(self.shapes, along, bandwidth):
            return None
        left = sum(
            size.constant is None
            for n, dims in along.items()
            for k, size in enumerate(self.shapes[n])
            if k not in dims
        )
        return Chain(along, hubs, bandwidth, tuple(fixed), left)


def _cost(chain: Chain) -> tuple[bool, int, int, int]:
    return bool(chain.fixed), chain.left, chain.bandwidth, -chain.separating


def _long(shapes: Shapes, along: Along, bandwidth: int) -> bool:
    """Whether the chain is not shown to be shorter than its bandwidth."""
    lengths = [shapes[n][dims[-1]].constant for n, dims in along.items()]
    return any(length is None or length > bandwidth + 1 for length in lengths)


def distance(a: Index, b: Index) -> int | None:
    """How far the second index is at most from the first, where that is known to the program; else None."""
    apart = b - a
    low = high = apart.rest.constant
    for atom, factor in apart.terms:
        if low is None or high is None or not isinstance(atom, Running):
            return None
        start, size = atom.start.constant, atom.size.constant
        if start is None or size is None:
            return None
        ends = (factor * start, factor * (start + size - 1))
        low, high = low + min(ends), high + max(ends)
    return None if low is None or high is None else max(abs(low), abs(high))


def block_size(shapes: Shapes, along: Along) -> Size:
    """Entries of one block."""
    total = ZERO
    for name, dims in along.items():
        part = ONE
        for k, size in enumerate(shapes[name]):
            if k not in dims:
                part = part * size
        total = total + part
    return total


def hollow(chain: Chain, couplings: tuple[Coupling, ...]) -> bool:
    """Whether blocks are large and nearly empty, as the rows of a grid are: then they are no blocks."""
    inner = (c for c in couplings if c.first.variable in chain.along and c.second.variable in chain.along)
    return chain.left > 0 and all(narrow(c) for c in inner)


def narrow(coupling: Coupling) -> bool:
    """Whether an entry meets few others: the family has no more members than a variable or a list. Beside
    others, indices of a number known from the program, as the coordinates of points, do not count."""
    running = {r for r in coupling.running() if r.name != ROWS or r in set(_read(coupling))}
    running = {r for r in running if r.size.constant is None} or running
    if len(running) <= 1:
        return True
    for entry in (coupling.first, coupling.second):
        own = [i.terms[0][0] for i in entry.index if plain(i)]
        if running <= {a for a in own if isinstance(a, Running)}:
            return True
    return any(isinstance(a, Table) for c in coupling.where for a, _ in c.left.terms)


def plain(index: Index) -> bool:
    """Whether it is one index, in steps of 1."""
    return len(index.terms) == 1 and isinstance(index.terms[0][0], Running)


def _read(coupling: Coupling) -> Iterator[Running | Slot]:
    for entry in (coupling.first, coupling.second):
        for index in entry.index:
            yield from index.running()
