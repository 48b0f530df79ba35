"""Banded matrices: LAPACK row by row on a CPU, cyclic reduction of all rows at once on an accelerator; many
tiny ones by a dense elimination of all.

LAPACK's elimination (pttrf for one diagonal beside the main one, pbtrf otherwise) costs N (b + 1)^2 and is
sequential. On an accelerator that would be N launches; there the band is cut into blocks of b coordinates and
`cyclic` eliminates every second block at once, log2(N / b) times. It costs about three times the operations,
so a CPU never takes it. Factors are in float64 whatever the type of the matrix: the elimination is bound by
the latency of divisions, not by the width of numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch
from torch import Tensor
from torch.nn.functional import pad

from ebmlang.runtime.linear.cyclic import CyclicFactors, cyclic_factor
from ebmlang.runtime.linear.dense import DenseFactorization, dense_factor
from ebmlang.runtime.linear.diagonal import largest
from ebmlang.runtime.linear.matrix import columns, outside, pick, pivots_positive, spread
from ebmlang.runtime.linear.order import by_coordinate, by_position
from ebmlang.runtime.linear.patterns import BandedPattern

MANY, SMALL = 32, 16
"""Rows from which, and numbers in a row up to which, one call for all rows costs less than a call of LAPACK
for each."""

Numbers = npt.NDArray[np.float64]
Solver = Callable[[Numbers], Numbers]
"""Solutions [N, K] of right-hand sides [N, K], which may be overwritten."""


@dataclass(frozen=True, slots=True, eq=False)
class BandedMatrix:
    """bands [R, b + 1, N]: bands[:, d, j] is the entry of positions (j + d, j), 0 for j + d >= N."""

    pattern: BandedPattern
    bands: Tensor

    @property
    def rows(self) -> int:
        return self.bands.shape[0]

    @property
    def size(self) -> int:
        return self.pattern.size

    @property
    def width(self) -> int:
        return 2 * self.pattern.bandwidth + 1

    @property
    def dtype(self) -> torch.dtype:
        return self.bands.dtype

    @property
    def device(self) -> torch.device:
        return self.bands.device

    def times(self, x: Tensor) -> Tensor:
        ordered = by_position(columns(x, self.rows), self.pattern.order)
        result = self.bands[:, None, 0] * ordered
        for offset in range(1, min(self.bands.shape[1], self.size)):
            band = self.bands[:, None, offset, :-offset]
            result[..., offset:] += band * ordered[..., :-offset]
            result[..., :-offset] += band * ordered[..., offset:]
        return by_coordinate(result, self.pattern.order).reshape(x.shape)

    def diagonal(self) -> Tensor:
        return by_coordinate(self.bands[:, 0], self.pattern.order)

    def norm(self) -> Tensor:
        size = self.bands.abs()
        total = size.sum(1)
        for offset in range(1, min(self.bands.shape[1], self.size)):
            total[:, offset:] += size[:, offset, :-offset]
        return largest(total)

    def shifted(self, d: Tensor) -> BandedMatrix:
        added = by_position(spread(d, self.size), self.pattern.order)
        if added.shape[0] == self.bands.shape[0]:
            bands = self.bands.clone()
            bands[:, 0].add_(added)
            return BandedMatrix(self.pattern, bands)
        main = self.bands[:, 0] + added
        rest = self.bands[:, 1:].expand(main.shape[0], -1, -1)
        return BandedMatrix(self.pattern, torch.cat([main[:, None], rest], 1))

    def scaled(self, s: Tensor) -> BandedMatrix:
        if self.size == 0:
            return self
        ordered = by_position(s, self.pattern.order)
        reach = self.bands.shape[1]
        # below[:, d, j] is the factor of position j + d
        below = pad(ordered, (0, reach - 1)).unfold(1, reach, 1).transpose(1, 2)
        return BandedMatrix(self.pattern, self.bands * ordered[:, None] * below)

    def select(self, rows: Tensor) -> BandedMatrix:
        return BandedMatrix(self.pattern, pick(self.bands, rows))

    def double(self) -> BandedMatrix:
        return BandedMatrix(self.pattern, self.bands.double())

    def dense(self) -> Tensor:
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        return self.times(eye.expand(self.rows, self.size, self.size))

    def factor(self) -> BandedFactorization | CyclicBandedFactorization | DenseFactorization:
        if self.device.type == "cpu":
            if self.rows >= MANY and self.size <= SMALL:
                return dense_factor(self.dense())
            return banded_factor(self)
        return cyclic_banded_factor(self)


@dataclass(frozen=True, slots=True, eq=False)
class BandedFactorization:
    """LAPACK factors of each row; positive [R], pivots [R, N]. Solves on the CPU."""

    pattern: BandedPattern
    solvers: tuple[Solver | None, ...]
    positive: Tensor
    pivots: Tensor

    @property
    def exact(self) -> bool:
        return True

    @property
    def log_det(self) -> Tensor:
        logs = torch.where(self.positive.cpu(), self.pivots.log().sum(1), torch.nan)
        return logs.to(self.positive.device)

    def solve(self, b: Tensor) -> Tensor:
        right = by_position(columns(b, len(self.solvers)), self.pattern.order)
        numbers = right.detach().cpu().double().numpy()
        if len(self.solvers) == 1:
            solution = _solved(self.solvers[0], numbers[0])[None]
        else:
            solution = np.stack([_solved(*pair) for pair in zip(self.solvers, numbers, strict=True)])
        result = by_coordinate(torch.from_numpy(solution), self.pattern.order)
        return result.reshape(b.shape).to(b.device, b.dtype)


def banded_factor(matrix: BandedMatrix) -> BandedFactorization:
    """Cholesky (or L D L') factors by LAPACK, one row after the other."""
    bands = matrix.bands.detach().cpu().double().numpy()
    factor = _tridiagonal if bands.shape[1] == 2 < bands.shape[2] else _band
    found = [factor(row) for row in bands]
    pivots = _together([pivot for _, pivot in found], matrix.size)
    positive = pivots_positive(torch.from_numpy(pivots), torch.from_numpy(bands[:, 0]))
    pairs = zip(found, positive.tolist(), strict=True)
    solvers = tuple(solver if good else None for (solver, _), good in pairs)
    return BandedFactorization(matrix.pattern, solvers, positive.to(matrix.device), torch.from_numpy(pivots))


def _together(rows: list[Numbers], size: int) -> Numbers:
    """[R, N]; one row is not copied."""
    if len(rows) == 1:
        return rows[0][None]
    return np.stack(rows) if rows else np.zeros((0, size))


def _tridiagonal(bands: Numbers) -> tuple[Solver, Numbers]:
    """A solver and the pivots [N] for bands [2, N]; pivots after a failure are not positive."""
    main, beside, failed = scipy.linalg.lapack.dpttrf(bands[0], bands[1, :-1])
    if failed:
        main[failed - 1 :] = -1.0

    def solve(right: Numbers) -> Numbers:
        return np.asarray(scipy.linalg.lapack.dpttrs(main, beside, right)[0])

    return solve, main


def _band(bands: Numbers) -> tuple[Solver, Numbers]:
    """The same for bands [b + 1, N]."""
    factors, failed = scipy.linalg.lapack.dpbtrf(np.asfortranarray(bands), lower=1, overwrite_ab=0)
    with np.errstate(over="ignore"):
        pivots = factors[0] ** 2
    if failed:
        pivots[failed - 1 :] = -1.0

    def solve(right: Numbers) -> Numbers:
        return np.asarray(scipy.linalg.lapack.dpbtrs(factors, right, lower=1)[0])

    return solve, pivots


def _solved(solver: Solver | None, right: Numbers) -> Numbers:
    """Solutions [K, N] of right-hand sides [K, N]."""
    if solver is None or right.size == 0:
        return np.full_like(right, np.nan)
    # The transpose of rows is what LAPACK calls columns: no copy.
    solution: Any = solver(right.T)
    return np.ascontiguousarray(solution.T)


@dataclass(frozen=True, slots=True, eq=False)
class CyclicBandedFactorization:
    """The band cut into blocks of b coordinates, the last one filled up with identity."""

    pattern: BandedPattern
    factors: CyclicFactors

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
        block = max(self.pattern.bandwidth, 1)
        right = by_position(columns(b, self.positive.shape[0]).double(), self.pattern.order)
        filled = pad(right, (0, -self.pattern.size % block)).unflatten(2, (-1, block))
        solution = self.factors.solve(filled).flatten(2)[..., : self.pattern.size]
        solution = outside(by_coordinate(solution, self.pattern.order), self.positive)
        return solution.reshape(b.shape).to(b.dtype)


def cyclic_banded_factor(matrix: BandedMatrix) -> CyclicBandedFactorization:
    """Factors by cyclic reduction in float64, on the device of the matrix."""
    block = max(matrix.pattern.bandwidth, 1)
    fill = -matrix.size % block
    bands = pad(matrix.bands.double(), (0, fill))
    bands[:, 0, matrix.size :] = 1.0
    steps = torch.arange(block, device=bands.device)
    # Entry (i, k) of a block is offset i - k of column k; of the block below it is offset block + i - k.
    apart = steps[:, None] - steps
    parts = bands.unflatten(2, (-1, block))
    lower, below = (_block_entries(parts, offsets) for offsets in (apart, apart + block))
    full = lower + lower.tril(-1).transpose(-1, -2)
    return CyclicBandedFactorization(matrix.pattern, cyclic_factor(full, below[:, :-1]))


def _block_entries(parts: Tensor, offsets: Tensor) -> Tensor:
    """Blocks [R, T, m, m] from the bands [R, b + 1, T, m]; `offsets` [m, m] outside the band give 0."""
    known = (offsets >= 0) & (offsets < parts.shape[1])
    column = torch.arange(offsets.shape[1], device=offsets.device).expand_as(offsets)
    taken = parts[:, offsets.clamp(0, parts.shape[1] - 1), :, column].permute(2, 3, 0, 1)
    return torch.where(known, taken, 0.0)
