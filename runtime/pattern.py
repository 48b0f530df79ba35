"""Couplings with their sizes and data: the pattern of the Hessian over the coordinates of a row.

What is known to be a chain is laid out without listing its entries; anything else is listed with numpy,
all positions of a plate at once. The result may hold places that are always 0, never lacks one that is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebmlang.compiler.couplings import ROWS, Coupling, LiftedPattern
from ebmlang.compiler.sizes import BATCH
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.laying import laid
from ebmlang.runtime.linear.patterns import DensePattern, DiagonalPattern, Pattern, sparse_pattern
from ebmlang.runtime.linear.simplify import simplest
from ebmlang.runtime.places import Places, Unlistable
from ebmlang.runtime.space import Space, Unknown

Indices = npt.NDArray[np.int64]

DENSE = 0.2
"""Couplings that fill this share of all places are not listed: the pattern counts as full."""

MOST_PAIRS = 30_000_000
"""More couplings than this are not listed: the pattern counts as full."""

MOST_CHECKED = 3_000_000
"""Up to this many pairs conditions are checked for every example."""


def pattern_of(bound: Bound, space: Space) -> Pattern:
    """Where the Hessian of the energy of a row of `space` may have entries, the same for all rows.

    Given entries keep their places: rows and columns of the Hessian that are 0 there do no harm.
    """
    lifted: LiftedPattern = bound.module.COUPLINGS
    size = space.size
    if size == 0:
        return DiagonalPattern(0)
    tied = [u for u in space.unknowns if u.domain.kind is Kind.OPEN and u.domain.tied]
    if lifted.along and not tied:
        found = laid(lifted, {**bound.sizes, BATCH: bound.batch}, space)
        if found is not None:
            return found
    try:
        first, second = listed(lifted.couplings, bound, space)
    except Unlistable:
        return DensePattern(size)
    if tied:
        groups = _tied_groups(space)
        found_pairs = _spread(first, second, groups, size)
        if found_pairs is None:
            return DensePattern(size)
        first, second = found_pairs
    return simplest(sparse_pattern(size, first, second))


def listed(couplings: tuple[Coupling, ...], bound: Bound, space: Space) -> tuple[Indices, Indices]:
    """All pairs of coordinates that couplings join, some more than once, in either order.

    Raises Unlistable when there are too many to be worth it, or data is missing.
    """
    places = Places({**bound.sizes, BATCH: bound.batch}, _tables(bound), space)
    size = space.size
    couplings = tuple(_for_all_rows(c, places) for c in couplings)
    counts = [places.count(c) for c in couplings]
    sure = sum(n for n, c in zip(counts, couplings, strict=True) if not c.where)
    if sum(counts) > MOST_PAIRS or 2.0 * sure > max(DENSE * size * size, 64.0):
        raise Unlistable
    parts = [places.pairs(c) for c in couplings]
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _for_all_rows(coupling: Coupling, places: Places) -> Coupling:
    """Without conditions that differ by example, where checking them for every example takes long."""
    rows = [r for r in coupling.running() if r.name == ROWS]
    entries = {r for e in (coupling.first, coupling.second) for r in e.running()}
    if not any(r not in entries for r in rows) or places.count(coupling) <= MOST_CHECKED:
        return coupling
    kept = tuple(c for c in coupling.where if set(c.left.running()) <= entries)
    return replace(coupling, where=kept)


def _tables(bound: Bound) -> Mapping[str, npt.NDArray[Any]]:
    return _Tables(bound)


@dataclass(frozen=True, slots=True)
class _Tables(Mapping[str, npt.NDArray[Any]]):
    """Given arrays as numpy, each when it is asked for."""

    bound: Bound

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = self.bound.values[name].detach().cpu().numpy()
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.bound.values)

    def __len__(self) -> int:
        return len(self.bound.values)


# --- domains whose coordinates mix entries ------------------------------------------------------


def _tied_groups(space: Space) -> Indices:
    """For every coordinate the point of a domain that it belongs to."""
    groups = []
    count = 0
    for unknown, shape, size in zip(space.unknowns, space.row_shapes, space.sizes, strict=True):
        together = _points(unknown, shape)
        groups.append(count + np.arange(size, dtype=np.int64) // max(together, 1))
        count += size // max(together, 1)
    return np.concatenate(groups)


def _points(unknown: Unknown, shape: tuple[int, ...]) -> int:
    """How many coordinates make one point."""
    tied = unknown.domain.tied if unknown.domain.kind is Kind.OPEN else 0
    return math.prod(shape[len(shape) - tied :])


def _spread(first: Indices, second: Indices, groups: Indices, size: int) -> tuple[Indices, Indices] | None:
    """Couplings of entries as couplings of all coordinates of their points."""
    count = int(groups[-1]) + 1
    own = np.arange(count, dtype=np.int64)
    a = np.concatenate([np.minimum(groups[first], groups[second]), own])
    b = np.concatenate([np.maximum(groups[first], groups[second]), own])
    keys = np.unique(a * count + b)
    a, b = keys // count, keys % count
    starts = np.searchsorted(groups, np.arange(count + 1))
    lengths = np.diff(starts)
    counts = lengths[a] * lengths[b]
    total = int(counts.sum())
    if total > min(MOST_PAIRS, DENSE * size * size + 64):
        return None
    family = np.repeat(np.arange(len(a)), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    wide = lengths[b][family]
    return starts[a][family] + within // wide, starts[b][family] + within % wide
