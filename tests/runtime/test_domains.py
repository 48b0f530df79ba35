"""Domains: exact feasibility, projections against references, tangents and retractions by their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.stats import kstest
from torch import Tensor

from ebmlang.runtime.domain_base import all_per_row
from ebmlang.runtime.domains import (
    DOMAINS,
    SE2,
    SO3,
    Domain,
    DomainError,
    Interval,
    Kind,
    Nonnegative,
    OpenSimplex,
    Positive,
    PositiveDefinite,
    PositiveSemidefinite,
    Reals,
    Simplex,
    Sphere,
    Stiefel,
    UnitColumns,
)
from ebmlang.runtime.seeded import Stream
from ebmlang.runtime.simplexes import SparseSimplex
from tests.runtime.fakes import generator

CPU = torch.device("cpu")
MASK = torch.tensor([True, False, True, True, False])
CASES: dict[str, tuple[Domain, tuple[int, ...]]] = {
    "reals": (Reals(), (3, 2)),
    "interval": (Interval(torch.tensor([-1.0, 0.0, -torch.inf]), torch.tensor([1.0, torch.inf, 2.0])), (3,)),
    "nonnegative": (Nonnegative(), (4,)),
    "positive": (Positive(), (4,)),
    "simplex": (Simplex(), (2, 5)),
    "simplex_masked": (Simplex(MASK), (2, 5)),
    "sparse_simplex": (SparseSimplex(2), (2, 5)),
    "sparse_simplex_masked": (SparseSimplex(2, MASK), (2, 5)),
    "open_simplex": (OpenSimplex(), (2, 5)),
    "open_simplex_masked": (OpenSimplex(MASK), (2, 5)),
    "sphere": (Sphere(), (2, 4)),
    "unit_columns": (UnitColumns(), (4, 3)),
    "stiefel": (Stiefel(), (2, 5, 3)),
    "stiefel_square": (Stiefel(), (3, 3)),
    "psd": (PositiveSemidefinite(), (4, 4)),
    "positive_definite": (PositiveDefinite(), (2, 3, 3)),
    "SO3": (SO3(), (2, 3, 3)),
    "SE2": (SE2(), (4, 3)),
}
DTYPES = [torch.float64, torch.float32]


def stream(rows: int, name: str = "x") -> Stream:
    return Stream(0, name, np.arange(rows, dtype=np.int64))


def raw(shape: tuple[int, ...], rows: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(rows, *shape, generator=generator(1), dtype=torch.float64).to(dtype)


def feasible(domain: Domain, shape: tuple[int, ...], rows: int, dtype: torch.dtype) -> Tensor:
    """Coordinates inside the domain."""
    value = domain.draw(domain.start(shape, stream(rows)), stream(rows, "draw")).to(dtype)
    return domain.project(domain.coordinates(value))


def test_every_domain_of_the_table_is_tested() -> None:
    assert {type(domain) for domain, _ in CASES.values()} == set(DOMAINS.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("name", CASES)
def test_projections_and_retractions_are_feasible(name: str, scale: float, dtype: torch.dtype) -> None:
    domain, shape = CASES[name][0].to(dtype, CPU), CASES[name][1]
    if domain.kind is Kind.OPEN and scale > 1:
        scale = 30.0
    projected = domain.project(raw(shape, 40, dtype, scale))
    assert all_per_row(domain.inside(domain.value(projected), 0.0)).all()
    start = feasible(domain, shape, 40, dtype)
    moved = domain.retract(start, domain.tangent(start, raw(shape, 40, dtype, min(scale, 1e3))))
    assert all_per_row(domain.inside(domain.value(moved), 0.0)).all()


@pytest.mark.parametrize("name", CASES)
def test_starts_and_draws_are_inside(name: str) -> None:
    domain, shape = CASES[name]
    domain.check(shape)
    start = domain.start(shape, stream(30))
    assert start.shape == (30, *shape)
    assert start.dtype == torch.float64
    assert all_per_row(domain.inside(start, 1e-12)).all()
    draws = domain.draw(start, stream(30, "draw"))
    assert all_per_row(domain.inside(draws, 1e-12)).all()
    assert not torch.equal(draws[0], draws[1])
    assert domain.describe()


@pytest.mark.parametrize("name", CASES)
def test_projecting_twice_changes_nothing(name: str) -> None:
    domain, shape = CASES[name]
    once = domain.project(raw(shape, 20, torch.float64, 2.0))
    assert torch.allclose(domain.project(once), once, atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize("name", [n for n, (d, _) in CASES.items() if d.kind is not Kind.OPEN])
def test_no_drawn_point_is_nearer_than_the_projection(name: str) -> None:
    domain, shape = CASES[name]
    x = raw(shape, 50, torch.float64, 2.0)
    if name == "SE2":
        x[..., 2] = x[..., 2].clamp(-3, 3)
    nearest = (domain.nearest(x) - x).flatten(1).norm(dim=1)
    for k in range(20):
        other = domain.draw(domain.start(shape, stream(50)), stream(50, f"draw{k}"))
        assert ((other - x).flatten(1).norm(dim=1) >= nearest - 1e-12).all()


@pytest.mark.parametrize("name", [n for n, (d, _) in CASES.items() if d.kind is Kind.MANIFOLD])
def test_retraction_follows_the_tangent_to_first_order(name: str) -> None:
    domain, shape = CASES[name]
    x = feasible(domain, shape, 20, torch.float64)
    v = domain.tangent(x, raw(shape, 20, torch.float64))
    assert torch.allclose(domain.tangent(x, v), v, atol=1e-13)
    errors = []
    for t in (1e-2, 1e-3, 1e-4):
        moved = domain.retract(x, t * v) - x
        if name == "SE2":
            moved[..., 2] = torch.remainder(moved[..., 2] + math.pi, 2 * math.pi) - math.pi
        errors.append(float((moved - t * v).abs().max()))
    assert errors[1] < errors[0] / 50 + 1e-13
    assert errors[2] < errors[1] / 50 + 1e-13


@pytest.mark.parametrize("name", [n for n, (d, _) in CASES.items() if d.kind is Kind.MANIFOLD])
def test_tangent_is_the_orthogonal_projection(name: str) -> None:
    domain, shape = CASES[name]
    x = feasible(domain, shape, 20, torch.float64)
    a, b = raw(shape, 20, torch.float64), raw(shape, 20, torch.float64).flip(0)
    left = (domain.tangent(x, a) * (b - domain.tangent(x, b))).flatten(1).sum(1)
    assert left.abs().max() < 1e-12


@pytest.mark.parametrize("name", [n for n, (d, _) in CASES.items() if d.kind is Kind.OPEN])
def test_coordinates_and_values_are_inverse(name: str) -> None:
    domain, shape = CASES[name]
    values = domain.draw(domain.start(shape, stream(30)), stream(30, "draw"))
    back = domain.value(domain.coordinates(values))
    assert torch.allclose(back, values, rtol=1e-10, atol=1e-12)


def test_simplex_against_a_quadratic_program() -> None:
    x = raw((4,), 12, torch.float64, 1.5)
    ours = Simplex().nearest(x).numpy()
    for row, point in zip(x.numpy(), ours, strict=True):
        reference = minimize(
            lambda p, row=row: 0.5 * ((p - row) ** 2).sum(),
            np.full(4, 0.25),
            jac=lambda p, row=row: p - row,
            bounds=[(0, None)] * 4,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-15},
        )
        assert np.allclose(point, reference.x, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_simplex_is_exact_for_hard_input(dtype: torch.dtype) -> None:
    big = torch.finfo(dtype).max
    x = torch.tensor(
        [[1e10, 1e10, 0], [big, -big, big], [-torch.inf, 0, 0], [torch.inf, 0, 0], [0, 0, 0], [5, 5, 5]],
        dtype=dtype,
    )
    points = Simplex().nearest(x)
    third = 1 / 3
    expected = [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [1, 0, 0], [third] * 3, [third] * 3]
    assert torch.allclose(points, torch.tensor(expected, dtype=dtype))
    assert ((points.sum(-1) - 1).abs() <= 2 * torch.finfo(dtype).eps).all()
    assert (points >= 0).all()
    assert torch.isnan(Simplex().nearest(torch.full((1, 3), torch.nan, dtype=dtype))).all()


def test_masked_entries_are_exactly_zero() -> None:
    points = Simplex(MASK).nearest(raw((5,), 50, torch.float64, 3.0))
    assert (points[:, ~MASK] == 0).all()
    assert not Simplex(MASK).inside(torch.full((1, 5), 0.2, dtype=torch.float64), 1e-6).any()


def test_zero_vectors_go_to_the_first_unit_vector() -> None:
    zero = torch.zeros(1, 3, 2)
    assert Sphere().nearest(zero).tolist() == [[[1, 0], [1, 0], [1, 0]]]
    assert UnitColumns().nearest(zero).tolist() == [[[1, 1], [0, 0], [0, 0]]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalising_survives_huge_and_tiny_vectors(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    x = torch.tensor([[info.max, info.max], [info.tiny, -info.tiny]], dtype=dtype)
    root = math.sqrt(0.5)
    assert torch.allclose(Sphere().nearest(x), torch.tensor([[root, root], [root, -root]], dtype=dtype))


def test_rotations_agree_with_scipy() -> None:
    domain = SO3()
    x = feasible(domain, (3, 3), 20, torch.float64)
    omega = raw((3,), 20, torch.float64, 2.0)
    skew = torch.zeros(20, 3, 3, dtype=torch.float64)
    for (i, j), k, sign in (((2, 1), 0, 1), ((0, 2), 1, 1), ((1, 0), 2, 1)):
        skew[:, i, j], skew[:, j, i] = sign * omega[:, k], -sign * omega[:, k]
    moved = domain.retract(x, x @ skew)
    reference = x.numpy() @ Rotation.from_rotvec(omega.numpy()).as_matrix()
    assert np.allclose(moved.numpy(), reference, atol=1e-12)
    still = domain.retract(x, torch.zeros_like(x))
    assert torch.allclose(still, x, atol=1e-14)


def test_rotation_draws_are_uniform_and_right_handed() -> None:
    draws = SO3().draw(torch.zeros(4000, 3, 3, dtype=torch.float64), stream(4000))
    assert torch.allclose(torch.linalg.det(draws), torch.ones(4000, dtype=torch.float64))
    # An entry of a uniform rotation is uniform on [-1, 1].
    assert kstest((draws[:, 0, 1].numpy() + 1) / 2, "uniform").pvalue > 1e-3
    assert kstest((draws[:, 2, 2].numpy() + 1) / 2, "uniform").pvalue > 1e-3


def test_square_stiefel_draws_have_both_signs() -> None:
    draws = Stiefel().draw(torch.zeros(400, 3, 3, dtype=torch.float64), stream(400))
    share = (torch.linalg.det(draws) > 0).double().mean()
    assert 0.4 < share < 0.6


def test_psd_projection_is_that_of_the_eigenvalues() -> None:
    x = raw((4, 4), 10, torch.float64)
    for row, point in zip(x.numpy(), PositiveSemidefinite().nearest(x).numpy(), strict=True):
        values, vectors = np.linalg.eigh((row + row.T) / 2)
        assert np.allclose(point, vectors @ np.diag(np.maximum(values, 0)) @ vectors.T, atol=1e-12)


def test_angles_wrap_to_the_half_open_interval() -> None:
    turns = torch.tensor([math.pi, -math.pi, 3 * math.pi, 0.5, -1e-20, 7.0], dtype=torch.float64)
    poses = torch.zeros(1, 6, 3, dtype=torch.float64)
    poses[..., 2] = turns
    angles = SE2().nearest(poses)[0, :, 2]
    assert torch.allclose(angles[:2], torch.tensor(-math.pi, dtype=torch.float64))
    assert angles[3] == 0.5
    assert angles[4] == -1e-20
    assert torch.allclose(angles[5], torch.tensor(7 - 2 * math.pi, dtype=torch.float64))
    assert ((angles >= -math.pi) & (angles < math.pi)).all()


def test_interval_start_is_the_point_nearest_zero() -> None:
    domain = Interval(torch.tensor([1.0, -3.0, -1.0]), torch.tensor([2.0, -2.0, 1.0]))
    assert domain.start((3,), stream(1)).tolist() == [[1.0, -2.0, 0.0]]
    assert domain.describe() == "in [-3..1, -2..2]"
    assert Interval(0.0, 1.0).describe() == "in [0, 1]"


@pytest.mark.parametrize(
    ("domain", "shape", "words"),
    [
        (Interval(2.0, 1.0), (), r"\[2, 1\] holds no number"),
        (Interval(torch.zeros(3), torch.tensor([1.0, -1.0, 1.0])), (3,), r"\[0, -1\] at entry \[1\]"),
        (Interval(torch.nan, 1.0), (), "holds no number"),
        (Interval(torch.inf, torch.inf), (), "holds no number"),
        (Simplex(torch.tensor([[True, True], [False, False]])), (2,), r"at \[1\] \(1 of 2\)"),
        (Simplex(torch.tensor([1.0])), (1,), "must be bool"),
        (Simplex(), (0,), "at least one entry"),
        (Sphere(), (), "at least one entry"),
        (UnitColumns(), (3,), "matrices"),
        (Stiefel(), (2, 3), "at least as many rows"),
        (SO3(), (2, 2), "3 x 3"),
        (SE2(), (2,), "x, y, angle"),
        (PositiveSemidefinite(), (2, 3), "square"),
        (PositiveDefinite(), (3,), "square"),
    ],
)
def test_impossible_domains_say_why(domain: Domain, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(DomainError, match=words):
        domain.check(shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_positive_values_never_reach_zero(dtype: torch.dtype) -> None:
    u = torch.tensor([-1e4, -200.0, -50.0, 0.0, 1e4], dtype=dtype)
    values = Positive().value(u)
    assert (values > 0).all()
    assert torch.isfinite(values).all()
    tiny = torch.tensor([1e-30, 1e-6, 1.0, 1e6], dtype=dtype)
    assert torch.allclose(Positive().value(Positive().coordinates(tiny)), tiny, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_rows_of_a_domain_stay_together(name: str) -> None:
    domain, shape = CASES[name]
    rows = torch.tensor([3, 1, 1])
    x = raw(shape, 5, torch.float64)
    picked = domain.select(rows, len(shape)).project(x[rows])
    assert torch.allclose(picked, domain.project(x)[rows], atol=1e-14)


def test_bounds_that_differ_by_row_follow_their_rows() -> None:
    lo = torch.arange(4.0)[:, None]
    domain = Interval(lo, lo + 0.5).select(torch.tensor([2, 0]), 1)
    assert domain.nearest(torch.zeros(2, 3)).tolist() == [[2.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("name", CASES)
def test_no_rows_are_no_problem(name: str) -> None:
    domain, shape = CASES[name]
    none = torch.zeros(0, *shape, dtype=torch.float64)
    assert domain.project(none).shape == none.shape
    assert domain.retract(none, domain.tangent(none, none)).shape == none.shape
    assert domain.inside(domain.value(none), 0.0).shape[0] == 0
    assert domain.start(shape, stream(0)).shape == none.shape
