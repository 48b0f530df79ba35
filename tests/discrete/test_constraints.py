"""Hard constraints on countable unknowns against loops over every assignment that they allow."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import logsumexp

import ebmlang

COLOURS = """model colours(n: int, k: int) {
  observed cost_of : real[n, k]
  latent c : class[k][n]
  for i in 0..n   { energy pay[i] = cost_of[i, c[i]] }
  for i in 0..n-1 { subject to differ[i] : where(c[i] == c[i + 1], 1, 0) <= 0 }
  infer c
  marginalize c
}"""

KNAPSACK = """model knapsack(n: int) {
  observed worth : real[n]
  shared observed weight : real[n]
  latent s : bool[n]
  energy lost = -dot(worth, s)
  subject to room : dot(weight, s) <= 0.3
  infer s
  marginalize s
}"""


def check(
    text: str, values: dict[str, np.ndarray], states: list[tuple[int, ...]],
    energy: Callable[[int, tuple[int, ...]], float], allowed: Callable[[tuple[int, ...]], bool], name: str,
) -> str:  # fmt: skip
    model = ebmlang.loads(text)
    best = model.infer(values, dtype="float64")
    summed = model.marginal(values, dtype="float64")
    good = [s for s in states if allowed(s)]
    for row in range(len(best.energy)):
        energies = [energy(row, s) for s in good]
        assert float(best.energy[row]) == pytest.approx(min(energies), rel=1e-12)
        assert allowed(tuple(int(v) for v in best[name][row]))
        assert float(summed.log_z[row]) == pytest.approx(logsumexp(-np.array(energies)), rel=1e-10)
    assert bool(best.converged.all())
    return best.method


def test_neighbours_that_differ_are_tables() -> None:
    cost = np.random.default_rng(0).normal(size=(3, 6, 3))
    method = check(
        COLOURS,
        {"cost_of": cost},
        list(itertools.product(range(3), repeat=6)),
        lambda row, s: float(sum(cost[row, i, c] for i, c in enumerate(s))),
        lambda s: all(a != b for a, b in itertools.pairwise(s)),
        "c",
    )
    assert method == "elimination"


def test_a_budget_is_enumerated() -> None:
    rng = np.random.default_rng(1)
    worth, weight = rng.random((3, 8)), np.array([0.1, 0.2, 0.1, 0.05, 0.3, 0.15, 0.02, 0.25])
    method = check(
        KNAPSACK,
        {"worth": worth, "weight": weight},
        list(itertools.product((0, 1), repeat=8)),
        lambda row, s: float(-worth[row] @ np.array(s)),
        lambda s: float(weight @ np.array(s)) <= 0.3 + 1e-9,
        "s",
    )
    assert method == "enumeration"


def test_what_cannot_hold_is_impossible() -> None:
    model = ebmlang.loads(COLOURS, k=1)
    found = model.infer(cost_of=np.zeros((2, 3, 1)))
    assert all(s.startswith("impossible") for s in found.status)
    assert not bool(found.converged.any())


def test_a_check_of_the_data_that_fails_is_named() -> None:
    text = COLOURS.replace("infer c", "subject to fair : cost_of <= 2\n  infer c")
    cost = np.zeros((2, 3, 2))
    cost[1, 0, 0] = 5.0
    found = ebmlang.loads(text).infer(cost_of=cost, dtype="float64")
    assert found.converged.tolist() == [True, False]
    assert found.status[0].startswith("exact")
    assert "'fair'" in found.status[1]
