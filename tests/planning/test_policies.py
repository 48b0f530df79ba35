"""Acting without a search, against arithmetic by hand, and policies that learn what plans find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang import cli
from ebmlang.planning import Episodes
from tests.planning.worlds import REGULATOR, A, B, Cart, best_first_action

BOUNDED = REGULATOR.replace("real[T, 1]", "real[T, 1] in [-limit, limit]").replace(
    "(T: int = 12)", "(T: int = 12, limit: real in positive = 100)"
)

PREDICTED = BOUNDED.replace(
    "plan a",
    "param K : real[T, 2] = normal(0, 0.1)\n  plan a\n  amortize a = reshape(K @ s0, T, 1) using lbfgs",
)

CLOSED_LOOP = """model gains(T: int = 12) {
  observed s0 : real[2]
  param K : real[2]
  let s : real[T+1, 2]
  let a : real[T, 1]
  let s[0] = s0
  for t in 0..T {
    let a[t] = [dot(K, s[t])]
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * a[t, 0]]
    cost running[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }
  plan a
  train K of running using lbfgs
}
"""


def run(model: ebmlang.Model, *args: Any, **options: Any) -> Episodes:
    found = model.plan(*args, dtype="float64", **options)
    assert isinstance(found, Episodes)
    return found


def test_what_is_predicted_is_carried_out_within_its_bounds() -> None:
    m = ebmlang.loads(PREDICTED, limit=0.5)
    gains = np.random.default_rng(0).normal(size=(12, 2))
    m.preset({"K": torch.from_numpy(gains)})
    (episode,) = run(m, Cart(), steps=9, seed=2, every=3, by="policy")
    for t in range(0, 9, 3):
        wanted = np.clip(gains[:3] @ episode.observations[t], -0.5, 0.5)
        np.testing.assert_allclose(episode.actions[t : t + 3, 0], wanted, atol=1e-6)
    assert episode.plans == 3
    assert not episode.iterations.any()
    assert np.isnan(episode.energies).all()
    assert abs(episode.actions).max() == pytest.approx(0.5)


def test_actions_that_are_computed_need_no_search() -> None:
    m = ebmlang.loads(CLOSED_LOOP)
    m.preset({"K": torch.tensor([-0.7, -1.1], dtype=torch.float64)})
    (episode,) = run(m, Cart(), steps=10, seed=1)
    state = episode.observations[0]
    for t in range(10):
        action = np.array([-0.7, -1.1]) @ state
        np.testing.assert_allclose(episode.actions[t], [action], atol=1e-6)
        state = A @ state + B @ [action]
    (own,) = run(m, "model", s0=episode.observations[0], steps=10)
    np.testing.assert_allclose(own.observations["s0"], episode.observations, atol=1e-6)


def test_gains_by_gradients_through_the_model() -> None:
    """Gains that are trained over a horizon, against gains that an optimiser finds by simulating it."""
    from scipy.optimize import minimize

    starts = np.random.default_rng(0).normal(size=(20, 2))

    def cost(gains: np.ndarray) -> float:
        state, total = starts.T, 0.0
        for _ in range(12):
            action = gains[None] @ state
            state = A @ state + B @ action
            total += float((state**2).sum() + 0.1 * (action**2).sum())
        return total / 20

    best = minimize(cost, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x
    m = ebmlang.loads(CLOSED_LOOP)
    m.fit(s0=starts, steps=3, dtype="float64")
    np.testing.assert_allclose(m.value("K").detach(), best, atol=1e-4)


def test_a_policy_learns_what_plans_find() -> None:
    m = ebmlang.loads(PREDICTED, seed=0)
    planned = run(m, Cart(), episodes=3, steps=15)
    rows = planned.transitions()
    m.fit(s0=rows["obs"], a=rows["plan"], steps=3, dtype="float64")
    learnt = run(m, Cart(), episodes=3, steps=15, by="policy")
    for mine, theirs in zip(learnt, planned, strict=True):
        # Without limits the best inputs are linear in the state.
        np.testing.assert_allclose(mine.actions, theirs.actions, atol=1e-4)
        np.testing.assert_allclose(mine.actions[0], best_first_action(mine.observations[0]), atol=1e-4)
    # A search that begins near the answer has less to do.
    found = m.plan(s0=rows["obs"], dtype="float64", using="projected_lbfgs", tol=1e-3)
    cold = ebmlang.loads(BOUNDED).plan(s0=rows["obs"], dtype="float64", using="projected_lbfgs", tol=1e-3)
    assert not isinstance(found, Episodes)
    assert not isinstance(cold, Episodes)
    assert found.iterations.sum() < cold.iterations.sum() / 2


def test_the_rest_of_every_plan_is_kept() -> None:
    m = ebmlang.loads(REGULATOR)
    (episode,) = run(m, Cart(), steps=5, every=3)
    rows = Episodes("cart", (episode,)).transitions()
    whole = m.plan(s0=episode.observations[[0, 3]], dtype="float64")
    assert not isinstance(whole, Episodes)
    first, second = whole["a"].numpy()
    wanted = [first, [*first[1:], first[-1]], [*first[2:], first[-1], first[-1]]]
    wanted += [second, [*second[1:], second[-1]]]
    np.testing.assert_allclose(rows["plan"], np.stack([np.stack(list(w)) for w in wanted]), atol=1e-9)
    np.testing.assert_allclose(rows["to_go"], [-episode.rewards[t:].sum() for t in range(5)])


@pytest.mark.parametrize(
    ("by", "says"),
    [("policy", "nothing predicts `a`"), ("chance", "actions by `chance`")],
)
def test_mistakes(by: str, says: str) -> None:
    with pytest.raises(ebmlang.DataError, match=says):
        ebmlang.loads(REGULATOR).plan(Cart(), steps=2, by=by)


def test_plans_and_policy_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.ebm"
    file.write_text(PREDICTED, encoding="utf-8")
    np.savez(tmp_path / "first.npz", s0=np.array([1.0, 0.0]))
    command = ["plan", str(file), "--env", "model", "--data", str(tmp_path / "first.npz"), "--steps", "4"]
    assert cli.main([*command, "--compare", "--no-progress"]) == 0
    out = capsys.readouterr().out
    assert "the same by the policy" in out
    assert "of their time" in out
    assert cli.main([*command, "--by", "policy", "--no-progress"]) == 0
    assert "nothing was searched" in capsys.readouterr().out
    assert cli.main(["explain", str(file)]) == 0
    assert "plan a\n  seek a" in capsys.readouterr().out
