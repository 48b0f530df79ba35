"""Entries of the inverse on the diagonal, without the inverse.

A chain of blocks gives them from its Cholesky factors by a recursion back, the smoother of Rauch, Tung &
Striebel (1965; Takahashi, Fagan & Chin 1973 for any pattern). Other patterns are solved for unit vectors,
some at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ebmlang.runtime.linear.banded import BandedMatrix
from ebmlang.runtime.linear.blocks import BlockTridiagonalMatrix, chain_factor
from ebmlang.runtime.linear.diagonal import DiagonalMatrix
from ebmlang.runtime.linear.matrix import Factorization, Matrix
from ebmlang.runtime.linear.order import by_coordinate

MOST_NUMBERS = 1 << 31
"""Numbers of all solutions for unit vectors beyond which nothing is computed."""

_AT_ONCE = 1 << 24

_LONG = 64
"""Chains of fewer coordinates are solved for unit vectors."""


def inverse_diagonal(matrix: Matrix, factors: Factorization) -> Tensor | None:
    """The diagonal of A^-1, float64 [R, N], nan in rows that are not positive definite.

    None where that would take too long: a general pattern of very many coordinates.
    """
    if isinstance(matrix, DiagonalMatrix):
        main = matrix.diagonal().double()
        return torch.where(factors.positive[:, None], 1.0 / main, torch.nan)
    if isinstance(matrix, BandedMatrix) and matrix.size > _LONG:
        main, below = _cut(matrix)
        found = _along_chain(main, below)[:, : matrix.size]
        return _checked(by_coordinate(found, matrix.pattern.order), factors)
    if isinstance(matrix, BlockTridiagonalMatrix) and matrix.size > _LONG:
        found = _along_chain(matrix.main.double(), matrix.below.double())
        return _checked(by_coordinate(found, matrix.pattern.order), factors)
    if float(matrix.rows) * matrix.size * matrix.size > MOST_NUMBERS:
        return None
    return _by_unit_vectors(matrix, factors)


def _checked(found: Tensor, factors: Factorization) -> Tensor:
    return torch.where(factors.positive[:, None], found, torch.nan)


def _by_unit_vectors(matrix: Matrix, factors: Factorization) -> Tensor:
    rows, size = matrix.rows, matrix.size
    step = max(1, _AT_ONCE // max(rows * size, 1))
    parts = []
    for start in range(0, size, step):
        count = min(step, size - start)
        unit = torch.zeros(rows, count, size, dtype=torch.float64, device=matrix.device)
        index = torch.arange(count, device=matrix.device)
        unit[:, index, start + index] = 1.0
        parts.append(factors.solve(unit)[:, index, start + index])
    if not parts:
        return torch.zeros(rows, 0, dtype=torch.float64, device=matrix.device)
    return torch.cat(parts, 1)


def _cut(matrix: BandedMatrix) -> tuple[Tensor, Tensor]:
    """A band as a chain of blocks as wide as the band, with the identity past the end."""
    width = max(matrix.pattern.bandwidth, 1)
    bands = matrix.bands.double()
    if bands.shape[1] == 1:
        bands = pad(bands, (0, 0, 0, 1))
    rows, _, size = bands.shape
    count = -(-size // width)
    bands = pad(bands, (0, count * width - size))
    bands[:, 0, size:] = 1.0
    main = bands.new_zeros(rows, count, width, width)
    below = bands.new_zeros(rows, count - 1, width, width)
    for column in range(width):
        for offset in range(min(width, bands.shape[1] - 1) + 1):
            entry = bands[:, offset, column::width]
            row = column + offset
            if row < width:
                main[:, :, row, column] = entry
                main[:, :, column, row] = entry
            else:
                below[:, :, row - width, column] = entry[:, : count - 1]
    return main, below


def _along_chain(main: Tensor, below: Tensor) -> Tensor:
    """The diagonal of the inverse of chains of blocks [R, T, m, m] and [R, T - 1, m, m]: [R, T m].

    With A = L L', the blocks of the inverse S on the diagonal follow from the last one back:
    S[t] = (L[t] L[t]')^-1 + G S[t + 1] G', where G' = left[t] L[t]^-1 and left[t] stands below L[t].
    """
    factors = chain_factor(main, below)
    eye = torch.eye(main.shape[2], dtype=main.dtype, device=main.device).expand(main.shape[0], -1, -1)
    lower = torch.where(factors.positive[:, None, None, None], factors.lower, eye[:, None])
    left = torch.where(factors.positive[:, None, None, None], factors.left, 0.0)
    inverse = torch.linalg.solve_triangular(lower, eye[:, None].expand_as(lower), upper=False)
    own = inverse.mT @ inverse
    gains = left @ inverse[:, :-1] if main.shape[1] > 1 else left
    last = own[:, -1]
    found = [last.diagonal(dim1=1, dim2=2)]
    for place in range(main.shape[1] - 2, -1, -1):
        gain = gains[:, place]
        last = own[:, place] + gain.mT @ last @ gain
        found.append(last.diagonal(dim1=1, dim2=2))
    return torch.stack(found[::-1], 1).flatten(1)
