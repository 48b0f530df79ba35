"""Quadratic and convex energies by their Hessians, against dense solves and scipy."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from numpy.linalg import solve

import ebmlang

SMOOTHER = """model smoother(T: int, d: int) {
  shared observed A : real[d, d]
  observed y : real[T, d] missing
  latent x : real[T, d]
  energy first = ||x[0]||^2
  for t in 0..T-1 { energy step[t] = 4 * ||x[t+1] - A @ x[t]||^2 }
  for t in 0..T   { energy data[t] = ||y[t] - x[t]||^2 }
  infer x
}"""

BOXED = """model boxed(n: int, k: int) {
  shared observed A : real[k, n]
  observed b : real[k]
  latent x : real[n] in [-0.5, 0.7]
  energy fit = ||A @ x - b||^2 / 2
  energy pull = 0.001 * ||x||^2
  infer x
}"""

CHAIN = """model chain(T: int) {
  observed y : real[T]
  latent   x : real[T]
  for t in 0..T   { energy data[t]   = huber(y[t] - x[t], delta = 1.0) }
  for t in 0..T-1 { energy smooth[t] = 10 * huber(x[t+1] - x[t], delta = 1.0) }
  infer x
}"""


def smoothed(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The minimum of SMOOTHER for one row, by a dense solve; NaN is missing."""
    steps, d = y.shape
    rows, right = [], []
    eye = np.eye(steps * d).reshape(steps * d, steps, d)
    for i in range(d):
        rows.append(eye.reshape(steps, d, steps * d)[0, i])
        right.append(0.0)
    place = eye.reshape(steps, d, steps * d)
    for t in range(steps - 1):
        rows += list(2 * (place[t + 1] - a @ place[t]))
        right += [0.0] * d
    for t in range(steps):
        for i in range(d):
            if np.isfinite(y[t, i]):
                rows.append(place[t, i])
                right.append(y[t, i])
    j, r = np.array(rows), np.array(right)
    return solve(j.T @ j, j.T @ r).reshape(steps, d)


@pytest.mark.parametrize("missing", [False, True])
def test_a_linear_gaussian_smoother_is_the_dense_solve(missing: bool) -> None:
    rng = np.random.default_rng(0)
    a = 0.9 * np.linalg.qr(rng.normal(size=(4, 4)))[0]
    y = rng.normal(size=(2, 200, 4))
    if missing:
        y[0, 20:30] = np.nan
        y[1, :, 2] = np.nan
    found = ebmlang.loads(SMOOTHER).infer(A=a, y=y, dtype="float64", find=["x"] if not missing else None)
    assert found.method == "quadratic"
    assert bool(found.converged.all()), found.status
    for row in range(2):
        np.testing.assert_allclose(found.x[row].numpy(), smoothed(a, y[row]), atol=1e-8)


def test_float32_is_solved_to_its_own_precision() -> None:
    rng = np.random.default_rng(1)
    a = 0.9 * np.linalg.qr(rng.normal(size=(4, 4)))[0]
    y = rng.normal(size=(1, 50, 4))
    found = ebmlang.loads(SMOOTHER).infer(A=a, y=y, dtype="float32")
    assert found.x.dtype == torch.float32
    np.testing.assert_allclose(found.x[0].numpy(), smoothed(a, y[0]), atol=3e-6)


@pytest.mark.parametrize("k", [40, 10])
def test_a_bounded_quadratic_is_scipys(k: int) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(k, 20)), 2 * rng.normal(size=(3, k))
    found = ebmlang.loads(BOXED).infer(A=a, b=b, dtype="float64")
    assert found.method == "projected_newton"
    assert bool(found.converged.all()), found.status
    full = np.vstack([a, np.sqrt(0.002) * np.eye(20)])
    for row in range(3):
        right = np.concatenate([b[row], np.zeros(20)])
        best = scipy.optimize.lsq_linear(full, right, bounds=(-0.5, 0.7), tol=1e-14, method="bvls")
        np.testing.assert_allclose(found.x[row].numpy(), best.x, atol=1e-8)


def test_nonnegative_least_squares_is_scipys() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(30, 12)), rng.normal(size=(4, 30))
    text = BOXED.replace("in [-0.5, 0.7]", "in nonnegative").replace("energy pull = 0.001 * ||x||^2", "")
    found = ebmlang.loads(text).infer(A=a, b=b, dtype="float64")
    for row in range(4):
        np.testing.assert_allclose(found.x[row].numpy(), scipy.optimize.nnls(a, b[row])[0], atol=1e-9)


def test_a_robust_chain_reaches_the_minimum_of_scipy() -> None:
    rng = np.random.default_rng(4)
    y = np.cumsum(rng.normal(size=(2, 60)), 1) + 20 * (rng.random((2, 60)) < 0.1)
    model = ebmlang.loads(CHAIN)
    found = model.infer(y=y, dtype="float64")
    assert found.method == "newton"
    assert bool(found.converged.all()), found.status

    def energy(x: np.ndarray, row: int) -> tuple[float, np.ndarray]:
        r, s = x - y[row], np.diff(x)

        def huber(v: np.ndarray) -> float:
            return float(np.where(np.abs(v) <= 1, v * v / 2, np.abs(v) - 0.5).sum())

        slope, tie = np.clip(r, -1, 1), 10 * np.clip(s, -1, 1)
        slope[1:] += tie
        slope[:-1] -= tie
        return huber(r) + 10 * huber(s), slope

    for row in range(2):
        best = scipy.optimize.minimize(
            energy,
            y[row],
            args=(row,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20000, "ftol": 1e-15},
        )
        assert float(found.energy[row]) <= best.fun * (1 + 1e-9)


def test_rows_share_a_matrix_only_when_nothing_of_an_example_enters() -> None:
    shared = (
        "model a(n: int) { observed b : real[n]\n latent x : real[n]\n energy e = ||x - b||^2\n infer x }"
    )
    own = "model a(n: int) { observed b : real[n]\n latent x : real[n]\n energy e = sum(b^2 * x^2) - sum(x)\n infer x }"
    b = np.array([[1.0, 2.0], [3.0, 0.5]])
    for text, answer in ((shared, b), (own, 1 / (2 * b**2))):
        model = ebmlang.loads(text)
        assert f"HESSIAN_SHARED, HESSIAN_CONSTANT = {text is shared}, True" in str(model.source)
        np.testing.assert_allclose(model.infer(b=b, dtype="float64").x.numpy(), answer, rtol=1e-12)


def test_directions_are_named() -> None:
    free = "model a(T: int) { latent x : real[T]\n for t in 0..T-1 { energy s[t] = (x[t+1] - x[t] - 1)^2 }\n infer x }"
    found = ebmlang.loads(free, T=2000).infer(dtype="float64")
    assert "x moves along (1, 1, ..., 1) without changing the energy: observe one entry" in found.status[0]
    assert bool(found.converged.all())
    np.testing.assert_allclose(found.x[0].numpy(), np.arange(2000) - 999.5, atol=1e-6)
    sloped = "model a { latent x : real\n latent y : real\n energy e = x^2\n energy s = 3 * y\n infer x, y }"
    found = ebmlang.loads(sloped).infer(dtype="float64")
    assert found.status == ("unbounded: the energy falls without end along y = -1, caused by term 's'",)
    assert not bool(found.converged.any())
    saddle = "model a { latent x : real[2]\n energy good = ||x||^2\n energy bad = 3 * x[0] * x[1]\n infer x }"
    found = ebmlang.loads(saddle).infer(dtype="float64")
    assert found.status == ("unbounded: curvature is negative along x = (1, -1), caused by term 'bad'",)


def test_a_joint_ridge_over_a_parameter_is_the_dense_solve() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    text = """model ridge(n: int) {
  observed X : real[n]
  observed y : real
  param w : real[n]
  energy fit = (y - dot(X, w))^2
  batch energy size = 3 * ||w||^2
  infer w
}"""
    model = ebmlang.loads(text.replace("batch energy", "regularizer"))
    found = model.infer(X=x, y=y, find=["w"], dtype="float64")
    assert found.method == "quadratic"
    expected = solve(x.T @ x + 3 * np.eye(6), x.T @ y)
    np.testing.assert_allclose(np.asarray(found.w).reshape(-1)[:6], expected, atol=1e-9)


def test_a_large_dense_quadratic_goes_by_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebmlang.runtime.hessian.LARGEST_DENSE", 10)
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(60, 30)), rng.normal(size=(2, 60))
    text = BOXED.replace(" in [-0.5, 0.7]", "")
    found = ebmlang.loads(text).infer(A=a, b=b, dtype="float64")
    for row in range(2):
        expected = solve(a.T @ a + 0.002 * np.eye(30), a.T @ b[row])
        np.testing.assert_allclose(found.x[row].numpy(), expected, atol=1e-8)


def test_a_method_that_does_not_pay_says_why() -> None:
    rng = np.random.default_rng(7)
    text = """model wide(n: int, k: int) {
  shared observed A : real[k, n]
  observed b : real[k]
  latent x : real[n]
  energy fit = sum(log(1 + exp(A @ x - b))) + ||x||^2
  infer x
}"""
    found = ebmlang.loads(text).infer(
        A=rng.normal(size=(20, 150)), b=rng.normal(size=(1, 20)), dtype="float64"
    )
    assert found.method == "lbfgs"
    assert found.because == "newton does not pay: the matrix of 150 unknowns is dense"
