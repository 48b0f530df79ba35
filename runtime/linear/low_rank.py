"""A diagonal plus a matrix of low rank: A = diag(d) + F'F, as least squares with a simple prior have it.

By Woodbury, A^-1 = D^-1 - D^-1 F' (I + F D^-1 F')^-1 F D^-1, which costs k^2 N for rank k instead of N^3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.dense import DenseFactorization, dense_factor
from ebmlang.runtime.linear.diagonal import largest
from ebmlang.runtime.linear.matrix import columns, outside, pick, spread


@dataclass(frozen=True, slots=True, eq=False)
class LowRankPlusDiagonal:
    """diag(values) + factors' factors; values [R or 1, N], factors [R or 1, k, N], R the larger."""

    values: Tensor
    factors: Tensor

    @property
    def rows(self) -> int:
        return max(self.values.shape[0], self.factors.shape[0])

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
        vectors = columns(x, self.rows)
        low = (vectors @ self.factors.transpose(1, 2)) @ self.factors
        return (self.values[:, None] * vectors + low).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return self.values + (self.factors**2).sum(1)

    def norm(self) -> Tensor:
        # |F'F| has row sums at most |f_i|' sum_j |f_j|.
        size = self.factors.abs()
        low = (size * size.sum(2, keepdim=True)).sum(1)
        return largest(self.values.abs() + low)

    def shifted(self, d: Tensor) -> LowRankPlusDiagonal:
        return LowRankPlusDiagonal(self.values + spread(d, self.size), self.factors)

    def scaled(self, s: Tensor) -> LowRankPlusDiagonal:
        return LowRankPlusDiagonal(self.values * s * s, self.factors * s[:, None])

    def select(self, rows: Tensor) -> LowRankPlusDiagonal:
        return LowRankPlusDiagonal(pick(self.values, rows), pick(self.factors, rows))

    def double(self) -> LowRankPlusDiagonal:
        return LowRankPlusDiagonal(self.values.double(), self.factors.double())

    def dense(self) -> Tensor:
        return torch.diag_embed(self.values) + self.factors.transpose(1, 2) @ self.factors

    def factor(self) -> LowRankFactorization | DenseFactorization:
        """By Woodbury; dense where that is no cheaper, or where the diagonal alone is not positive."""
        wide = self.double()
        if 2 * self.factors.shape[1] >= self.size or not bool((wide.values > 0).all()):
            return dense_factor(wide.dense())
        part = wide.factors / wide.values[:, None]
        gram = part @ wide.factors.transpose(1, 2)
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        return LowRankFactorization(wide, part, dense_factor((gram + gram.transpose(1, 2)) / 2 + eye))


@dataclass(frozen=True, slots=True, eq=False)
class LowRankFactorization:
    """The float64 matrix, F D^-1 [R, k, N], and the factors of I + F D^-1 F'."""

    matrix: LowRankPlusDiagonal
    part: Tensor
    inner: DenseFactorization

    @property
    def exact(self) -> bool:
        return True

    @property
    def positive(self) -> Tensor:
        finite = torch.isfinite(self.matrix.values).all(1)
        return self.inner.positive & finite

    @property
    def log_det(self) -> Tensor:
        logs = self.matrix.values.log().sum(1) + self.inner.log_det
        return torch.where(self.positive, logs, torch.nan)

    def solve(self, b: Tensor) -> Tensor:
        right = columns(b, self.matrix.rows).double()
        solution = self._once(right)
        # Woodbury subtracts numbers of nearly equal size when F'F outweighs D; one refinement repairs that.
        solution = solution + self._once(right - self.matrix.times(solution))
        return outside(solution, self.positive).reshape(b.shape).to(b.dtype)

    def _once(self, right: Tensor) -> Tensor:
        inner = right @ self.part.transpose(1, 2)
        return right / self.matrix.values[:, None] - self.inner.solve(inner) @ self.part
