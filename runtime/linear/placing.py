"""Matrices from written entries: where each value is added, found once, in the storage of a pattern.

Only the diagonal and what is below it is stored, so that of two mirrored entries the upper one is left out.
Values that fill a run of the storage are added there without a list of places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebmlang.runtime.linear.banded import BandedMatrix
from ebmlang.runtime.linear.blocks import BlockTridiagonalMatrix
from ebmlang.runtime.linear.dense import BlockDiagonalMatrix, DenseMatrix
from ebmlang.runtime.linear.diagonal import DiagonalMatrix
from ebmlang.runtime.linear.matrix import Matrix
from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DensePattern,
    DiagonalPattern,
    Pattern,
    SparsePattern,
)
from ebmlang.runtime.linear.sparse import SparseMatrix

Indices = npt.NDArray[np.int64]
Rule = Callable[[Indices, Indices], Indices]
"""The place of the entries (rows, columns) in the storage; -1 where they are not stored."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Value number `value`, spread over `shape`, is added `sign` times at `target`; `kept` says which of its
    numbers are, None for all."""

    value: int
    sign: int
    shape: tuple[int, ...]
    target: slice | Tensor
    kept: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Placing:
    """How the matrix of a pattern is put together. No steps: this pattern, or these places, are measured."""

    pattern: Pattern
    stored: int
    steps: tuple[Step, ...]

    def matrix(
        self, values: tuple[Tensor, ...], rows: int, dtype: torch.dtype, device: torch.device
    ) -> Matrix:
        """The matrices of `rows` rows; every value broadcasts to [rows, *shape of its places]."""
        flat = torch.zeros(rows, self.stored, dtype=dtype, device=device)
        for step in self.steps:
            value = values[step.value].expand(rows, *step.shape).reshape(rows, -1)
            if step.kept is not None:
                value = value.index_select(1, step.kept)
            if isinstance(step.target, slice):
                flat[:, step.target].add_(value, alpha=step.sign)
            else:
                flat.index_add_(1, step.target, value, alpha=step.sign)
        return _of_storage(self.pattern, flat)


def placing(pattern: Pattern, places: Iterable[tuple[int, int, Tensor, Tensor]]) -> Placing:
    """How entries (value, sign, rows, columns) make the matrix of a pattern.

    rows and columns are numbers of coordinates with a leading dimension of examples. Where they differ
    between these, or the pattern is an arrow, there are no steps.
    """
    found = _storage(pattern)
    steps = []
    for value, sign, row, column in places:
        row, column = torch.broadcast_tensors(row, column)
        if found is None or row.shape[0] != 1:
            return Placing(pattern, 0, ())
        steps.append(_step(found[1], _straight(pattern), value, sign, row, column))
    stored = 0 if found is None else found[0]
    return Placing(pattern, stored, tuple(step for step in steps if step is not None))


def _step(rule: Rule, straight: bool, value: int, sign: int, row: Tensor, column: Tensor) -> Step | None:
    rows, columns = row.reshape(-1).cpu().numpy(), column.reshape(-1).cpu().numpy()
    shape, count = tuple(row.shape[1:]), len(rows)
    if straight and count > 1 and _is_run(rows) and _is_run(columns):
        # A run along one diagonal of coordinates: its ends say where all of it goes.
        first, last = rule(rows[[0, -1]], columns[[0, -1]]).tolist()
        if first == last == -1:
            return None
        if last - first == count - 1:
            return Step(value, sign, shape, slice(first, first + count), None)
    target = rule(rows, columns)
    kept = np.flatnonzero(target >= 0)
    if len(kept) == 0:
        return None
    chosen = None if len(kept) == count else torch.from_numpy(kept).to(row.device)
    target = target[kept]
    where = slice(int(target[0]), int(target[-1]) + 1) if _is_run(target) else None
    place = torch.from_numpy(target).to(row.device) if where is None else where
    return Step(value, sign, shape, place, chosen)


def _straight(pattern: Pattern) -> bool:
    """Whether the storage follows the diagonals of the coordinates."""
    in_order = isinstance(pattern, BandedPattern) and pattern.order is None
    return in_order or isinstance(pattern, DiagonalPattern)


def _is_run(numbers: Indices) -> bool:
    """Whether numbers count up by one."""
    return int(numbers[-1] - numbers[0]) == len(numbers) - 1 and bool((np.diff(numbers) == 1).all())


def _storage(pattern: Pattern) -> tuple[int, Rule] | None:
    """How many numbers a matrix of the pattern keeps, and where; None for patterns of parts."""
    size = pattern.size
    match pattern:
        case DiagonalPattern():
            return size, lambda i, j: np.where(i == j, i, -1)
        case DensePattern():
            return size * size, lambda i, j: i * size + j
        case BandedPattern():
            return (pattern.bandwidth + 1) * size, _banded(pattern)
        case BlockDiagonalPattern():
            return size * pattern.block, _blocks(pattern)
        case BlockTridiagonalPattern():
            return (2 * pattern.blocks - 1) * pattern.block**2, _blocks(pattern)
        case SparsePattern():
            return size + len(pattern.rows), _sparse(pattern)
        case ArrowPattern():
            return None


def _positions(size: int, order: Indices | None) -> Indices:
    places = np.arange(size, dtype=np.int64)
    if order is None:
        return places
    result = np.empty_like(places)
    result[order] = places
    return result


def _banded(pattern: BandedPattern) -> Rule:
    position = _positions(pattern.size, pattern.order)

    def rule(rows: Indices, columns: Indices) -> Indices:
        i, j = position[rows], position[columns]
        inside = (i >= j) & (i - j <= pattern.bandwidth)
        return np.where(inside, (i - j) * pattern.size + j, -1)

    return rule


def _blocks(pattern: BlockDiagonalPattern | BlockTridiagonalPattern) -> Rule:
    position = _positions(pattern.size, pattern.order)
    block, below = pattern.block, isinstance(pattern, BlockTridiagonalPattern)

    def rule(rows: Indices, columns: Indices) -> Indices:
        (p, i), (q, j) = np.divmod(position[rows], block), np.divmod(position[columns], block)
        within = (q * block + i) * block + j
        lower = pattern.size * block + within if below else np.full_like(within, -1)
        return np.where(p == q, within, np.where(p == q + 1, lower, -1))

    return rule


def _sparse(pattern: SparsePattern) -> Rule:
    size = pattern.size
    keys = pattern.rows * np.int64(max(size, 1)) + pattern.columns

    def rule(rows: Indices, columns: Indices) -> Indices:
        wanted = rows * np.int64(size) + columns
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        known = keys[at] == wanted if len(keys) else np.zeros_like(wanted, dtype=bool)
        return np.where(rows == columns, rows, np.where(known, size + at, -1))

    return rule


def _of_storage(pattern: Pattern, flat: Tensor) -> Matrix:
    match pattern:
        case DiagonalPattern():
            return DiagonalMatrix(flat)
        case DensePattern(size):
            return DenseMatrix(flat.unflatten(1, (size, size)))
        case BandedPattern():
            return BandedMatrix(pattern, flat.unflatten(1, (pattern.bandwidth + 1, pattern.size)))
        case BlockDiagonalPattern():
            return BlockDiagonalMatrix(pattern, _as_blocks(flat, pattern.blocks, pattern.block))
        case BlockTridiagonalPattern():
            main, lower = flat.split(
                [pattern.size * pattern.block, flat.shape[1] - pattern.size * pattern.block], 1
            )
            return BlockTridiagonalMatrix(
                pattern,
                _as_blocks(main, pattern.blocks, pattern.block),
                _as_blocks(lower, pattern.blocks - 1, pattern.block),
            )
        case SparsePattern():
            main, rest = flat.split([pattern.size, len(pattern.rows)], 1)
            return SparseMatrix(pattern, main, rest)
        case ArrowPattern():
            raise AssertionError("an arrow is put together from its parts")


def _as_blocks(flat: Tensor, blocks: int, block: int) -> Tensor:
    return flat.reshape(flat.shape[0], blocks, block, block)
