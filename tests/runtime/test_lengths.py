"""Lengths of groups beside a smooth energy, against block coordinate descent written out here."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

import ebmlang

Array = NDArray[np.float64]

HEAD = """model grouped(m: int, G: int, d: int, lam: real in nonnegative = 3.0) {
  shared observed X : real[m, G, d]
  observed y : real[m]
  latent w : real[G, d] = 0.1
  energy fit = 1/2 * ||y - einsum("mgd,gd->m", X, w)||^2
"""
IN_PLATES = HEAD + "  for g in 0..G { energy few[g] = lam * ||w[g]|| }\n  infer w\n}"
IN_A_SUM = HEAD + "  energy few = lam * sum(||w[g]||, over = g in 0..G)\n  infer w\n}"
WHOLE = HEAD + "  energy few = lam * ||w||\n  infer w\n}"


def _data(seed: int, rows: int = 3) -> tuple[Array, Array]:
    made = np.random.default_rng(seed)
    X = made.normal(size=(20, 5, 3))
    w = np.zeros((rows, 5, 3))
    w[:, :2] = made.normal(size=(rows, 2, 3))
    return X, np.einsum("mgd,rgd->rm", X, w) + 0.3 * made.normal(size=(rows, 20))


def _descended(X: Array, y: Array, lam: float, sweeps: int = 400) -> Array:
    """Each group to its minimum in turn: with eigenvalues e and b = V'X'r the length t of the answer solves
    sum (b / (e t + lam))^2 = 1, and the group is 0 where |b| <= lam."""
    w = np.zeros(X.shape[1:])
    for _ in range(sweeps):
        for g in range(X.shape[1]):
            own = X[:, g]
            rest = y - np.einsum("mgd,gd->m", X, w) + own @ w[g]
            values, vectors = np.linalg.eigh(own.T @ own)
            b = vectors.T @ (own.T @ rest)
            if np.linalg.norm(b) <= lam:
                w[g] = 0
                continue

            def excess(t: float, b: Array = b, values: Array = values) -> float:
                return float(((b / (values * t + lam)) ** 2).sum()) - 1

            t = brentq(excess, 0, 1e6, xtol=1e-15)
            w[g] = vectors @ (b * t / (values * t + lam))
    return w


@pytest.mark.parametrize("text", [IN_PLATES, IN_A_SUM])
def test_group_lasso_is_that_of_coordinate_descent(text: str) -> None:
    X, y = _data(0)
    found = ebmlang.loads(text, lam=6.0).infer({"X": X, "y": y}, dtype="float64")
    assert found.method == "fista"
    assert found.converged.all()
    assert found.gap is None
    for row in range(3):
        expected = _descended(X, y[row], 6.0)
        np.testing.assert_allclose(found.w[row].numpy(), expected, atol=1e-7)
        empty = (expected == 0).all(1)
        assert empty.any()
        # Groups that are left out are 0 to the bit.
        assert (found.w[row].numpy()[empty] == 0).all()


def test_all_entries_as_one_group() -> None:
    X, y = _data(1)
    found = ebmlang.loads(WHOLE, lam=4.0).infer({"X": X, "y": y}, dtype="float64")
    for row in range(3):
        expected = _descended(X.reshape(20, 1, 15), y[row], 4.0, 1).reshape(5, 3)
        np.testing.assert_allclose(found.w[row].numpy(), expected, atol=1e-7)
    nothing = ebmlang.loads(WHOLE, lam=1e4).infer({"X": X, "y": y}, dtype="float64")
    assert (nothing.w == 0).all()


def test_rows_that_share_the_weights_form_one_problem() -> None:
    """Multi-task regression: a shared matrix whose rows are groups."""
    made = np.random.default_rng(2)
    x, truth = made.normal(size=(20, 8)), np.zeros((8, 4))
    truth[:3] = made.normal(size=(3, 4))
    y = x @ truth + 0.1 * made.normal(size=(20, 4))
    text = """model tasks(n: int, p: int, lam: real in nonnegative) {
      observed x : real[n]
      observed y : real[p]
      param W : real[n, p] = 0
      energy fit = 1/2 * ||y - x @ W||^2
      for i in 0..n { energy few[i] = lam * ||W[i]|| }
      infer W
    }"""
    found = ebmlang.loads(text, lam=4.0).infer({"x": x, "y": y}, dtype="float64")
    assert found.method == "fista"
    assert found.converged.all()
    W = found.W.numpy()
    # A term that no example differs in counts once in the problem of all examples.
    expected = _descended(_tasks(x), y.reshape(-1), 4.0)
    np.testing.assert_allclose(W, expected, atol=1e-6)
    assert (W == 0).all(1).any()


def _tasks(x: Array) -> Array:
    """[20 * 4, 8, 4]: the prediction of task p of an example is x @ W[:, p]."""
    return np.asarray(np.einsum("mg,pq->mpgq", x, np.eye(4)).reshape(-1, x.shape[1], 4))


@pytest.mark.parametrize(
    "energy",
    [
        "lam * ||w|| + ||w||_1",  # two kinds of weights of one variable
        "lam * ||w - 1||",
        "lam * sum(||w[g + 1]||, over = g in 0..G-1)",
    ],
)
def test_other_lengths_are_not_taken_for_groups(energy: str) -> None:
    text = HEAD + f"  energy few = {energy}\n  infer w\n}}"
    plan = ebmlang.loads(text).choice()
    assert plan.method is not None
    assert plan.method.name != "fista"


def test_a_negative_weight_is_met_when_values_are_bound() -> None:
    X, y = _data(4)
    text = WHOLE.replace("lam * ||w||", "-lam * ||w||")
    found = ebmlang.loads(text, lam=1.0).infer({"X": X, "y": y}, steps=5)
    assert found.method == "adam"
    assert "does not apply" in found.because


def test_bounded_and_given_entries_keep_it_away() -> None:
    bounded = IN_PLATES.replace("latent w : real[G, d]", "latent w : real[G, d] in nonnegative")
    plan = ebmlang.loads(bounded).choice()
    assert plan.method is not None
    assert plan.method.name != "fista"
    X, y = _data(3)
    w = np.full((3, 5, 3), np.nan)
    w[:, 0, 0] = 0.5
    partly = IN_PLATES.replace("latent w : real[G, d] = 0.1", "observed w : real[G, d] missing")
    found = ebmlang.loads(partly.replace("infer w\n", "")).infer({"X": X, "y": y, "w": w}, dtype="float64")
    assert found.method != "fista"
    assert (found.w[:, 0, 0] == 0.5).all()
