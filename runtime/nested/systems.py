"""The linear systems of implicit differentiation, with the shortest solution where there are many."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ebmlang.runtime.linear.conjugate import conjugate_gradient
from ebmlang.runtime.linear.dense import DenseMatrix
from ebmlang.runtime.linear.matrix import Matrix, masked
from ebmlang.runtime.problem import Problem

LARGEST_DENSE = 1500
"""Unknowns of a row up to which a matrix without a pattern is written down."""

Solver = Callable[[Tensor], Tensor]
"""Right sides [R, N] to solutions [R, N]."""


def pattern_solver(problem: Problem, x: Tensor, free: Tensor) -> Solver:
    """For the Hessian at x in its pattern, with the identity where an entry is not free."""
    matrix: Matrix = problem.detached().hessian(x)
    if not bool(free.all()):
        matrix = masked(matrix, free)
    factors = matrix.factor()
    positive = factors.positive.expand(x.shape[0])
    if bool(positive.all()):
        return factors.solve
    singular = (~positive).nonzero()[:, 0]
    if matrix.size > LARGEST_DENSE:
        return _shortest_by_steps(matrix.times)
    rest = _shortest(matrix.select(singular).double().dense().expand(len(singular), -1, -1))

    def solve(b: Tensor) -> Tensor:
        return factors.solve(b).index_copy(0, singular, rest(b[singular]))

    return solve


def projected_solver(times: Solver, x: Tensor) -> Solver:
    """For a symmetric map of one vector per row."""
    if x.shape[1] > LARGEST_DENSE:
        return _shortest_by_steps(lambda b: torch.stack([times(k) for k in b.unbind(1)], 1))
    matrix = _written(times, x)
    factors = DenseMatrix(matrix).factor()
    positive = factors.positive
    if bool(positive.all()):
        return factors.solve
    shortest = _shortest(matrix)
    return lambda b: torch.where(positive[:, None], factors.solve(b), shortest(b))


def saddle_solver(
    times: Solver, along: Solver, limits: Tensor, at: Tensor, active: Tensor
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """For [[H, A'], [A, 0]] with the slopes A [R, M, N] of the active constraints, and right sides [R, N]
    and [R, M]: the part along x, and that along the multipliers."""
    matrix = _written(times, at.detach())
    slopes = torch.zeros(*active.shape, at.shape[1], dtype=at.dtype, device=at.device)
    for k in range(active.shape[1]):
        if limits.requires_grad:
            (found,) = torch.autograd.grad(limits[:, k].sum(), at, retain_graph=True, materialize_grads=True)
            slopes[:, k] = torch.where(active[:, k, None], along(found), 0.0)
    corner = torch.diag_embed((~active).to(at.dtype))
    whole = torch.cat([torch.cat([matrix, slopes.mT], 2), torch.cat([slopes, corner], 2)], 1)
    solve, size = _shortest(whole), at.shape[1]

    def solved(v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        found = solve(torch.cat([along(v), torch.where(active, w, 0.0)], 1))
        return along(found[:, :size]), torch.where(active, found[:, size:], 0.0)

    return solved


def _written(times: Solver, x: Tensor) -> Tensor:
    """A symmetric map as matrices [R, N, N]."""
    rows, size = x.shape
    eye = torch.eye(size, dtype=x.dtype, device=x.device)
    columns = [times(direction.expand(rows, size)) for direction in eye]
    matrix = torch.stack(columns, 2) if columns else x.new_zeros(rows, 0, 0)
    return (matrix + matrix.mT) / 2


def _shortest(matrix: Tensor) -> Solver:
    """The shortest solution of symmetric systems [R, N, N]; where there is none, of the nearest one."""
    finite = torch.isfinite(matrix).flatten(1).all(1)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], matrix, 0.0))
    size = values.abs().amax(1, keepdim=True) if values.shape[1] else values
    zero = size * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    inverse = torch.where(values.abs() > zero, 1 / values, 0.0)
    inverse = inverse.masked_fill(~finite[:, None], torch.nan)

    def solve(b: Tensor) -> Tensor:
        turned = torch.einsum("rnk,rn->rk", vectors, b.to(vectors.dtype))
        return torch.einsum("rnk,rk->rn", vectors, inverse * turned).to(b.dtype)

    return solve


def _shortest_by_steps(times: Solver) -> Solver:
    """Conjugate gradients from 0 stay in the range of the matrix, so they go to the shortest solution."""

    def solve(b: Tensor) -> Tensor:
        found = conjugate_gradient(times, b[:, None], lambda r: r, 1e-12, 4 * b.shape[1])
        return found.x[:, 0]

    return solve
