"""Random symmetric matrices in every pattern, with the dense truth beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.linear import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DensePattern,
    DiagonalPattern,
    Matrix,
    Pattern,
    SparsePattern,
    measure,
    sparse_pattern,
)


def random_pairs(size: int, count: int, seed: int = 0) -> SparsePattern:
    draw = np.random.default_rng(seed)
    return sparse_pattern(size, draw.integers(0, size, count), draw.integers(0, size, count))


def grid(height: int, width: int) -> SparsePattern:
    number = np.arange(height * width).reshape(height, width)
    first = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    second = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    return sparse_pattern(height * width, first, second)


def shuffled(size: int, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(seed).permutation(size)


PATTERNS: dict[str, Callable[[], Pattern]] = {
    "diagonal": lambda: DiagonalPattern(7),
    "one": lambda: BandedPattern(1, 1),
    "tridiagonal": lambda: BandedPattern(23, 1),
    "tridiagonal, shuffled": lambda: BandedPattern(24, 1, shuffled(24)),
    "band": lambda: BandedPattern(29, 4),
    "band, shuffled": lambda: BandedPattern(30, 3, shuffled(30)),
    "band wider than the matrix": lambda: BandedPattern(5, 7),
    "no band": lambda: BandedPattern(6, 0),
    "separate blocks": lambda: BlockDiagonalPattern(5, 4),
    "separate blocks, shuffled": lambda: BlockDiagonalPattern(5, 3, shuffled(15)),
    "blocks": lambda: BlockTridiagonalPattern(7, 3),
    "blocks, shuffled": lambda: BlockTridiagonalPattern(6, 2, shuffled(12)),
    "single block": lambda: BlockTridiagonalPattern(1, 4),
    "two blocks": lambda: BlockTridiagonalPattern(2, 3),
    "arrow": lambda: ArrowPattern(25, np.array([3, 20]), BandedPattern(23, 1)),
    "arrow of a diagonal": lambda: ArrowPattern(12, np.array([0]), DiagonalPattern(11)),
    "arrow of blocks": lambda: ArrowPattern(
        20, np.array([18, 19]), BlockTridiagonalPattern(6, 3, shuffled(18))
    ),
    "arrow of a sparse one": lambda: ArrowPattern(31, np.array([5]), random_pairs(30, 50)),
    "grid": lambda: grid(5, 6),
    "sparse": lambda: random_pairs(40, 60),
    "dense": lambda: DensePattern(9),
}


def places(pattern: Pattern) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which entries a pattern may have, written out independently of the colors."""
    size = pattern.size
    at = np.arange(size)
    if isinstance(pattern, DensePattern):
        return np.ones((size, size), dtype=bool)
    result = np.eye(size, dtype=bool)
    if isinstance(pattern, SparsePattern):
        result[pattern.rows, pattern.columns] = result[pattern.columns, pattern.rows] = True
    elif isinstance(pattern, ArrowPattern):
        rest = [i for i in range(size) if i not in pattern.hubs]
        result[np.ix_(rest, rest)] = places(pattern.inner)
        result[pattern.hubs] = True
        result[:, pattern.hubs] = True
    elif not isinstance(pattern, DiagonalPattern):
        if isinstance(pattern, BandedPattern):
            ordered = np.abs(at[:, None] - at) <= pattern.bandwidth
        else:
            block = at // pattern.block
            reach = 1 if isinstance(pattern, BlockTridiagonalPattern) else 0
            ordered = np.abs(block[:, None] - block) <= reach
        order = at if pattern.order is None else pattern.order
        result = np.zeros_like(ordered)
        result[np.ix_(order, order)] = ordered
    return result


def symmetric(pattern: Pattern, rows: int, seed: int = 0, dominance: float = 1.1) -> Tensor:
    """Dense [R, N, N] with random entries in the pattern; positive definite for dominance > 1."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, pattern.size, pattern.size)) * places(pattern)
    values = np.tril(values, -1)
    values = values + values.transpose(0, 2, 1)
    main = dominance * np.abs(values).sum(2) + draw.uniform(0.1, 1.0, (rows, pattern.size))
    return torch.from_numpy(values + main[:, :, None] * np.eye(pattern.size))


def measured(pattern: Pattern, dense: Tensor) -> Matrix:
    """The matrix as a solver would get it: from products."""
    return measure(pattern, lambda v: torch.einsum("rij,pj->rpi", dense, v.to(dense.dtype)), dense.shape[0])
