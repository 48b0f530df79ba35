"""The easiest pattern that a sparse one is: a diagonal, a band after reordering, an arrow, or dense."""

from __future__ import annotations

import numpy as np

from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    DensePattern,
    DiagonalPattern,
    Indices,
    Pattern,
    SparsePattern,
    sparse_pattern,
)

DENSE_SIZE = 100
"""Up to here a dense factorisation takes no longer than setting up a sparse one."""
HUBS = 32
"""A border of more hubs is no longer thin."""
BAND = 12
"""A band up to this wide is eliminated faster than SuperLU finds its ordering, whatever lies between."""


def simplest(pattern: SparsePattern) -> Pattern:
    """The pattern in its easiest form; entries may be added, never lost."""
    if len(pattern.rows) == 0:
        return DiagonalPattern(pattern.size)
    if pattern.size <= DENSE_SIZE and len(pattern.rows) * 4 > pattern.size:
        band = banded(pattern)
        return band if band.bandwidth <= 2 else DensePattern(pattern.size)
    hubs = _hubs(pattern)
    if len(hubs):
        rest = without(pattern, hubs)
        return ArrowPattern(pattern.size, hubs, simplest(rest))
    band = banded(pattern)
    # No wider than a few times the entries that are there: a band costs b^2 per row whether they are zero
    # or not.
    average = len(pattern.rows) / pattern.size
    return band if band.bandwidth <= max(2.0, min(float(BAND), 6 * average)) else pattern


def banded(pattern: SparsePattern) -> BandedPattern:
    """As a band, in the given order or a narrower one."""
    bandwidth, order = pattern.narrowest
    return BandedPattern(pattern.size, bandwidth, order)


def without(pattern: SparsePattern, hubs: Indices) -> SparsePattern:
    """The pattern among the other coordinates, numbered in increasing order."""
    number = np.full(pattern.size, -1, dtype=np.int64)
    others = np.setdiff1d(np.arange(pattern.size, dtype=np.int64), hubs)
    number[others] = np.arange(len(others))
    high, low = number[pattern.rows], number[pattern.columns]
    kept = (high >= 0) & (low >= 0)
    return sparse_pattern(len(others), high[kept], low[kept])


def _hubs(pattern: SparsePattern) -> Indices:
    """Coordinates that meet far more others than is usual, sorted; none when there are too many of them."""
    degrees = pattern.degrees
    usual = float(np.median(degrees))
    hubs = np.flatnonzero(degrees > max(16.0, 8 * usual, pattern.size / 64)).astype(np.int64)
    return hubs if 0 < len(hubs) <= min(HUBS, pattern.size // 4) else hubs[:0]
