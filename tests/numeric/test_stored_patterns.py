"""What is said of points next to a stored pattern holds there, against sums in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

import ebmlang
from ebmlang.runtime.solvers import concave_convex
from ebmlang.runtime.stored_patterns import stored_patterns
from tests.numeric.gallery import Array

RECALL = """
model recall(m: int, n: int, beta: real in positive = 20.0, pull: real in nonnegative = 0.0) {
  shared observed memory : real[m, n]
  shared observed push : real[n]
  observed query : real[n]
  latent x : real[n] = query
  energy size = (1 + pull) / 2 * ||x||^2
  energy aside = push @ x
  energy match = -logsumexp(beta * memory @ x) / beta
  infer x
}
"""


def memories(stored: int = 40, n: int = 24, seed: int = 0) -> Array:
    memory: Array = np.random.default_rng(seed).normal(size=(stored, n))
    memory /= np.linalg.norm(memory, axis=1, keepdims=True)
    return memory


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("beta", [5.0, 20.0, 200.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energies_and_gradients_near_a_pattern_are_below_what_is_said(
    beta: float, dtype: torch.dtype, even: bool
) -> None:
    rng = np.random.default_rng(1)
    memory, linear, curvature = memories(), 0.1 * rng.normal(size=24), rng.uniform(0.5, 2.0, size=24)
    curvature = np.full(24, 1.3) if even else curvature
    slope = torch.tensor(beta * memory, dtype=dtype)
    weight, linear_, curvature_ = (torch.tensor(v, dtype=dtype) for v in (1 / beta, linear, curvature))
    known = stored_patterns(slope, weight, linear_, curvature_)
    a, w, c, b = slope.double().numpy(), weight.item(), curvature_.double().numpy(), linear_.double().numpy()
    finite = 0
    for away in (0.0, 1e-7, 1e-5, 1e-3, 1e-2, 0.1, 1.0):
        x = known.pure + away * torch.tensor(rng.normal(size=(40, 24)), dtype=dtype)
        below, slopes = (v.double().numpy() for v in known.near(x))
        at = x.double().numpy()
        scores = at @ a.T
        gradient = c * at + b - w * softmax(scores, axis=1) @ a
        energy = (0.5 * c * at * at + b * at).sum(1) - w * logsumexp(scores, axis=1)
        slack = 16 * torch.finfo(dtype).eps * (1 + np.abs(energy))
        assert (np.linalg.norm(gradient, axis=1) <= slopes * (1 + 1e-5) + slack).all()
        sure = np.isfinite(slopes)
        assert (energy <= below + slack)[sure].all()
        if away <= 1e-5:
            assert (below - energy <= 1e-3 * np.abs(energy) + slack)[sure].all()
        finite += int(sure.sum())
    assert finite >= 80


def test_points_far_from_their_pattern_are_known_to_be_unknown() -> None:
    slope = torch.tensor(20 * memories())
    known = stored_patterns(slope, torch.tensor(1 / 20.0).double(), torch.zeros(24), torch.ones(24).double())
    _, slopes = known.near(torch.full((3, 24), 5.0).double())
    assert not bool(torch.isfinite(slopes).any())
    _, slopes = known.near(torch.full((3, 24), torch.nan).double())
    assert not bool(torch.isfinite(slopes).any())


def test_answers_next_to_patterns_are_stationary_without_a_second_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[int] = []
    evaluated = concave_convex.majorised

    def counted(problem, x):  # type: ignore[no-untyped-def]
        rows.append(x.shape[0])
        return evaluated(problem, x)

    monkeypatch.setattr(concave_convex, "majorised", counted)
    rng = np.random.default_rng(2)
    memory = memories()
    query = memory[rng.integers(40, size=200)] + 0.02 * rng.normal(size=(200, 24))
    query[::20] = rng.normal(size=(10, 24))  # these end between patterns, or take more steps
    push = 0.05 * rng.normal(size=24)
    model = ebmlang.loads(RECALL, beta=60.0, pull=0.5)
    found = model.infer(memory=memory, query=query, push=push, dtype="float32")
    assert found.method == "concave_convex"
    assert bool(found.converged.all())
    assert rows[0] == 200
    assert rows[1] <= 50
    x = found.x.double().numpy()
    gradient = 1.5 * x + push - softmax(60 * x @ memory.T, axis=1) @ memory
    begin = 1.5 * query + push - softmax(60 * query @ memory.T, axis=1) @ memory
    allowed = 1e-5 * (1 + np.linalg.norm(begin, axis=1)) + 2e-6
    assert (np.linalg.norm(gradient, axis=1) <= allowed).all()
    energy = 0.75 * (x**2).sum(1) + x @ push - logsumexp(60 * x @ memory.T, axis=1) / 60
    assert np.abs(found.energy.double().numpy() - energy).max() <= 1e-5


def test_traces_are_those_of_full_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    memory = memories()
    query = memory[rng.integers(40, size=120)] + 0.05 * rng.normal(size=(120, 24))
    values = {"memory": memory, "query": query, "push": np.zeros(24)}
    found = ebmlang.loads(RECALL, beta=60.0).infer(values, trace=True)
    one = [ebmlang.loads(RECALL, beta=60.0).infer({**values, "query": q}, trace=True) for q in query[:9]]
    assert found.trace is not None
    for k, alone in enumerate(one):
        assert alone.trace is not None
        assert torch.allclose(found.trace[-1, k], alone.trace[-1, 0], rtol=1e-5)
        assert torch.allclose(found.x[k], alone.x[0], atol=3e-5)


def test_patterns_that_are_there_twice_are_left_to_evaluations() -> None:
    rng = np.random.default_rng(4)
    memory = np.repeat(memories(20), 2, axis=0)
    query = memory[rng.integers(40, size=100)] + 0.02 * rng.normal(size=(100, 24))
    found = ebmlang.loads(RECALL, beta=60.0).infer(memory=memory, query=query, push=np.zeros(24))
    x = found.x.double().numpy()
    assert bool(found.converged.all())
    assert np.abs(x - softmax(60 * x @ memory.T, axis=1) @ memory).max() <= 3e-5


def test_a_few_rows_first_then_many() -> None:
    rng = np.random.default_rng(5)
    memory = memories()
    query = memory[rng.integers(40, size=120)] + 0.02 * rng.normal(size=(120, 24))
    model = ebmlang.loads(RECALL, beta=60.0)
    few = model.infer(memory=memory, query=query[:3], push=np.zeros(24))
    many = model.infer(memory=memory, query=query, push=np.zeros(24))
    assert torch.allclose(few.x, many.x[:3], atol=3e-5)
