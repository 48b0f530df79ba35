"""Block cyclic reduction: the elimination of a block-tridiagonal matrix in log2(T) steps of batched
operations.

Each step eliminates every second block. With odd block k between the even blocks k and k + 1 of what is left,

    A_oo[k] = G G',   U = G^-1 A_oe[k, k],   V = G^-1 A_oe[k, k + 1],
    A_ee[k, k] -= U'U,   A_ee[k + 1, k + 1] -= V'V,   A_ee[k + 1, k] = -V'U,

which is Cholesky's factorisation in another order of the blocks, so that it exists exactly for positive
definite matrices and is as stable (Heller, Some aspects of the cyclic reduction algorithm for block
tridiagonal linear systems, 1976). About three times the operations of the sequential order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.matrix import pivots_positive


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One step: Cholesky factors of the odd blocks [R, O, m, m], couplings to the even ones on both sides."""

    lower: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CyclicFactors:
    """Factors of R matrices of T blocks; `last` [R, 1, m, m] belongs to the block that remains."""

    levels: tuple[Level, ...]
    last: Tensor
    positive: Tensor

    @property
    def log_det(self) -> Tensor:
        factors = [*(level.lower for level in self.levels), self.last]
        parts = [2 * _diagonal(part).log().flatten(1).sum(1) for part in factors]
        logs = sum(parts[1:], parts[0])
        return torch.where(self.positive, logs, torch.nan)

    def solve(self, b: Tensor) -> Tensor:
        """Solutions of b [R, K, T, m]."""
        # Blocks in front, right-hand sides as columns: [R, T, m, K]
        kept = b.movedim(1, 3)
        halves = []
        for level in self.levels:
            odd = _forward(level.lower, kept[:, 1::2])
            count = level.right.shape[1]
            kept = kept[:, 0::2].clone()
            kept[:, : odd.shape[1]] -= _times(level.left.transpose(2, 3), odd)
            kept[:, 1 : count + 1] -= _times(level.right.transpose(2, 3), odd[:, :count])
            halves.append(odd)
        kept = _backward(self.last, _forward(self.last, kept))
        for level, odd in zip(reversed(self.levels), reversed(halves), strict=True):
            count = level.right.shape[1]
            odd = odd - _times(level.left, kept[:, : odd.shape[1]])
            odd[:, :count] -= _times(level.right, kept[:, 1 : count + 1])
            whole = torch.empty_like(odd[:, :1]).expand(-1, kept.shape[1] + odd.shape[1], -1, -1).clone()
            whole[:, 0::2] = kept
            whole[:, 1::2] = _backward(level.lower, odd)
            kept = whole
        return kept.movedim(3, 1)


def cyclic_factor(blocks: Tensor, below: Tensor) -> CyclicFactors:
    """Factors of diagonal blocks [R, T, m, m], T >= 1, and the blocks below them [R, T - 1, m, m]."""
    positive = torch.isfinite(blocks).flatten(1).all(1) & torch.isfinite(below).flatten(1).all(1)
    scale = _diagonal(blocks)
    places = scale[0].numel()
    levels = []
    while blocks.shape[1] > 1:
        lower = _cholesky(blocks[:, 1::2])
        positive = positive & _positive(lower, scale[:, 1::2], places)
        left = _forward(lower, below[:, 0::2])
        count = below.shape[1] // 2
        right = _forward(lower[:, :count], below[:, 1::2].transpose(2, 3))
        blocks, scale = blocks[:, 0::2].clone(), scale[:, 0::2]
        blocks[:, : left.shape[1]] -= _times(left.transpose(2, 3), left)
        blocks[:, 1 : count + 1] -= _times(right.transpose(2, 3), right)
        below = -_times(right.transpose(2, 3), left[:, :count])
        levels.append(Level(lower, left, right))
    last = _cholesky(blocks)
    return CyclicFactors(tuple(levels), last, positive & _positive(last, scale, places))


def _positive(lower: Tensor, scale: Tensor, places: int) -> Tensor:
    """Per row, by the pivots of these blocks; `places` numbers are in a row altogether."""
    share = places / max(scale[0].numel(), 4)
    return pivots_positive(_diagonal(lower).flatten(1) ** 2, scale.flatten(1) * share)


def _diagonal(blocks: Tensor) -> Tensor:
    return blocks.diagonal(dim1=-2, dim2=-1)


def _cholesky(blocks: Tensor) -> Tensor:
    """Lower factors; nan where there is none."""
    if blocks.shape[-1] == 1:
        return blocks.sqrt()
    lower, info = torch.linalg.cholesky_ex(torch.nan_to_num(blocks, nan=-1.0))
    return torch.where((info == 0)[..., None, None], lower, torch.nan)


def _forward(lower: Tensor, right: Tensor) -> Tensor:
    if lower.shape[-1] == 1:
        return right / lower
    result: Tensor = torch.linalg.solve_triangular(lower, right, upper=False)
    return result


def _backward(lower: Tensor, right: Tensor) -> Tensor:
    if lower.shape[-1] == 1:
        return right / lower
    result: Tensor = torch.linalg.solve_triangular(lower.mT, right, upper=True)
    return result


def _times(left: Tensor, right: Tensor) -> Tensor:
    # A product of 1 x 1 blocks as one multiplication: thousands of tiny matrix products would be slow.
    return left * right if left.shape[-2:] == (1, 1) else left @ right
