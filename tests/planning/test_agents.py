"""Goals and weights that change while a model acts, against models that have one goal each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import ebmlang
from ebmlang.planning import Episodes
from tests.planning.worlds import A, B, Cart

TWO_GOALS = """model two(T: int = 8) {
  observed s0   : real[2]
  observed goal : real = 1
  observed care : real in nonnegative = 0.1
  latent   a    : real[T, 1]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * a[t, 0]]
    cost effort[t] = care * ||a[t]||^2
    cost away[t] = (s[t+1, 0] - goal)^2
    cost speed[t] = s[t+1, 1]^2
  }
  plan reach: a of effort + away
  plan rest: a of effort + speed
}
"""


def best(state: np.ndarray, which: int, target: float, care: float, times: int = 8) -> float:
    """The first action by least squares over all of them: entry `which` of every state is to be `target`."""
    forced = np.zeros((times, times))
    for t in range(times):
        for k in range(t + 1):
            forced[t, k] = (np.linalg.matrix_power(A, t - k) @ B)[which, 0]
    free = np.array([(np.linalg.matrix_power(A, t + 1) @ state)[which] for t in range(times)])
    matrix = np.concatenate([forced, np.sqrt(care) * np.eye(times)])
    wanted = np.concatenate([target - free, np.zeros(times)])
    return float(np.linalg.lstsq(matrix, wanted, rcond=None)[0][0])


def test_goals_change_on_the_way_and_nothing_is_compiled_again() -> None:
    m = ebmlang.loads(TWO_GOALS)

    def configure(step: int, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if step % 4:
            return None
        goal = {"objective": "rest"} if step % 8 else {"objective": "reach", "goal": float(step)}
        return {**goal, "care": 0.1 + 0.01 * step}

    def run(steps: int) -> Any:
        found = m.plan(Cart(limit=1e6), steps=steps, dtype="float64", configure=configure)
        assert isinstance(found, Episodes)
        return found[0]

    run(8)
    known = len(m._compiled.modules)
    episode = run(40)
    assert len(m._compiled.modules) == known
    for t in range(40):
        since = t // 4 * 4
        which, target = (1, 0.0) if since % 8 else (0, float(since))
        wanted = best(episode.observations[t], which, target, 0.1 + 0.01 * since)
        np.testing.assert_allclose(episode.actions[t], [wanted], atol=1e-6)


def test_an_agent_in_a_loop_of_ones_own() -> None:
    m = ebmlang.loads(TWO_GOALS.replace("of effort + away", "of effort + away every 2"))
    agent = m.agent("rest", dtype="float64", care=0.2)
    state = np.array([1.0, -0.5])
    agent.begin()
    np.testing.assert_allclose(agent.act(state), [best(state, 1, 0.0, 0.2)], atol=1e-6)
    agent.configure("reach", goal=2.0)
    first = agent.act({"s0": state})
    np.testing.assert_allclose(first, [best(state, 0, 2.0, 0.2)], atol=1e-6)
    # The second of two actions belongs to the plan before, whatever is seen.
    after = A @ state + B @ first
    np.testing.assert_allclose(agent.act(100 * after), [best(after, 0, 2.0, 0.2, 7)], atol=1e-6)
    agent.configure("rest")
    np.testing.assert_allclose(agent.act(after), [best(after, 1, 0.0, 0.2)], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "tidy"}, "no `plan` line is called `tidy`"),
        ({"gaol": 1.0}, "`gaol` is no observed variable"),
        ({"a": np.zeros((8, 1))}, "`a` is no observed variable"),
    ],
)
def test_mistakes(changes: Mapping[str, Any], says: str) -> None:
    agent = ebmlang.loads(TWO_GOALS).agent("reach")
    with pytest.raises(ebmlang.DataError, match=says):
        agent.configure(**changes)
