"""Patterns and places of Hessians stay for the next question, unless what they come from has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.runtime import layout

SPRINGS = """
model springs(n: int, M: int) {
  shared observed edges : class[n][M, 2]
  observed y : real[n]
  latent x : real[n]
  for i in 0..n { energy here[i] = 1/2 * (x[i] - y[i])^2 }
  for (i, j) in edges { energy tie[i, j] = 3 * huber(x[i] - x[j], delta = 0.5) }
}
"""
SIZE = 120


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is worked out anew."""
    seen: list[str] = []
    for name in ("pattern_of", "placing"):
        plain = getattr(layout, name)

        def noted(*args: Any, name: str = name, plain: Any = plain) -> Any:
            seen.append(name)
            return plain(*args)

        monkeypatch.setattr(layout, name, noted)
    return seen


def ring(step: int) -> torch.Tensor:
    """Every node with the one `step` further on."""
    nodes = np.arange(SIZE)
    return torch.from_numpy(np.stack([nodes, (nodes + step) % SIZE], 1))


def test_a_question_with_the_same_edges_finds_nothing_anew(found: list[str]) -> None:
    model, made = ebmlang.loads(SPRINGS), np.random.default_rng(0)
    edges = ring(1)
    for _ in range(3):
        y = made.normal(size=(2, SIZE))
        answer = model.infer(edges=edges, y=y, using="newton", dtype="float64")
        alone = ebmlang.loads(SPRINGS).infer(edges=edges, y=y, using="lbfgs", dtype="float64", tol=1e-10)
        assert bool(answer.converged.all())
        assert float((answer.x - alone.x).abs().max()) <= 1e-5
    assert found == ["pattern_of", "placing"]


def test_edges_that_are_changed_in_place_are_other_edges(found: list[str]) -> None:
    model, y = ebmlang.loads(SPRINGS), np.random.default_rng(1).normal(size=(2, SIZE))
    edges = ring(1)
    for step in (1, 7, 7):
        edges.copy_(ring(step))
        answer = model.infer(edges=edges, y=y, using="newton", dtype="float64")
        fresh = ebmlang.loads(SPRINGS).infer(edges=ring(step), y=y, using="newton", dtype="float64")
        assert torch.equal(answer.x, fresh.x)
    assert found.count("pattern_of") == 2 + 3


def test_more_nodes_have_a_pattern_of_their_own() -> None:
    model = ebmlang.loads(SPRINGS)
    for size in (6, 30, 6):
        nodes = np.arange(size - 1)
        edges = np.stack([nodes, nodes + 1], 1)
        y = np.random.default_rng(size).normal(size=size)
        answer = model.infer(edges=edges, y=y, using="newton", dtype="float64")
        alone = ebmlang.loads(SPRINGS).infer(edges=edges, y=y, using="newton", dtype="float64")
        assert torch.equal(answer.x, alone.x)
