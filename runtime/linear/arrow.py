"""Arrow matrices: a few hubs that meet everything, around an easy pattern.

With the hubs last, A = [[B, C'], [C, D]]: eliminating the others first leaves the Schur complement
S = D - C B^-1 C' of h x h, and A is positive definite exactly when B and S are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.dense import DenseFactorization, dense_factor
from ebmlang.runtime.linear.matrix import (
    Factorization,
    Matrix,
    columns,
    outside,
    pick,
    pivots_positive,
    spread,
)
from ebmlang.runtime.linear.patterns import ArrowPattern


@dataclass(frozen=True, slots=True, eq=False)
class ArrowMatrix:
    """The matrix among the others, border [R, h, N - h] and corner [R, h, h]; R is the same in all three."""

    pattern: ArrowPattern
    inner: Matrix
    border: Tensor
    corner: Tensor

    @property
    def rows(self) -> int:
        return self.border.shape[0]

    @property
    def size(self) -> int:
        return self.pattern.size

    @property
    def width(self) -> int:
        # The rows of hubs are longer; but their sums are made pairwise, with errors that do not grow with N.
        return self.inner.width + len(self.pattern.hubs)

    @property
    def dtype(self) -> torch.dtype:
        return self.border.dtype

    @property
    def device(self) -> torch.device:
        return self.border.device

    def times(self, x: Tensor) -> Tensor:
        inner, hubs = self._apart(columns(x, self.rows))
        first = self.inner.times(inner) + hubs @ self.border
        second = inner @ self.border.transpose(1, 2) + hubs @ self.corner
        return self._together(first, second).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return self._together(self.inner.diagonal(), self.corner.diagonal(dim1=1, dim2=2))

    def norm(self) -> Tensor:
        among = self.inner.norm() + self.border.abs().sum(1).amax(1)
        hubs = (self.border.abs().sum(2) + self.corner.abs().sum(2)).amax(1)
        return torch.maximum(among, hubs)

    def shifted(self, d: Tensor) -> ArrowMatrix:
        inner, hubs = self._apart(spread(d, self.size))
        corner = self.corner + torch.diag_embed(hubs)
        border = self.border.expand(corner.shape[0], -1, -1)
        return ArrowMatrix(self.pattern, self.inner.shifted(inner), border, corner)

    def scaled(self, s: Tensor) -> ArrowMatrix:
        inner, hubs = self._apart(s)
        border = self.border * hubs[..., None] * inner[:, None]
        corner = self.corner * hubs[..., None] * hubs[:, None]
        return ArrowMatrix(self.pattern, self.inner.scaled(inner), border, corner)

    def select(self, rows: Tensor) -> ArrowMatrix:
        border, corner = pick(self.border, rows), pick(self.corner, rows)
        return ArrowMatrix(self.pattern, self.inner.select(rows), border, corner)

    def double(self) -> ArrowMatrix:
        return ArrowMatrix(self.pattern, self.inner.double(), self.border.double(), self.corner.double())

    def dense(self) -> Tensor:
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        return self.times(eye.expand(self.rows, self.size, self.size))

    def factor(self) -> ArrowFactorization:
        inner = self.inner.factor()
        border = self.border.double()
        half = inner.solve(border)
        corner = self.corner.double()
        complement = corner - torch.nan_to_num(half) @ border.transpose(1, 2)
        outer = dense_factor((complement + complement.transpose(1, 2)) / 2)
        # Rounding in S is relative to D, from which it was subtracted.
        pivots = outer.lower.diagonal(dim1=1, dim2=2) ** 2
        share = max(self.size, 4) / max(pivots.shape[1], 4)
        certain = pivots_positive(pivots, corner.diagonal(dim1=1, dim2=2) * share)
        return ArrowFactorization(self, inner, outer, half, inner.positive & outer.positive & certain)

    def _apart(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        others = torch.from_numpy(self.pattern.others).to(vectors.device)
        hubs = torch.from_numpy(self.pattern.hubs).to(vectors.device)
        return vectors.index_select(-1, others), vectors.index_select(-1, hubs)

    def _together(self, inner: Tensor, hubs: Tensor) -> Tensor:
        result = inner.new_empty(*inner.shape[:-1], self.size)
        result[..., torch.from_numpy(self.pattern.others).to(inner.device)] = inner
        result[..., torch.from_numpy(self.pattern.hubs).to(inner.device)] = hubs
        return result


@dataclass(frozen=True, slots=True, eq=False)
class ArrowFactorization:
    """Factors among the others and of the Schur complement; half = C B^-1, float64 [R, h, N - h]."""

    matrix: ArrowMatrix
    inner: Factorization
    outer: DenseFactorization
    half: Tensor
    positive: Tensor

    @property
    def exact(self) -> bool:
        return self.inner.exact

    @property
    def log_det(self) -> Tensor:
        return torch.where(self.positive, self.inner.log_det + self.outer.log_det, torch.nan)

    def solve(self, b: Tensor) -> Tensor:
        inner, hubs = self.matrix._apart(columns(b, self.matrix.rows).double())
        second = self.outer.solve(hubs - inner @ self.half.transpose(1, 2))
        first = self.inner.solve(inner) - second @ self.half
        solution = outside(self.matrix._together(first, second), self.positive)
        return solution.reshape(b.shape).to(b.dtype)
