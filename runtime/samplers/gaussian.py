"""Independent draws from exp(-beta E) where E is of degree 2: the mean plus a root of the covariance times
noise.

With H = L L^T the draws are mean + L^-T noise / sqrt(beta) (Rue & Held 2005, section 2.4). The root is taken
in the pattern of H: entry by entry for a diagonal, in the band for chains, dense otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy
import torch
from torch import Tensor

from ebmlang.runtime.gaussian import Unmeasured, faults_of, hessian_of
from ebmlang.runtime.linear import Matrix
from ebmlang.runtime.linear.banded import BandedMatrix
from ebmlang.runtime.linear.blocks import BlockTridiagonalMatrix
from ebmlang.runtime.linear.diagonal import DiagonalMatrix
from ebmlang.runtime.linear.order import by_coordinate
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.samplers.randomness import Randomness

MOST_DENSE = 4000
"""Unknowns up to which a matrix without a band is written down."""

Root = Callable[[Tensor], Tensor]
"""Noise [R, K, N] to L^-T noise."""


def draw(problem: Problem, beta: float, count: int, randomness: Randomness) -> tuple[Tensor, tuple[str, ...]]:
    """`count` draws for each row of a problem in float64, [R, count, N], and a fault for each row: NaN and a
    sentence where the integral of exp(-beta E) is infinite. `randomness` makes the noise of R * count chains.

    Raises Unmeasured where the matrix is too large.
    """
    space = problem.space
    with torch.no_grad():
        x = space.project(torch.zeros(space.rows, space.size, dtype=torch.float64, device=space.device))
        energy, gradient = problem.energy_and_gradient(x)
        matrix = hessian_of(problem, problem.pattern, x)
        factors = matrix.factor()
        if not factors.exact:
            raise Unmeasured(f"the Hessian of {space.size:,} unknowns is too large to be factored")
        positive = factors.positive.expand(space.rows)
        noise = randomness.normal(space.size).double().reshape(space.rows, count, space.size)
        faults = faults_of(matrix, positive, space, energy)
        if not bool(positive.any()):
            return torch.full_like(noise, torch.nan), faults
        for _ in range(2):  # the second solve takes away the rounding of the first
            x = x - space.sought(factors.solve(gradient))
            _, gradient = problem.energy_and_gradient(x)
        spread = _root(matrix, factors.positive)(noise) / math.sqrt(beta)
        if space.mask is not None:
            spread = torch.where(space.mask[:, None], spread, 0.0)
        found = x[:, None] + spread
    return torch.where(positive[:, None, None], found, torch.nan), faults


def _root(matrix: Matrix, positive: Tensor) -> Root:
    """L^-T of every matrix; rows that are not positive definite get anything."""
    if isinstance(matrix, DiagonalMatrix):
        deviation = torch.where(positive[:, None], matrix.diagonal(), 1.0).rsqrt()
        return lambda noise: noise * deviation[:, None]
    if isinstance(matrix, BlockTridiagonalMatrix):
        matrix = matrix.banded()
    if isinstance(matrix, BandedMatrix):
        return _banded_root(matrix, positive)
    if matrix.size > MOST_DENSE:
        raise Unmeasured(f"no root of the Hessian of {matrix.size:,} unknowns is taken: it is no band")
    dense = matrix.dense()
    eye = torch.eye(matrix.size, dtype=dense.dtype, device=dense.device)
    lower = torch.linalg.cholesky_ex(torch.where(positive[:, None, None], dense, eye)).L
    return lambda noise: torch.linalg.solve_triangular(lower.mT, noise.mT, upper=True).mT


def _banded_root(matrix: BandedMatrix, positive: Tensor) -> Root:
    """The same row by row in LAPACK's band storage."""
    good = positive.tolist()
    bands = matrix.bands.cpu().numpy()
    lowers = [
        scipy.linalg.cholesky_banded(own, lower=True) if fine else None
        for own, fine in zip(bands, good, strict=True)
    ]

    def root(noise: Tensor) -> Tensor:
        flat = noise.cpu().numpy()
        found = np.zeros_like(flat)
        for row, own in enumerate(flat):
            lower = lowers[row if len(lowers) > 1 else 0]
            if lower is not None:
                solved, _ = scipy.linalg.lapack.dtbtrs(lower, np.asfortranarray(own.T), uplo="L", trans="T")
                found[row] = solved.T
        return by_coordinate(torch.from_numpy(found).to(noise.device), matrix.pattern.order)

    return root
