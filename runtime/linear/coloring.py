"""Coloring the coordinates of a sparse symmetric pattern so that no row has two entries of one color.

Coordinates that meet, or that both meet a third one, get different colors: a coloring at distance two
(Coleman & Moré, Estimation of sparse Hessian matrices and graph coloring problems, 1984, direct methods).
Two ways:

- *cyclic*: coordinate modulo p, for the smallest p that divides no difference of two coordinates that must
  differ. Lattices have few differences, whatever their size; for a band it gives the best possible coloring.
- *greedy*: all coordinates at once choose the smallest color that no neighbour has, and of two neighbours
  that
  chose the same the one of lower priority chooses again (Gebremedhin & Manne, Scalable parallel graph
  coloring algorithms, 2000). At most (most neighbours + 1) colors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

Indices = npt.NDArray[np.int64]

PAIRS = 60_000_000
"""Above this many pairs at distance two every coordinate gets a color of its own: such a pattern is dense."""


def color(size: int, rows: Indices, columns: Indices) -> Indices:
    """Colors 0 .. P - 1 of `size` coordinates, where rows[e] meets columns[e]."""
    degrees = np.bincount(rows, minlength=size) + np.bincount(columns, minlength=size) + 1
    if size == 0 or int((degrees.astype(np.float64) ** 2).sum()) > PAIRS:
        return np.arange(size, dtype=np.int64)
    first, second = neighbours(size, rows, columns)
    fewest = int(degrees.max())
    cyclic = _period(size, first, second, 2 * fewest)
    if cyclic <= fewest + 1:
        return np.arange(size, dtype=np.int64) % cyclic
    greedy = _greedy(size, first, second)
    if cyclic <= int(greedy.max()) + 1:
        return np.arange(size, dtype=np.int64) % cyclic
    return greedy


def neighbours(size: int, rows: Indices, columns: Indices) -> tuple[Indices, Indices]:
    """All pairs of different coordinates that must differ in color, both ways round, sorted by the first."""
    ones = np.ones(2 * len(rows) + size, dtype=np.float32)
    places = np.arange(size, dtype=np.int64)
    entries = (np.concatenate([rows, columns, places]), np.concatenate([columns, rows, places]))
    near = scipy.sparse.csr_array((ones, entries), shape=(size, size))
    both = near @ near
    first = np.repeat(places, np.diff(both.indptr))
    second = both.indices.astype(np.int64)
    apart = first != second
    return first[apart], second[apart]


def _period(size: int, first: Indices, second: Indices, limit: int) -> int:
    """The smallest p <= limit such that first and second never agree modulo p; size if there is none."""
    differences = np.flatnonzero(np.bincount(np.abs(first - second), minlength=1))
    period = 1
    while period < size and bool((differences % period == 0).any()):
        period += 1
        if period > limit:
            return size
    return period


def _greedy(size: int, first: Indices, second: Indices) -> Indices:
    priority = np.random.default_rng(0).permutation(size)
    colors = np.full(size, -1, dtype=np.int64)
    while len(open_ := np.flatnonzero(colors < 0)):
        colors[open_] = _smallest_free(open_, first, second, colors)
        clash = (colors[first] == colors[second]) & (priority[first] < priority[second])
        colors[first[clash]] = -1
        # Pairs matter only while their first coordinate is open.
        still = colors[first] < 0
        first, second = first[still], second[still]
    return colors


def _smallest_free(open_: Indices, first: Indices, second: Indices, colors: Indices) -> Indices:
    """For each open coordinate the smallest color that none of its neighbours has."""
    number = np.empty(len(colors), dtype=np.int64)
    number[open_] = np.arange(len(open_))
    local = number[first]
    theirs = colors[second]
    known = theirs >= 0
    result = np.full(len(open_), -1, dtype=np.int64)
    base = 0
    while bool((waiting := result < 0).any()):
        # 63 colors at a time as the bits of a word.
        here = known & (theirs >= base) & (theirs < base + 63)
        used = np.zeros(len(open_), dtype=np.int64)
        np.bitwise_or.at(used, local[here], np.int64(1) << (theirs[here] - base))
        lowest = ~used & (used + 1)
        found = waiting & (used != 2**63 - 1)
        result[found] = base + np.log2(lowest[found].astype(np.float64)).astype(np.int64)
        base += 63
    return result
