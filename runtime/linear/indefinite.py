"""Making a matrix positive definite, and the direction along which one that is not curves down."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.dense import DenseMatrix
from ebmlang.runtime.linear.matrix import Factorization, Matrix, masked
from ebmlang.runtime.linear.semidefinite import (
    EIGEN,
    by_eigenvectors,
    one_row,
    orthonormal,
    random_vectors,
    signed,
)


@dataclass(frozen=True, slots=True, eq=False)
class Modified:
    """Factors of A + shift, positive definite in rows of finite numbers; shift float64 [R], 0 where A is."""

    factors: Factorization
    shift: Tensor


def modified(matrix: Matrix, first: Tensor | None = None, relative: float = 1e-6) -> Modified:
    """The matrix made positive definite by adding a small multiple of the identity to rows that are not.

    A matrix that only rounding makes indefinite is served by the least shift, `relative` norm. Of the others
    small dense ones get the smallest shift that lifts their least eigenvalue to that. The rest begin with
    `first` [R] (say, a third of the shift of the step before), at least relative norm above minus the least
    diagonal entry, and go up by factors of 4 (Nocedal & Wright, Numerical Optimization, algorithm 3.3); norm
    is an upper limit of what can be needed, so that few attempts suffice.
    """
    factors = matrix.factor()
    positive = factors.positive
    shift = torch.zeros(matrix.rows, dtype=torch.float64, device=matrix.device)
    if bool(positive.all()) or matrix.size == 0:
        return Modified(factors, shift)
    norm = matrix.norm().double()
    step = relative * torch.where(norm > 0, norm, 1.0)
    wide = matrix.double()
    if isinstance(matrix, DenseMatrix) and matrix.size <= EIGEN:
        shift = torch.where(positive, 0.0, step)
        factors = wide.shifted(shift).factor()
        if bool(factors.positive.all()):
            return Modified(factors, shift)
        safe = torch.where(torch.isfinite(norm)[:, None, None], matrix.values.double(), 0.0)
        least = torch.linalg.eigvalsh(safe)[:, 0]
        shift = torch.where(positive, 0.0, (step - least).clamp(min=0.0))
        return Modified(wide.shifted(shift).factor(), shift)
    floor = (-matrix.diagonal().double().amin(1)).clamp(min=0.0) + step
    attempt = floor if first is None else torch.maximum(floor, first.double())
    ceiling = norm + step
    finite = torch.isfinite(norm)
    while True:
        shift = torch.where(positive, shift, torch.minimum(attempt, ceiling))
        factors = wide.shifted(shift).factor()
        positive = factors.positive | ~finite
        if bool(positive.all()) or bool((attempt > ceiling)[~positive].all()):
            return Modified(factors, shift)
        attempt = 4 * attempt


@dataclass(frozen=True, slots=True, eq=False)
class Among:
    """A solution [R, N] that is 0 where a coordinate is held, and the shift that it took, float64 [R]."""

    solution: Tensor
    shift: Tensor


def solve_among(matrix: Matrix, free: Tensor, b: Tensor, first: Tensor | None = None) -> Among:
    """The solution of A x = b among the free coordinates [R, N] of each row, b [R, N] being 0 at the others;
    A is modified (see there) until it is positive definite."""
    if isinstance(matrix, DenseMatrix) and matrix.rows == 1 == b.shape[0]:
        # The elimination of what is free alone: with half of the coordinates an eighth of the work.
        at = free[0].nonzero()[:, 0]
        inner = matrix.values[0].index_select(0, at).index_select(1, at)
        found = modified(DenseMatrix(inner[None]), first)
        part = found.factors.solve(b.index_select(1, at))
        return Among(torch.zeros_like(b).index_copy_(1, at, part), found.shift)
    found = modified(masked(matrix, free), first)
    return Among(found.factors.solve(b), found.shift.expand(b.shape[0]))


def lowest_direction(matrix: Matrix, row: int = 0) -> tuple[Tensor, Tensor]:
    """The least eigenvalue (float64 []) of a row and a unit eigenvector [N]: where a quadratic curves down.

    By all eigenvectors where N is small; else by inverse iteration with the matrix shifted until it is
    positive definite, which gives an upper bound of the eigenvalue and a direction that attains it.
    """
    one = one_row(matrix, row)
    wide = one.double()
    if by_eigenvectors(one):
        values, vectors = torch.linalg.eigh(wide.dense()[0])
        return values[0], signed(vectors.mT[:1])[0]
    vectors = orthonormal(random_vectors(4, wide))
    factors = modified(wide).factors
    values = torch.zeros(4, dtype=torch.float64, device=wide.device)
    for _ in range(30):
        vectors = orthonormal(factors.solve(vectors))
        values, turn = torch.linalg.eigh(vectors @ wide.times(vectors).mT)
        vectors = turn.mT @ vectors
    return values[0], signed(vectors[:1])[0]
