"""Affine equations that are eliminated, against energies with the unknown put in by hand and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

import ebmlang

Array = NDArray[np.float64]

LINKED = """
model linked(n: int, k: int) {
  shared observed A : real[n, k]
  observed y : real[n]
  latent x : real[n] = 0
  latent z : real[k] = 0
  energy fit = sum(log(1 + (x - y)^2))
  energy size = 0.1 * ||z||^2
  subject to link : x == A @ z
  infer x, z
}
"""

PUT_IN = """
model put_in(n: int, k: int) {
  shared observed A : real[n, k]
  observed y : real[n]
  latent z : real[k] = 0
  let x = A @ z
  energy fit = sum(log(1 + (x - y)^2))
  energy size = 0.1 * ||z||^2
  infer z
}
"""

TIED = """
model tied(n: int, m: int, k: int) {
  shared observed R : real[m, n]
  observed G : real[k, n]
  observed h : real[k]
  latent x : real[n] = 0.2
  energy worry = logsumexp(R @ x)
  energy size = 0.1 * ||x||^2
  subject to tie : G @ x == h
  infer x
}
"""


def tied(seed: int, rows: int = 3, n: int = 6, m: int = 9, k: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"R": (m, n), "G": (rows, k, n), "h": (rows, k)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def by_scipy(R: Array, G: Array, h: Array) -> Array:
    """The minimiser by SLSQP."""

    def energy(x: Array) -> float:
        return float(logsumexp(R @ x) + 0.1 * x @ x)

    limit = {"type": "eq", "fun": lambda x: G @ x - h, "jac": lambda x: G}
    found = minimize(
        energy,
        np.linalg.lstsq(G, h)[0],
        constraints=[limit],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    answer: Array = found.x
    return answer


@pytest.mark.parametrize("seed", range(3))
def test_an_unknown_that_follows_is_put_in(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(12, 3))
    y = rng.normal(size=(4, 3)) @ A.T + 0.1 * rng.normal(size=(4, 12))
    r = ebmlang.loads(LINKED).infer(A=A, y=y, dtype="float64")
    expected = ebmlang.loads(PUT_IN).infer(A=A, y=y, dtype="float64")
    assert r.method == "null_space"
    assert bool(r.converged.all()), r.status
    assert r.energy.numpy() == pytest.approx(expected.energy.numpy(), rel=1e-9)
    assert r.z.numpy() == pytest.approx(expected.z.numpy(), abs=1e-6)
    assert r.x.numpy() == pytest.approx(r.z.numpy() @ A.T, abs=1e-12)
    gap = r.x.numpy() - y
    slope = 2 * gap / (1 + gap**2)  # the energy of x alone has this slope, which the constraint holds up
    assert r.multipliers["link"].numpy() == pytest.approx(-slope, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_rows_with_equations_of_their_own_equal_scipy(seed: int) -> None:
    data = tied(seed)
    r = ebmlang.loads(TIED).infer(**data, dtype="float64")
    assert r.method == "null_space"
    assert bool(r.converged.all()), r.status
    for row in range(3):
        expected = by_scipy(data["R"], data["G"][row], data["h"][row])
        assert r.x[row].numpy() == pytest.approx(expected, abs=1e-5)
    x, y = r.x.numpy(), r.multipliers["tie"].numpy()
    weights = np.exp(x @ data["R"].T - logsumexp(x @ data["R"].T, axis=1)[:, None])
    slope = weights @ data["R"] + 0.2 * x + np.einsum("rk,rkn->rn", y, data["G"])
    assert np.abs(slope).max() < 1e-7
    narrow = ebmlang.loads(TIED).infer(**data, dtype="float32")
    assert bool(narrow.converged.all()), narrow.status
    assert narrow.x.numpy() == pytest.approx(x, abs=1e-4)  # its tolerance of slopes is 1e-5


def test_equations_that_repeat_or_contradict() -> None:
    data = tied(4)
    data["G"][:, 1] = 2 * data["G"][:, 0]
    data["h"][:, 1] = 2 * data["h"][:, 0]
    data["h"][1, 1] += 5
    r = ebmlang.loads(TIED).infer(**data, dtype="float64")
    assert r.converged.tolist() == [True, False, True]
    for row in (0, 2):
        expected = by_scipy(data["R"], data["G"][row, :1], data["h"][row, :1])
        assert r.x[row].numpy() == pytest.approx(expected, abs=1e-5)
    G, h = data["G"][1], data["h"][1]
    least = np.abs(G @ np.linalg.lstsq(G, h)[0] - h)
    assert r.violations["tie"][1].item() == pytest.approx(least.max(), abs=1e-9)
    assert r.status[1].startswith("no feasible point was found: 'tie' is violated by")


def test_entries_that_are_known_stay() -> None:
    data, known = tied(5), np.zeros((3, 6), dtype=bool)
    known[:, 0] = True
    values = np.full((3, 6), 0.7)
    text = TIED.replace("latent x : real[n] = 0.2", "observed x : real[n]").replace("  infer x\n", "")
    r = ebmlang.loads(text).infer({**data, "x": values}, observed={"x": known}, dtype="float64")
    assert r.method == "null_space"
    assert bool(r.converged.all()), r.status
    assert (r.x[:, 0] == 0.7).all()
    for row in range(3):
        pin = np.vstack([data["G"][row], np.eye(6)[0]])
        expected = by_scipy(data["R"], pin, np.append(data["h"][row], 0.7))
        assert r.x[row].numpy() == pytest.approx(expected, abs=1e-5)


def test_an_energy_without_end_among_the_points() -> None:
    """Along (1, -1) the sum of exponentials falls to 0, and the other term without end where q is steep."""
    m = ebmlang.loads(
        """
        model slide {
          observed q : real
          latent x : real[2] = 0
          energy push = q * (x[0] - x[1])
          energy wall = exp(x[0])
          subject to level : x[0] + x[1] == 1
          infer x
        }
        """
    )
    r = m.infer(q=[-0.5, 0.5], dtype="float64")
    assert r.method == "null_space"
    assert r.converged.tolist() == [True, False]
    assert r.status[1].startswith("unbounded: the energy falls without end")
    assert float(r.x[0, 0]) == pytest.approx(0, abs=1e-8)  # exp(x[0]) = -2 q


def test_examples_that_share_unknowns_take_the_other_way() -> None:
    text = LINKED.replace("latent z : real[k] = 0", "latent z : real[k] per batch = 0")
    rng = np.random.default_rng(7)
    A, y = rng.normal(size=(5, 2)), rng.normal(size=(2, 5))
    r = ebmlang.loads(text).infer(A=A, y=y, dtype="float64")
    assert r.method == "augmented_lagrangian"
    assert "null_space does not apply" in r.because


def test_what_an_equation_gives_is_said() -> None:
    text = ebmlang.loads(LINKED).explain()
    assert "invertible by elimination: link gives x by the others" in text
    other = ebmlang.loads(TIED).explain()
    assert "tie gives as many entries by the others as it has" in " ".join(other.split())
    bent = ebmlang.loads(LINKED.replace("x == A @ z", "x == (A @ z)^2")).explain()
    assert "invertible by elimination" not in bent
    assert "null_space: link is quadratic" in bent
    unequal = ebmlang.loads(LINKED.replace("x == A @ z", "x <= A @ z")).explain()
    assert "null_space: link is no equation" in unequal
