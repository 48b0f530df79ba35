"""Quadratics that bend at least as much as a smooth energy, and the steps that are proven by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.compiler.structure.majorant import _BENDS
from tests.draws import normal

LASSO = """
model lasso(n: int, k: int, lam: real in nonnegative = 1.0, d: real in positive = 0.7) {{
  shared observed X : real[n, k]
  observed y : real[n]
  latent w : real[k] = 0
  energy fit = {}
  energy spread = lam * ||w||_1
  infer w
}}"""

BOUNDED = [
    "sum(softplus(-y * (X @ w)))",
    "sum(softplus(X @ w) - y * (X @ w))",
    "mean(log(1 + exp(X @ w)))",
    "-sum(log(sigmoid(y * (X @ w))))",
    "sum(huber(y - X @ w, delta = 0.5))",
    "sum(d^2 * (sqrt(1 + ((y - X @ w) / d)^2) - 1))",
    "sum(sqrt(d + square(y - X @ w)))",
    "sum(log(cosh(y - X @ w)))",
    "logsumexp(X @ w) - dot(y, X @ w)",
    "sum(y[i] * tanh(dot(X[i], w)), over = i in 0..n)",
    "sum(log(d + (y - X @ w)^2))",
    "-2 * sum(log1p((X @ w)^2)) + 3 * ||w||^2",
    "sum(y * sin(X @ w) - abs(y) * cos(X @ w)) + sum(gelu(X @ w) - silu(X @ w))",
]
UNBOUNDED = [
    "sum(exp(X @ w))",
    "sum((y - X @ w)^4)",
    "sum(log(cosh((X @ w)^2)))",
    "sum(softplus(square(X @ w)))",
    "sum(sqrt(1 - d + square(X @ w)))",
]


def loaded(fit: str, **sizes: Any) -> ebmlang.Model:
    return ebmlang.loads(LASSO.format(fit), **{"n": 7, "k": 4, **sizes})


@pytest.mark.parametrize("fit", BOUNDED)
def test_the_hessian_is_nowhere_more(fit: str) -> None:
    model = loaded(fit)
    X, y = normal(7, 4), normal(1, 7, seed=1)
    module = model.compiled(model.asked(None, frozenset(), None, None, frozenset()), None)[1]
    values = {"X": X, "y": y}
    bound = model.bound(module, values, model.settings({}, "float64", None, 0, None), frozenset())
    assert module.MAJORANT
    held = {**bound.values, **bound.instance.prepare(bound.values)}

    def hessian(function: Any, w: torch.Tensor) -> torch.Tensor:
        found = torch.autograd.functional.hessian(lambda v: function({"w": v[None]}, held).sum(), w)
        assert isinstance(found, torch.Tensor)
        return found

    for seed in range(8):
        w = normal(4, seed=seed) * 10.0 ** (seed % 3 - 1)
        apart = hessian(bound.instance.majorant, w) - hessian(bound.instance.smooth, w)
        assert float(torch.linalg.eigvalsh(apart)[0]) >= -1e-9


@pytest.mark.parametrize("fit", UNBOUNDED)
def test_what_has_no_bound_claims_none(fit: str) -> None:
    assert "bends no more" not in loaded(fit).explain()


@pytest.mark.parametrize("name", _BENDS)
def test_extremes_of_second_derivatives(name: str) -> None:
    """Against a fine grid: never exceeded, and not more than a twentieth too wide."""
    functions: dict[str, Any] = {
        "softplus": torch.nn.functional.softplus, "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "huber": lambda u: torch.nn.functional.huber_loss(u, torch.zeros_like(u), reduction="none"),
    }  # fmt: skip
    function = functions.get(name) or getattr(torch, name)
    u = torch.linspace(-8, 8, 20_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(function(u).sum(), u, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), u)
    low, high = _BENDS[name]
    slack = 0.05 * max(-low, high)
    assert low - 1e-12 <= float(bend.min()) <= low + slack
    assert high - slack <= float(bend.max()) <= high + 1e-12


@pytest.mark.filterwarnings("ignore")
def test_logistic_lasso_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 12))
    y = np.sign(X[:, :3].sum(1) + rng.normal(size=80))
    other = linear.LogisticRegression(
        solver="liblinear", penalty="l1", C=0.5, fit_intercept=False, tol=1e-10, max_iter=10_000
    )
    w = other.fit(X, y).coef_[0]
    model = loaded("sum(softplus(-y * (X @ w)))", n=80, k=12, lam=2.0)
    found = model.infer(X=X, y=y[None], tol=1e-8, dtype="float64")
    assert found.method == "fista"
    assert bool(found.converged.all())
    assert float(found.energy[0]) <= np.logaddexp(0, -y * (X @ w)).sum() + 2 * np.abs(w).sum() + 1e-9
    np.testing.assert_allclose(found.w[0].numpy(), w, atol=1e-5)


@pytest.mark.parametrize("fit", BOUNDED)
def test_the_answers_are_those_of_steps_that_are_tested(fit: str) -> None:
    """The same energy, written so that nothing is proven of it, from the same start; rows of many scales."""
    fit += " + 0.01 * ||w||^2"
    hidden = fit.replace("X @ w", "X @ (w + 0 * w^3)").replace("X[i], w", "X[i], w + 0 * w^3")
    X = normal(7, 4)
    y = normal(5, 7, seed=1).sign() * torch.tensor([1.0, 0.1, 3.0, 0.0, 1.0])[:, None]
    proven, tested = loaded(fit, lam=0.05), loaded(hidden, lam=0.05)
    assert "bends no more" not in tested.explain()
    first, second = proven.infer(X=X, y=y, tol=1e-8), tested.infer(X=X, y=y, tol=1e-8)
    assert bool(first.converged.all())
    better = first.energy - second.energy
    assert bool((better <= 1e-7 * (1 + second.energy.abs())).all()), better
