"""Orders and subsets of lowest energy, against scipy, sorting and plain enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from numpy.typing import NDArray

import ebmlang
from ebmlang.errors import DataError
from ebmlang.testing.run import run_checks

Array = NDArray[Any]

COSTS = """model costs(n: int) {
  observed C : real[n, n]
  latent p : permutation[n]
  for i in 0..n { energy pays[i] = C[i, p[i]] }
  infer p
  marginalize p
}"""

TOUR = """model tour(n: int) {
  observed D : real[n, n]
  latent p : permutation[n]
  for t in 0..n { energy leg[t] = D[p[t], p[(t + 1) % n]] }
  infer p
}"""

SUBSET = """model few(n: int, k: int) {
  observed c : real[n]
  latent s : bool[n] in subset(k)
  energy price = dot(c, s)
  infer s
}"""


def best_order(C: Array) -> tuple[list[int], float]:
    rows, columns = scipy.optimize.linear_sum_assignment(C)
    return columns.tolist(), float(C[rows, columns].sum())


def orders(n: int) -> Array:
    return np.array(list(itertools.permutations(range(n))))


@pytest.mark.parametrize("method", [None, "enumeration"])
def test_an_order_by_costs_is_the_one_of_scipy(method: str | None) -> None:
    C = np.random.default_rng(0).normal(size=(4, 6, 6))
    found = ebmlang.loads(COSTS).infer(C=C, dtype="float64", using=method)
    assert found.method == (method or "assignment")
    assert found.p.dtype == torch.int64
    for row in range(4):
        order, least = best_order(C[row])
        assert found.p[row].tolist() == order
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)
        assert found.status[row].startswith("exact")


SINGLE: dict[str, tuple[str, Callable[[Array, Array], float]]] = {
    "array": ("sum((y - X[p])^2)", lambda y, x: ((y - x) ** 2).sum()),
    "norm": ("sum(norm(y[i] - X[p[i]]), over = i in 0..n)", lambda y, x: np.sqrt(((y - x) ** 2).sum())),
    "lengths": ("sum(||y[i] - X[p[i]]||_1, over = i in 0..n)", lambda y, x: abs(y - x).sum()),
    "function": (
        "sum(dot(y[i], softmax(X[p[i]])), over = i in 0..n)",
        lambda y, x: y @ (np.exp(x) / np.exp(x).sum()),
    ),
    "cells": ("sum(far)", lambda y, x: abs(float(np.linalg.norm(y * x)) - 1.0)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_costs_are_found_inside_of_functions_lets_and_arrays(name: str) -> None:
    energy, cost = SINGLE[name]
    text = f"""model m(n: int, d: int) {{
      observed X : real[n, d]
      observed y : real[n, d]
      latent p : permutation[n]
      for i in 0..n {{ let both[i] = y[i] * X[p[i]] }}
      for i in 0..n {{ let far[i] = abs(norm(both[i]) - 1) }}
      energy e = {energy}
      infer p
    }}"""
    X, y = np.random.default_rng(1).normal(size=(2, 3, 7, 2))
    found = ebmlang.loads(text).infer(X=X, y=y, dtype="float64")
    assert found.method == "assignment"
    for row in range(3):
        C = np.array([[cost(a, b) for b in X[row]] for a in y[row]])
        assert float(found.energy[row]) == pytest.approx(best_order(C)[1], abs=1e-12)
        assert found.p[row].tolist() == best_order(C)[0]


def test_guards_groups_and_rules() -> None:
    """Guarded plates, several orders in one variable, and forbidden pairs."""
    text = """model m(n: int, g: int) {
      observed C : real[g, n, n]
      observed here : bool[g, n]
      latent p : permutation[n][g]
      for j in 0..g, i in 0..n if here[j, i] { energy pays[j, i] = C[j, i, p[j, i]] }
      for j in 0..g, i in 0..n { energy rule[j, i] = where(p[j, i] == i, inf, 0) }
      infer p
    }"""
    rng = np.random.default_rng(2)
    C, here = rng.normal(size=(2, 3, 5, 5)), rng.random((2, 3, 5)) < 0.7
    found = ebmlang.loads(text).infer(C=C, here=here, dtype="float64")
    assert found.method == "assignment"
    for row in range(2):
        own = np.where(here[row][..., None], C[row], 0.0) + np.where(np.eye(5), np.inf, 0.0)
        assert float(found.energy[row]) == pytest.approx(sum(best_order(c)[1] for c in own), abs=1e-12)


def test_an_impossible_order_is_said_to_be_one() -> None:
    C = np.zeros((2, 3, 3))
    C[0, :2, :2] = C[0, :, 2] = np.inf
    found = ebmlang.loads(COSTS).infer(C=C)
    assert found.status[0].startswith("impossible")
    assert found.status[1].startswith("exact")
    assert found.converged.tolist() == [False, True]


def tour_length(D: Array, order: Array) -> Array:
    return np.asarray(D[order, np.roll(order, -1, -1)].sum(-1))


def distances(rng: np.random.Generator, rows: int, n: int) -> Array:
    x = rng.normal(size=(rows, n, 2))
    return np.asarray(np.linalg.norm(x[:, :, None] - x[:, None], axis=-1))


def test_a_small_tour_is_exact() -> None:
    D = distances(np.random.default_rng(3), 2, 6)
    found = ebmlang.loads(TOUR).infer(D=D, dtype="float64")
    assert found.method == "enumeration"
    for row in range(2):
        assert float(found.energy[row]) == pytest.approx(tour_length(D[row], orders(6)).min(), abs=1e-12)


def test_no_exchange_shortens_a_long_tour() -> None:
    D = distances(np.random.default_rng(4), 2, 12)
    found = ebmlang.loads(TOUR).infer(D=D, dtype="float64")
    assert found.method == "exchange_search"
    assert set(found.status) == {"local: no exchange of two entries lowers the energy"}
    for row in range(2):
        order = found.p[row].numpy()
        assert sorted(order) == list(range(12))
        own = tour_length(D[row], order)
        for a, b in itertools.combinations(range(12), 2):
            other = order.copy()
            other[[a, b]] = order[[b, a]]
            assert tour_length(D[row], other) >= own - 1e-6 * own


def test_more_starts_do_not_lengthen_a_tour() -> None:
    D = distances(np.random.default_rng(5), 1, 10)
    model = ebmlang.loads(TOUR)
    few = model.infer(D=D, dtype="float64", restarts=1)
    many = model.infer(D=D, dtype="float64", restarts=20)
    assert float(many.energy) <= float(few.energy)


@pytest.mark.parametrize("method", [None, "enumeration", "exchange_search"])
def test_a_subset_holds_what_is_cheapest(method: str | None) -> None:
    c = np.random.default_rng(6).normal(size=(4, 9))
    c[0, 3] = np.inf
    found = ebmlang.loads(SUBSET, k=4).infer(c=np.where(np.isinf(c), 1e9, c), using=method, dtype="float64")
    for row in range(4):
        assert found.s[row].nonzero()[:, 0].tolist() == sorted(np.argsort(c[row])[:4].tolist())


def test_a_subset_keeps_to_rules() -> None:
    text = SUBSET.replace(
        "infer s", "for i in 0..n { energy rule[i] = where(s[i], 0, where(must[i], inf, 0)) }\n  infer s"
    ).replace("latent s", "observed must : bool[n]\n  latent s")
    c = np.random.default_rng(7).normal(size=(3, 7))
    must = np.zeros((3, 7), bool)
    must[0, np.argmax(c[0])] = True
    must[2, :4] = True
    found = ebmlang.loads(text, k=3).infer(c=c, must=must, dtype="float64")
    assert found.method == "assignment"
    rest = np.sort(np.delete(c[0], np.argmax(c[0])))
    assert float(found.energy[0]) == pytest.approx(c[0].max() + rest[:2].sum(), abs=1e-12)
    assert found.status[2].startswith("impossible")


def test_a_subset_that_meets_is_enumerated() -> None:
    text = """model m(n: int) {
      observed Q : real[n, n]
      latent s : bool[n] in subset(3)
      energy e = s @ Q @ s
      infer s
    }"""
    Q = np.random.default_rng(8).normal(size=(2, 7, 7))
    found = ebmlang.loads(text).infer(Q=Q, dtype="float64")
    assert found.method == "enumeration"
    for row in range(2):
        least = min(Q[row][np.ix_(own, own)].sum() for own in map(list, itertools.combinations(range(7), 3)))
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)


def test_orders_subsets_and_classes_together() -> None:
    text = """model m(n: int) {
      observed C : real[n, n]
      latent p : permutation[n]
      latent s : bool[n] in subset(2)
      latent c : class[n]
      for i in 0..n { energy e[i] = C[i, p[i]] + s[i] * C[i, 0] }
      energy f = C[0, c]
      infer p, s, c
    }"""
    C = np.random.default_rng(9).normal(size=(2, 4, 4))
    model = ebmlang.loads(text)
    found = model.infer(C=C, dtype="float64")
    assert found.method == "assignment"
    for row in range(2):
        least = best_order(C[row])[1] + np.sort(C[row][:, 0])[:2].sum() + C[row][0].min()
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)
    every = model.infer(C=C, dtype="float64", using="enumeration")
    torch.testing.assert_close(every.energy, found.energy)


@pytest.mark.parametrize("method", [None, "enumeration", "exchange_search"])
def test_entries_that_are_given_stay(method: str | None) -> None:
    text = COSTS.replace("latent p : permutation[n]", "observed p : permutation[n] missing")
    text = text.replace("  infer p\n  marginalize p\n", "")
    C = np.random.default_rng(10).normal(size=(2, 4, 4))
    nan = np.nan
    p = np.array([[nan, 0, nan, nan], [3, nan, 1, nan]])
    found = ebmlang.loads(text).infer(C=C, p=p, dtype="float64", using=method)
    for row in range(2):
        fitting = [o for o in orders(4) if all(np.isnan(g) or g == v for g, v in zip(p[row], o, strict=True))]
        least = min(C[row][range(4), o].sum() for o in fitting)
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)
    with pytest.raises(DataError, match="case 1 more than once"):
        ebmlang.loads(text).infer(C=C, p=np.array([[1, 1, nan, nan]] * 2))


def test_given_orders_are_checked() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      observed p : permutation[n]
      latent x : real[n]
      energy e = ||y - x[p]||^2
      infer x
    }"""
    model = ebmlang.loads(text)
    found = model.infer(y=[[1.0, 2.0, 3.0]], p=[[2, 0, 1]])
    assert found.x[0].tolist() == pytest.approx([2.0, 3.0, 1.0])
    with pytest.raises(DataError, match=r"\[0, 0, 2\], which is no permutation"):
        model.infer(y=[[1.0, 2.0, 3.0]], p=[[0, 0, 2]])
    with pytest.raises(DataError, match="subset"):
        ebmlang.loads(SUBSET, k=4).infer(c=np.zeros((1, 3)))


def test_one_order_for_all_examples() -> None:
    text = """model m(n: int, d: int) {
      observed X : real[n, d]
      observed Y : real[n, d]
      latent p : permutation[n] per batch
      energy e = ||Y - X[p]||^2
      infer p
    }"""
    rng = np.random.default_rng(11)
    X, Y = rng.normal(size=(2, 5, 6, 2))
    found = ebmlang.loads(text).infer(X=X, Y=Y, dtype="float64")
    C = ((Y[:, :, None] - X[:, None]) ** 2).sum((0, 3))
    assert found.p.tolist() == best_order(C)[0]


def test_log_z_is_that_of_all_orders() -> None:
    C = np.random.default_rng(12).normal(size=(2, 4, 4))
    found = ebmlang.loads(COSTS).marginal(C=C, dtype="float64")
    for row in range(2):
        weights = np.exp([-C[row][range(4), o].sum() for o in orders(4)])
        assert float(found.log_z[row]) == pytest.approx(np.log(weights.sum()), abs=1e-12)
        for i, j in itertools.product(range(4), range(4)):
            share = weights[orders(4)[:, i] == j].sum() / weights.sum()
            assert float(found["p"][row, i, j]) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("n", [5, 8])
def test_an_order_beside_weights(n: int) -> None:
    """Regression with shuffled rows: every order for 5 of them, in turns for 8."""
    text = """model shuffled(n: int, d: int) {
      observed X : real[n, d]
      observed y : real[n]
      latent p : permutation[n]
      latent w : real[d]
      energy fit = ||y - X[p] @ w||^2
      energy size = 0.1 * ||w||^2
      infer p, w
    }"""
    rng = np.random.default_rng(13)
    X, y = rng.normal(size=(1, n, 2)), rng.normal(size=(1, n))
    found = ebmlang.loads(text).infer(X=X, y=y, dtype="float64")
    assert found.method == ("states" if n == 5 else "alternation")

    def least(order: Array) -> float:
        A = X[0][order]
        w = np.linalg.solve(A.T @ A + 0.1 * np.eye(2), A.T @ y[0])
        return float(((y[0] - A @ w) ** 2).sum() + 0.1 * w @ w)

    own = least(found.p[0].numpy())
    assert float(found.energy[0]) == pytest.approx(own, abs=1e-9)
    if n == 5:
        assert own == pytest.approx(min(least(o) for o in orders(n)), abs=1e-9)


def test_properties_hold_for_every_order() -> None:
    text = """model slots(m: int, d: int) {
      observed q : real[d]
      observed K : real[m, d]
      observed V : real[m, d]
      let y = softmax(K @ q) @ V
      energy size = ||y||^2
      property order : forall P : permutation[m] { (y with K = K[P], V = V[P]) ~= y }
      property wrong : forall P : permutation[m] { (size with K = K[P]) ~= size }
      property two : forall S : bool[m] in subset(1) { sum(S) == 1 }
    }"""
    names = ("property order", "property wrong", "property two")
    checks = run_checks(ebmlang.loads(text, m=4, d=2), examples=25, only=names)
    found = {f.check: f.verdict for f in checks}
    assert found["property order"] == "holds"
    assert found["property wrong"] == "fails"
    assert found["property two"] == "holds"


SUMS = {
    "orders": "latent p : permutation[n]; for i in 0..n { energy e[i] = C[i, p[i]] * a[i] }",
    "subsets": "latent p : bool[n] in subset(2); energy e = dot(C[0] * a, p)",
    "all at once": "latent p : bool[n]; energy e = exp(dot(C[0] * a, p) / 4)",
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_states_have_derivatives(name: str) -> None:
    text = f"""model m(n: int) {{
      observed C : real[n, n]
      param a : real[n] = normal()
      {SUMS[name]}
      marginalize p
      train a
    }}"""
    C = np.random.default_rng(14).normal(size=(2, 4, 4))
    model = ebmlang.loads(text.replace("; ", "\n"))
    a = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)

    def loss(at: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            model.value("a").copy_(at)
        return torch.as_tensor(model(C=C))

    model.bind(C=C)
    model.double()
    loss(a).backward()
    slope = model.value("a").grad
    assert slope is not None
    for k in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[k] = 1e-5
        with torch.no_grad():
            around = (loss(a + step) - loss(a - step)) / 2e-5
        assert float(slope[k]) == pytest.approx(float(around), abs=1e-7)
