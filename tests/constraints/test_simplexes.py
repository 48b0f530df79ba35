"""Quadratic programs over simplexes: shares of a portfolio, and several simplexes beside other unknowns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

import ebmlang

Array = NDArray[np.float64]

SHARES = """
model shares(n: int) {
  shared observed S : real[n, n] in psd
  observed mu : real[n]
  observed least : real
  latent w : real[n] in simplex
  energy risk = w @ S @ w
  subject to enough : dot(mu, w) >= least
  infer w
}
"""


def covariance(n: int, seed: int) -> Array:
    factors = np.random.default_rng(seed).normal(size=(n, n))
    return factors @ factors.T / n


def test_a_portfolio_of_least_risk_against_scipy() -> None:
    rng = np.random.default_rng(0)
    s, mu = covariance(7, 1), rng.normal(size=(4, 7))
    least = mu.min(1) + (mu.max(1) - mu.min(1)) * np.array([0.1, 0.6, 0.95, 1.0])
    r = ebmlang.loads(SHARES).infer(S=s, mu=mu, least=least, dtype="float64")
    assert r.method == "interior_point"
    assert bool(r.converged.all())
    assert float((r.w.sum(1) - 1).abs().max()) < 1e-12
    assert float(r.w.min()) >= 0
    for row in range(4):
        held = [
            {"type": "eq", "fun": lambda w: w.sum() - 1},
            {"type": "ineq", "fun": lambda w, row=row: mu[row] @ w - least[row]},
        ]
        best = minimize(
            lambda w: w @ s @ w,
            np.eye(7)[mu[row].argmax()],
            jac=lambda w: 2 * s @ w,
            bounds=[(0, None)] * 7,
            constraints=held,
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        assert float(r.energy[row]) == pytest.approx(best.fun, rel=1e-7)
        assert r.multipliers["enough"].shape == (4,)


def test_more_than_any_share_earns_is_infeasible() -> None:
    mu = np.arange(3.0)[None]
    least = np.array([1.5, 2.5])
    r = ebmlang.loads(SHARES).infer(S=np.eye(3), mu=np.repeat(mu, 2, 0), least=least, dtype="float64")
    assert r.converged.tolist() == [True, False]
    assert r.status[1] == "no feasible point was found: 'enough' is violated by 0.5"
    assert np.allclose(r.w[1], [0, 0, 1])  # in the simplex, whatever the constraint asks


def test_rows_of_a_transport_plan_are_simplexes() -> None:
    m = ebmlang.loads("""
    model transport(n: int, k: int) {
      observed C : real[n, k];  observed b : real[k]
      latent P : real[n, k] in simplex
      latent slack : real[k] in [-0.1, 0.1]
      energy far = sum(C * P) + 0.5 * sum(P^2) + 3 * ||slack||^2
      subject to full : sum(P, over = 0) == b + slack
      infer P, slack
    }
    """)
    c = np.random.default_rng(2).uniform(size=(1, 4, 3))
    b = np.array([[2.0, 1.0, 1.0]])
    r = m.infer(C=c, b=b, dtype="float64")
    assert r.method == "interior_point"
    assert bool(r.converged.all())

    def energy(v: Array) -> float:
        return float((c[0].ravel() * v[:12]).sum() + 0.5 * (v[:12] ** 2).sum() + 3 * (v[12:] ** 2).sum())

    held = [
        {"type": "eq", "fun": lambda v: v[:12].reshape(4, 3).sum(1) - 1},
        {"type": "eq", "fun": lambda v: v[:12].reshape(4, 3).sum(0) - b[0] - v[12:]},
    ]
    start = np.r_[np.full(12, 1 / 3), np.zeros(3)]
    bounds = [(0, None)] * 12 + [(-0.1, 0.1)] * 3
    best = minimize(energy, start, bounds=bounds, constraints=held, method="SLSQP", options={"ftol": 1e-14})
    assert float(r.energy[0]) == pytest.approx(best.fun, abs=1e-7)


def test_a_mask_and_a_shared_simplex_go_to_the_augmented_lagrangian() -> None:
    text = SHARES.replace("in simplex", "in simplex where seen").replace(
        "observed least", "observed seen : bool[n]\n  observed least"
    )
    seen = np.array([[True, True, False]])
    r = ebmlang.loads(text).infer(S=np.eye(3), mu=[[0.0, 1.0, 5.0]], seen=seen, least=[0.75], dtype="float64")
    assert r.method == "augmented_lagrangian"
    assert "a simplex has a mask" in r.because
    assert np.allclose(r.w, [[0.25, 0.75, 0]], atol=1e-7)
    shared = SHARES.replace("in simplex", "in simplex per batch")
    r = ebmlang.loads(shared).infer(S=np.eye(2), mu=[[0.0, 1.0]], least=[0.75], dtype="float64")
    assert "examples share a simplex" in r.because
    assert np.allclose(r.w, [0.25, 0.75], atol=1e-7)
