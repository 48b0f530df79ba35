"""Sums of losses with bounds, or of positive unknowns, against scipy and scikit-learn."""

# Texts of models are longer than lines of code.

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import ebmlang

DECAY = """model decay(m: int) {
  shared observed t : real[m]
  observed y : real[m]
  latent a : real[2] in [0, 1.5] = 1
  latent r : real[2] in nonnegative = [0.5, 2]
  for i in 0..m { energy fit[i] = (a[0] * exp(-r[0] * t[i]) + a[1] * exp(-r[1] * t[i]) - y[i])^2 }
  infer a, r
}"""

RING = """model ring(m: int) {
  observed p : real[m, 2]
  latent c : real[2]
  latent r : real in positive
  for i in 0..m { energy off[i] = (||p[i] - c|| - r)^2 }
  infer c, r
}"""

CHAIN = """model chain(T: int) {
  observed y : real[T]
  latent x : real[T] in [-1, 1]
  for t in 0..T   { energy data[t] = log1p((x[t] - y[t])^2) }
  for t in 0..T-1 { energy near[t] = 5 * (x[t+1] - x[t])^2 }
  infer x
}"""

FACTORS = """model factors(m: int, n: int, k: int) {
  observed V : real[m, n]
  observed A0 : real[m, k]
  observed B0 : real[k, n]
  latent A : real[m, k] in nonnegative = A0
  latent B : real[k, n] in nonnegative = B0
  energy fit = 1/2 * ||V - A @ B||^2
  infer A, B
}"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_bounded_fit_is_scipys(dtype: str) -> None:
    rng, t = np.random.default_rng(0), np.linspace(0, 4, 25)
    y = 2 * np.exp(-0.3 * t) + 0.4 * np.exp(-3 * t) + 0.05 * rng.normal(size=(4, 25))
    found = ebmlang.loads(DECAY).infer(t=t, y=y, dtype=dtype)
    assert found.method == "projected_gauss_newton"
    assert bool(found.converged.all()), found.status
    for row in range(4):
        best = scipy.optimize.least_squares(
            lambda u, row=row: u[0] * np.exp(-u[2] * t) + u[1] * np.exp(-u[3] * t) - y[row],
            [1, 1, 0.5, 2], bounds=([0] * 4, [1.5, 1.5, np.inf, np.inf]), xtol=1e-15, ftol=1e-15, gtol=1e-15,
        )  # fmt: skip
        np.testing.assert_allclose(float(found.energy[row]), 2 * best.cost, rtol=1e-6)
    assert float(found.a.max()) == 1.5, "a bound is met exactly"


def test_a_positive_radius_is_found_in_coordinates_of_its_own() -> None:
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, size=(3, 30))
    p = np.stack([np.cos(angle), np.sin(angle)], 2) * 1.7 + [0.4, -0.2] + 0.05 * rng.normal(size=(3, 30, 2))
    found = ebmlang.loads(RING).infer(p=p, dtype="float64")
    assert found.method == "gauss_newton"
    assert bool(found.converged.all()), found.status
    for row in range(3):
        best = scipy.optimize.least_squares(
            lambda u, row=row: np.hypot(*(p[row] - u[:2]).T) - u[2],
            [0, 0, 1],
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
        )
        np.testing.assert_allclose(found.c[row].numpy(), best.x[:2], atol=1e-6)
        np.testing.assert_allclose(float(found.r[row]), best.x[2], atol=1e-6)


def test_a_robust_chain_between_bounds_is_scipys() -> None:
    rng = np.random.default_rng(2)
    y = np.cumsum(0.3 * rng.normal(size=(2, 40)), 1) + 6 * (rng.random((2, 40)) < 0.1)
    found = ebmlang.loads(CHAIN).infer(y=y, dtype="float64")
    assert found.method == "projected_gauss_newton"
    assert bool(found.converged.all()), found.status

    def energy(x: np.ndarray, row: int) -> tuple[float, np.ndarray]:
        off, step = x - y[row], np.diff(x)
        slope = 2 * off / (1 + off**2)
        slope[1:] += 10 * step
        slope[:-1] -= 10 * step
        return float(np.log1p(off**2).sum() + 5 * (step**2).sum()), slope

    for row in range(2):
        best = scipy.optimize.minimize(
            energy, np.zeros(40), args=(row,), jac=True, method="L-BFGS-B", bounds=[(-1, 1)] * 40,
            options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000},
        )  # fmt: skip
        np.testing.assert_allclose(float(found.energy[row]), best.fun, rtol=1e-9)


def test_small_factorisations_take_steps_along_both_factors() -> None:
    rng = np.random.default_rng(3)
    V, A0, B0 = rng.random((2, 12, 9)), rng.random((2, 12, 3)), rng.random((2, 3, 9))
    model = ebmlang.loads(FACTORS)
    found = model.infer(V=V, A0=A0, B0=B0, dtype="float64")
    assert found.method == "projected_gauss_newton"
    assert found.because == "block_coordinate does not pay: there are only 63 unknowns"
    assert bool(found.converged.all()), found.status
    other = model.infer(V=V, A0=A0, B0=B0, dtype="float64", using="projected_lbfgs")
    assert bool((found.energy <= other.energy * (1 + 1e-3)).all())
    assert int(found.iterations.max()) < int(other.iterations.max())
    # Karush, Kuhn and Tucker by hand.
    for row in range(2):
        a, b = found.A[row].numpy(), found.B[row].numpy()
        rest = a @ b - V[row]
        for factor, slope in ((a, rest @ b.T), (b, a.T @ rest)):
            assert factor.min() >= 0
            np.testing.assert_allclose(np.minimum(factor, slope), 0, atol=1e-6)


def test_it_is_taken_by_its_plan_and_says_what_else_was_not() -> None:
    plan = ebmlang.loads(CHAIN).choice()
    assert plan.method is not None
    assert plan.method.name == "projected_gauss_newton"
    said = " ".join(ebmlang.loads(CHAIN).explain().split())
    assert "its matrices are small once sizes are known; else projected_lbfgs" in said
    assert "not gauss_newton: it knows no bounds: x in [-1, 1]" in said
