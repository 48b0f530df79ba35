"""What every symmetric matrix and every factorisation of one offers, whatever its pattern.

N counts the coordinates of a row, R the rows. A matrix holds R symmetric N x N matrices of one pattern, or
one (R = 1) that all rows share: then vectors may come in any number of rows. Vectors are [R', N], or [R, K,
N] for K vectors per row. Nothing here raises for a numeric outcome.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Factorization(Protocol):
    """What `Matrix.factor` found.

    `positive` bool [R] says which rows are positive definite: every pivot is above N eps times its diagonal
    entry, eps of the type factored in. With `exact` that is the outcome of an elimination and solutions are
    as good as the condition number allows; otherwise solutions are iterative and `positive` is evidence (no
    direction of negative curvature was met), not proof.
    """

    @property
    def positive(self) -> Tensor: ...

    @property
    def exact(self) -> bool: ...

    @property
    def log_det(self) -> Tensor:
        """log |A| per row, float64 [R]; nan where a row is not positive definite or when not `exact`."""

    def solve(self, b: Tensor) -> Tensor:
        """A^-1 b in the shape and type of b; nan in rows that are not positive definite."""


class Matrix(Protocol):
    """R symmetric matrices of one pattern."""

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def width(self) -> int:
        """The most entries of a row, the few rows of hubs aside; bounds the rounding of products."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def times(self, x: Tensor) -> Tensor:
        """A x in the shape of x."""

    def diagonal(self) -> Tensor:
        """[R, N]."""

    def norm(self) -> Tensor:
        """The largest absolute row sum or a bound of it, [R]; a bound of the spectral norm."""

    def shifted(self, d: Tensor) -> Matrix:
        """A + diag(d), d [R] or [R, N]; R may be 1 on either side."""

    def scaled(self, s: Tensor) -> Matrix:
        """diag(s) A diag(s), s [R or 1, N]."""

    def select(self, rows: Tensor) -> Matrix:
        """The matrices of the given rows (int64 [R']); the same matrix when all rows share it."""

    def double(self) -> Matrix:
        """The same in float64."""

    def dense(self) -> Tensor:
        """[R, N, N], for tests and small N."""

    def factor(self) -> Factorization: ...


def columns(b: Tensor, rows: int) -> Tensor:
    """Vectors [R', N] or [R, K, N] as [R, K, N] for a matrix of `rows` rows; a shared one takes all as K."""
    count = math.prod(b.shape[:-1])
    return b.reshape(rows, count // max(rows, 1), b.shape[-1])


def spread(d: Tensor, size: int) -> Tensor:
    """What is added to a diagonal, [R] or [R, N], as [R, N]."""
    return d[:, None].expand(d.shape[0], size) if d.ndim == 1 else d


def pick(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of a tensor whose first dimension is R; a shared one stays."""
    return values if values.shape[0] == 1 else values.index_select(0, rows)


def masked(matrix: Matrix, mask: Tensor) -> Matrix:
    """The matrix with identity in the rows and columns of coordinates not sought (mask [R or 1, N] False)."""
    keep = mask.to(matrix.dtype)
    return matrix.scaled(keep).shifted(1 - keep)


def outside(solution: Tensor, positive: Tensor) -> Tensor:
    """The solution [R, K, N] with nan in rows that are not positive definite."""
    if not positive.is_cuda and bool(positive.all()):
        return solution
    return torch.where(positive[:, None, None], solution, torch.nan)


def pivots_positive(pivots: Tensor, diagonal: Tensor) -> Tensor:
    """Which rows have pivots [R, N] that tell them positive definite, given the diagonal in the same order.

    The rounding error of the k-th pivot of a Cholesky factorisation is a multiple of eps a_kk, because the
    squares subtracted from a_kk sum to at most a_kk (Higham, Accuracy and Stability, theorem 10.3); the
    factor N covers errors that are handed on along a chain. Independent of how coordinates are scaled.
    """
    share = torch.finfo(pivots.dtype).eps * max(pivots.shape[-1], 4)
    if pivots.numel() and not pivots.is_cuda:
        low, high = torch.aminmax(pivots)
        # Mostly the smallest pivot is above what any diagonal entry asks for; nan compares as False.
        if bool((low > share * diagonal.amax().clamp(min=0.0)) & (high < torch.inf)):
            return torch.ones(pivots.shape[:-1], dtype=torch.bool)
    floor = share * diagonal.clamp(min=0.0)
    return ((pivots > floor) & torch.isfinite(pivots)).all(-1)
