"""Singular and indefinite matrices: null directions, solvable systems, shifts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ebmlang.runtime.linear import (
    ArrowPattern,
    BandedMatrix,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DenseMatrix,
    DensePattern,
    DiagonalMatrix,
    DiagonalPattern,
    Matrix,
    lowest_direction,
    measure,
    modified,
    null_directions,
    plain_directions,
    solve_among,
    solve_consistent,
    sparse_pattern,
)
from ebmlang.runtime.linear.semidefinite import orthonormal
from tests.runtime.linear.cases import PATTERNS, measured, symmetric


def random(*shape: int, seed: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture(params=["eigenvectors", "factors"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small matrices by all eigenvectors, and as if they were large."""
    if request.param == "factors":
        monkeypatch.setattr("ebmlang.runtime.linear.semidefinite.EIGEN", 0)
        monkeypatch.setattr("ebmlang.runtime.linear.indefinite.EIGEN", 0)
    return str(request.param)


def laplacian(size: int, edges: list[tuple[int, int]], weights: Tensor) -> Tensor:
    result = torch.zeros(size, size, dtype=torch.float64)
    for (i, j), w in zip(edges, weights.tolist(), strict=True):
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            result[a, b] += sign * w
    return result


def projector(basis: Tensor) -> Tensor:
    return basis.mT @ basis


def null_projector(dense: Tensor) -> Tensor:
    """The projector onto the null space by an independent way: scipy's singular values."""
    left, values, _ = np.linalg.svd(dense.numpy())
    null = torch.from_numpy(left[:, values < 1e-9 * values.max(initial=1e-300)])
    return null @ null.mT


def singular_matrices() -> list[tuple[str, Matrix, Tensor]]:
    draw = np.random.default_rng(3)
    chain = [(i, i + 1) for i in range(29)]
    weights = torch.from_numpy(draw.uniform(0.1, 10.0, 29))
    walk = laplacian(30, chain, weights)
    broken = laplacian(30, chain, weights * torch.tensor([0.0 if i in (9, 20) else 1.0 for i in range(29)]))
    second = torch.zeros(28, 30, dtype=torch.float64)
    for i in range(28):
        second[i, i : i + 3] = torch.tensor([1.0, -2.0, 1.0])
    smooth = second.mT @ second
    pairs = [(i, j) for i in range(30) for j in range(i) if draw.uniform() < 0.1]
    graph = laplacian(30, pairs, torch.ones(len(pairs)))
    high, low = (np.array(side) for side in zip(*pairs, strict=True))
    # x[i] - m for a shared m: everything moves together
    star = laplacian(30, [(i, 29) for i in range(29)], torch.ones(29))
    half = torch.from_numpy(draw.normal(size=(10, 3, 2)))
    blocks = torch.block_diag(*(half @ half.mT))
    scale = torch.from_numpy(10.0 ** draw.uniform(-4, 4, 30))
    return [
        (name, measured(pattern, dense[None]), dense)
        for name, pattern, dense in (
            ("random walk", BandedPattern(30, 1), walk),
            ("broken random walk", BandedPattern(30, 1), broken),
            ("second differences", BandedPattern(30, 2), smooth),
            ("second differences in blocks", BlockTridiagonalPattern(10, 3), smooth),
            ("graph", sparse_pattern(30, high, low), graph),
            ("shared mean", ArrowPattern(30, np.array([29]), DiagonalPattern(29)), star),
            ("blocks of rank two", BlockDiagonalPattern(10, 3), blocks),
            ("different units", BandedPattern(30, 1), walk * scale[:, None] * scale),
            ("nothing", BandedPattern(30, 1), torch.zeros(30, 30, dtype=torch.float64)),
        )
    ]


@pytest.mark.parametrize("number", range(9))
class TestSingular:
    def test_null_directions(self, way: str, number: int) -> None:
        name, matrix, dense = singular_matrices()[number]
        basis = null_directions(matrix)
        units = dense.diagonal().clamp(min=1e-300).rsqrt() if name == "different units" else torch.ones(30)
        wanted = null_projector(dense * units[:, None] * units)
        torch.testing.assert_close(basis @ basis.mT, torch.eye(len(basis), dtype=torch.float64))
        if float(wanted.trace()) > 8.5:
            assert len(basis) == 8
            assert float((basis @ dense).abs().max()) < 1e-11 * max(float(dense.abs().max()), 1.0)
        elif name != "different units":
            torch.testing.assert_close(projector(basis), wanted, rtol=0, atol=1e-8)
        else:
            assert len(basis) == 1
            # Along its null direction x_i = 1 / scale_i nothing changes, whatever the units.
            direction = basis[0] / units
            assert float((dense * units[:, None] * units @ direction).norm() / direction.norm()) < 1e-13
        assert bool((basis.gather(1, basis.abs().argmax(1, keepdim=True)) > 0).all())

    def test_a_system_that_has_solutions(self, way: str, number: int) -> None:
        name, matrix, dense = singular_matrices()[number]
        b = (random(4, 30) @ dense) if name != "nothing" else torch.zeros(4, 30, dtype=torch.float64)
        found = solve_consistent(matrix, b)
        assert found.semidefinite.tolist() == [True]
        assert found.regular.tolist() == [False]
        assert found.in_range.tolist() == [True] * 4
        assert not bool(found.fall.any())
        torch.testing.assert_close(found.x @ dense, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))
        if way == "eigenvectors" or name not in ("blocks of rank two", "nothing"):
            wanted = torch.from_numpy(np.linalg.pinv(dense.numpy(), rcond=1e-12) @ b.numpy().T).mT
            if name != "different units":
                torch.testing.assert_close(found.x, wanted, rtol=1e-8, atol=1e-8 * float(wanted.abs().max()))

    def test_a_system_that_has_none(self, way: str, number: int) -> None:
        _, matrix, dense = singular_matrices()[number]
        free = null_directions(matrix)[0]
        b = random(2, 30) @ dense
        b[1] += 1e-2 * free / free.norm() * max(float(b[1].norm()), 1.0)
        found = solve_consistent(matrix, b)
        assert found.in_range.tolist() == [True, False]
        fall = found.fall[1]
        assert float(fall.norm()) == pytest.approx(1.0)
        assert float(fall @ b[1]) > 0
        main = dense.diagonal().clamp(min=0).sqrt()
        assert float((dense @ fall).abs().max()) <= 1e-7 * float(dense.abs().max()) * max(
            float((main * fall).norm()), 1e-9
        )


@pytest.mark.parametrize("name", PATTERNS)
def test_regular_matrices_are_regular(way: str, name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, 3)
    matrix = measured(pattern, dense)
    b = random(3, pattern.size)
    found = solve_consistent(matrix, b)
    assert bool(found.regular.all())
    assert bool(found.in_range.all())
    torch.testing.assert_close(found.x, torch.linalg.solve(dense, b), rtol=1e-10, atol=1e-10)
    assert null_directions(matrix, 1).shape == (0, pattern.size)


@pytest.mark.parametrize("name", [name for name in PATTERNS if name != "one"])
def test_indefinite_rows_have_no_solution(way: str, name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, 3)
    least = torch.linalg.eigvalsh(dense)[1, 0]
    dense[1] -= 1.3 * least * torch.eye(pattern.size)
    matrix = measured(pattern, dense)
    found = solve_consistent(matrix, random(3, pattern.size))
    assert found.semidefinite.tolist() == [True, False, True]
    assert found.in_range.tolist() == [True, False, True]
    assert found.x.isnan().all(1).tolist() == [False, True, False]
    value, direction = lowest_direction(matrix, 1)
    assert float(value) == pytest.approx(-0.3 * float(least), rel=1e-3)
    assert float(direction @ dense[1] @ direction) == pytest.approx(float(value), rel=1e-6)
    assert float(direction.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", PATTERNS)
def test_modified_rows_are_positive_definite(way: str, name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, 3)
    values = torch.linalg.eigvalsh(dense)
    dense[1] -= (values[1, 0] + 0.2 * values[1, -1]) * torch.eye(pattern.size)
    matrix = measured(pattern, dense)
    found = modified(matrix)
    assert bool(found.factors.positive.all())
    needed = 0.2 * float(values[1, -1])
    assert found.shift[0] == found.shift[2] == 0
    assert needed <= float(found.shift[1]) <= 4.5 * needed
    b = random(3, pattern.size)
    lifted = dense + found.shift[:, None, None] * torch.eye(pattern.size)
    torch.testing.assert_close(found.factors.solve(b), torch.linalg.solve(lifted, b), rtol=1e-5, atol=1e-5)


def test_modified_starts_from_the_shift_it_is_given() -> None:
    matrix = BandedMatrix(BandedPattern(4, 1), torch.tensor([[[1.0, 1, 1, 1], [5, 5, 5, 0]]]).double())
    assert float(modified(matrix, torch.tensor([9.0])).shift) == 9.0


def test_a_matrix_of_low_rank_takes_the_least_shift() -> None:
    factor = torch.tensor(np.random.default_rng(0).normal(size=(30, 80)))
    found = modified(DenseMatrix((factor.mT @ factor)[None]))
    assert bool(found.factors.positive.all())
    norm = float((factor.mT @ factor).abs().sum(1).max())
    assert float(found.shift) == pytest.approx(1e-6 * norm)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_a_system_among_free_coordinates(rows: int, shared: bool) -> None:
    made = np.random.default_rng(rows)
    matrices = symmetric(DensePattern(12), 1 if shared else rows)
    free, b = made.random((rows, 12)) < 0.6, made.normal(size=(rows, 12))
    b[~free] = 0.0
    found = solve_among(DenseMatrix(matrices), torch.tensor(free), torch.tensor(b))
    for row in range(rows):
        at, whole = np.flatnonzero(free[row]), matrices[0 if shared else row].numpy()
        wanted = np.zeros(12)
        wanted[at] = np.linalg.solve(whole[np.ix_(at, at)], b[row, at])
        assert np.abs(found.solution[row].numpy() - wanted).max() <= 1e-10
    assert float(found.shift.max()) == 0.0


def test_no_coordinate_is_free() -> None:
    none = torch.zeros(1, 4, dtype=torch.bool)
    found = solve_among(DenseMatrix(torch.eye(4)[None]), none, torch.zeros(1, 4))
    assert found.solution.tolist() == [[0.0] * 4]


def test_nothing_helps_numbers_that_are_not_finite() -> None:
    bands = torch.ones(2, 2, 5, dtype=torch.float64)
    bands[:, 0] = 3.0
    bands[1, 0, 2] = torch.nan
    found = modified(BandedMatrix(BandedPattern(5, 1), bands))
    assert found.factors.positive.tolist() == [True, False]
    answer = solve_consistent(BandedMatrix(BandedPattern(5, 1), bands), torch.ones(2, 5).double())
    assert answer.in_range.tolist() == [True, False]


def long_walk(size: int, pin: float) -> BandedMatrix:
    bands = torch.zeros(1, 2, size, dtype=torch.float64)
    weight = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, size - 1))
    bands[0, 0, :-1] += weight
    bands[0, 0, 1:] += weight
    bands[0, 1, :-1] = -weight
    bands[0, 0, 0] += pin
    return BandedMatrix(BandedPattern(size, 1), bands)


def test_a_long_chain_is_told_from_a_singular_one() -> None:
    size = 100_000
    free = null_directions(long_walk(size, 0.0))
    assert free.shape == (1, size)
    torch.testing.assert_close(free[0], torch.full((size,), size**-0.5).double(), rtol=1e-6, atol=0)
    # Held at one end its least eigenvalue is 2e-10.
    assert null_directions(long_walk(size, 1.0)).shape == (0, size)
    b = random(1, size)
    found = solve_consistent(long_walk(size, 1.0), b)
    assert found.regular.tolist() == [True]
    assert float((long_walk(size, 1.0).times(found.x) - b).abs().max()) < 1e-6


def test_a_long_free_chain_needs_a_balanced_right_hand_side() -> None:
    matrix = long_walk(20_000, 0.0)
    b = random(2, 20_000)
    b[0] -= b[0].mean()
    b[1] += 0.01
    found = solve_consistent(matrix, b)
    assert found.in_range.tolist() == [True, False]
    assert float((matrix.times(found.x[:1]) - b[:1]).norm() / b[0].norm()) < 1e-9
    torch.testing.assert_close(found.fall[1].abs(), torch.full((20_000,), 20_000**-0.5).double())


def test_single_precision_is_judged_by_its_own_rounding() -> None:
    weight = random(1, 49, seed=2).abs().float() + 0.1
    main = torch.nn.functional.pad(weight, (1, 0)) + torch.nn.functional.pad(weight, (0, 1))
    bands = torch.stack([main, torch.nn.functional.pad(-weight, (0, 1))], 1)
    # The stored numbers are those of a regular matrix, by accident.
    matrix = BandedMatrix(BandedPattern(50, 1), bands)
    assert null_directions(matrix).shape == (1, 50)


def test_a_diagonal_of_rounding_errors_is_zero() -> None:
    matrix = DiagonalMatrix(torch.tensor([[1.0, 1e-40, 1e-9]]).double())
    torch.testing.assert_close(null_directions(matrix), torch.tensor([[0.0, 1.0, 0.0]]).double())


def test_no_coordinates() -> None:
    matrix = measure(BandedPattern(0, 1), lambda v: v[None])
    assert matrix.factor().positive.tolist() == [True]
    assert matrix.factor().solve(torch.zeros(1, 0)).shape == (1, 0)
    assert null_directions(matrix).shape == (0, 0)


def test_coordinates_that_nothing_determines_are_named_alone(way: str) -> None:
    edges = [(i, i + 1) for i in range(19) if i not in (4, 5, 12)]
    dense = laplacian(20, edges, torch.ones(len(edges)))
    basis = null_directions(measured(BandedPattern(20, 1), dense[None]))
    groups = torch.zeros(4, 20, dtype=torch.float64)
    for number, (first, last) in enumerate([(5, 6), (0, 5), (6, 13), (13, 20)]):
        groups[number, first:last] = 1.0
    torch.testing.assert_close(basis[0], groups[0])
    found = plain_directions(basis)
    found = found[found.argmax(1).argsort()]
    wanted = groups[groups.argmax(1).argsort()]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    assert bool(((found == 0) == (wanted == 0)).all())


def test_an_entry_beside_a_zero_diagonal_is_indefinite(way: str) -> None:
    bands = torch.tensor([[[1.0, 0.0, 1.0, 0.0], [0.5, 0.0, 0.0, 0.0]]]).double()
    matrix = BandedMatrix(BandedPattern(4, 1), bands)
    assert null_directions(matrix).shape == (0, 4)
    assert solve_consistent(matrix, torch.ones(1, 4).double()).semidefinite.tolist() == [False]


def test_many_coordinates_that_nothing_determines(way: str) -> None:
    main = torch.ones(1, 50, dtype=torch.float64)
    main[0, 10:40] = 0.0
    matrix = DiagonalMatrix(main)
    assert null_directions(matrix).tolist() == torch.eye(50)[10:18].tolist()
    b = main * random(1, 50)
    found = solve_consistent(matrix, b)
    assert found.in_range.tolist() == [True]
    torch.testing.assert_close(found.x, b)
    assert solve_consistent(matrix, random(1, 50)).in_range.tolist() == [False]


def test_plain_directions_of_a_level_and_a_trend() -> None:
    at = torch.arange(12).double()
    basis = torch.linalg.qr(torch.stack([torch.ones(12).double(), at], 1)).Q.mT
    found = plain_directions(basis)
    torch.testing.assert_close(projector(orthonormal(found)), projector(basis))
    assert found.abs().amax(1).tolist() == [1.0, 1.0]
    assert int((found == 0).sum()) == 2


@given(
    size=st.integers(1, 30), bandwidth=st.integers(0, 4), rank=st.integers(0, 30), seed=st.integers(0, 10**6)
)
def test_sums_of_squares_of_any_rank(size: int, bandwidth: int, rank: int, seed: int) -> None:
    """Random squares of combinations of near coordinates: semidefinite, never called anything else."""
    draw = np.random.default_rng(seed)
    rows = np.zeros((rank, size))
    for row in rows:
        first = int(draw.integers(0, size))
        last = min(size, first + bandwidth + 1)
        row[first:last] = draw.integers(-2, 3, last - first)
    dense = torch.from_numpy(rows.T @ rows)
    matrix = measured(BandedPattern(size, bandwidth), dense[None])
    nullity = size - int(np.linalg.matrix_rank(rows)) if rank else size
    basis = null_directions(matrix, limit=size)
    assert len(basis) == nullity
    assert float((basis @ dense).abs().max() if len(basis) else 0.0) < 1e-10
    found = solve_consistent(matrix, random(1, size) @ dense)
    assert found.semidefinite.tolist() == [True]
    assert found.in_range.tolist() == [True]
    assert found.regular.tolist() == [nullity == 0]


@pytest.mark.parametrize("name", PATTERNS)
def test_every_answer_agrees_with_the_spectrum(way: str, name: str) -> None:
    for seed in range(4):
        pattern = PATTERNS[name]()
        dense = symmetric(pattern, 2, seed, dominance=(-0.3, 0.2, 0.6, 0.9)[seed])
        matrix = measured(pattern, dense)
        values = torch.linalg.eigvalsh(dense)
        positive = (values[:, 0] > 0).tolist()
        assert matrix.factor().positive.tolist() == positive
        assert solve_consistent(matrix, random(2, pattern.size)).semidefinite.tolist() == positive
        found = modified(matrix)
        assert bool(found.factors.positive.all())
        assert bool((found.shift >= -values[:, 0]).all())
        least, direction = lowest_direction(matrix)
        assert float(least) >= float(values[0, 0]) - 1e-9
        if not positive[0]:
            assert float(least) == pytest.approx(float(values[0, 0]), rel=1e-2)
            assert float(direction @ dense[0] @ direction) == pytest.approx(float(least), rel=1e-6)
