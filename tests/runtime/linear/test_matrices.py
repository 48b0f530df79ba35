"""Every pattern against dense numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ebmlang.runtime.linear import (
    BandedMatrix,
    BandedPattern,
    BlockTridiagonalMatrix,
    BlockTridiagonalPattern,
    LowRankPlusDiagonal,
    Matrix,
    SparseMatrix,
    color_count,
    implicit,
    masked,
    measure,
    probes,
)
from ebmlang.runtime.linear.banded import cyclic_banded_factor
from ebmlang.runtime.linear.blocks import ROWS_AT_ONCE
from ebmlang.runtime.linear.cyclic import cyclic_factor
from ebmlang.runtime.linear.matrix import Factorization
from tests.runtime.linear.cases import PATTERNS, measured, places, symmetric

ROWS = (1, 3, ROWS_AT_ONCE + 1)


def random(*shape: int, seed: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def check_factors(factors: Factorization, dense: Tensor, tolerance: float = 1e-10) -> None:
    """Solutions and determinants against numpy, for one and several right-hand sides per row."""
    rows, size = dense.shape[:2]
    assert bool(factors.positive.all())
    assert factors.positive.shape == (rows,)
    for shape in ((rows, size), (rows, 4, size)):
        b = random(*shape)
        columns = b.reshape(rows, -1, size).numpy().transpose(0, 2, 1)
        wanted = np.linalg.solve(dense.numpy(), columns).transpose(0, 2, 1).reshape(shape)
        close(factors.solve(b), torch.from_numpy(wanted), tolerance)
    if factors.exact:
        close(factors.log_det, torch.from_numpy(np.linalg.slogdet(dense.numpy())[1]), tolerance)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", PATTERNS)
class TestPatterns:
    def test_assembled_from_probes(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, rows)
        matrix = measured(pattern, dense)
        close(matrix.dense(), dense, 1e-14)
        assert (matrix.rows, matrix.size, matrix.dtype) == (rows, pattern.size, torch.float64)

    def test_operations(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, rows)
        matrix = measured(pattern, dense)
        check_operations(matrix, dense)
        hubs = torch.from_numpy(getattr(pattern, "hubs", np.zeros(0, dtype=np.int64)))
        counts = (dense != 0).sum(2).index_fill(1, hubs, 0)
        assert int(counts.max()) <= matrix.width

    def test_factors(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, rows)
        factors = measured(pattern, dense).factor()
        check_factors(factors, dense)
        assert factors.exact

    def test_single_precision_is_factored_in_double(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, rows).float()
        factors = measured(pattern, dense).factor()
        b = random(rows, pattern.size).float()
        wanted = torch.linalg.solve(dense.double(), b.double())
        found = factors.solve(b)
        assert found.dtype == torch.float32
        close(found, wanted.float(), 1e-6)
        assert factors.log_det.dtype == torch.float64

    def test_rows_that_are_not_positive_definite(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, rows)
        dense[-1] -= 1.01 * torch.linalg.eigvalsh(dense[-1])[0] * torch.eye(pattern.size)
        dense[0, 0, 0] = dense[0, 0, 0] if rows > 1 else -1.0
        factors = measured(pattern, dense).factor()
        assert factors.positive.tolist() == [True] * (rows - 1) + [False]
        b = random(rows, pattern.size)
        found = factors.solve(b)
        close(found[:-1], torch.linalg.solve(dense[:-1], b[:-1]))
        assert bool(found[-1].isnan().all())
        assert factors.log_det.isnan().tolist() == [False] * (rows - 1) + [True]

    def test_large_negative_diagonals(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, rows) * 1e20
        dense[-1] = -dense[-1]
        factors = measured(pattern, dense).factor()
        assert factors.positive.tolist() == [True] * (rows - 1) + [False]

    def test_numbers_that_are_not_finite(self, name: str, rows: int) -> None:
        pattern = PATTERNS[name]()
        for bad in (torch.nan, torch.inf):
            dense = symmetric(pattern, rows)
            matrix = measured(pattern, dense).shifted(torch.zeros(rows, 1).expand(rows, pattern.size))
            spoil = torch.zeros(rows, pattern.size, dtype=torch.float64)
            spoil[0, pattern.size // 2] = bad
            factors = matrix.shifted(spoil).factor()
            assert factors.positive.tolist() == [False] + [True] * (rows - 1)
            b = random(rows, pattern.size)
            close(factors.solve(b)[1:], torch.linalg.solve(dense[1:], b[1:]))


def check_operations(matrix: Matrix, dense: Tensor, diagonal: bool = True) -> None:
    rows, size = dense.shape[:2]
    x, many = random(rows, size), random(rows, 3, size)
    close(matrix.times(x), torch.einsum("rij,rj->ri", dense, x))
    close(matrix.times(many), torch.einsum("rij,rkj->rki", dense, many))
    if diagonal:
        close(matrix.diagonal(), torch.diagonal(dense, dim1=1, dim2=2))
    norms = dense.abs().sum(2).amax(1)
    if diagonal:
        assert bool((matrix.norm() >= norms * (1 - 1e-12)).all())
    assert bool((matrix.norm() <= 3 * norms).all())
    shift, per_entry = random(rows), random(rows, size)
    close(matrix.shifted(shift).dense(), dense + torch.diag_embed(shift[:, None].expand(rows, size)))
    close(matrix.shifted(per_entry).dense(), dense + torch.diag_embed(per_entry))
    close(matrix.scaled(per_entry).dense(), dense * per_entry[:, :, None] * per_entry[:, None])
    close(matrix.scaled(per_entry[:1]).dense(), dense * per_entry[:1, :, None] * per_entry[:1, None])
    keep = per_entry > 0
    both = keep[:, :, None] & keep[:, None]
    close(masked(matrix, keep).dense(), torch.where(both, dense, torch.eye(size, dtype=torch.float64)))
    chosen = torch.tensor([rows - 1, 0])
    close(matrix.select(chosen).dense(), dense[chosen] if rows > 1 else dense)
    assert matrix.double().dtype == torch.float64


@pytest.mark.parametrize("name", PATTERNS)
def test_shared_by_many_right_hand_sides(name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, 1)
    matrix = measured(pattern, dense)
    b = random(6, pattern.size)
    close(matrix.factor().solve(b), torch.linalg.solve(dense[0], b.T).T)
    close(matrix.times(b), b @ dense[0])


@pytest.mark.parametrize("name", PATTERNS)
def test_a_shared_matrix_shifted_row_by_row(name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, 1)
    shift = torch.rand(3, pattern.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = measured(pattern, dense).shifted(shift)
    assert matrix.rows == 3
    check_factors(matrix.factor(), dense + torch.diag_embed(shift))


@pytest.mark.parametrize("name", PATTERNS)
def test_no_two_columns_of_a_row_share_a_color(name: str) -> None:
    pattern = PATTERNS[name]()
    vectors = probes(pattern)
    assert vectors.shape == (color_count(pattern), pattern.size)
    assert bool((vectors.sum(0) == 1).all())
    counts = vectors.numpy() @ places(pattern)
    hubs = getattr(pattern, "hubs", np.zeros(0, dtype=np.int64))
    # The rows of hubs are read from the columns instead.
    assert np.delete(counts, hubs, 1).max() <= 1


@pytest.mark.parametrize(("size", "bandwidth"), [(1, 1), (2, 1), (17, 1), (16, 3), (19, 4), (40, 7)])
@pytest.mark.parametrize("rows", [1, 3])
def test_cyclic_reduction_of_bands(size: int, bandwidth: int, rows: int) -> None:
    pattern = BandedPattern(size, bandwidth)
    dense = symmetric(pattern, rows)
    matrix = measured(pattern, dense)
    assert isinstance(matrix, BandedMatrix)
    check_factors(cyclic_banded_factor(matrix), dense)
    indefinite = matrix.shifted(-1.01 * torch.linalg.eigvalsh(dense)[:, 0])
    factors = cyclic_banded_factor(indefinite)
    assert not bool(factors.positive.any())
    assert bool(factors.solve(random(rows, size)).isnan().all())


@pytest.mark.parametrize("blocks", range(1, 10))
def test_cyclic_reduction_of_blocks(blocks: int) -> None:
    pattern = BlockTridiagonalPattern(blocks, 3)
    dense = symmetric(pattern, 2)
    matrix = measured(pattern, dense)
    assert isinstance(matrix, BlockTridiagonalMatrix)
    factors = cyclic_factor(matrix.main, matrix.below)
    assert bool(factors.positive.all())
    b = random(2, 4, blocks * 3)
    found = factors.solve(b.reshape(2, 4, blocks, 3)).reshape(b.shape)
    close(found, torch.linalg.solve(dense, b.mT).mT)
    close(factors.log_det, torch.logdet(dense))


def test_cyclic_reduction_agrees_with_lapack_on_a_long_chain() -> None:
    size = 4000
    bands = torch.stack([torch.full((size,), 2.0), torch.full((size,), -1.0)])[None].double()
    bands[:, 0] += 1e-3
    matrix = BandedMatrix(BandedPattern(size, 1), bands)
    b = random(1, size)
    close(cyclic_banded_factor(matrix).solve(b), matrix.factor().solve(b), 1e-9)


class TestLowRank:
    @pytest.mark.parametrize(("rows", "shared"), [(1, 1), (3, 3), (3, 1)])
    @pytest.mark.parametrize("rank", [0, 3, 20])
    def test_against_dense(self, rows: int, shared: int, rank: int) -> None:
        matrix = LowRankPlusDiagonal(random(rows, 15) ** 2 + 0.1, random(shared, rank, 15))
        dense = matrix.dense()
        low = torch.einsum("rki,rkj->rij", matrix.factors, matrix.factors)
        close(dense, torch.diag_embed(matrix.values) + low)
        x = random(rows, 2, 15)
        close(matrix.times(x), x @ dense)
        close(matrix.diagonal(), torch.diagonal(dense, dim1=1, dim2=2))
        close(matrix.shifted(random(rows)).dense(), dense + random(rows)[:, None, None] * torch.eye(15))
        scale = random(rows, 15, seed=8)
        close(matrix.scaled(scale).dense(), dense * scale[:, :, None] * scale[:, None])
        assert bool((matrix.norm() >= dense.abs().sum(2).amax(1) * (1 - 1e-12)).all())
        check_factors(matrix.factor(), dense)

    def test_a_weak_prior_is_still_solved(self) -> None:
        matrix = LowRankPlusDiagonal(torch.full((1, 40), 1e-6).double(), random(1, 10, 40))
        b = random(2, 40)
        x = matrix.factor().solve(b)
        assert bool((matrix.times(x) - b).norm(dim=1).lt(1e-8 * b.norm(dim=1)).all())

    def test_indefinite_and_undetermined(self) -> None:
        values = torch.ones(1, 12, dtype=torch.float64)
        values[0, 3] = -0.5
        assert not bool(LowRankPlusDiagonal(values, torch.zeros(1, 2, 12).double()).factor().positive)
        assert bool(LowRankPlusDiagonal(values, torch.eye(12)[None, 3:4].double()).factor().positive)


def test_large_sparse_patterns_are_solved_by_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebmlang.runtime.linear.sparse.SMALL", 10)
    monkeypatch.setattr("ebmlang.runtime.linear.sparse.DIRECT", 10)
    pattern = PATTERNS["grid"]()
    dense = symmetric(pattern, 3)
    matrix = measured(pattern, dense)
    assert isinstance(matrix, SparseMatrix)
    factors = matrix.factor()
    assert not factors.exact
    check_factors(factors, dense, 1e-9)
    assert bool(factors.log_det.isnan().all())
    lowered = matrix.shifted(-1.5 * torch.linalg.eigvalsh(dense)[:, 0])
    assert not bool(lowered.factor().positive.any())


def test_products_are_asked_for_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebmlang.runtime.linear.assembly.NUMBERS", 40)
    pattern = PATTERNS["dense"]()
    dense = symmetric(pattern, 2)
    asked = []

    def times(v: Tensor) -> Tensor:
        asked.append(v.shape[0])
        return torch.einsum("rij,pj->rpi", dense, v)

    close(measure(pattern, times, rows=2).dense(), dense)
    assert asked == [2, 2, 2, 2, 1]


class TestImplicit:
    def test_against_dense(self) -> None:
        dense = symmetric(PATTERNS["dense"](), 3)
        matrix = implicit(lambda v: torch.einsum("rij,rkj->rki", dense, v), 3, 9, torch.float64)
        check_operations(matrix, dense, diagonal=False)
        check_factors(matrix.factor(), dense, 1e-9)
        largest = torch.linalg.eigvalsh(dense)[:, -1]
        assert bool((matrix.norm() >= largest).all())
        assert bool((matrix.norm() <= 2 * largest).all())

    def test_indefinite(self) -> None:
        dense = symmetric(PATTERNS["dense"](), 2)
        dense[1] -= 2 * torch.linalg.eigvalsh(dense[1])[0] * torch.eye(9)
        matrix = implicit(lambda v: torch.einsum("rij,rkj->rki", dense, v), 2, 9, torch.float64)
        assert matrix.factor().positive.tolist() == [True, False]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("name", PATTERNS)
def test_on_an_accelerator(name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, 2)
    there = dense.cuda()
    matrix = measure(
        pattern, lambda v: torch.einsum("rij,pj->rpi", there, v), 2, torch.float64, torch.device("cuda")
    )
    factors = matrix.factor()
    b = random(2, pattern.size)
    assert factors.positive.is_cuda
    close(factors.solve(b.cuda()).cpu(), torch.linalg.solve(dense, b))
    close(factors.log_det.cpu(), torch.logdet(dense))
    close(matrix.times(b.cuda()).cpu(), torch.einsum("rij,rj->ri", dense, b))


@pytest.mark.parametrize("rows", [31, 32, 200])
def test_many_tiny_bands_are_eliminated_at_once(rows: int) -> None:
    """The same numbers whether LAPACK is called row by row or once; one row is not positive definite."""
    made = torch.Generator().manual_seed(rows)
    bands = 0.3 * torch.rand(rows, 3, 5, generator=made, dtype=torch.float64)
    bands[:, 0] += 2
    bands[:, 1, 4], bands[:, 2, 3:] = 0, 0
    bands[7, 0, 2] = -1
    matrix = BandedMatrix(BandedPattern(5, 2), bands)
    right = torch.rand(rows, 5, generator=made, dtype=torch.float64)
    factors = matrix.factor()
    good = torch.arange(rows) != 7
    assert torch.equal(factors.positive, good)
    expected = torch.linalg.solve(matrix.dense()[good], right[good])
    torch.testing.assert_close(factors.solve(right)[good], expected, rtol=1e-12, atol=1e-12)
    assert bool(factors.solve(right)[7].isnan().all())
    torch.testing.assert_close(factors.log_det[good], torch.linalg.slogdet(matrix.dense()[good])[1])
