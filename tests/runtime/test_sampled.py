"""Methods that compare random courses of actions: the cross-entropy method and path-integral control."""

# Texts of models are longer than lines of code.

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.inference import given_arrays
from ebmlang.runtime.driver import Limits, solve
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.cem import Cem
from ebmlang.runtime.solvers.mppi import Mppi, weighted
from ebmlang.runtime.solvers.sampled import compared, noise

F64 = torch.float64
METHODS = ("cem", "mppi")
LINEAR = """model linear(T: int = 6) {
  observed s0 : real[2]
  latent a : real[T, 1]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.3 * s[t, 1], s[t, 1] + 0.3 * a[t, 0]]
    cost c[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }
  infer a
}"""
STEPS = """model steps(T: int = 3) {
  observed s0 : real
  latent a : real[T] in [-1, 1] = 0
  let s : real[T+1]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = s[t] + round(a[t])
    cost c[t] = where(s[t+1] > 0.5, 1, 0) + where(s[t+1] < -0.5, 2, 0) + 0.01 * |round(a[t])|
  }
  plan a
}"""


def problem_of(text: str, using: str = "", **given: Any) -> Problem:
    model = ebmlang.loads(text)
    values = {name: torch.as_tensor(value, dtype=F64) for name, value in given.items()}
    rows = next(iter(values.values())).shape[0]
    asked = model.asked(None, frozenset(values), None, None, frozenset())
    module = model.compiled(asked, using or None)[1]
    settings = model.settings({}, "float64", None, 0, None)
    return make_problem(
        model.bound(module, given_arrays(model.ranks, values).chunk(0, rows), settings, frozenset()), {}
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_optimum_of_a_linear_quadratic_problem(method: str) -> None:
    m = ebmlang.loads(LINEAR)
    s0 = np.array([[1.0, 0.5], [-2.0, 1.0]])
    exact = m.infer(s0=s0, dtype="float64")
    assert exact.method == "riccati"
    found = m.infer(s0=s0, dtype="float64", using=method)
    assert found.method == method
    assert "nothing is claimed" in found.certificate
    assert (found.energy >= exact.energy - 1e-9).all()
    torch.testing.assert_close(found.energy, exact.energy, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["a"], exact["a"], rtol=0.0, atol=0.2)


def test_ways_differ_and_ends_agree() -> None:
    question = problem_of(LINEAR, "cem", s0=[[1.0, 0.5]])
    traces = [
        solve(question, method, Limits(steps=200), trace=True).trace
        for method in (Cem(), Mppi(), Cem(seed=1))
    ]
    for one, other in itertools.combinations(traces, 2):
        assert one is not None
        assert other is not None
        assert (one[3] - other[3]).abs().max() > 1e-3
        torch.testing.assert_close(one[-1], other[-1], rtol=1e-3, atol=1e-3)
        assert (one.diff(dim=0) <= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_jumps_in_the_cost(method: str) -> None:
    """The best of all courses of whole steps, by trying each of them."""
    s0 = np.array([2.0, -2.0, 0.0])
    found = ebmlang.loads(STEPS).infer(s0=s0, using=method, dtype="float64", restarts=4, seed=2)
    for row, start in enumerate(s0):
        costs = []
        for course in itertools.product((-1, 0, 1), repeat=3):
            states = start + np.cumsum(course)
            costs.append((states > 0.5).sum() + 2 * (states < -0.5).sum() + 0.01 * np.abs(course).sum())
        assert float(found.energy[row]) == pytest.approx(min(costs), abs=1e-9)
    assert (found["a"].abs() <= 1).all()


def test_chosen_where_costs_jump() -> None:
    smooth = LINEAR.replace("||s[t+1]||^2", "1 - cos(s[t+1, 0])")
    for text, name in ((STEPS, "cem"), (smooth, "ilqr")):
        method = ebmlang.loads(text).choice().method
        assert method is not None
        assert method.name == name


@pytest.mark.parametrize("solver", [Cem(), Mppi()])
def test_bounds_hold_at_every_step(solver: Cem | Mppi) -> None:
    text = LINEAR.replace("real[T, 1]", "real[T, 1] in [-0.2, 0.1] = 0")
    question = problem_of(text, "cem", s0=[[3.0, 1.0], [-3.0, 0.0]])
    for steps in (0, 1, 2, 30):
        outcome = solve(question, solver, Limits(steps=steps))
        assert (outcome.x >= -0.2).all()
        assert (outcome.x <= 0.1).all()
    assert torch.minimum((outcome.x + 0.2).abs(), (outcome.x - 0.1).abs()).min() < 1e-3
    exact = ebmlang.loads(text).infer(s0=[[3.0, 1.0], [-3.0, 0.0]], dtype="float64")
    torch.testing.assert_close(outcome.energy, exact.energy, rtol=1e-2, atol=1e-2)


def test_a_temperature_of_almost_zero_picks_the_best_course() -> None:
    points = torch.randn(20, 3, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    energies = points.square().sum(2)
    energies[4, 1] = torch.inf
    best = points[energies.argmin(0), torch.arange(3)]
    torch.testing.assert_close(weighted(points, energies, 1e-9), best)
    finite = torch.isfinite(energies)
    warm = weighted(points, energies, 1e9)
    expected = torch.stack([points[finite[:, r], r].mean(0) for r in range(3)])
    torch.testing.assert_close(warm, expected, rtol=1e-6, atol=1e-6)


def test_a_step_draws_around_the_mean_of_the_elites() -> None:
    question = problem_of(LINEAR, "cem", s0=[[1.0, 0.5], [2.0, 0.0]])
    solver, x = Cem(samples=12, elites=3), torch.zeros(2, 6, dtype=F64)
    state = solver.init(question, x)
    _, after = solver.step(question, x, state)
    drawn = noise(question, 12, solver.color, 0, 0)
    points = torch.cat((x[:1], drawn))
    for row in range(2):
        alone = question.select(torch.full((13,), row))
        order = alone.energy(points).argsort()[:3]
        torch.testing.assert_close(after.memory.mean[row], 0.9 * points[order].mean(0))
        torch.testing.assert_close(
            after.memory.spread[row], 0.1 + 0.9 * points[order].square().mean(0).sqrt()
        )


def test_noise_has_unit_variance_and_lasts() -> None:
    question = problem_of(LINEAR.replace("T: int = 6", "T: int = 24"), "cem", s0=[[1.0, 0.5]])
    white, slow = (noise(question, 20_000, color, 0, 0) for color in (0.0, 2.0))
    for drawn in (white, slow):
        torch.testing.assert_close(drawn.var(0), torch.ones(24, dtype=F64), rtol=0.06, atol=0.06)
    assert (white[:, 1:] * white[:, :-1]).mean().abs() < 0.02
    assert (slow[:, 1:] * slow[:, :-1]).mean() > 0.7
    assert not torch.equal(white, noise(question, 20_000, 0.0, 0, 1))


def test_energies_of_courses() -> None:
    question = problem_of(STEPS, "cem", s0=[2.0, -1.0])
    points = torch.tensor([[[-1.0, -1.0, 0.0]] * 2, [[0.2, 0.9, 0.0]] * 2], dtype=F64)
    torch.testing.assert_close(
        compared(question, points), torch.tensor([[1.02, 6.02], [3.01, 2.01]], dtype=F64)
    )
