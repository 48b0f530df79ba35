"""The minimum over countable and real unknowns together, against loops over all states."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

import ebmlang
from ebmlang.errors import DataError

SWITCHED = """model switched(n: int, k: int) {
  observed x : real[n]
  shared observed mu : real[k, n]
  latent z : real[n]
  latent c : class[k]
  latent s : bool
  energy fit = 0.5 * ||x - z||^2
  energy pri = ||z - mu[c]||^2
  energy sw = where(s, sum(z), 0)
}"""


@pytest.mark.parametrize("using", [None, "states", "alternation"])
def test_every_state_or_in_turns(using: str | None) -> None:
    rng = np.random.default_rng(0)
    x, mu = rng.normal(size=(4, 2)), rng.normal(size=(5, 2))
    found = ebmlang.loads(SWITCHED).infer(x=x, mu=mu, dtype="float64", using=using)
    for row in range(4):
        energies = {}
        for c, s in itertools.product(range(5), (0, 1)):
            z = (x[row] + 2 * mu[c] - s) / 3
            energy = 0.5 * ((x[row] - z) ** 2).sum() + ((z - mu[c]) ** 2).sum() + s * z.sum()
            energies[energy] = (c, s, z)
        # In turns only a state that no other one of the same z is better than is claimed.
        c, s = int(found.c[row]), int(found.s[row])
        least = min(energies) if using != "alternation" else float(found.energy[row])
        reached = next(e for e, own in energies.items() if own[:2] == (c, s))
        assert float(found.energy[row]) == pytest.approx(least, rel=1e-9)
        assert float(found.energy[row]) == pytest.approx(reached, rel=1e-9)
        z = energies[reached][2]
        others = [
            0.5 * ((x[row] - z) ** 2).sum() + ((z - mu[c]) ** 2).sum() + s * z.sum()
            for c, s in itertools.product(range(5), (0, 1))
        ]
        assert reached <= min(others) + 1e-9
        np.testing.assert_allclose(found.z[row].numpy(), z, atol=1e-6)
    assert bool(found.converged.all())
    assert found.method == (using or "states")
    # Never more than what was looked at.
    assert found.certificate.startswith("local" if using == "alternation" else "the lowest of 10 states")


def test_bounds_and_absolute_values_in_every_state() -> None:
    text = """model m(n: int, k: int) {
      observed y : real[n]
      shared observed D : real[k, n]
      latent a : real in nonnegative
      latent c : class[k]
      energy fit = ||y - a * D[c]||^2
      energy size = 0.2 * |a|
    }"""
    rng = np.random.default_rng(1)
    y, D = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    found = ebmlang.loads(text).infer(y=y, D=D, dtype="float64")
    for row in range(3):
        best = []
        for d in D:
            a = max(0.0, (d @ y[row] - 0.1) / (d @ d))
            best.append(((y[row] - a * d) ** 2).sum() + 0.2 * a)
        assert float(found.energy[row]) == pytest.approx(min(best), rel=1e-8)
    assert bool(found.converged.all())


def test_hard_constraints_leave_states_out() -> None:
    text = """model m() {
      observed x : real
      latent z : real
      latent s : bool
      energy e = (z - x)^2 + where(s, 0, 1)
      subject to room : where(s, 1, 0) * z <= 2
      subject to side : z >= where(s, 0, -10)
    }"""
    x = np.array([5.0, 1.0, -1.5])
    found = ebmlang.loads(text).infer(x=x, dtype="float64")
    expected = [min(9.0, 1.0), 0.0, min(1.5**2, 1.0)]
    np.testing.assert_allclose(found.energy.numpy(), expected, atol=1e-6)
    assert found.s.tolist() == [False, True, False]
    assert bool(found.converged.all())


def test_too_many_states_are_searched_in_turns() -> None:
    text = """model m(n: int, k: int) {
      observed x : real[n]
      latent mu : real[k]
      latent c : class[k][n]
      for i in 0..n { energy fit[i] = (x[i] - mu[c[i]])^2 }
      energy small = 0.01 * ||mu||^2
    }"""
    rng = np.random.default_rng(2)
    centers = np.array([-4.0, 0.0, 5.0])
    label = rng.integers(0, 3, size=(2, 40))
    x = centers[label] + 0.1 * rng.normal(size=(2, 40))
    found = ebmlang.loads(text, k=3).infer(x=x, restarts=20, dtype="float64")
    assert found.method == "alternation"
    assert "so alternation instead" in found.because
    for row in range(2):
        best = 0.0
        for c in range(3):
            own = x[row][label[row] == c]
            mean = own.sum() / (len(own) + 0.01)
            best += ((own - mean) ** 2).sum() + 0.01 * mean**2
        assert float(found.energy[row]) == pytest.approx(best, rel=1e-6)
    assert found.certificate.startswith("local")
    with pytest.raises(DataError, match="states is too large"):
        ebmlang.loads(text, k=3).infer(x=x, using="states")


def test_what_all_examples_share_is_searched_from_several_starts() -> None:
    """Clusters of iris: many searches in turns end above the best one, and more starts are never worse."""
    text = """model clusters(n: int, k: int = 3) {
      observed x : real[n]
      latent c : class[k]
      param mu : real[k, n] = normal()
      energy apart = ||x - mu[c]||^2
      infer mu, c
    }"""
    x = load_iris().data
    model = ebmlang.loads(text)
    found = [model.infer(x=x, restarts=count, seed=0, dtype="float64") for count in (1, 8, 60)]
    energy = [float(each.energy.sum()) for each in found]
    assert energy[0] >= energy[1] >= energy[2]
    assert energy[2] == pytest.approx(KMeans(3, n_init=100, random_state=0).fit(x).inertia_, rel=1e-9)
    assert energy[2] < energy[0]
    assert "of 60" in found[2].because


def test_rows_do_not_depend_on_their_neighbours() -> None:
    rng = np.random.default_rng(3)
    x, mu = rng.normal(size=(5, 2)), rng.normal(size=(3, 2))
    model = ebmlang.loads(SWITCHED)
    for using in ("states", "alternation"):
        together = model.infer(x=x, mu=mu, dtype="float64", using=using)
        for row in range(5):
            alone = model.infer(x=x[row : row + 1], mu=mu, dtype="float64", using=using)
            torch.testing.assert_close(alone.energy[0], together.energy[row], rtol=1e-9, atol=1e-12)


def test_one_state_for_all_examples_of_a_joint_problem() -> None:
    text = """model m(n: int) {
      observed x : real[n]
      param w : real[n]
      latent s : bool
      energy fit = ||x - where(s, 1, -1) * w||^2
      regularizer small = 0.1 * ||w||^2
      infer w, s
    }"""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(4, 3))
    found = ebmlang.loads(text).infer(x=x, dtype="float64")

    def energy(signs: tuple[int, ...], w: np.ndarray[Any, Any]) -> float:
        return float(((x - np.array(signs)[:, None] * w) ** 2).sum() + 0.1 * (w**2).sum())

    best = [
        energy(signs, (np.array(signs)[:, None] * x).sum(0) / 4.1)
        for signs in itertools.product((-1, 1), repeat=4)
    ]
    chosen = tuple(1 if s else -1 for s in found.s.tolist())
    assert energy(chosen, found.w.numpy()) == pytest.approx(min(best), rel=1e-8)
    assert found.method == "states"


def test_a_method_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="lbfgs does not fit: the block has z real beside c, s"):
        ebmlang.loads(SWITCHED).infer(x=np.ones((1, 2)), mu=np.ones((2, 2)), using="lbfgs")
