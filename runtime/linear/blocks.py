"""Block-tridiagonal matrices: chains of small blocks.

Three eliminations, all in float64. Few rows or small blocks on a CPU: as a band, by LAPACK, which wastes less
than half of its operations on zeros and does everything in one call per row. Many rows of larger blocks:
Cholesky block by block with all rows in one batched operation, T short steps. On an accelerator: cyclic
reduction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.linear.banded import BandedFactorization, BandedMatrix, banded_factor
from ebmlang.runtime.linear.cyclic import CyclicFactors, cyclic_factor
from ebmlang.runtime.linear.diagonal import largest
from ebmlang.runtime.linear.matrix import columns, outside, pick, pivots_positive, spread
from ebmlang.runtime.linear.order import by_coordinate, by_position
from ebmlang.runtime.linear.patterns import BandedPattern, BlockTridiagonalPattern


@dataclass(frozen=True, slots=True, eq=False)
class BlockTridiagonalMatrix:
    """Blocks on the diagonal [R, T, m, m] and below it [R, T - 1, m, m], by position."""

    pattern: BlockTridiagonalPattern
    main: Tensor
    below: Tensor

    @property
    def rows(self) -> int:
        return self.main.shape[0]

    @property
    def size(self) -> int:
        return self.pattern.size

    @property
    def width(self) -> int:
        return min(3, self.pattern.blocks) * self.pattern.block

    @property
    def dtype(self) -> torch.dtype:
        return self.main.dtype

    @property
    def device(self) -> torch.device:
        return self.main.device

    def times(self, x: Tensor) -> Tensor:
        parts = self._parts(columns(x, self.rows))
        result = parts @ self.main
        result[:, 1:] += parts[:, :-1] @ self.below.transpose(2, 3)
        result[:, :-1] += parts[:, 1:] @ self.below
        return self._whole(result).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return by_coordinate(self.main.diagonal(dim1=2, dim2=3).flatten(1), self.pattern.order)

    def norm(self) -> Tensor:
        total = self.main.abs().sum(3)
        total[:, 1:] += self.below.abs().sum(3)
        total[:, :-1] += self.below.abs().sum(2)
        return largest(total.flatten(1))

    def shifted(self, d: Tensor) -> BlockTridiagonalMatrix:
        added = by_position(spread(d, self.size), self.pattern.order).unflatten(1, self._shape)
        main = self.main + torch.diag_embed(added)
        return BlockTridiagonalMatrix(self.pattern, main, self.below.expand(main.shape[0], -1, -1, -1))

    def scaled(self, s: Tensor) -> BlockTridiagonalMatrix:
        parts = by_position(s, self.pattern.order).unflatten(1, self._shape)
        main = self.main * parts[..., None] * parts[..., None, :]
        below = self.below * parts[:, 1:, :, None] * parts[:, :-1, None]
        return BlockTridiagonalMatrix(self.pattern, main, below)

    def select(self, rows: Tensor) -> BlockTridiagonalMatrix:
        return BlockTridiagonalMatrix(self.pattern, pick(self.main, rows), pick(self.below, rows))

    def double(self) -> BlockTridiagonalMatrix:
        return BlockTridiagonalMatrix(self.pattern, self.main.double(), self.below.double())

    def dense(self) -> Tensor:
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        return self.times(eye.expand(self.rows, self.size, self.size))

    def factor(self) -> BandedFactorization | BlockFactorization:
        if self.device.type != "cpu":
            return BlockFactorization(self, cyclic_factor(self.main.double(), self.below.double()))
        if self.rows >= ROWS_AT_ONCE and self.pattern.block >= BLOCK_AT_ONCE:
            return BlockFactorization(self, chain_factor(self.main.double(), self.below.double()))
        return banded_factor(self.banded())

    def banded(self) -> BandedMatrix:
        """The same as a band of 2 m - 1 (m - 1 for a single block)."""
        block = self.pattern.block
        reach = 2 * block if self.pattern.blocks > 1 else block
        below = torch.cat([self.below, torch.zeros_like(self.main[:, :1])], 1)
        tall = torch.cat([self.main, below], 2)
        # Column k of a block starts on the diagonal, at entry k of the tall block.
        place = torch.arange(reach, device=self.device)[:, None] + torch.arange(block, device=self.device)
        taken = tall.gather(2, place.clamp(max=2 * block - 1).expand(*tall.shape[:2], reach, block))
        bands = torch.where(place < 2 * block, taken, 0.0).transpose(1, 2).flatten(2)
        return BandedMatrix(BandedPattern(self.size, reach - 1, self.pattern.order), bands)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.pattern.blocks, self.pattern.block

    def _parts(self, vectors: Tensor) -> Tensor:
        """[R, K, N] -> [R, T, K, m]."""
        ordered = by_position(vectors, self.pattern.order)
        return ordered.reshape(*ordered.shape[:2], *self._shape).transpose(1, 2)

    def _whole(self, parts: Tensor) -> Tensor:
        return by_coordinate(parts.transpose(1, 2).flatten(2), self.pattern.order)


ROWS_AT_ONCE = 16
BLOCK_AT_ONCE = 8
"""From this many rows of blocks of this size a CPU eliminates in all rows at once (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class ChainFactors:
    """A = L L' with diagonal blocks `lower` [R, T, m, m] of L and `left` [R, T - 1, m, m] below them."""

    lower: Tensor
    left: Tensor
    positive: Tensor

    @property
    def log_det(self) -> Tensor:
        logs = 2 * self.lower.diagonal(dim1=2, dim2=3).log().flatten(1).sum(1)
        return torch.where(self.positive, logs, torch.nan)

    def solve(self, b: Tensor) -> Tensor:
        """Solutions of b [R, K, T, m]."""
        parts = list(b.movedim(1, 3).unbind(1))
        lower, left = self.lower.unbind(1), self.left.unbind(1)
        for place, factor in enumerate(lower):
            if place:
                parts[place] = parts[place] - left[place - 1] @ parts[place - 1]
            parts[place] = torch.linalg.solve_triangular(factor, parts[place], upper=False)
        for place in reversed(range(len(lower))):
            if place + 1 < len(lower):
                parts[place] = parts[place] - left[place].mT @ parts[place + 1]
            parts[place] = torch.linalg.solve_triangular(lower[place].mT, parts[place], upper=True)
        return torch.stack(parts, 1).movedim(3, 1)


def chain_factor(main: Tensor, below: Tensor) -> ChainFactors:
    """Cholesky block by block of float64 blocks [R, T, m, m] and [R, T - 1, m, m]."""
    finite = torch.isfinite(main).flatten(1).all(1) & torch.isfinite(below).flatten(1).all(1)
    main = torch.where(finite[:, None, None, None], main, 0.0)
    lowers: list[Tensor] = []
    lefts: list[Tensor] = []
    infos = []
    for place in range(main.shape[1]):
        block = main[:, place]
        if place:
            # L_left L' = A_below
            left = torch.linalg.solve_triangular(lowers[-1].mT, below[:, place - 1], upper=True, left=False)
            lefts.append(left)
            block = block - left @ left.mT
        lower, info = torch.linalg.cholesky_ex(torch.nan_to_num(block))
        lowers.append(lower)
        infos.append(info)
    stacked = torch.stack(lowers, 1)
    pivots = stacked.diagonal(dim1=2, dim2=3).flatten(1) ** 2
    positive = pivots_positive(pivots, main.diagonal(dim1=2, dim2=3).flatten(1))
    positive &= finite & (torch.stack(infos, 1) == 0).all(1)
    return ChainFactors(stacked, torch.stack(lefts, 1) if lefts else below, positive)


@dataclass(frozen=True, slots=True, eq=False)
class BlockFactorization:
    """Factors of all rows at once."""

    matrix: BlockTridiagonalMatrix
    factors: ChainFactors | CyclicFactors

    @property
    def exact(self) -> bool:
        return True

    @property
    def positive(self) -> Tensor:
        return self.factors.positive

    @property
    def log_det(self) -> Tensor:
        return self.factors.log_det

    def solve(self, b: Tensor) -> Tensor:
        order = self.matrix.pattern.order
        right = by_position(columns(b, self.matrix.rows).double(), order)
        solution = self.factors.solve(right.unflatten(2, self.matrix._shape)).flatten(2)
        return outside(by_coordinate(solution, order), self.positive).reshape(b.shape).to(b.dtype)
