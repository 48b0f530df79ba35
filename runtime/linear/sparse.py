"""General sparse matrices: SuperLU in its symmetric mode, or conjugate gradients where that fills in.

The rule, by `direct`: small patterns and forests of any size (eliminating those fills nothing in) are
factored, and so are patterns that Cuthill and McKee's order makes about as narrow as a plane lattice,
4 sqrt(N): SuperLU took half the time of conjugate gradients on lattices from 50 x 50 to 245 x 245. Without
small separators, as in random graphs, factors fill in entirely, while conjugate gradients need few steps.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ebmlang.runtime.linear.conjugate import Operation
from ebmlang.runtime.linear.diagonal import largest
from ebmlang.runtime.linear.iterative import IterativeFactorization, iterative
from ebmlang.runtime.linear.matrix import columns, pick, pivots_positive, spread
from ebmlang.runtime.linear.patterns import SparsePattern

SMALL = 3000
"""Coordinates up to which every pattern is factored."""
DIRECT = 300_000
"""Coordinates up to which a pattern like that of a plane lattice is factored."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseMatrix:
    """Main diagonal [R, N] and the entries [R, E] at the places of the pattern."""

    pattern: SparsePattern
    main: Tensor
    entries: Tensor

    @property
    def rows(self) -> int:
        return self.main.shape[0]

    @property
    def size(self) -> int:
        return self.pattern.size

    @property
    def width(self) -> int:
        return 1 + int(self.pattern.degrees.max(initial=0))

    @property
    def dtype(self) -> torch.dtype:
        return self.main.dtype

    @property
    def device(self) -> torch.device:
        return self.main.device

    def times(self, x: Tensor) -> Tensor:
        vectors = columns(x, self.rows)
        high, low = self._places()
        result = self.main[:, None] * vectors
        entries = self.entries[:, None]
        result.index_add_(2, high, entries * vectors.index_select(2, low))
        result.index_add_(2, low, entries * vectors.index_select(2, high))
        return result.reshape(x.shape)

    def diagonal(self) -> Tensor:
        return self.main

    def norm(self) -> Tensor:
        return largest(self.main.abs() + self._beside())

    def shifted(self, d: Tensor) -> SparseMatrix:
        main = self.main + spread(d, self.size)
        return SparseMatrix(self.pattern, main, self.entries.expand(main.shape[0], -1))

    def scaled(self, s: Tensor) -> SparseMatrix:
        high, low = self._places()
        entries = self.entries * s.index_select(1, high) * s.index_select(1, low)
        return SparseMatrix(self.pattern, self.main * s * s, entries)

    def select(self, rows: Tensor) -> SparseMatrix:
        return SparseMatrix(self.pattern, pick(self.main, rows), pick(self.entries, rows))

    def double(self) -> SparseMatrix:
        return SparseMatrix(self.pattern, self.main.double(), self.entries.double())

    def dense(self) -> Tensor:
        high, low = self._places()
        result = torch.diag_embed(self.main)
        result[:, high, low] = self.entries
        result[:, low, high] = self.entries
        return result

    def factor(self) -> SparseFactorization | IterativeFactorization:
        if direct(self.pattern):
            return sparse_factor(self)
        times = compressed_product(self) if self.device.type == "cpu" else None
        return iterative(self, (self.main > self._beside()).all(1), times)

    def _places(self) -> tuple[Tensor, Tensor]:
        pair = (
            torch.from_numpy(places).to(self.device) for places in (self.pattern.rows, self.pattern.columns)
        )
        high, low = pair
        return high, low

    def _beside(self) -> Tensor:
        """Absolute row sums without the diagonal, [R, N]."""
        high, low = self._places()
        size = self.entries.abs()
        return torch.zeros_like(self.main).index_add_(1, high, size).index_add_(1, low, size)


def direct(pattern: SparsePattern) -> bool:
    """Whether matrices of this pattern are factored rather than solved with iteratively."""
    size = pattern.size
    if size <= SMALL or len(pattern.rows) < size:
        return True
    return size <= DIRECT and pattern.narrowest[0] <= 4 * size**0.5


@dataclass(frozen=True, slots=True, eq=False)
class SparseFactorization:
    """SuperLU's factors of each row; None where there are none."""

    factors: tuple[Any, ...]
    positive: Tensor
    log_det: Tensor

    @property
    def exact(self) -> bool:
        return True

    def solve(self, b: Tensor) -> Tensor:
        right = columns(b, len(self.factors)).detach().cpu().double().numpy()
        solution = np.full_like(right, np.nan)
        for row, factor in enumerate(self.factors):
            if factor is not None and right.shape[1]:
                solution[row] = factor.solve(right[row].T).T
        return torch.from_numpy(solution).reshape(b.shape).to(b.device, b.dtype)


def sparse_factor(matrix: SparseMatrix) -> SparseFactorization:
    """L D L' by SuperLU with pivots on the diagonal, ordered by minimum degree on A + A'."""
    factors, pivots = [], np.full((matrix.rows, matrix.size), -1.0)
    for row, held in enumerate(compressed(matrix)):
        factor = _superlu(held) if np.isfinite(held.data).all() else None
        if factor is not None:
            # Column perm_c[j] of the factors is column j of the matrix.
            pivots[row] = factor.U.diagonal()[factor.perm_c]
        factors.append(factor)
    main = matrix.main.detach().cpu().double()
    positive = pivots_positive(torch.from_numpy(pivots), main)
    logs = torch.where(positive, torch.from_numpy(pivots).log().sum(1), torch.nan)
    kept = tuple(factor if good else None for factor, good in zip(factors, positive.tolist(), strict=True))
    return SparseFactorization(kept, positive.to(matrix.device), logs.to(matrix.device))


def _superlu(held: Any) -> Any:
    """The factors; None when a pivot is zero or not from the diagonal, so that signs tell nothing."""
    with contextlib.suppress(RuntimeError):  # "Factor is exactly singular"
        factor = scipy.sparse.linalg.splu(
            held,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True, "Equil": False},
        )
        if np.array_equal(factor.perm_r, factor.perm_c):
            return factor
    return None


def compressed(matrix: SparseMatrix) -> list[Any]:
    """Each row in compressed columns, which by symmetry are compressed rows, float64."""
    indices, pointers, source = matrix.pattern.compressed
    numbers = torch.cat([matrix.main, matrix.entries, matrix.entries], 1).detach().cpu().double().numpy()
    shape = (matrix.size, matrix.size)
    return [scipy.sparse.csc_matrix((row[source], indices, pointers), shape=shape) for row in numbers]


def compressed_product(matrix: SparseMatrix) -> Operation:
    """Products of [R, K, N] on the CPU; five times as fast as scattering entry by entry."""
    parts = [held.T for held in compressed(matrix)]

    def times(vectors: Tensor) -> Tensor:
        pairs = zip(parts, vectors.numpy(), strict=True)
        return torch.from_numpy(
            np.stack([np.ascontiguousarray((part @ vector.T).T) for part, vector in pairs])
        )

    return times
