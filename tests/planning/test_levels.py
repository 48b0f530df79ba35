"""Plans on several levels against least squares, level by level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.explaining import explain_file
from ebmlang.planning import Asking, Episodes, Levels

TWO = """model two(K: int = 3, T: int = 4) {
  observed s0 : real
  observed goal : real = 1
  latent g : real[K]
  latent a : real[T]
  let p : real[K+1]
  let p[0] = s0
  for k in 0..K {
    let p[k+1] = g[k]
    cost leg[k] = (p[k+1] - p[k])^2 + 2 * (p[k+1] - goal)^2
  }
  let s : real[T+1]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = 0.9 * s[t] + a[t]
    cost follow[t] = (s[t+1] - g[0])^2 + 0.3 * a[t]^2
  }
  plan upper: g of leg every 5
  plan a of follow given g
}
"""


def best_subgoals(s0: float, goal: float = 1.0, number: int = 3) -> Any:
    """The minimiser of the terms `leg`, by least squares."""
    steps = np.eye(number) - np.eye(number, k=-1)
    matrix = np.concatenate([steps, np.sqrt(2) * np.eye(number)])
    begin = np.eye(number)[0] * s0
    return np.linalg.lstsq(matrix, np.concatenate([begin, np.full(number, np.sqrt(2) * goal)]), rcond=None)[0]


def best_actions(s0: float, subgoal: float, times: int = 4) -> Any:
    """The minimiser of the terms `follow`, by least squares."""
    powers = np.arange(times)
    forced = np.tril(0.9 ** np.abs(powers[:, None] - powers[None]))
    free = 0.9 ** (powers + 1) * s0
    matrix = np.concatenate([forced, np.sqrt(0.3) * np.eye(times)])
    return np.linalg.lstsq(matrix, np.concatenate([subgoal - free, np.zeros(times)]), rcond=None)[0]


def run(text: str, *args: Any, **options: Any) -> Episodes:
    found = ebmlang.loads(text).plan(*args, dtype="float64", **options)
    assert isinstance(found, Episodes)
    return found


def world(state: Any, action: Any) -> Any:
    """The lower level's model with a wind that no level knows of."""
    return 0.9 * state + action + 0.05


def test_one_plan_goes_from_the_top_down() -> None:
    m = ebmlang.loads(TWO)
    starts = np.array([-1.0, 0.0, 2.0])
    found = m.plan(s0=starts, dtype="float64")
    assert not isinstance(found, Episodes)
    for row, s0 in enumerate(starts):
        subgoals = best_subgoals(s0)
        np.testing.assert_allclose(found["g"][row], subgoals, atol=1e-8)
        np.testing.assert_allclose(found["a"][row], best_actions(s0, subgoals[0]), atol=1e-8)
    given = m.plan(s0=starts, g=np.full(3, 0.4), dtype="float64")
    np.testing.assert_allclose(given["a"][1], best_actions(0.0, 0.4), atol=1e-8)
    upper = m.plan(s0=starts, objective="upper", dtype="float64")
    assert isinstance(upper, ebmlang.Result)
    assert set(upper.values) == {"g", "p"}


def test_subgoals_hold_until_their_time_is_over() -> None:
    (e,) = run(TWO, world, first=np.array(-1.0), steps=12)
    upper = e.above["g"]
    assert upper.steps.tolist() == [0, 5, 10]
    assert upper.actions.shape == (3, 3)
    assert upper.converged.all()
    assert (e.plans, upper.seconds.shape) == (12, (3,))
    for t, state in enumerate(e.observations[:-1]):
        subgoals = best_subgoals(e.observations[5 * (t // 5)])
        np.testing.assert_allclose(upper.actions[t // 5], subgoals, atol=1e-8)
        np.testing.assert_allclose(e.actions[t], best_actions(state, subgoals[0])[0], atol=1e-8)


def test_no_plan_goes_beyond_the_next_subgoal() -> None:
    (e,) = run(TWO.replace("given g", "given g every 3"), world, first=np.array(-1.0), steps=10)
    assert e.plans == 4
    first, second = best_subgoals(-1.0)[0], best_subgoals(e.observations[5])[0]
    expected = [(0, 3, first), (3, 2, first), (5, 3, second), (8, 2, second)]
    for begin, number, subgoal in expected:
        plan = best_actions(e.observations[begin], subgoal)[:number]
        np.testing.assert_allclose(e.actions[begin : begin + number], plan, atol=1e-8)


def test_one_line_of_several() -> None:
    (upper,) = run(TWO, world, first=np.array(-1.0), steps=4, objective="upper", every=2)
    np.testing.assert_allclose(upper.actions[:2], best_subgoals(-1.0)[:2], atol=1e-8)
    assert not upper.above
    (held,) = run(TWO, world, {"g": np.full(3, 0.4)}, first=np.array(-1.0), steps=4)
    assert not held.above
    np.testing.assert_allclose(held.actions[0], best_actions(-1.0, 0.4)[0], atol=1e-8)


def test_joint_plans_of_both_levels() -> None:
    """What is planned together costs least together, and is the least-squares answer of the sum."""
    m = ebmlang.loads(TWO.replace("given g\n", "given g\n  plan both: a, g\n"))
    both = m.plan(s0=-1.0, objective="both", dtype="float64")
    apart = m.plan(s0=-1.0, dtype="float64")
    assert isinstance(both, ebmlang.Result)
    assert isinstance(apart, ebmlang.Result)

    def cost(g: Any) -> float:
        way = np.concatenate([[-1.0], g])
        actions = best_actions(-1.0, g[0])
        s, lower = -1.0, 0.0
        for action in actions:
            s = 0.9 * s + action
            lower += (s - g[0]) ** 2 + 0.3 * action**2
        return float((np.diff(way) ** 2).sum() + 2 * ((g - 1) ** 2).sum() + lower)

    g = both["g"][0].numpy()
    assert both.energy[0] == pytest.approx(cost(g))
    assert cost(g) < cost(apart["g"][0].numpy()) - 1e-3
    for k in range(3):
        for step in (-1e-3, 1e-3):
            assert cost(g + step * np.eye(3)[k]) > cost(g)


THREE = (
    TWO.replace("observed goal : real = 1", "latent goal : real[2]")
    .replace("- goal)", "- goal[0])")
    .replace("upper: g of leg every 5", "g of leg given goal every 3\n  plan goal of far every 4")
    .replace("  for k", "  cost far = ||goal - 3||^2 + (goal[0] - s0)^2\n  for k")
)


def test_three_levels() -> None:
    """An upper line is asked again when what it takes is new, before its own time."""
    (e,) = run(THREE, world, first=np.array(-1.0), steps=9)
    assert e.above["goal"].steps.tolist() == [0, 4, 8]
    assert e.above["g"].steps.tolist() == [0, 3, 4, 7, 8]
    for step, subgoals in zip(e.above["g"].steps, e.above["g"].actions, strict=True):
        goal = (3 + e.observations[4 * (step // 4)]) / 2
        np.testing.assert_allclose(subgoals, best_subgoals(e.observations[step], goal), atol=1e-8)


def test_plans_begin_a_row_later() -> None:
    m = ebmlang.loads(TWO)
    levels = Levels.of(m, Asking(), m.settings({}, torch.float64, None, 0, None), {})
    levels.begin(0)
    found = levels.plan({"s0": np.array(-1.0)}, 0)
    g = found.above["g"].result
    assert g is not None
    np.testing.assert_allclose(levels.upper[0].begun["g"], g["g"][:, [1, 2, 2]])
    assert "a" not in levels.upper[0].begun
    cold = Levels.of(m, Asking(warm=False), m.settings({}, torch.float64, None, 0, None), {})
    cold.plan({"s0": np.array(-1.0)}, 0)
    assert not cold.upper[0].begun


def test_the_model_as_the_world_of_its_levels() -> None:
    (own,) = run(TWO, "model", s0=-1.0, steps=6)
    (outer,) = run(TWO, lambda s, a: 0.9 * s + a, first=np.array(-1.0), steps=6)
    np.testing.assert_allclose(own.observations["s0"], outer.observations, atol=1e-9)


def test_what_is_below_is_not_sought(tmp_path: Any) -> None:
    file = tmp_path / "two.ebm"
    file.write_text(TWO)
    upper, lower = explain_file(file, None, (), None, None, None, None, True).split("\n\n")[1:]
    assert "seek g\n" in upper
    assert "quadratic:" in upper
    assert "after    `plan upper: g of leg every 5`" in lower
    assert "seek a\n" in lower
    # Where the objective reads what is below, both are sought.
    file.write_text(TWO.replace("g of leg every", "g of leg + follow every"))
    assert "seek g, a\n" in explain_file(file, None, (), None, None, "upper", None, False)


def test_mistakes() -> None:
    unplanned = TWO.replace("  plan upper: g of leg every 5\n", "")
    for where in (None, world):
        with pytest.raises(ebmlang.DataError, match=r"takes `g` as given, and no line plans it"):
            ebmlang.loads(unplanned).plan(where, s0=-1.0, first=np.array(-1.0))
    with pytest.raises(ebmlang.ModelError, match="wait for each other in a circle: `a` and `g`"):
        ebmlang.loads(TWO.replace("g of leg every 5", "g of leg given a"))
    single = TWO.replace("latent a", "latent h : real\n  latent a").replace(
        "  plan a of follow given g", "  plan h of (h - s0)^2 every 5\n  plan a of follow given g, h"
    )
    with pytest.raises(ebmlang.DataError, match="`h` is a single number"):
        ebmlang.loads(single).plan(world, first=np.array(-1.0), steps=2)


def test_the_report_has_both_times(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    import json

    from ebmlang.cli import main

    file = tmp_path / "two.ebm"
    file.write_text(TWO)
    data = tmp_path / "start.npz"
    np.savez(data, s0=-1.0, goal=1.0)
    command = ["plan", str(file), "--env", "model", "--data", str(data), "--steps", "6", "--no-progress"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "above: g, 2 plans, " in said
    assert "2 of 2 of `g`, above" in said
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["episodes"][0]["upper"]["g"]
    assert told["plans"] == 2
    assert told["seconds_per_plan"] > 0
