"""Where a symmetric matrix may have entries: patterns over the N coordinates of a row.

Every pattern colors its coordinates such that no two coordinates of one color share a row. Then the product
of the matrix with the sum of the unit vectors of a color, a *probe*, holds in each place at most one entry:
a_ij = (A probe[color of j])_i, so that P products determine the matrix (Curtis, Powell & Reid, On the
estimation of sparse Jacobian matrices, 1974). No substitution is involved, hence no growth of errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebmlang.runtime.linear.coloring import color
from ebmlang.runtime.linear.order import narrow

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DiagonalPattern:
    """Coordinates that do not meet."""

    size: int

    @cached_property
    def colors(self) -> Indices:
        return np.zeros(self.size, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class BandedPattern:
    """Entries at most `bandwidth` positions off the diagonal, once the coordinates are put in order.

    `order` is the coordinate at each position, None when they are in order already.
    """

    size: int
    bandwidth: int
    order: Indices | None = None

    @cached_property
    def colors(self) -> Indices:
        # The columns of row i are i-b .. i+b: 2b + 1 consecutive positions are 2b + 1 colors.
        groups = min(2 * self.bandwidth + 1, max(self.size, 1))
        return placed(np.arange(self.size, dtype=np.int64) % groups, self.order)

    @cached_property
    def entries(self) -> Tensor:
        """Where among the products [P * N] the bands [(b + 1) * N] lie."""
        position = np.arange(self.size, dtype=np.int64)
        coordinate = position if self.order is None else self.order
        # Past the end any place will do: those numbers are set to zero.
        below = [
            coordinate[np.minimum(position + offset, self.size - 1)] for offset in range(self.bandwidth + 1)
        ]
        column = self.colors[coordinate]
        return torch.from_numpy(np.concatenate([column * self.size + row for row in below]))


@dataclass(frozen=True, eq=False)
class BlockDiagonalPattern:
    """`blocks` groups of `block` coordinates; coordinates of different groups do not meet."""

    blocks: int
    block: int
    order: Indices | None = None

    @property
    def size(self) -> int:
        return self.blocks * self.block

    @cached_property
    def colors(self) -> Indices:
        # The columns of a row are those of its group.
        return placed(np.arange(self.size, dtype=np.int64) % self.block, self.order)


@dataclass(frozen=True, eq=False)
class BlockTridiagonalPattern:
    """`blocks` groups of `block` coordinates in a chain; a group meets itself and its two neighbours."""

    blocks: int
    block: int
    order: Indices | None = None

    @property
    def size(self) -> int:
        return self.blocks * self.block

    @cached_property
    def colors(self) -> Indices:
        # The columns of a row are those of three consecutive groups: 3 m, fewer than the 4 m - 1 of a band.
        groups = min(3, self.blocks) * self.block
        return placed(np.arange(self.size, dtype=np.int64) % max(groups, 1), self.order)


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Entries at the places (rows[e], columns[e]), rows[e] > columns[e], on the mirrored ones and the
    diagonal.

    Make it with `sparse_pattern`, which puts places in this form and in order.
    """

    size: int
    rows: Indices
    columns: Indices

    @cached_property
    def colors(self) -> Indices:
        return color(self.size, self.rows, self.columns)

    @cached_property
    def narrowest(self) -> tuple[int, Indices | None]:
        """The smallest bandwidth that is easily found, and the order of coordinates that has it."""
        return narrow(self.size, self.rows, self.columns)

    @cached_property
    def compressed(self) -> tuple[Indices, Indices, Indices]:
        """Compressed columns of the matrix: indices, pointers, and which of (diagonal, entries, entries)."""
        places = np.arange(self.size, dtype=np.int64)
        high = np.concatenate([places, self.rows, self.columns])
        low = np.concatenate([places, self.columns, self.rows])
        source = np.lexsort((high, low))
        pointers = np.concatenate([[0], np.cumsum(np.bincount(low, minlength=self.size))])
        return high[source].astype(np.int32), pointers.astype(np.int32), source

    @cached_property
    def degrees(self) -> Indices:
        """How many other coordinates each one meets."""
        return np.bincount(self.rows, minlength=self.size) + np.bincount(self.columns, minlength=self.size)


@dataclass(frozen=True, eq=False)
class DensePattern:
    """Any two coordinates may meet."""

    size: int

    @cached_property
    def colors(self) -> Indices:
        return np.arange(self.size, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ArrowPattern:
    """A few coordinates `hubs` (sorted) that may meet all; the others, in increasing order, as in `inner`."""

    size: int
    hubs: Indices
    inner: Pattern

    @cached_property
    def others(self) -> Indices:
        return np.setdiff1d(np.arange(self.size, dtype=np.int64), self.hubs)

    @cached_property
    def colors(self) -> Indices:
        # A hub meets every row, so that it needs a color of its own; a row of the others has the columns of
        # the inner pattern besides. A row of a hub would be mixed, but a_hi = a_ih is read from row i.
        inner = self.inner.colors
        result = np.empty(self.size, dtype=np.int64)
        result[self.others] = inner
        result[self.hubs] = np.arange(len(self.hubs)) + (int(inner.max()) + 1 if len(inner) else 0)
        return result


Pattern = (
    DiagonalPattern
    | BandedPattern
    | BlockDiagonalPattern
    | BlockTridiagonalPattern
    | ArrowPattern
    | SparsePattern
    | DensePattern
)


def sparse_pattern(size: int, first: Indices, second: Indices) -> SparsePattern:
    """The pattern where coordinates first[e] and second[e] meet; pairs may repeat, turn round, be equal."""
    high, low = np.maximum(first, second), np.minimum(first, second)
    apart = high != low
    keys = np.unique(high[apart] * np.int64(size) + low[apart])
    return SparsePattern(size, keys // max(size, 1), keys % max(size, 1))


def color_count(pattern: Pattern) -> int:
    """P, the number of products that determine a matrix."""
    if pattern.size == 0:
        return 0
    match pattern:
        case DiagonalPattern():
            return 1
        case DensePattern():
            return pattern.size
        case BandedPattern():
            return min(2 * pattern.bandwidth + 1, pattern.size)
    return int(pattern.colors.max()) + 1


def probes(
    pattern: Pattern,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
    first: int = 0,
    last: int | None = None,
) -> Tensor:
    """The probes [P, N], or those of the colors first .. last - 1."""
    colors = torch.from_numpy(pattern.colors).to(device)
    stop = color_count(pattern) if last is None else last
    return (colors == torch.arange(first, stop, device=device)[:, None]).to(dtype)


def placed(values: Indices, order: Indices | None) -> Indices:
    """Values by position as values by coordinate."""
    if order is None:
        return values
    result = np.empty_like(values)
    result[order] = values
    return result
