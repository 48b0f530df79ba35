"""The matrices of a quadratic program, measured from its functions.

Where the energy is of degree 2 and constraints are affine, gradients and constraints are affine functions
of x, so their differences along unit vectors are the matrices to rounding, however long the vectors are:
they are taken as long as the gradient is large, so that the difference does not cancel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.constrained.problem import Constrained
from ebmlang.runtime.problem import Problem

LARGEST_UNKNOWNS = 1_000
LARGEST_CONSTRAINTS = 4_000
PROBED_NUMBERS = 2**22
"""Coordinates of all probes that are evaluated together, and numbers of the rows they belong to."""

ROUNDING = 1e-9
"""Relative size of a negative eigenvalue that counts as rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class QuadraticProgram:
    """minimise 1/2 d'Hd + g'd over d = x - base with base + d in [lo, hi] and A d + c == 0 or <= 0.

    base, gradient, lo, hi [R, N]; hessian [R, N, N]; jacobian [R, M, N]; offset [R, M]; equal bool [M].
    Entries with lo == hi cannot move.
    """

    base: Tensor
    hessian: Tensor
    gradient: Tensor
    jacobian: Tensor
    offset: Tensor
    equal: Tensor
    lo: Tensor
    hi: Tensor


def fits(constrained: Constrained, x: Tensor) -> bool:
    """Whether dense matrices of this size are worth it."""
    entries = constrained.equal(x).shape[0]
    return x.shape[1] <= LARGEST_UNKNOWNS and entries <= LARGEST_CONSTRAINTS


def measure(constrained: Constrained, x: Tensor) -> QuadraticProgram:
    """The program around the points x [R, N]."""
    problem = constrained.problem
    rows, size = x.shape
    _, gradient = problem.energy_and_gradient(x)
    with torch.no_grad():
        offset = constrained.values(x)
    lo, hi = (side.expand(rows, size) for side in problem.space.bounds())
    most = float(torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0).abs().amax()) if size else 1.0
    step = 2.0 ** math.ceil(math.log2(max(1.0, most)))  # a power of two: moving and dividing are exact
    hessian = torch.empty(rows, size, size, dtype=x.dtype, device=x.device)
    jacobian = torch.empty(rows, offset.shape[1], size, dtype=x.dtype, device=x.device)
    at_once = max(1, PROBED_NUMBERS // max(1, rows * size + own_numbers(problem)))
    for start in range(0, size, at_once):
        entries = torch.arange(start, min(start + at_once, size), device=x.device)
        count = entries.shape[0]
        many = constrained.select(torch.arange(rows, device=x.device).repeat_interleave(count))
        moved = x.repeat_interleave(count, 0)
        moved[torch.arange(rows * count, device=x.device), entries.repeat(rows)] += step
        _, slopes = many.problem.energy_and_gradient(moved)
        with torch.no_grad():
            values = many.values(moved)
        hessian[:, start : start + count] = (slopes.reshape(rows, count, size) - gradient[:, None]) / step
        change = values.reshape(rows, count, -1) - offset[:, None]
        jacobian[:, :, start : start + count] = change.transpose(1, 2) / step
    mask = problem.space.mask
    if mask is not None:
        jacobian = jacobian * mask[:, None]
        hessian = hessian * mask[:, None] * mask[..., None]
    hessian = (hessian + hessian.transpose(1, 2)) / 2
    return QuadraticProgram(x, hessian, gradient, jacobian, offset, constrained.equal(x), lo, hi)


def own_numbers(problem: Problem) -> int:
    """How many of the held numbers belong to single rows: those that are copied where rows are."""
    rows = problem.space.rows
    own = (v for n, v in problem.held.items() if n in problem.row_values and v.shape[0] == rows > 1)
    return sum(v.numel() for v in own)


def convex(program: QuadraticProgram) -> Tensor:
    """Rows whose Hessian is positive semidefinite to rounding, on the entries that can move; bool [R]."""
    free = (program.lo < program.hi).to(program.hessian.dtype)
    matrix = program.hessian * free[:, None] * free[..., None]
    finite = torch.isfinite(matrix).flatten(1).all(1)
    matrix = torch.where(finite[:, None, None], matrix, 0.0)
    size = matrix.abs().flatten(1).amax(1) if matrix.shape[1] else matrix.new_zeros(matrix.shape[0])
    shift = (ROUNDING * size).clamp(min=torch.finfo(matrix.dtype).tiny)
    _, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(shift[:, None].expand(matrix.shape[:2])))
    positive: Tensor = (info == 0) & finite
    return positive
