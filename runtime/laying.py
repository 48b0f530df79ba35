"""Chains laid out: coordinates in the order of their index, without listing what they join."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebmlang.compiler.couplings import ROWS, Coupling, Entry, LiftedPattern, Running
from ebmlang.compiler.sizes import Size
from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DensePattern,
    DiagonalPattern,
    Pattern,
)
from ebmlang.runtime.places import Places, Unlistable
from ebmlang.runtime.space import Space

Indices = npt.NDArray[np.int64]

MOST_BESIDE = 2000
"""Coordinates beside a chain; with more the border costs more than it saves."""

MOST_IN_BLOCK = 1_000_000
"""Pairs inside a block that are listed to find how far apart they are."""

LARGE_BLOCK = 4
"""Blocks of this size and more are eliminated as blocks, smaller ones as a band."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One variable of a chain: where its coordinates start, its shape in the row, its dimensions along."""

    name: str
    first: int
    shape: tuple[int, ...]
    along: tuple[int, ...]

    @property
    def outer(self) -> int:
        return math.prod(self.shape[d] for d in self.along[:-1])

    @property
    def length(self) -> int:
        return self.shape[self.along[-1]]

    @property
    def rest(self) -> tuple[int, ...]:
        return tuple(d for d in range(len(self.shape)) if d not in self.along)

    @property
    def width(self) -> int:
        """Coordinates at one position of the chain."""
        return math.prod(self.shape[d] for d in self.rest)

    def coordinates(self) -> Indices:
        """[outer, length, width]."""
        flat = np.arange(self.first, self.first + math.prod(self.shape), dtype=np.int64).reshape(self.shape)
        order = (*self.along, *self.rest)
        return flat.transpose(order).reshape(self.outer, self.length, self.width)


def laid(lifted: LiftedPattern, sizes: Mapping[str, int], space: Space) -> Pattern | None:
    """The pattern of a chain, or None where listing the couplings serves better."""
    along = dict(lifted.along)
    parts = [
        _Part(u.name, sum(space.sizes[:k]), _shape_in(space, k), along[u.name])
        for k, u in enumerate(space.unknowns)
        if u.name in along
    ]
    inner = [c for c in lifted.couplings if c.first.variable in along and c.second.variable in along]
    chain = _Chain(parts, Places(sizes, {}, space))
    beside = [k for k, u in enumerate(space.unknowns) if u.name not in along]
    count = sum(space.sizes[k] for k in beside)
    if count == 0:
        return chain.pattern(inner, space.size, None)
    if count > min(MOST_BESIDE, space.size // 2):
        return None
    starts = np.concatenate([[0], np.cumsum(space.sizes)])
    hubs = np.concatenate([np.arange(starts[k], starts[k + 1], dtype=np.int64) for k in beside])
    inside = np.ones(space.size, dtype=np.int64)
    inside[hubs] = 0
    pattern = chain.pattern(inner, space.size - count, np.cumsum(inside) - 1)
    return None if pattern is None else ArrowPattern(space.size, hubs, pattern)


def _shape_in(space: Space, at: int) -> tuple[int, ...]:
    """The dimensions that couplings name: the examples only where the variable differs by example."""
    unknown = space.unknowns[at]
    return unknown.shape if unknown.per_batch else space.row_shapes[at]


@dataclass(frozen=True, slots=True)
class _Chain:
    parts: list[_Part]
    places: Places

    def pattern(self, couplings: list[Coupling], size: int, place: Indices | None) -> Pattern | None:
        """The pattern over the coordinates of the chain; `place` counts them where there are others."""
        if len({p.outer for p in self.parts}) > 1 or not size:
            return None
        distances = [self._distance(c) for c in couplings]
        if any(d is None for d in distances):
            return None
        known = [d for d in distances if d is not None]
        reach = max((abs(d) for d in known), default=0)
        even = len({p.length for p in self.parts}) == 1
        block = sum(p.width for p in self.parts)
        if not couplings or (block == 1 and reach == 0):
            return DiagonalPattern(size)
        found = self._order(even)
        found = found if place is None else place[found]
        order = None if bool((found[1:] > found[:-1]).all()) else found
        blocks = size // block if even else 0
        if even and reach == 0:
            return DensePattern(size) if blocks == 1 else BlockDiagonalPattern(blocks, block, order)
        # Blocks of fewer than `block` coordinates, at ends, only bring positions closer.
        width = reach * block + block - 1
        if even:
            width = max((self._width(c, d, block) for c, d in zip(couplings, known, strict=True)), default=0)
        if 2 * width >= size:
            return DensePattern(size)
        if even and reach == 1 and block >= LARGE_BLOCK and width >= block:
            return BlockTridiagonalPattern(blocks, block, order)
        return BandedPattern(size, width, order)

    def _order(self, even: bool) -> Indices:
        """The coordinate at each position: by what separates, by the index of the chain, by variable."""
        if even:
            return np.concatenate([p.coordinates() for p in self.parts], axis=2).ravel()
        longest = max(p.length for p in self.parts)
        padded = [
            np.pad(p.coordinates(), ((0, 0), (0, longest - p.length), (0, 0)), constant_values=-1)
            for p in self.parts
        ]
        flat = np.concatenate(padded, axis=2).ravel()
        return flat[flat >= 0]

    def _part(self, entry: Entry) -> _Part:
        return next(p for p in self.parts if p.name == entry.variable)

    def _distance(self, coupling: Coupling) -> int | None:
        """How far apart the two entries are along the chain."""
        first, second = (e.index[self._part(e).along[-1]] for e in (coupling.first, coupling.second))
        apart = second - first
        return None if apart.terms else self.places.size(apart.rest)

    def _width(self, coupling: Coupling, distance: int, block: int) -> int:
        """How many positions apart the two entries of a coupling get at most."""
        most = abs(distance) * block + block - 1
        parts = [self._part(e) for e in (coupling.first, coupling.second)]
        entries = [
            Entry(e.variable, tuple(e.index[d] for d in p.rest))
            for e, p in zip((coupling.first, coupling.second), parts, strict=True)
        ]
        running = {r for e in entries for r in e.running() if isinstance(r, Running)}
        if any(r.name == ROWS for r in running):
            return most
        try:
            offsets = [self._within(p) for p in parts]
            grid = self._grid(tuple(running))
            if grid is None:
                return most
            known = zip(entries, parts, offsets, strict=True)
            values = [_offset(e, p, start, grid, self.places) for e, p, start in known]
        except Unlistable:
            return most
        steps = distance * block + values[1] - values[0]
        return min(most, int(np.abs(steps).max())) if steps.size else 0

    def _within(self, part: _Part) -> int:
        """Where a variable begins inside a block."""
        return sum(p.width for p in self.parts[: self.parts.index(part)])

    def _grid(self, running: tuple[Running, ...]) -> dict[Running, Indices] | None:
        lengths = [max(self._size(r.size), 0) for r in running]
        if math.prod(lengths) > MOST_IN_BLOCK:
            return None
        grid = {}
        for k, (r, length) in enumerate(zip(running, lengths, strict=True)):
            shape = [-1 if j == k else 1 for j in range(len(running))]
            grid[r] = (self._size(r.start) + np.arange(length, dtype=np.int64)).reshape(shape)
        return grid

    def _size(self, size: Size) -> int:
        return self.places.size(size)


def _offset(entry: Entry, part: _Part, start: int, grid: dict[Running, Indices], places: Places) -> Indices:
    """The position inside a block; indices that run along the chain take every value they can."""
    flat = np.asarray(0, dtype=np.int64)
    for index, d in zip(entry.index, part.rest, strict=True):
        value = np.asarray(places.size(index.rest), dtype=np.int64)
        for atom, c in index.terms:
            if not isinstance(atom, Running):
                raise Unlistable
            value = value + c * grid[atom]
        size = part.shape[d]
        # Outside of the variable there is nothing to read.
        flat = flat * size + np.clip(value, 0, max(size - 1, 0))
    return start + flat
