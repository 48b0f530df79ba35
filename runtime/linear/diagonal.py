"""Diagonal matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.matrix import columns, outside, pick, spread


@dataclass(frozen=True, slots=True, eq=False)
class DiagonalMatrix:
    """diag(values), values [R, N]."""

    values: Tensor

    @property
    def rows(self) -> int:
        return self.values.shape[0]

    @property
    def size(self) -> int:
        return self.values.shape[1]

    @property
    def width(self) -> int:
        return 1

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    def times(self, x: Tensor) -> Tensor:
        return (self.values[:, None] * columns(x, self.rows)).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return self.values

    def norm(self) -> Tensor:
        return largest(self.values.abs())

    def shifted(self, d: Tensor) -> DiagonalMatrix:
        return DiagonalMatrix(self.values + spread(d, self.size))

    def scaled(self, s: Tensor) -> DiagonalMatrix:
        return DiagonalMatrix(self.values * s * s)

    def select(self, rows: Tensor) -> DiagonalMatrix:
        return DiagonalMatrix(pick(self.values, rows))

    def double(self) -> DiagonalMatrix:
        return DiagonalMatrix(self.values.double())

    def dense(self) -> Tensor:
        return torch.diag_embed(self.values)

    def factor(self) -> DiagonalFactorization:
        return DiagonalFactorization(self.values.double())


@dataclass(frozen=True, slots=True, eq=False)
class DiagonalFactorization:
    """A diagonal is its own factor; values float64 [R, N]."""

    values: Tensor

    @property
    def exact(self) -> bool:
        return True

    @property
    def positive(self) -> Tensor:
        return ((self.values > 0) & torch.isfinite(self.values)).all(1)

    @property
    def log_det(self) -> Tensor:
        return torch.where(self.positive, self.values.log().sum(1), torch.nan)

    def solve(self, b: Tensor) -> Tensor:
        solution = columns(b, self.values.shape[0]) / self.values[:, None]
        return outside(solution, self.positive).reshape(b.shape).to(b.dtype)


def largest(values: Tensor) -> Tensor:
    """The largest of each row, [R]; 0 when there are no columns."""
    return values.amax(1) if values.shape[1] else values.new_zeros(values.shape[0])
