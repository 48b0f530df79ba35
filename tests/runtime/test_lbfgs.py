"""L-BFGS and its line search: hard functions, references, the last digits, rounding, walls and abysses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot
from ebmlang.runtime.domains import Positive, PositiveDefinite
from ebmlang.runtime.driver import Limits, solve
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.lbfgs import Lbfgs, no_curvature
from ebmlang.runtime.solvers.line_search import CURVATURE, DECREASE, Ray, line_search
from tests.runtime.fakes import Values, generator, problem, rosenbrock

F64, F32 = torch.float64, torch.float32


def random(rows: int, size: int, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    return torch.randn(rows, size, generator=generator(seed), dtype=F64).to(dtype)


def logistic(rows: int, dtype: torch.dtype) -> Problem:
    """Regularised logistic regression with labels that differ by row."""
    X = random(40, 6, dtype) * torch.logspace(-1, 1, 6, dtype=dtype)
    labels = (torch.rand(rows, 40, generator=generator(1)) < 0.4).to(dtype)

    def term(u: Values, h: Values) -> Tensor:
        score = u["x"] @ h["X"].T
        loss = torch.nn.functional.softplus(score) - h["y"] * score
        return loss.sum(1) + 0.01 * (u["x"] ** 2).sum(1)

    start = torch.zeros(rows, 6, dtype=dtype)
    return problem(term, start, held={"X": X, "y": labels}, row_values=("y",))


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize(("size", "scale"), [(2, 1.0), (2, 30.0), (10, 1.0)])
def test_rosenbrock(size: int, scale: float, dtype: torch.dtype) -> None:
    # An absolute tolerance: the gradient at a far start would make a relative one loose.
    question = problem(rosenbrock, scale * random(40, size, dtype))
    outcome = solve(question, Lbfgs(), Limits(tol=1e-12 if dtype == F64 else 1e-7))
    start = question.energy(scale * random(40, size, dtype))
    assert (outcome.energy <= start).all()
    if dtype == F64:
        assert outcome.converged.all()
        # The chained form has a second local minimum near x1 = -1.
        at_one = (outcome.x - 1).abs().amax(1) < 1e-3
        elsewhere = (outcome.x[:, 0] + 1).abs() < 0.1
        assert (at_one | elsewhere).all()
        assert at_one.sum() > 20
    assert outcome.energy.median() < 1e-3


@pytest.mark.parametrize("dtype", [F64, F32])
def test_logistic_regression_against_scipy(dtype: torch.dtype) -> None:
    question = logistic(5, dtype)
    outcome = solve(question, Lbfgs())
    assert outcome.converged.all()
    X, labels = question.held["X"].double().numpy(), question.held["y"].double().numpy()
    for row in range(5):

        def loss(w: np.ndarray, row: int = row) -> float:
            score = X @ w
            return float((np.logaddexp(0, score) - labels[row] * score).sum() + 0.01 * (w @ w))

        reference = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8})
        assert outcome.energy[row] <= reference.fun * (1 + (1e-12 if dtype == F64 else 1e-5))
        assert np.allclose(outcome.x[row].double().numpy(), reference.x, atol=1e-4 if dtype == F64 else 2e-2)


def test_ill_conditioned_quadratic_reaches_the_tolerance() -> None:
    # Condition number 1e6. The energy loses six digits to cancellation; only slopes see the last steps.
    q, _ = torch.linalg.qr(random(30, 30))
    H = q @ torch.diag(torch.logspace(0, 6, 30, dtype=F64)) @ q.T
    H = (H + H.T) / 2
    b = random(3, 30, seed=1)

    def term(u: Values, h: Values) -> Tensor:
        return 0.5 * ((u["x"] @ h["H"]) * u["x"]).sum(1) - (h["b"] * u["x"]).sum(1)

    question = problem(term, torch.zeros(3, 30, dtype=F64), held={"H": H, "b": b}, row_values=("b",))
    outcome = solve(question, Lbfgs(memory=30))
    assert outcome.converged.all()
    assert (outcome.optimality <= 1e-9 * (1 + b.norm(dim=1))).all()
    assert torch.allclose(outcome.x, torch.linalg.solve(H, b.T).T, atol=1e-7)


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("offset", [1e8, -1e8])
def test_small_changes_of_a_huge_energy(dtype: torch.dtype, offset: float) -> None:
    # In float32 the whole descent is below the rounding of the energy.
    def term(u: Values, h: Values) -> Tensor:
        return offset + ((u["x"] - 3) ** 2).sum(1) + ((u["x"] - 3) ** 4).sum(1)

    outcome = solve(problem(term, torch.zeros(3, 4, dtype=dtype)), Lbfgs())
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, torch.tensor(3.0, dtype=dtype), atol=1e-3 if dtype == F32 else 1e-7)


def test_far_starts() -> None:
    def term(u: Values, h: Values) -> Tensor:
        return torch.exp(u["x"]).sum(1) + torch.exp(-u["x"]).sum(1)

    outcome = solve(
        problem(term, torch.tensor([[700.0, -300.0], [1e-3, 50.0]], dtype=F64)), Lbfgs(), Limits(tol=0.0)
    )
    assert outcome.x.abs().max() < 1e-6


def test_rows_do_not_share_anything() -> None:
    # One row needs hundreds of steps, one is done at once, one is unbounded below.
    def term(u: Values, h: Values) -> Tensor:
        x = u["x"]
        hard = 100 * (x[:, 1] - x[:, 0] ** 2) ** 2 + (1 - x[:, 0]) ** 2
        return torch.where(h["kind"] == 0, hard, torch.where(h["kind"] == 1, (x**2).sum(1), -(x**2).sum(1)))

    start = torch.tensor([[-1.2, 1.0], [0.3, 0.4], [1.0, 1.0]], dtype=F64)
    question = problem(term, start, held={"kind": torch.tensor([0, 1, 2])}, row_values=("kind",))
    together = solve(question, Lbfgs())
    for row in range(3):
        alone = solve(question.select(torch.tensor([row])), Lbfgs())
        assert torch.equal(alone.x[0], together.x[row])
        assert alone.status[0] is together.status[row]
    assert together.status == (Status.CONVERGED, Status.CONVERGED, Status.UNBOUNDED)


def test_infinity_beyond_a_wall_is_backed_away_from() -> None:
    def term(u: Values, h: Values) -> Tensor:
        x = u["x"]
        return torch.where((x > 0).all(1), (x - torch.log(x.clamp(min=1e-300))).sum(1), torch.inf)

    outcome = solve(problem(term, torch.tensor([[1e-6, 5.0], [300.0, 1e-3]], dtype=F64)), Lbfgs())
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, torch.tensor(1.0, dtype=F64), atol=1e-2)


def test_an_energy_without_a_bottom_stops_at_a_finite_point() -> None:
    question = problem({"pull": lambda u, h: -(u["x"] ** 2).sum(1)}, torch.ones(2, 2, dtype=F64))
    outcome = solve(question, Lbfgs())
    assert outcome.status == (Status.UNBOUNDED,) * 2
    assert outcome.sentences[0] == "unbounded: the energy falls without end in term 'pull'"
    assert torch.isfinite(outcome.x).all()
    assert torch.isfinite(outcome.energy).all()


def test_a_kink_ends_without_a_claim() -> None:
    outcome = solve(problem(lambda u, h: (u["x"] - 1 / 3).abs().sum(1), torch.ones(1, 3, dtype=F64)), Lbfgs())
    assert outcome.energy.item() < 1e-8
    assert outcome.status[0] in (Status.PRECISION, Status.CONVERGED)
    assert outcome.converged.item() == (outcome.optimality.item() <= 1e-9 * (1 + 3**0.5))


def test_open_domains_move_in_their_coordinates() -> None:
    # The maximum-likelihood scale and covariance of normal data have closed forms.
    data = random(50, 3)

    def scale(u: Values, h: Values) -> Tensor:
        x = u["x"][:, None]
        return (0.5 * h["d"] ** 2 / x**2 + torch.log(x)).sum(1)

    start = torch.full((2,), 3.0, dtype=F64)
    question = problem(
        scale,
        start,
        Positive(),
        held={"d": torch.stack((data, 2 * data)).flatten(1)},
        row_values=("d",),
    )
    outcome = solve(question, Lbfgs())
    root = (data**2).mean().sqrt()
    assert torch.allclose(question.space.values(outcome.x)["x"], torch.stack((root, 2 * root)), rtol=1e-7)

    def covariance(u: Values, h: Values) -> Tensor:
        solved: Tensor = torch.linalg.solve(u["x"], h["S"].expand_as(u["x"]))
        return torch.logdet(u["x"]) + solved.diagonal(dim1=-2, dim2=-1).sum(-1)

    S = data.T @ data / 50
    start = torch.eye(3, dtype=F64)[None]
    question = problem(covariance, start, PositiveDefinite(), held={"S": S})
    outcome = solve(question, Lbfgs())
    assert outcome.converged.all()
    assert torch.allclose(question.space.values(outcome.x)["x"][0], S, atol=1e-7)


def test_two_loop_recursion_is_the_dense_update() -> None:
    rows, size = 3, 5
    made = generator(4)
    A = torch.randn(size, size, generator=made, dtype=F64)
    H = A @ A.T + torch.eye(size, dtype=F64)
    curvature = no_curvature(torch.zeros(rows, dtype=F64))
    pairs = []
    for _ in range(3):
        s = torch.randn(rows, size, generator=made, dtype=F64)
        curvature = curvature.with_pair(s, s @ H, memory=3)
        pairs.append((s, s @ H))
    vector = torch.randn(rows, size, generator=made, dtype=F64)
    product = curvature.times(vector)
    for row in range(rows):
        step, change = (part[row].numpy() for part in pairs[-1])
        inverse = (step @ change) / (change @ change) * np.eye(size)
        for pair in pairs:
            step, change = (part[row].numpy() for part in pair)
            rho = 1 / (step @ change)
            left = np.eye(size) - rho * np.outer(step, change)
            inverse = left @ inverse @ left.T + rho * np.outer(step, step)
        assert np.allclose(product[row].numpy(), inverse @ vector[row].numpy())


def test_pairs_without_curvature_change_nothing() -> None:
    s = random(4, 3)
    y = torch.stack((-s[0], torch.zeros(3, dtype=F64), s[2] * torch.nan, 2 * s[3]))
    curvature = no_curvature(torch.zeros(4, dtype=F64)).with_pair(s, y, memory=5)
    vector = random(4, 3, seed=1)
    product = curvature.times(vector)
    assert torch.equal(product[:3], vector[:3])
    assert torch.allclose(product[3], vector[3] / 2)
    assert torch.equal(curvature.forget(torch.ones(4, dtype=torch.bool)).times(vector), vector)


HILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "flat": lambda t: (t - 1) ** 2 / 1000,
    "steep": lambda t: 1000 * (t - 1e-3) ** 2,
    "quartic": lambda t: (t - 2) ** 4,
    "wave": lambda t: -t / 10 + torch.sin(3 * t) / 6 - t / 2 + t**2 / 50,
    "more_thuente": lambda t: -t / (t**2 + 2),
    "wall": lambda t: torch.where(
        t < 0.5, -torch.sqrt((0.5 - t).clamp(min=1e-12) * 0 + t + 0.01) + t**8, torch.inf
    ),
    "log": lambda t: -torch.log(t + 1e-3) + t,
}


@pytest.mark.parametrize("first", [1e-6, 1e-2, 1.0, 100.0, 1e6])
def test_accepted_steps_satisfy_strong_wolfe(first: float) -> None:
    names = list(HILLS)
    kinds = torch.arange(len(names))[:, None]

    def term(u: Values, h: Values) -> Tensor:
        every = torch.stack([hill(u["x"][:, 0]) for hill in HILLS.values()], dim=1)
        return every.gather(1, h["kind"])[:, 0]

    start = torch.zeros(len(names), 1, dtype=F64)
    question = problem(term, start, held={"kind": kinds}, row_values=("kind",))
    energy, gradient = question.energy_and_gradient(start)
    direction = torch.ones_like(start)
    slope = row_dot(gradient, direction)
    assert (slope < 0).all()
    ray = Ray(start, energy, gradient, direction, slope)
    rows = torch.ones(len(names), dtype=torch.bool)
    accepted = line_search(question, ray, torch.full_like(energy, first), rows)
    assert accepted.found.all()
    there, after = question.energy_and_gradient(accepted.step[:, None])
    assert torch.allclose(there, accepted.energy)
    assert torch.allclose(after, accepted.gradient)
    assert (there <= energy + DECREASE * accepted.step * slope).all()
    assert (row_dot(after, direction).abs() <= CURVATURE * slope.abs()).all()


def test_rows_left_out_of_a_line_search_stay() -> None:
    question = problem(lambda u, h: (u["x"] ** 2).sum(1), torch.ones(2, 1, dtype=F64))
    x = torch.ones(2, 1, dtype=F64)
    energy, gradient = question.energy_and_gradient(x)
    ray = Ray(x, energy, gradient, -gradient, -row_dot(gradient, gradient))
    accepted = line_search(question, ray, torch.ones(2, dtype=F64), torch.tensor([True, False]))
    assert accepted.found.tolist() == [True, False]
    assert accepted.step[1] == 0
    assert accepted.energy[1] == energy[1]
