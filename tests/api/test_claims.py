"""What a result claims: a minimum where the problem is proven convex, stationarity elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import ebmlang

HINGE = """model m(m: int, n: int) {
  shared observed X : real[m, n]
  observed s : real[m]
  latent w : real[n]
  energy fit = sum(relu(1 - s * (X @ w)))
  regularizer small = 1/2 * ||w||^2
}"""


def certificate(energy: str, domain: str = "") -> str:
    head = f"model m(n: int) {{ observed y : real[n] \n latent x : real[n]{domain} = 0.5"
    text = f"{head} \n energy e = {energy} }}"
    return ebmlang.loads(text).infer(y=np.array([[0.3, -0.2, 0.9]])).certificate


@pytest.mark.parametrize(
    ("energy", "domain", "minimum"),
    [
        ("||y - x||^2 + ||x||_1", "", True),
        ("sum(cosh(x - y))", "", True),
        ("sum(sin(x)) + ||x||^2 / 10", "", False),
        # A small slope in coordinates that are stretched near 0 does not tell how far the minimum is.
        ("||y + 1 - x||^2", " in positive", False),
        ("||y - x||^2", " in simplex", True),
        ("||y - x||^2", " in sphere", False),
    ],
)
def test_a_minimum_is_claimed_of_convex_problems_only(energy: str, domain: str, minimum: bool) -> None:
    assert ("minimum" in certificate(energy, domain)) == minimum


def test_a_bend_that_the_minimum_sits_in_is_no_smooth_point() -> None:
    """A support vector machine: the energy is that of its dual, by coordinate ascent (Hsieh et al. 2008)."""
    made = np.random.default_rng(0)
    X = made.normal(size=(60, 4))
    s = np.sign(X @ made.normal(size=4) + made.normal(size=60))
    found = ebmlang.loads(HINGE).infer(X=X, s=s[None])
    rows, a = s[:, None] * X, np.zeros(60)
    for _ in range(3000):
        for i in range(60):
            slope = rows[i] @ (rows.T @ a) - 1
            a[i] = np.clip(a[i] - slope / (rows[i] @ rows[i]), 0, 1)
    w = rows.T @ a
    best = np.maximum(1 - rows @ w, 0).sum() + w @ w / 2
    assert found.method == "epigraph"
    assert float(found.energy[0]) == pytest.approx(best, rel=1e-6)
    stepped = ebmlang.loads(HINGE).infer(X=X, s=s[None], using="adam")
    assert float(stepped.energy[0]) == pytest.approx(best, rel=1e-3)
    assert "convex" not in stepped.certificate


@pytest.mark.parametrize(
    ("declared", "energy"),
    [
        ("latent s : real = 2", "abs(s)"),
        ("latent s : real in [-1, 3] = 2", "2 * abs(s)"),
        ("latent s : real[2, 3] = 2", "||s||_1"),
        ("param s : real = 2", "abs(s)"),
        ("param s : real[2, 3] = 2", "||s||_1"),
    ],
)
def test_absolute_values_with_nothing_beside_them(declared: str, energy: str) -> None:
    """The differentiable part is 0, for every example or once for all."""
    text = f"model m {{ observed y : real; {declared}; energy e = {energy}; infer s }}"
    found = ebmlang.loads(text).infer(y=np.array([1.0, 2.0]))
    assert found.method == "fista"
    assert found.converged.all()
    assert not found.s.any()
