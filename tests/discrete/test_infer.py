"""The assignment of lowest energy against enumeration in plain numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ebmlang
from ebmlang.errors import DataError

Array = NDArray[Any]

GRID = """model ising(n: int, m: int, J: real = 0.3) {
  observed h : real[n, m]
  latent s : bool[n, m]
  let spin = 2 * s - 1
  for i in 0..n, j in 0..m { energy field[i, j] = h[i, j] * spin[i, j] }
  for i in 0..n-1, j in 0..m { energy down[i, j] = -J * spin[i, j] * spin[i + 1, j] }
  for i in 0..n, j in 0..m-1 { energy right[i, j] = -J * spin[i, j] * spin[i, j + 1] }
  infer s
}"""

RBM = """model rbm(n: int, k: int) {
  shared observed W : real[n, k]
  shared observed b : real[n]
  observed a : real[k]
  latent v : bool[n]
  latent h : bool[k]
  energy e = -v @ W @ h - dot(b, v) - sum(a * h) + (sum(h) - 2)^2 + ||h - a||^2
  infer v, h
}"""

CHAIN = """model hmm(T: int, K: int) {
  observed y : real[T]
  shared observed A : real[K, K]
  latent c : class[K][T]
  for t in 0..T { energy fit[t] = (y[t] - c_level[t])^2 }
  for t in 0..T-1 { energy change[t] = A[c[t], c[t + 1]] }
  infer c
}"""


def binary(count: int) -> Iterator[Array]:
    return (np.array(bits) for bits in itertools.product((0, 1), repeat=count))


def lowest(energy: Callable[[Array], float], states: Iterator[Array]) -> tuple[float, Array]:
    return min(((energy(s), s) for s in states), key=lambda pair: pair[0])


def grid_energy(h: Array, J: float) -> Callable[[Array], float]:
    def energy(bits: Array) -> float:
        s = 2 * bits.reshape(h.shape) - 1
        return float((h * s).sum() - J * (s[1:] * s[:-1]).sum() - J * (s[:, 1:] * s[:, :-1]).sum())

    return energy


@pytest.mark.parametrize("method", ["elimination", "enumeration", "coordinate_search"])
def test_a_grid_has_the_lowest_energy(method: str) -> None:
    h = np.random.default_rng(0).normal(size=(3, 3, 4))
    found = ebmlang.loads(GRID).infer(h=h, using=method, dtype="float64")
    for row in range(3):
        least, state = lowest(grid_energy(h[row], 0.3), binary(12))
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)
        np.testing.assert_array_equal(found.s[row].int().numpy().reshape(-1), state)
    assert bool(found.converged.all())


def test_products_of_whole_vectors_are_taken_apart() -> None:
    rng = np.random.default_rng(1)
    W, b, a = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(2, 3))
    found = ebmlang.loads(RBM).infer(W=W, b=b, a=a, dtype="float64")
    assert found.method == "elimination"
    for row in range(2):

        def energy(bits: Array, a: Array = a[row]) -> float:
            v, h = bits[:4], bits[4:]
            pairs = -v @ W @ h - b @ v - (a * h).sum()
            return float(pairs + (h.sum() - 2) ** 2 + ((h - a) ** 2).sum())

        least, _ = lowest(energy, binary(7))
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)


def test_a_long_chain_equals_viterbi() -> None:
    rng = np.random.default_rng(2)
    T, K = 2000, 4
    cost, A = rng.normal(size=(2, T, K)), rng.normal(size=(K, K))
    text = CHAIN.replace("observed y : real[T]", "observed y : real[T, K]").replace(
        "(y[t] - c_level[t])^2", "y[t, c[t]]"
    )
    found = ebmlang.loads(text).infer(y=cost, A=A, dtype="float64")
    for row in range(2):
        value = cost[row, 0]
        for t in range(1, T):
            value = (value[:, None] + A).min(0) + cost[row, t]
        assert float(found.energy[row]) == pytest.approx(float(value.min()), rel=1e-12)
    assert "elimination width 2" in found.because


def test_rules_may_be_hard() -> None:
    text = """model rules(n: int, M: int) {
      shared observed edges : class[n][M, 2]
      observed w : real[n]
      latent s : bool[n]
      for (i, j) in edges { energy rule[i, j] = where(s[i] and not(s[j]), inf, 0) }
      energy reward = -dot(w, s)
      infer s
    }"""
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    w = np.array([[3.0, -1.0, -1.0, -0.5], [1.0, -1.0, -1.0, -0.5]])
    found = ebmlang.loads(text).infer(edges=edges, w=w, dtype="float64")
    assert found.s.int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_impossible_is_said() -> None:
    text = """model m() {
      latent s : bool[3]
      energy one = where(s[0], 0, inf)
      energy two = where(s[0] and s[1], inf, 0)
      energy three = where(s[1], 0, inf)
      infer s
    }"""
    found = ebmlang.loads(text).infer()
    assert found.status == ("impossible: every assignment has the energy inf",)
    assert not bool(found.converged.any())


def test_nan_and_minus_infinity_are_named() -> None:
    head = "model m() { observed y : real[2]; latent s : bool[2]; "
    with pytest.raises(DataError, match="the term `bad` is NaN"):
        ebmlang.loads(head + "energy bad = sum((y * inf) * s); infer s }").infer(y=[1.0, 0.0])
    with pytest.raises(DataError, match=r"`bad` is -inf .*no minimum"):
        ebmlang.loads(head + "energy bad = where(s[0], -inf, y[0]); infer s }").infer(y=[1.0, 0.0])


def test_a_wide_block_is_searched_locally_and_says_so() -> None:
    text = """model dense(n: int) {
      shared observed W : real[n, n]
      latent s : bool[n]
      energy e = s @ W @ s
      infer s
    }"""
    rng = np.random.default_rng(3)
    W = rng.normal(size=(40, 40))
    model = ebmlang.loads(text)
    found = model.infer(W=W, dtype="float64", seed=1)
    assert found.method == "coordinate_search"
    assert "elimination has width 39" in found.because
    s = found.s[0].numpy().astype(float)
    least = s @ W @ s
    assert float(found.energy[0]) == pytest.approx(least, abs=1e-10)
    for i in range(40):
        other = s.copy()
        other[i] = 1 - other[i]
        assert other @ W @ other >= least - 1e-10
    with pytest.raises(DataError, match="elimination of s is too large"):
        model.infer(W=W, using="elimination")


def test_terms_that_stay_whole_are_enumerated() -> None:
    text = """model m(n: int) {
      observed w : real[n]
      latent s : bool[n]
      energy e = exp(sum(s)) - 5 * dot(w, s)
      infer s
    }"""
    w = np.random.default_rng(4).normal(size=(2, 6))
    for method in ("enumeration", "coordinate_search"):
        found = ebmlang.loads(text).infer(w=w, dtype="float64", using=method)
        for row in range(2):
            least = min(float(np.exp(s.sum()) - 5 * w[row] @ s) for s in binary(6))
            assert float(found.energy[row]) == pytest.approx(least, rel=1e-12)


def test_a_value_shared_by_all_examples_joins_them() -> None:
    text = """model m(K: int) {
      observed y : real
      shared observed c : class[K]
      latent d : class[K]
      shared observed mu : real[K]
      energy fit = (y - mu[d])^2
      energy same = where(c == d, 0.0, 0.3)
      energy prior = 0.1 * mu[c]
      infer d
    }"""
    y, mu = np.array([0.1, 1.2, 0.9, 2.2]), np.arange(3.0)
    found = ebmlang.loads(text).infer(y=y, mu=mu, find=["c", "d"], dtype="float64")
    best = min(
        ((y - mu[list(d)]) ** 2).sum() + 0.3 * (np.array(d) != c).sum() + 0.1 * mu[c]
        for c in range(3)
        for d in itertools.product(range(3), repeat=4)
    )
    c, d = int(found.c), found.d.numpy()
    total = ((y - mu[d]) ** 2).sum() + 0.3 * (d != c).sum() + 0.1 * mu[c]
    assert total == pytest.approx(best, abs=1e-12)


def test_entries_that_differ_by_example() -> None:
    text = """model m(n: int) {
      observed i : class[n]
      observed w : real[n]
      latent s : bool[n]
      energy e = dot(w, s) + where(s[i], -2.0, 0.0)
      energy f = where(s[0] and s[i], 0.5, 0.0)
      infer s
    }"""
    w = np.abs(np.random.default_rng(5).normal(size=(3, 4)))
    found = ebmlang.loads(text).infer(i=[0, 2, 3], w=w, dtype="float64")
    for row, i in enumerate((0, 2, 3)):
        least = min(float(w[row] @ s - 2 * s[i] + 0.5 * (s[0] * s[i])) for s in binary(4))
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)
