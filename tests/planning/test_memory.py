"""States of an episode, carried along while it is acted, against the same sums by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.planning import Episodes

SUMS = """model sums(T: int = 4) {
  observed x : real
  latent a : real[T, 1]
  state seen : real per episode = 0.5
  state last : real[2] per episode = 0
  update seen = seen + x
  update last = [x, last[0]]
  for t in 0..T { cost off[t] = (a[t, 0] - seen - 10 * last[1])^2 }
  plan a
}"""

RECALL = """import std.attention

model recall(k: int = 6, T: int = 2) {
  observed x : real[2]
  latent a : real[T, 1]
  state keys   : real[k, 2] per episode = 0
  state values : real[k, 1] per episode = 0
  let pain = x[0]^2 + x[1]
  update keys   = concat(keys[1..k], stack(x))
  update values = concat(values[1..k], stack([pain]))
  solve attention as recall with q = x, K = keys, V = values
  for t in 0..T { cost off[t] = ||a[t] - recall.y||^2 }
  plan a
}"""


def run(model: ebmlang.Model, *args: Any, **options: Any) -> Episodes:
    found = model.plan(*args, dtype="float64", **options)
    assert isinstance(found, Episodes)
    return found


def counting(state: Any, action: Any) -> Any:
    return state + 1


@pytest.mark.parametrize("every", [1, 3])
def test_states_move_with_every_action_and_begin_anew_with_every_episode(every: int) -> None:
    m = ebmlang.loads(SUMS)
    episodes = run(m, counting, first=1.0, episodes=2, steps=7, every=every)
    for episode in episodes:
        seen = np.array([0.5 + sum(range(1, t + 1)) for t in range(7)])
        before = np.array([max(t - 1, 0) for t in range(7)])
        wanted = (seen + 10 * before)[np.arange(7) // every * every]
        np.testing.assert_allclose(episode.actions[:, 0], wanted, atol=1e-9)
    # The model is as it was.
    assert float(m.value("seen")) == 0.5


def test_a_memory_read_by_attention() -> None:
    points = np.random.default_rng(0).normal(size=(9, 2))

    def world(state: Any, action: Any) -> Any:
        at = int(np.argmin(abs(points - state).sum(1)))
        return points[at + 1]

    (episode,) = run(ebmlang.loads(RECALL), world, first=points[0], steps=8)
    keys, values = np.zeros((6, 2)), np.zeros(6)
    for t in range(8):
        scores = keys @ points[t] / np.sqrt(2)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        np.testing.assert_allclose(episode.actions[t], [weights @ values], atol=1e-7)
        keys = np.concatenate([keys[1:], points[t : t + 1]])
        values = np.concatenate([values[1:], [points[t, 0] ** 2 + points[t, 1]]])


def test_a_policy_reads_the_memory_too() -> None:
    text = SUMS.replace("latent a : real[T, 1]", "").replace(
        "for t in 0..T {", "let a : real[T, 1]\n  for t in 0..T { let a[t] = [seen + 10 * last[1]]\n  "
    )
    (searched,) = run(ebmlang.loads(SUMS), counting, first=2.0, steps=6)
    (computed,) = run(ebmlang.loads(text), counting, first=2.0, steps=6)
    assert not computed.iterations.any()
    np.testing.assert_allclose(computed.actions, searched.actions, atol=1e-9)


def test_an_update_in_training_still_needs_one_value() -> None:
    with pytest.raises(ebmlang.ModelError, match="E0312"):
        ebmlang.loads(SUMS.replace("state seen : real per episode", "state seen : real"))
    assert torch.equal(ebmlang.loads(SUMS).bind(x=[0.0]).value("last"), torch.zeros(2))


def test_what_only_an_update_reads_is_observed_too() -> None:
    text = SUMS.replace("plan a", "plan a of off").replace(
        "observed x : real", "observed x : real\n  observed w : real = 2"
    )
    (episode,) = run(ebmlang.loads(text), counting, first=1.0, steps=3)
    np.testing.assert_allclose(episode.actions[:, 0], [0.5, 1.5, 3.5 + 10], atol=1e-9)
