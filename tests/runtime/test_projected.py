"""Projected gradient on sets and manifolds, two-metric projection on bounds: closed forms and scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, minimize, nnls
from scipy.spatial.transform import Rotation
from torch import Tensor

from ebmlang.runtime.domains import (
    SE2,
    SO3,
    Domain,
    Interval,
    Nonnegative,
    PositiveSemidefinite,
    Reals,
    Simplex,
    Sphere,
    Stiefel,
    UnitColumns,
)
from ebmlang.runtime.driver import Limits, Starts, solve
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.lbfgs import no_curvature
from ebmlang.runtime.solvers.projected_gradient import ProjectedGradient
from ebmlang.runtime.solvers.projected_lbfgs import ProjectedLbfgs, restricted_times
from ebmlang.runtime.space import Unknown, space_of
from tests.runtime.fakes import Fake, Values, generator, least_squares, problem, rosenbrock

F64, F32 = torch.float64, torch.float32


def ill_posed(condition: float, rows: int, dtype: torch.dtype) -> Problem:
    """Nonnegative least squares whose matrix has the given condition number."""
    made = np.random.default_rng(0)
    u = np.linalg.qr(made.normal(size=(40, 25)))[0]
    v = np.linalg.qr(made.normal(size=(25, 25)))[0]
    A = u @ np.diag(np.logspace(0, -np.log10(condition), 25)) @ v.T
    b = np.maximum(made.normal(size=(rows, 25)), 0) @ A.T + 0.01 * made.normal(size=(rows, 40))
    held = {"A": torch.tensor(A, dtype=dtype), "b": torch.tensor(b, dtype=dtype)}
    return problem(least_squares, torch.zeros(rows, 25, dtype=dtype), Nonnegative(), held, row_values=("b",))


@pytest.mark.parametrize(
    ("condition", "dtype", "excess"), [(10, F64, 1e-12), (1e3, F64, 1e-10), (10, F32, 1e-4)]
)
def test_nonnegative_least_squares_against_scipy(condition: float, dtype: torch.dtype, excess: float) -> None:
    question = ill_posed(condition, 8, dtype)
    outcome = solve(question, ProjectedLbfgs())
    assert outcome.converged.all()
    A, b = question.held["A"].double().numpy(), question.held["b"].double().numpy()
    zeros = 0
    for row in range(8):
        reference, rest = nnls(A, b[row])
        x = outcome.x[row].double().numpy()
        assert 0.5 * ((A @ x - b[row]) ** 2).sum() <= 0.5 * rest**2 * (1 + excess)
        if dtype == F64 and condition == 10:
            assert np.allclose(x, reference, atol=1e-7)
            assert ((x == 0) == (reference == 0)).all()
        zeros += int((x == 0).sum())
    assert zeros > 20


@pytest.mark.parametrize("solver", [ProjectedGradient(), ProjectedLbfgs()])
def test_bounded_least_squares_against_scipy(solver: ProjectedGradient | ProjectedLbfgs) -> None:
    made = np.random.default_rng(1)
    A, b = made.normal(size=(20, 6)), 3 * made.normal(size=(5, 20))
    lo = torch.tensor([-0.1, -torch.inf, 0.0, -1.0, 0.2, -torch.inf], dtype=F64)
    hi = torch.tensor([0.1, 0.05, torch.inf, 1.0, 0.2, torch.inf], dtype=F64)
    held = {"A": torch.tensor(A), "b": torch.tensor(b)}
    question = problem(least_squares, torch.zeros(5, 6, dtype=F64), Interval(lo, hi), held, row_values=("b",))
    outcome = solve(question, solver)
    assert outcome.converged.all()
    assert (outcome.x[:, 4] == 0.2).all()
    upper = hi.numpy().copy()
    upper[4] += 1e-9  # scipy wants room between the bounds
    for row in range(5):
        reference = lsq_linear(A, b[row], (lo.numpy(), upper), tol=1e-14)
        assert np.allclose(outcome.x[row].numpy(), reference.x, atol=1e-6)


@pytest.mark.parametrize("solver", [ProjectedGradient(), ProjectedLbfgs()])
def test_bounded_rosenbrock_against_scipy(solver: ProjectedGradient | ProjectedLbfgs) -> None:
    starts = torch.tensor([[-1.2, 1.0], [0.5, -0.5], [0.0, 0.9], [-1.5, -1.5]], dtype=F64)
    question = problem(rosenbrock, starts, Interval(-1.5, torch.tensor([0.5, 1.5], dtype=F64)))
    outcome = solve(question, solver)
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, torch.tensor([0.5, 0.25], dtype=F64), atol=1e-7)
    reference = minimize(
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        [-1.2, 1.0],
        bounds=[(-1.5, 0.5), (-1.5, 1.5)],
    )
    assert abs(reference.fun - outcome.energy[0]) < 1e-6


def test_two_metric_projection_mixes_bounded_and_real_unknowns() -> None:
    def term(u: Values, h: Values) -> Tensor:
        return ((u["a"] + u["b"] - 1) ** 2).sum(1) + 0.1 * ((u["b"] + 2) ** 2).sum(1)

    unknowns = (Unknown("a", (3,), Nonnegative()), Unknown("b", (3,), Reals()))
    question = Problem(Fake({"t": term}), {}, frozenset(), space_of(unknowns, 2, F64))
    outcome = solve(question, ProjectedLbfgs())
    values = question.space.values(outcome.x)
    assert torch.allclose(values["a"], torch.tensor(3.0, dtype=F64))
    assert torch.allclose(values["b"], torch.tensor(-2.0, dtype=F64))


def test_curvature_is_cut_to_the_free_entries() -> None:
    made = generator(0)
    A = torch.randn(4, 4, generator=made, dtype=F64)
    H = A @ A.T + torch.eye(4, dtype=F64)
    free = torch.tensor([[True, False, True, True]])
    curvature = no_curvature(torch.zeros(1, dtype=F64))
    for _ in range(12):
        s = torch.where(free, torch.randn(1, 4, generator=made, dtype=F64), 0.0)
        curvature = curvature.with_pair(s, s @ H, memory=12)
    vector = torch.where(free, torch.randn(1, 4, generator=made, dtype=F64), 0.0)
    product, _ = restricted_times(curvature, vector, free)
    keep = free[0]
    assert (product[0, ~keep] == 0).all()
    exact = torch.linalg.solve(H[keep][:, keep], vector[0, keep])
    assert torch.nn.functional.cosine_similarity(product[0, keep], exact, dim=0) > 0.99


def test_simplex_against_scipy() -> None:
    made = np.random.default_rng(2)
    A = made.normal(size=(6, 5))
    b = made.normal(size=(4, 6))
    held = {"A": torch.tensor(A), "b": torch.tensor(b)}
    start = torch.zeros(4, 5, dtype=F64)
    question = problem(least_squares, start, Simplex(), held, row_values=("b",))
    outcome = solve(question, ProjectedGradient())
    assert outcome.converged.all()
    assert ((outcome.x.sum(1) - 1).abs() < 1e-15).all()
    assert (outcome.x >= 0).all()
    for row in range(4):
        reference = minimize(
            lambda x, row=row: 0.5 * ((A @ x - b[row]) ** 2).sum(),
            np.full(5, 0.2),
            bounds=[(0, None)] * 5,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        assert np.allclose(outcome.x[row].numpy(), reference.x, atol=1e-5)


def test_entropy_on_the_simplex_is_softmax() -> None:
    scores = 2 * torch.randn(5, 6, generator=generator(0), dtype=F64)

    def term(u: Values, h: Values) -> Tensor:
        entropy: Tensor = -torch.special.xlogy(u["x"], u["x"]).sum(1)
        return -entropy - (h["s"] * u["x"]).sum(1)

    question = problem(term, torch.zeros(5, 6, dtype=F64), Simplex(), {"s": scores}, row_values=("s",))
    outcome = solve(question, ProjectedGradient())
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, scores.softmax(1), atol=1e-8)


@pytest.mark.parametrize("dtype", [F64, F32])
def test_sphere_finds_the_lowest_eigenvector(dtype: torch.dtype) -> None:
    A = torch.randn(4, 6, 6, generator=generator(0), dtype=F64).to(dtype)
    S = A + A.mT

    def term(u: Values, h: Values) -> Tensor:
        return (u["x"] * (h["S"] @ u["x"][:, :, None])[:, :, 0]).sum(1)

    start = torch.ones(4, 6, dtype=dtype)
    question = problem(term, start, Sphere(), {"S": S}, row_values=("S",))
    outcome = solve(question, ProjectedGradient(), starts=Starts(restarts=4))
    assert outcome.converged.all()
    assert question.space.inside(outcome.x).all()
    lowest = torch.linalg.eigvalsh(S)[:, 0]
    assert torch.allclose(outcome.energy, lowest, rtol=1e-12 if dtype == F64 else 1e-5)


def test_stiefel_finds_principal_components() -> None:
    data = torch.randn(3, 30, 5, generator=generator(0), dtype=F64) * torch.arange(1, 6, dtype=F64)
    C = data.mT @ data / 30

    def term(u: Values, h: Values) -> Tensor:
        return -(u["x"].mT @ h["C"] @ u["x"]).diagonal(dim1=-2, dim2=-1).sum(-1)

    # Starts from the identity's first columns would be close; these are far.
    start = torch.eye(5, 2, dtype=F64).expand(3, 5, 2)
    question = problem(term, start, Stiefel(), {"C": C}, row_values=("C",))
    outcome = solve(question, ProjectedGradient(), starts=Starts(restarts=3))
    assert outcome.converged.all()
    reference = -torch.linalg.eigvalsh(C)[:, -2:].sum(1)
    assert torch.allclose(outcome.energy, reference, rtol=1e-10)
    x = question.space.values(outcome.x)["x"]
    assert torch.allclose(x.mT @ x, torch.eye(2, dtype=F64).expand(3, 2, 2), atol=1e-14)


def test_square_stiefel_restarts_reach_both_components() -> None:
    # The answer has determinant -1, and the start is on the other side.
    def term(u: Values, h: Values) -> Tensor:
        return ((u["x"] - torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=F64))) ** 2).sum((1, 2))

    question = problem(term, torch.eye(3, dtype=F64)[None], Stiefel())
    stuck = solve(question, ProjectedGradient())
    found = solve(question, ProjectedGradient(), starts=Starts(restarts=8))
    assert stuck.energy.item() > 1
    assert found.energy.item() < 1e-15


def test_rotations_are_aligned_as_by_kabsch() -> None:
    made = np.random.default_rng(0)
    cloud = made.normal(size=(10, 3))
    truth = Rotation.random(4, random_state=0).as_matrix()
    seen = np.einsum("bij,nj->bni", truth, cloud) + 0.05 * made.normal(size=(4, 10, 3))

    def term(u: Values, h: Values) -> Tensor:
        return ((h["p"] @ u["x"].mT - h["q"]) ** 2).sum((1, 2))

    held = {"p": torch.tensor(cloud), "q": torch.tensor(seen)}
    question = problem(term, torch.eye(3, dtype=F64).expand(4, 3, 3), SO3(), held, row_values=("q",))
    outcome = solve(question, ProjectedGradient())
    assert outcome.converged.all()
    for row in range(4):
        reference, _ = Rotation.align_vectors(seen[row], cloud)
        assert np.allclose(outcome.x[row].reshape(3, 3).numpy(), reference.as_matrix(), atol=1e-7)


def test_unit_columns_and_psd_reach_the_nearest_point() -> None:
    target = torch.randn(3, 4, 4, generator=generator(0), dtype=F64)

    def term(u: Values, h: Values) -> Tensor:
        return ((u["x"] - h["t"]) ** 2).sum((1, 2))

    for domain in (UnitColumns(), PositiveSemidefinite()):
        start = torch.eye(4, dtype=F64).expand(3, 4, 4)
        question = problem(term, start, domain, {"t": target}, row_values=("t",))
        outcome = solve(question, ProjectedGradient())
        assert outcome.converged.all()
        assert torch.allclose(outcome.x.reshape(3, 4, 4), domain.nearest(target), atol=1e-7)


def test_poses_turn_the_short_way() -> None:
    # From an angle of 3 to one of -3 is a step of 0.28 through pi, not of 6.
    def term(u: Values, h: Values) -> Tensor:
        x, y, angle = u["x"].unbind(1)
        return (x - 1) ** 2 + (y + 1) ** 2 - torch.cos(angle + 3)

    question = problem(term, torch.tensor([[0.0, 0.0, 3.0]], dtype=F64), SE2())
    outcome = solve(question, ProjectedGradient())
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, torch.tensor([[1.0, -1.0, -3.0]], dtype=F64), atol=1e-7)


def test_nonconvex_energies_only_claim_stationarity() -> None:
    question = problem(
        lambda u, h: torch.cos(3 * u["x"]).sum(1),
        torch.tensor([[0.1, 0.5], [1.0, -0.9]], dtype=F64),
        Interval(-1.0, 1.0),
    )
    for solver in (ProjectedGradient(), ProjectedLbfgs()):
        outcome = solve(question, solver)
        assert set(outcome.status) == {Status.CONVERGED}
        _, gradient = question.energy_and_gradient(outcome.x)
        assert (question.space.optimality(outcome.x, gradient) < 1e-8).all()


def test_a_hard_quadratic_does_not_exhaust_the_steps() -> None:
    question = ill_posed(100, 4, F64)
    outcome = solve(question, ProjectedLbfgs(), Limits(steps=600))
    assert outcome.converged.all()


@pytest.mark.parametrize("domain", [Reals(), Nonnegative(), Sphere()])
def test_steps_that_are_too_long_are_shortened(domain: Domain) -> None:
    # From an absurd step size the next point must still lie below the start.
    start = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=F64)
    question = problem(lambda u, h: u["x"] ** 4 @ torch.tensor([1.0, 30.0], dtype=F64), start, domain)
    method = ProjectedGradient()
    state = method.init(question, start)
    length = torch.tensor([1e3, 1e12], dtype=F64)
    state = replace(state, memory=replace(state.memory, length=length))
    moved, after = method.step(question, start, state)
    assert (after.energy < state.energy).all()
    assert question.space.inside(moved).all()
    assert torch.allclose(question.energy(moved), after.energy)
