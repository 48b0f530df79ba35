"""Every method of the table is taken by some question that does not ask for it."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np

import ebmlang
from ebmlang.compiler.methods import ALL_METHODS
from tests.runtime.questions import QUESTIONS, chosen
from tests.structure.choice_cases import CASES

SPINS = """model spins(n: int) {
  shared observed J : real[n, n]
  observed h : real[n]
  latent s : bool[n]
  energy all = s @ J @ s - dot(h, s)
  infer s
}"""

TOUR = """model tour(n: int) {
  observed D : real[n, n]
  latent p : permutation[n]
  for t in 0..n { energy leg[t] = D[p[t], p[(t + 1) % n]] }
  infer p
}"""

SWITCHES = """model switches(n: int) {
  observed y : real[n]
  latent c : bool[n]
  latent x : real[n]
  energy fit = ||x - y||^2
  energy level = sum(where(c, (x - 2)^2, 2 * (x + 1)^2))
  infer c, x
}"""

TREE = """model tree(n: int, k: int) {
  observed U : real[n, k]
  shared observed P : real[k, k]
  latent c : class[k][n]
  for i in 0..n { energy own[i] = U[i, c[i]] }
  for i in 1..n { energy pair[i] = P[c[i], c[(i - 1) // 2]] }
  infer c
}"""

BY_SIZE = ("cross_entropy", "coordinate_search", "exchange_search", "alternation")
"""Methods that are taken in place of others where the sizes that are bound make these impossible."""


BY_NAME = ("mppi",)
"""Methods that a model has to ask for."""


def test_plans_take_every_method_that_sizes_do_not_decide_on() -> None:
    taken = {case.method for case in CASES} | {chosen(question) for question in QUESTIONS}
    assert {row.name for row in ALL_METHODS} - taken == {*BY_SIZE, *BY_NAME}


def test_too_many_couplings_for_elimination_go_by_coordinates() -> None:
    rng = np.random.default_rng(0)
    J, h = rng.normal(size=(60, 60)), rng.normal(size=(2, 60))
    found = ebmlang.loads(SPINS).infer(J=J, h=h, dtype="float64")
    assert found.method == "coordinate_search"
    for row in range(2):
        s = found.s[row].double().numpy()
        level = s @ J @ s - h[row] @ s
        for i in range(60):
            other = s.copy()
            other[i] = 1 - other[i]
            assert other @ J @ other - h[row] @ other >= level - 1e-9


def test_orders_with_pairs_go_by_exchanges() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(1, 14, 2))
    D = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    found = ebmlang.loads(TOUR).infer(D=D, dtype="float64")
    assert found.method == "exchange_search"
    order = found.p[0].tolist()
    assert sorted(order) == list(range(14))
    length = sum(D[0, a, b] for a, b in zip(order, order[1:] + order[:1], strict=True))
    np.testing.assert_allclose(float(found.energy[0]), length)
    walk = nx.Graph()
    walk.add_weighted_edges_from((a, b, D[0, a, b]) for a in range(14) for b in range(a))
    greedy = nx.approximation.greedy_tsp(walk, source=0)
    assert length <= sum(D[0, a, b] for a, b in pairwise(greedy)) + 1e-9


def test_too_many_states_beside_real_unknowns_take_turns() -> None:
    y = np.random.default_rng(2).normal(size=(3, 14))
    found = ebmlang.loads(SWITCHES).infer(y=y, dtype="float64")
    assert found.method == "alternation"
    c, x = found.c.numpy(), found.x.numpy()
    np.testing.assert_allclose(x, np.where(c, (y + 2) / 2, (y - 2) / 3), atol=1e-7)
    on, off = (x - 2) ** 2, 2 * (x + 1) ** 2
    assert (np.where(c, on, off) <= np.minimum(on, off) + 1e-9).all()


def test_trees_go_by_min_sum() -> None:
    rng, n, k = np.random.default_rng(3), 200, 3
    U, P = rng.normal(size=(2, n, k)), rng.normal(size=(k, k))
    found = ebmlang.loads(TREE, k=k).infer(U=U, P=P, dtype="float64")
    assert found.method == "elimination"
    best = U.copy()
    for i in range(n - 1, 0, -1):
        best[:, (i - 1) // 2] += (best[:, i, :, None] + P).min(1)
    np.testing.assert_allclose(found.energy.numpy(), best[:, 0].min(1), rtol=1e-12)
