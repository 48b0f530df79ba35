"""Exact steps on a known support: where zeros and bounds are settled, a quadratic energy is a linear system.

The last part of an active-set method; see "feature-sign search", Lee, Battle, Raina and Ng 2006.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.solvers.gram import Gram
from ebmlang.runtime.solvers.solver import select_rows

LARGEST_BATCH = 2**18
"""Numbers of the matrices that are factored together, which is about what stays in a cache."""


def support_step(gram: Gram, slope: Tensor, free: Tensor) -> Tensor:
    """The step [R, N] that makes the slope [R, N] zero at the free entries [R, N] and keeps the others.

    Rows whose matrix is not positive definite there do not move. A singular matrix is shifted by its
    rounding: the step then is as short as it can be along directions that change nothing.
    """
    step = torch.zeros_like(slope)
    sizes = free.sum(1)
    order = torch.argsort(sizes, stable=True)
    begin = 0
    while begin < order.shape[0]:
        # Rows of similar support together, so that little is padded; the width is that of the largest.
        width = max(int(sizes[order[begin]]), 1)
        count = max(1, min(LARGEST_BATCH // width**2, order.shape[0] - begin))
        part = order[begin : begin + count]
        step.index_copy_(0, part, _batch(select_rows(gram, part), slope[part], free[part]))
        begin += count
    return step


def _batch(gram: Gram, slope: Tensor, free: Tensor) -> Tensor:
    sizes = free.sum(1)
    width = max(int(sizes.max()), 1)
    at = torch.argsort(free, dim=1, descending=True, stable=True)[:, :width]
    count = sizes[:, None]
    live = (torch.arange(width, device=at.device) < count).to(slope.dtype)
    matrix = _submatrices(gram, at, slope.shape[1])
    matrix.mul_(live[:, :, None]).mul_(live[:, None, :])
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    shift = 4 * count * torch.finfo(slope.dtype).eps * diagonal.amax(1, keepdim=True)
    diagonal.add_(torch.where(live > 0, shift, 1.0))
    right = (torch.gather(slope, 1, at) * live)[:, :, None]
    factor, failed = torch.linalg.cholesky_ex(matrix)
    # Two triangular solves: for many small systems they are several times faster than cholesky_solve.
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    solved = torch.linalg.solve_triangular(factor.mT, half, upper=True)[:, :, 0]
    good = (failed == 0) & torch.isfinite(solved).all(1)
    solved = torch.where(good[:, None], -solved, 0.0)
    return torch.zeros_like(slope).scatter_(1, at, solved)


def _submatrices(gram: Gram, at: Tensor, size: int) -> Tensor:
    """Rows and columns `at` [R, W] of every matrix, [R, W, W]."""
    rows, width = at.shape
    if gram.shared is not None:
        # A flat look-up by small integers is four times faster than indexing by two tensors.
        small = at.to(torch.int32)
        flat = (small[:, :, None] * size + small[:, None, :]).reshape(-1)
        return gram.shared.tensor.reshape(-1).index_select(0, flat).reshape(rows, width, width)
    assert gram.own is not None
    picked = gram.own.gather(1, at[:, :, None].expand(rows, width, size))
    return picked.gather(2, at[:, None, :].expand(rows, width, width))
