"""Dense matrices, and independent dense blocks as a batch of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.diagonal import largest
from ebmlang.runtime.linear.matrix import columns, outside, pick, pivots_positive, spread
from ebmlang.runtime.linear.order import by_coordinate, by_position
from ebmlang.runtime.linear.patterns import BlockDiagonalPattern


@dataclass(frozen=True, slots=True, eq=False)
class DenseMatrix:
    """values [R, N, N], symmetric."""

    values: Tensor

    @property
    def rows(self) -> int:
        return self.values.shape[0]

    @property
    def size(self) -> int:
        return self.values.shape[1]

    @property
    def width(self) -> int:
        return self.size

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    def times(self, x: Tensor) -> Tensor:
        return (columns(x, self.rows) @ self.values).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return self.values.diagonal(dim1=1, dim2=2)

    def norm(self) -> Tensor:
        return largest(self.values.abs().sum(2))

    def shifted(self, d: Tensor) -> DenseMatrix:
        rows = max(self.rows, d.shape[0])
        values = self.values.expand(rows, self.size, self.size).clone()
        values.diagonal(dim1=1, dim2=2).add_(spread(d, self.size))
        return DenseMatrix(values)

    def scaled(self, s: Tensor) -> DenseMatrix:
        return DenseMatrix(self.values * s[:, :, None] * s[:, None])

    def select(self, rows: Tensor) -> DenseMatrix:
        return DenseMatrix(pick(self.values, rows))

    def double(self) -> DenseMatrix:
        return DenseMatrix(self.values.double())

    def dense(self) -> Tensor:
        return self.values

    def factor(self) -> DenseFactorization:
        return dense_factor(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class DenseFactorization:
    """Cholesky factors, float64 [R, N, N], lower."""

    lower: Tensor
    positive: Tensor

    @property
    def exact(self) -> bool:
        return True

    @property
    def log_det(self) -> Tensor:
        logs = 2 * self.lower.diagonal(dim1=1, dim2=2).log().sum(1)
        return torch.where(self.positive, logs, torch.nan)

    def solve(self, b: Tensor) -> Tensor:
        right = columns(b, self.lower.shape[0]).to(self.lower.dtype)
        solution = torch.cholesky_solve(right.transpose(1, 2), self.lower).transpose(1, 2)
        return outside(solution, self.positive).reshape(b.shape).to(b.dtype)


def dense_factor(values: Tensor) -> DenseFactorization:
    """Cholesky factors in float64 of symmetric matrices [R, N, N]."""
    wide = values.double()
    # A sum tells in one pass; it may be infinite although all entries are finite.
    finite = torch.isfinite(wide.sum((1, 2)))
    safe = wide
    if not bool(finite.all()):
        finite = torch.isfinite(wide).flatten(1).all(1)
        # LAPACK raises for what is not finite in some builds.
        safe = torch.where(finite[:, None, None], wide, 0.0)
    lower, info = torch.linalg.cholesky_ex(safe)
    pivots = lower.diagonal(dim1=1, dim2=2) ** 2
    positive = finite & (info == 0) & pivots_positive(pivots, safe.diagonal(dim1=1, dim2=2))
    return DenseFactorization(lower, positive)


@dataclass(frozen=True, slots=True, eq=False)
class BlockDiagonalMatrix:
    """Blocks [R, T, m, m] in the order of the pattern's positions."""

    pattern: BlockDiagonalPattern
    blocks: Tensor

    @property
    def rows(self) -> int:
        return self.blocks.shape[0]

    @property
    def size(self) -> int:
        return self.pattern.size

    @property
    def width(self) -> int:
        return self.pattern.block

    @property
    def dtype(self) -> torch.dtype:
        return self.blocks.dtype

    @property
    def device(self) -> torch.device:
        return self.blocks.device

    def times(self, x: Tensor) -> Tensor:
        parts = self._parts(columns(x, self.rows))
        return self._whole(parts @ self.blocks).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return by_coordinate(self.blocks.diagonal(dim1=2, dim2=3).flatten(1), self.pattern.order)

    def norm(self) -> Tensor:
        return largest(self.blocks.abs().sum(3).flatten(1))

    def shifted(self, d: Tensor) -> BlockDiagonalMatrix:
        added = by_position(spread(d, self.size), self.pattern.order).unflatten(1, self._shape)
        return BlockDiagonalMatrix(self.pattern, self.blocks + torch.diag_embed(added))

    def scaled(self, s: Tensor) -> BlockDiagonalMatrix:
        parts = by_position(s, self.pattern.order).unflatten(1, self._shape)
        return BlockDiagonalMatrix(self.pattern, self.blocks * parts[..., None] * parts[..., None, :])

    def select(self, rows: Tensor) -> BlockDiagonalMatrix:
        return BlockDiagonalMatrix(self.pattern, pick(self.blocks, rows))

    def double(self) -> BlockDiagonalMatrix:
        return BlockDiagonalMatrix(self.pattern, self.blocks.double())

    def dense(self) -> Tensor:
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        return self.times(eye.expand(self.rows, self.size, self.size))

    def factor(self) -> BlockDiagonalFactorization:
        return BlockDiagonalFactorization(self, dense_factor(self.blocks.flatten(0, 1)))

    @property
    def _shape(self) -> tuple[int, int]:
        return self.pattern.blocks, self.pattern.block

    def _parts(self, vectors: Tensor) -> Tensor:
        """[R, K, N] -> [R, T, K, m]."""
        ordered = by_position(vectors, self.pattern.order)
        return ordered.reshape(*ordered.shape[:2], *self._shape).transpose(1, 2)

    def _whole(self, parts: Tensor) -> Tensor:
        return by_coordinate(parts.transpose(1, 2).flatten(2), self.pattern.order)


@dataclass(frozen=True, slots=True, eq=False)
class BlockDiagonalFactorization:
    """The factors of all blocks of all rows as one batch."""

    matrix: BlockDiagonalMatrix
    inner: DenseFactorization

    @property
    def exact(self) -> bool:
        return True

    @property
    def positive(self) -> Tensor:
        return self.inner.positive.reshape(self.matrix.rows, -1).all(1)

    @property
    def log_det(self) -> Tensor:
        return self.inner.log_det.reshape(self.matrix.rows, -1).sum(1)

    def solve(self, b: Tensor) -> Tensor:
        parts = self.matrix._parts(columns(b, self.matrix.rows))
        solved = self.inner.solve(parts.flatten(0, 1)).reshape(parts.shape)
        return outside(self.matrix._whole(solved), self.positive).reshape(b.shape).to(b.dtype)
