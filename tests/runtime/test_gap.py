"""Duality gaps bound how far an energy is above its minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

import ebmlang

LASSO = """
model lasso(m: int, n: int, lam: real in positive = 0.5) {
  shared observed X : real[m, n]
  observed y : real[m]
  latent w : real[n] = 0
  energy fit = ||y - X @ w||^2 / (2 * m)
  regularizer sparsity = lam * ||w||_1
  infer w
}
"""


def data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 12))
    return X, rng.normal(size=(3, 40)) + X[:, :3].sum(1)


@pytest.mark.parametrize("steps", [1, 3, None])
def test_the_minimum_lies_within_the_gap(steps: int | None) -> None:
    X, y = data(0)
    model = ebmlang.loads(LASSO, lam=0.1)
    result = model.infer(X=X, y=y, dtype="float64", steps=steps)
    assert result.gap is not None
    assert bool((result.gap >= 0).all())
    for row in range(3):
        exact = Lasso(alpha=0.1, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(X, y[row]).coef_
        least = ((y[row] - X @ exact) ** 2).sum() / 80 + 0.1 * np.abs(exact).sum()
        above = float(result.energy[row]) - least
        assert above <= float(result.gap[row]) + 1e-12
    if steps is None:
        assert float(result.gap.max()) < 1e-8
        assert "duality gap" in result.certificate


def test_float32_never_claims_more_than_its_rounding() -> None:
    X, y = data(1)
    result = ebmlang.loads(LASSO, lam=0.1).infer(X=X, y=y, dtype="float32")
    exact = ebmlang.loads(LASSO, lam=0.1).infer(X=X, y=y, dtype="float64", tol=1e-13)
    assert result.gap is not None
    above = result.energy.double() - exact.energy
    assert bool((above <= result.gap.double() + 4e-7 * exact.energy).all())


@pytest.mark.parametrize(
    "change",
    [
        ("latent w : real[n] = 0", "latent w : real[n] in nonnegative = 0"),  # bounds need another dual
        ("energy fit = ||y - X @ w||^2 / (2 * m)", "energy fit = sum(huber(y - X @ w))"),  # no least squares
        ("energy fit = ||y - X @ w||^2 / (2 * m)", "energy fit = ||y - X @ w||^2 + sum(w)"),  # a linear part
        ("lam * ||w||_1", "lam * sum(|w|) * 0"),  # a weight of 0
    ],
)
def test_no_gap_is_claimed_elsewhere(change: tuple[str, str]) -> None:
    X, y = data(2)
    result = ebmlang.loads(LASSO.replace(*change)).infer(X=X, y=y, dtype="float64")
    assert result.gap is None
    assert "gap" not in result.certificate


def test_gaps_and_certificates_of_chunks_are_joined() -> None:
    X, y = data(3)
    many = np.repeat(y, 50, 0) * np.linspace(0.1, 3, 150)[:, None]
    model = ebmlang.loads(LASSO)
    whole = model.infer(X=X, y=many, dtype="float64")
    parts = model.infer(X=X, y=many, dtype="float64", max_memory="100KiB")
    assert whole.gap is not None
    assert parts.gap is not None
    assert parts.gap.shape == (150,)
    torch.testing.assert_close(parts.gap, whole.gap, rtol=0, atol=1e-9)
    assert parts.certificate == f"{whole.certificate.split(';')[0]}; " + parts.certificate.split("; ", 1)[1]
