"""Total variation of pictures: accelerated gradient where there are many unknowns, against scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import ebmlang
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.solvers.accelerated_gradient import FEWEST
from tests.numeric.gallery import Array

TOTAL_VARIATION = """
model total_variation(n: int, m: int, w: real in nonnegative = 2.0, delta: real in positive = 0.05) {
  observed y : real[n, m]
  latent x : real[n, m] = y
  energy data = 1/2 * ||x - y||^2
  energy down = w * sum(huber(x[1.., ..] - x[..n-1, ..], delta = delta))
  energy right = w * sum(huber(x[.., 1..] - x[.., ..m-1], delta = delta))
  infer x
}
"""
W, DELTA = 2.0, 0.05
OPTIONS = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}


def picture(n: int, m: int) -> Array:
    rng = np.random.default_rng(0)
    steps = np.add.outer(np.arange(n) > n // 3, np.arange(m) > m // 2).astype(float)
    return np.asarray(steps + 0.1 * rng.normal(size=(n, m)))


def energy_and_slope(x: Array, y: Array) -> tuple[float, Array]:
    energy, slope = 0.5 * ((x - y) ** 2).sum(), x - y
    for axis in (0, 1):
        d = np.diff(x, axis=axis)
        small = np.abs(d) <= DELTA
        energy += W * np.where(small, d * d / 2, DELTA * (np.abs(d) - DELTA / 2)).sum()
        pull = W * np.clip(d, -DELTA, DELTA)
        edges = [(1, 1) if k == axis else (0, 0) for k in (0, 1)]
        slope -= np.diff(np.pad(pull, edges), axis=axis)
    return float(energy), slope


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_picture_is_searched_with_momentum(dtype: str) -> None:
    y = picture(160, 150)
    assert y.size > FEWEST
    found = ebmlang.loads(TOTAL_VARIATION).infer(y=y, dtype=dtype)
    assert found.method == "accelerated_gradient"
    assert bool(found.converged.all())
    assert int(found.iterations[0]) < 300
    energy, slope = energy_and_slope(found.x.numpy()[0].astype(np.float64), y)
    assert abs(float(found.energy[0]) - energy) <= (1e-3 if dtype == "float32" else 1e-9)
    # Strong convexity 1 bounds the distance of the energy from its least value.
    assert 0.5 * (slope**2).sum() <= 1e-6 * energy


def test_the_least_energy_is_that_of_scipy() -> None:
    y = picture(24, 20)
    found = ebmlang.loads(TOTAL_VARIATION).infer(y=y, dtype="float64", using="accelerated_gradient")
    assert found.method == "accelerated_gradient"

    def function(flat: Array) -> Any:
        energy, slope = energy_and_slope(flat.reshape(y.shape), y)
        return energy, slope.ravel()

    best = minimize(
        function,
        y.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000},
    )
    assert abs(float(found.energy[0]) - best.fun) <= 1e-10 * best.fun
    assert np.abs(found.x.numpy()[0].ravel() - best.x).max() <= 1e-5


def test_a_small_picture_is_left_to_another_method() -> None:
    found = ebmlang.loads(TOTAL_VARIATION).infer(y=picture(12, 10), dtype="float64")
    assert found.method != "accelerated_gradient"
    assert "only 120 unknowns" in found.because
    assert bool(found.converged.all())


def test_a_step_out_of_range_is_taken_back() -> None:
    text = (
        "model m(n: int) {\n  observed y : real[n]\n  latent x : real[n] = y\n"
        "  energy e = sum(exp(x)) - sum(x)\n  infer x\n}\n"
    )
    y = torch.tensor([[-30.0, 2.0, 5.0]], dtype=torch.float64)
    found = ebmlang.loads(text).infer(y=y, using="accelerated_gradient")
    assert bool(torch.isfinite(found.energy).all())
    assert float(found.energy[0]) <= float((y.exp() - y).sum())


@pytest.mark.parametrize(
    "energy",
    ["1/2 * ||x||^2 + sum(c * x)", "sum(c * x)", "w * sum(huber(x[1..] - x[..n-1])) + 1/2 * ||x - c||^2"],
)
def test_the_gradient_alone_is_that_beside_the_energy(energy: str) -> None:
    text = (
        "model m(n: int, w: real in nonnegative = 2) {\n  observed c : real[n]\n  latent x : real[n] = 0\n"
        f"  energy e = {energy}\n  infer x\n}}\n"
    )
    rows = np.random.default_rng(1).normal(size=(3, 7))
    model = ebmlang.loads(text)
    asked = model.asked(None, frozenset("c"), None, None, frozenset())
    _, module = model.compiled(asked, "accelerated_gradient")
    assert "gradient" in module.WRITTEN
    given = {"c": torch.tensor(rows)}
    settings = model.settings(given, "float64", None, None, None)
    problem = make_problem(model.bound(module, given, settings, frozenset()), {})
    x = torch.tensor(rows[::-1].copy())
    before = {name: value.clone() for name, value in problem.held.items()}
    assert torch.equal(problem.gradient(x), problem.energy_and_gradient(x)[1])
    assert all(torch.equal(value, before[name]) for name, value in problem.held.items())


def test_rows_of_one_question_do_not_disturb_each_other() -> None:
    pictures = np.stack([picture(9, 8), 40 * picture(9, 8)[::-1], np.zeros((9, 8))])
    model = ebmlang.loads(TOTAL_VARIATION)
    together = model.infer(y=pictures, dtype="float64", using="accelerated_gradient")
    assert bool(together.converged.all())
    for row, y in enumerate(pictures):
        alone = model.infer(y=y, dtype="float64", using="accelerated_gradient")
        assert torch.allclose(alone.x[0], together.x[row], rtol=1e-7, atol=1e-9)
        assert int(alone.iterations[0]) == int(together.iterations[row])


def test_squares_whose_gradient_is_the_point_itself() -> None:
    text = (
        "model m(n: int) {\n  observed c : real[n]\n  latent x : real[n] = c\n"
        "  energy e = 1/2 * ||x||^2\n  infer x\n}\n"
    )
    start = np.random.default_rng(2).normal(size=(2, 5))
    found = ebmlang.loads(text).infer(c=start, dtype="float64", using="accelerated_gradient")
    assert bool(found.converged.all())
    assert float(found.x.abs().max()) <= 1e-8
