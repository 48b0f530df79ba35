"""Accelerated proximal gradient against scikit-learn and against optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso, LogisticRegression
from torch import Tensor

from ebmlang.runtime.domains import Domain, Interval, Nonnegative, Reals
from ebmlang.runtime.driver import Limits, solve
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.fista import Fista, proximal_point
from tests.runtime.fakes import Values, generator, least_squares, split_problem

F64, F32 = torch.float64, torch.float32


def sparse_coding(images: np.ndarray, dictionary: np.ndarray, weight: float, dtype: torch.dtype) -> Problem:
    held = {"A": torch.tensor(dictionary, dtype=dtype), "b": torch.tensor(images, dtype=dtype)}
    start = torch.zeros(len(images), dictionary.shape[1], dtype=dtype)
    return split_problem(
        least_squares, torch.tensor(weight, dtype=dtype), start, held=held, row_values=("b",)
    )


def total(codes: np.ndarray, images: np.ndarray, dictionary: np.ndarray, weight: float) -> np.ndarray:
    rest = images - codes @ dictionary.T
    return np.asarray(0.5 * (rest**2).sum(1) + weight * np.abs(codes).sum(1))


@pytest.mark.parametrize(("dtype", "excess"), [(F64, 1e-9), (F32, 1e-4)])
@pytest.mark.parametrize("quadratic", [True, False])
def test_sparse_codes_of_digits(quadratic: bool, dtype: torch.dtype, excess: float) -> None:
    images = load_digits().data / 16
    made = np.random.default_rng(0)
    # Columns that are digits themselves are far more alike than random ones: the hard case.
    dictionary = np.concatenate(
        [images[made.choice(len(images), 64, replace=False)].T, made.normal(size=(64, 64))], 1
    )
    dictionary /= np.linalg.norm(dictionary, axis=0)
    some = images if dtype == F32 and quadratic else images[::9]
    outcome = solve(sparse_coding(some, dictionary, 0.1, dtype), Fista(quadratic=quadratic))
    assert outcome.converged.all()
    codes = outcome.x.double().numpy()
    reference = sparse_encode(some, dictionary.T, algorithm="lasso_cd", alpha=0.1, max_iter=100_000)
    ours, theirs = (total(z, some, dictionary, 0.1) for z in (codes, reference))
    assert ours.sum() <= theirs.sum() * (1 + excess)
    assert np.allclose(outcome.energy.double().numpy(), ours, rtol=1e-4)
    # Zeros are zeros, in the same places wherever the reference is clear about them.
    assert (codes == 0).mean() > 0.7
    if dtype == F64:
        assert (ours <= theirs * (1 + 1e-6)).all()
        rest = (some - codes @ dictionary.T) @ dictionary
        assert (codes[np.abs(rest) < 0.1 - 1e-6] == 0).all()


@pytest.mark.parametrize("positive", [False, True])
def test_lasso_on_diabetes(positive: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = X * np.sqrt(len(X)), y - y.mean()
    alphas = np.array([0.1, 1.0, 10.0, 100.0])
    weights = torch.tensor(alphas * len(X))[:, None]
    held = {"A": torch.tensor(X), "b": torch.tensor(y)[None], "weight": weights}
    domain: Domain = Nonnegative() if positive else Reals()
    none, start = torch.tensor(0.0), torch.zeros(4, 10, dtype=F64)
    question = split_problem(least_squares, none, start, domain, held, row_values=("b", "weight"))
    outcome = solve(question, Fista(quadratic=True))
    assert outcome.converged.all()
    for row, alpha in enumerate(alphas):
        reference = Lasso(
            alpha=alpha, fit_intercept=False, tol=1e-13, max_iter=100_000, positive=positive
        ).fit(X, y)
        assert np.allclose(outcome.x[row].numpy(), reference.coef_, atol=1e-5)
        assert ((outcome.x[row].numpy() == 0) == (reference.coef_ == 0)).all()


def test_sparse_logistic_regression_against_scikit_learn() -> None:
    made = np.random.default_rng(0)
    X = made.normal(size=(80, 8))
    y = (X[:, 0] - 2 * X[:, 1] + made.normal(size=80) > 0).astype(float)

    def term(u: Values, h: Values) -> Tensor:
        score = u["x"] @ h["X"].T
        return (torch.nn.functional.softplus(score) - h["y"] * score).sum(1)

    held = {"X": torch.tensor(X), "y": torch.tensor(y)[None]}
    question = split_problem(
        term, torch.tensor(4.0), torch.zeros(1, 8, dtype=F64), held=held, row_values=("y",)
    )
    outcome = solve(question, Fista())
    assert outcome.converged.all()
    reference = LogisticRegression(
        l1_ratio=1.0, C=0.25, solver="saga", fit_intercept=False, tol=1e-12, max_iter=100_000
    ).fit(X, y)
    assert np.allclose(outcome.x[0].numpy(), reference.coef_[0], atol=1e-6)
    assert (outcome.x == 0).sum() == (reference.coef_ == 0).sum()


@pytest.mark.parametrize("quadratic", [True, False])
def test_bounds_and_weights_per_entry(quadratic: bool) -> None:
    # Separable, so that every entry has a closed form: clamp(soft threshold).
    target = 3 * torch.randn(4, 5, generator=generator(0), dtype=F64)
    weight = torch.tensor([0.0, 0.5, 1.0, 2.0, 100.0], dtype=F64)
    domain = Interval(
        torch.tensor([-1.0, -1.0, 0.5, -torch.inf, -1.0]), torch.tensor([1.0, 0.2, 2.0, torch.inf, 1.0])
    )

    def term(u: Values, h: Values) -> Tensor:
        return 0.5 * (h["scale"] * (u["x"] - h["t"]) ** 2).sum(1)

    scale = torch.logspace(-2, 2, 5, dtype=F64)
    held = {"t": target, "scale": scale}
    start = torch.zeros(4, 5, dtype=F64)
    question = split_problem(term, weight, start, domain, held, row_values=("t",))
    outcome = solve(question, Fista(quadratic=quadratic))
    assert outcome.converged.all()
    soft = target.sign() * (target.abs() - weight / scale).clamp(min=0)
    assert torch.allclose(outcome.x, domain.nearest(soft), atol=1e-4)


def test_optimality_is_in_units_of_the_gradient() -> None:
    # Without weights and bounds it is an honest bound on the gradient itself.
    made = generator(0)
    held = {
        "A": torch.randn(9, 5, generator=made, dtype=F64),
        "b": torch.randn(3, 9, generator=made, dtype=F64),
    }
    for quadratic in (True, False):
        question = split_problem(
            least_squares, torch.tensor(0.0), torch.zeros(3, 5, dtype=F64), held=held, row_values=("b",)
        )
        for steps in (1, 5, 50):
            outcome = solve(question, Fista(quadratic=quadratic), Limits(steps=steps))
            _, gradient = question.energy_and_gradient(outcome.x)
            assert (gradient.norm(dim=1) <= outcome.optimality * (1 + 1e-6) + 1e-13).all()


def test_a_step_costs_one_evaluation_where_the_energy_is_quadratic() -> None:
    images = load_digits().data[:64] / 16
    dictionary = np.random.default_rng(0).normal(size=(64, 32))
    question = sparse_coding(images, dictionary / np.linalg.norm(dictionary, axis=0), 0.1, F64)
    assert question.split is not None
    outcome = solve(question, Fista(quadratic=True, gram=False))
    calls = getattr(question.split, "calls")  # noqa: B009 - the fake's own counter
    spent = sum(calls) / (outcome.iterations.sum().item() + 64)
    assert spent < 1.5


def test_proximal_point_is_the_minimiser() -> None:
    question = split_problem(
        least_squares, torch.tensor(1.0), torch.zeros(1, 4, dtype=F64), Interval(-0.5, 3.0)
    )
    x = torch.tensor([[-4.0, 0.2, 1.0, 5.0]], dtype=F64)
    point = proximal_point(question, x, torch.tensor([0.5], dtype=F64), torch.tensor([[1.0]], dtype=F64))
    grid = torch.linspace(-0.5, 3.0, 70_001, dtype=F64)
    for entry in range(4):
        objective = (grid - x[0, entry]) ** 2 / (2 * 0.5) + grid.abs()
        assert abs(grid[objective.argmin()] - point[0, entry]) < 1e-4


def test_a_huge_weight_gives_zero_at_once() -> None:
    made = generator(0)
    held = {
        "A": torch.randn(9, 5, generator=made, dtype=F64),
        "b": torch.randn(3, 9, generator=made, dtype=F64),
    }
    question = split_problem(
        least_squares, torch.tensor(1e6), torch.ones(3, 5, dtype=F64), held=held, row_values=("b",)
    )
    outcome = solve(question, Fista(quadratic=True))
    assert (outcome.x == 0).all()
    assert outcome.status == (Status.CONVERGED,) * 3


@pytest.mark.parametrize("quadratic", [True, False])
def test_momentum_that_overshoots_is_dropped(quadratic: bool) -> None:
    # Strongly convex: with restarts convergence is linear, without them it is slow and oscillates.
    curvature = torch.logspace(-3, 0, 20, dtype=F64)

    def term(u: Values, h: Values) -> Tensor:
        return 0.5 * (curvature * (u["x"] - 1) ** 2).sum(1)

    question = split_problem(term, torch.tensor(1e-5), torch.zeros(1, 20, dtype=F64))
    outcome = solve(question, Fista(quadratic=quadratic, growth=1.0))
    assert outcome.converged.all()
    assert outcome.iterations.item() < 1500
