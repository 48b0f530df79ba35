"""From products with probes to matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.linear.arrow import ArrowMatrix
from ebmlang.runtime.linear.banded import BandedMatrix
from ebmlang.runtime.linear.blocks import BlockTridiagonalMatrix
from ebmlang.runtime.linear.dense import BlockDiagonalMatrix, DenseMatrix
from ebmlang.runtime.linear.diagonal import DiagonalMatrix
from ebmlang.runtime.linear.matrix import Matrix
from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DensePattern,
    DiagonalPattern,
    Indices,
    Pattern,
    SparsePattern,
    color_count,
    probes,
)
from ebmlang.runtime.linear.sparse import SparseMatrix

NUMBERS = 1 << 24
"""Numbers in the products asked for at once by `measure`."""


def measure(
    pattern: Pattern,
    times: Callable[[Tensor], Tensor],
    rows: int = 1,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Matrix:
    """The matrices of a pattern from their products, directions [P', N] -> [R, P', N], some at a time.

    `rows` is R, for the size of the portions only.
    """
    count = color_count(pattern)
    step = max(1, NUMBERS // max(1, rows * pattern.size))
    portions = [
        times(probes(pattern, dtype, device, first, min(first + step, count)))
        for first in range(0, max(count, 1), step)
    ]
    return assemble(pattern, portions[0] if len(portions) == 1 else torch.cat(portions, 1))


def assemble(pattern: Pattern, products: Tensor) -> Matrix:
    """The matrices whose products with the probes are [R, P, N]. Entries outside the pattern are not seen."""
    match pattern:
        case DiagonalPattern():
            return DiagonalMatrix(products[:, 0])
        case BandedPattern():
            return _banded(pattern, products)
        case BlockDiagonalPattern():
            return BlockDiagonalMatrix(pattern, _blocks(pattern, products, 0))
        case BlockTridiagonalPattern():
            return BlockTridiagonalMatrix(
                pattern, _blocks(pattern, products, 0), _blocks(pattern, products, 1, False)
            )
        case ArrowPattern():
            return _arrow(pattern, products)
        case SparsePattern():
            places = np.arange(pattern.size, dtype=np.int64)
            main = _entries(products, places, pattern.colors)
            return SparseMatrix(
                pattern, main, _entries(products, pattern.rows, pattern.colors[pattern.columns])
            )
        case DensePattern():
            return DenseMatrix((products + products.transpose(1, 2)) / 2)
        case _:
            assert_never(pattern)


def _entries(products: Tensor, rows: Indices, colors: Indices) -> Tensor:
    """Entries [R, ...] read at places `rows` of the products with the probes `colors`, both [...]."""
    size = products.shape[2]
    flat = torch.from_numpy((colors * size + rows).reshape(-1)).to(products.device)
    return products.flatten(1).index_select(1, flat).reshape(products.shape[0], *rows.shape)


def _banded(pattern: BandedPattern, products: Tensor) -> BandedMatrix:
    reach = pattern.bandwidth + 1
    taken = products.flatten(1).index_select(1, pattern.entries.to(products.device))
    bands = taken.unflatten(1, (reach, pattern.size))
    for offset in range(1, reach):
        bands[:, offset, max(pattern.size - offset, 0) :] = 0.0
    return BandedMatrix(pattern, bands)


def _blocks(
    pattern: BlockDiagonalPattern | BlockTridiagonalPattern,
    products: Tensor,
    below: int,
    symmetric: bool = True,
) -> Tensor:
    """Blocks [R, T - below, m, m] on the diagonal or `below` it."""
    places = np.arange(pattern.size, dtype=np.int64) if pattern.order is None else pattern.order
    parts = places.reshape(pattern.blocks, pattern.block)
    rows = parts[below:, :, None]
    columns = pattern.colors[parts][: pattern.blocks - below, None, :]
    rows, columns = np.broadcast_arrays(rows, columns)
    blocks = _entries(products, np.ascontiguousarray(rows), np.ascontiguousarray(columns))
    return (blocks + blocks.transpose(2, 3)) / 2 if symmetric else blocks


def _arrow(pattern: ArrowPattern, products: Tensor) -> ArrowMatrix:
    others = torch.from_numpy(pattern.others).to(products.device)
    hubs = torch.from_numpy(pattern.hubs).to(products.device)
    inner = color_count(pattern.inner)
    among = products[:, :inner].index_select(2, others)
    # The probes of hubs come last, each one unit vector.
    whole = products[:, inner:]
    corner = whole.index_select(2, hubs)
    return ArrowMatrix(
        pattern,
        assemble(pattern.inner, among),
        whole.index_select(2, others),
        (corner + corner.transpose(1, 2)) / 2,
    )
