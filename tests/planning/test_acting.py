"""Receding horizons against what is best by hand, and everything that can go wrong on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.planning import Episodes
from ebmlang.runtime.search import Search
from tests.planning.worlds import REGULATOR, A, B, Cart, Signs, best_first_action


def run(model: ebmlang.Model, *args: Any, **options: Any) -> Episodes:
    found = model.plan(*args, dtype="float64", **options)
    assert isinstance(found, Episodes)
    return found


def test_the_first_action_of_every_plan_is_the_best_one() -> None:
    m = ebmlang.loads(REGULATOR)
    (episode,) = run(m, Cart(), steps=15, seed=3)
    assert episode.steps == episode.plans == 15
    state = episode.observations[0]
    for t in range(15):
        np.testing.assert_allclose(episode.observations[t], state, atol=1e-12)
        np.testing.assert_allclose(episode.actions[t], best_first_action(state), atol=1e-8)
        state = A @ state + B @ episode.actions[t]
    assert episode.total == pytest.approx(-sum(float(s @ s) for s in episode.observations[1:]))


def test_every_k_actions_of_a_plan_are_carried_out() -> None:
    text = REGULATOR.replace("plan a", "plan a every 3")
    (episode,) = run(ebmlang.loads(text), Cart(), steps=8)
    assert (episode.steps, episode.plans) == (8, 3)
    (other,) = run(ebmlang.loads(REGULATOR), Cart(), steps=8, every=3)
    np.testing.assert_array_equal(episode.actions, other.actions)
    whole = ebmlang.loads(REGULATOR).plan(s0=episode.observations[0], dtype="float64")
    assert not isinstance(whole, Episodes)
    np.testing.assert_allclose(episode.actions[:3], whole["a"][0, :3], atol=1e-9)


def test_the_model_as_its_own_world() -> None:
    m = ebmlang.loads(REGULATOR)
    (own,) = run(m, "model", s0=[1.0, -0.5], steps=10)

    def world(state: Any, action: Any) -> tuple[Any, float]:
        after = A @ state + B @ action
        return after, -float(after @ after + 0.1 * action @ action)

    (outer,) = run(m, world, first=np.array([1.0, -0.5]), steps=10)
    np.testing.assert_allclose(own.observations["s0"], outer.observations, atol=1e-9)
    np.testing.assert_allclose(own.rewards, outer.rewards, atol=1e-9)


def test_choices_are_actions_too() -> None:
    text = """model signs(T: int = 2) {
      observed x : real
      latent a : class[3][T]
      for t in 0..T { cost wrong[t] = where(x > 0, where(a[t] == 2, 0, 1), where(a[t] == 0, 0, 1)) }
      plan a
    }"""
    for start in (0, 5):
        (episode,) = run(ebmlang.loads(text), Signs(start), steps=10)
        assert episode.total == 10


def test_dictionaries_and_bounds() -> None:
    m = ebmlang.loads(REGULATOR)
    (episode,) = run(m, Cart(dictionary=True, limit=0.1), steps=5, observe={"s0": "state"})
    assert episode.observations["state"].shape == (6, 2)
    assert episode.outside > 0
    assert np.abs(episode.actions).max() <= 0.1
    rows = Episodes("cart", (episode,)).transitions()
    np.testing.assert_array_equal(rows["obs.state"][1:], rows["next_obs.state"][:-1])
    assert set(rows) >= {"action", "reward", "ended", "episode", "t", "obs.time"}


def test_seeds() -> None:
    m = ebmlang.loads(REGULATOR)
    many = run(m, Cart(), episodes=3, steps=4, seed=5)
    (alone,) = run(m, Cart(), steps=4, seed=6)
    assert [e.seed for e in many] == [5, 6, 7]
    np.testing.assert_array_equal(many[1].observations, alone.observations)
    assert not np.array_equal(many[0].observations, many[1].observations)
    assert "seed" in str(many)


def test_a_plan_begins_with_the_rest_of_the_one_before() -> None:
    """The second plan of a long task in a world without surprises needs fewer steps than a cold one."""
    text = """model swing(T: int = 20) {
      observed s0 : real[2]
      latent a : real[T] = 0.1
      let s : real[T+1, 2]
      let s[0] = s0
      for t in 0..T {
        let speed = s[t, 1] + 0.1 * (sin(s[t, 0]) + a[t])
        let s[t+1] = [s[t, 0] + 0.1 * speed, speed]
        cost c[t] = 1 - cos(s[t+1, 0]) + 0.1 * speed^2 + 0.05 * a[t]^2
      }
      plan a
    }"""
    m = ebmlang.loads(text)
    warm = run(m, "model", s0=[2.0, 0.0], steps=4, restarts=1)[0]
    cold = run(m, "model", s0=[2.0, 0.0], steps=4, restarts=1, warm=False)[0]
    assert warm.iterations[1:].sum() < cold.iterations[1:].sum()


def test_an_environment_that_raises_ends_its_episode_only() -> None:
    m = ebmlang.loads(REGULATOR)
    found = run(m, Cart(breaks=2), episodes=2, steps=5)
    assert [e.steps for e in found] == [2, 2]
    assert found.trouble[0].startswith("episode 0, step 2: Cart raised RuntimeError: the wheel came off")
    assert "after the observation [" in found.trouble[0]
    assert found.transitions()["obs"].shape == (4, 2)


def test_plans_without_numbers_are_not_carried_out() -> None:
    text = REGULATOR.replace("0.1 * ||a[t]||^2", "0.1 * ||a[t]||^2 + log(s[t, 0] - 100)")
    (episode,) = run(ebmlang.loads(text), Cart(), steps=5)
    if episode.steps == 0:
        assert "the plan has no numbers" in episode.trouble
    assert not episode.converged.any()


@pytest.mark.parametrize(
    ("world", "options", "says"),
    [
        ("gymnasium:NoSuchThing-v0", {}, "gymnasium does not make `NoSuchThing-v0`"),
        ("pendulum", {}, "there is no environment `pendulum`"),
        (3, {}, "int is no world"),
        (lambda s, a: s, {}, "a state to begin at"),
        (Cart(), {"every": 20}, "20 actions are to be carried out, and a plan has 12"),
        (Cart(), {"every": 0}, "every 0 actions"),
        (Cart(), {"episodes": 0}, "0 episodes"),
        (Cart(), {"within": "soon"}, "within `soon` is no time"),
        (Cart(), {"objective": "reach"}, "no `plan` line is called `reach`"),
        (Cart(), {"observe": {"s": ""}}, "`s` is no observed variable without a value"),
        (Cart(dictionary=True), {}, "is a dictionary of state and time"),
        (Cart(dictionary=True), {"observe": {"s0": "place"}}, "has no `place`"),
        (Signs(), {}, r"does not take the observation of Signs, \[\] for `s0`"),
        ("model", {}, "no value for s0 to begin at"),
    ],
)
def test_mistakes(world: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ebmlang.DataError, match=says):
        ebmlang.loads(REGULATOR).plan(world, **{"steps": 2, **options})


def test_shapes_of_actions_are_named() -> None:
    wide = REGULATOR.replace("real[T, 1]", "real[T, 3]")
    with pytest.raises(ebmlang.DataError, match=r"shape \[3\], and Cart takes \[1\]"):
        ebmlang.loads(wide).plan(Cart(), steps=2)
    with pytest.raises(ebmlang.DataError, match="takes one of 3 actions"):
        ebmlang.loads(
            REGULATOR.replace("observed s0 : real[2]", "observed x : real\n  let s0 = [x, x]")
        ).plan(Signs(), steps=2)
    with pytest.raises(ebmlang.DataError, match="has no `plan` line"):
        ebmlang.loads(REGULATOR.replace("plan a", "infer a")).plan(Cart(), steps=2)


def test_files_of_a_run(tmp_path: Path) -> None:
    from ebmlang.cli import main

    out, plot, gif = (str(tmp_path / name) for name in ("t.npz", "t.png", "t.gif"))
    model = "models/gallery/planning/swing_up.ebm"
    env = ["--env", "gymnasium:Pendulum-v1", "--steps", "2", "--no-progress"]
    how = ["--iterations", "1", "--set", "T=3", "-o", out, "--plot", plot, "--gif", gif]
    assert main(["plan", model, *env, *how]) == 0
    rows = np.load(out)
    assert rows["obs"].shape == rows["next_obs"].shape == (2, 3)
    assert rows["action"].shape == (2, 1)
    assert Path(plot).read_bytes().startswith(b"\x89PNG")
    assert Path(gif).read_bytes().startswith(b"GIF8")
    assert main(["plan", model, *env, *how]) == 1
    assert main(["plan", model, *env, "--set", "T=9", "--within", "0.001ms", "--strict"]) == 3


def test_collect(tmp_path: Path) -> None:
    from ebmlang.cli import main

    out = tmp_path / "c.npz"
    env = ["--env", "gymnasium:Pendulum-v1", "--steps", "7", "--episodes", "2", "--no-progress"]
    assert main(["collect", *env, "-o", str(out)]) == 0
    rows = dict(np.load(out))
    assert rows["action"].shape == (14, 1)
    assert np.abs(rows["action"]).max() <= 2 < 20 * np.abs(rows["action"]).mean()
    world = gymnasium.make("Pendulum-v1")
    seen, _ = world.reset(seed=1)
    for k in range(7, 14):
        np.testing.assert_array_equal(rows["obs"][k], seen)
        seen, reward, *_ = world.step(rows["action"][k])
        assert rows["reward"][k] == reward
    assert main(["collect", *env]) == 2
    assert main(["collect", *env, "-o", str(out)]) == 1


def test_many_plans_do_not_grow() -> None:
    """Neither compiled questions nor what is kept of them grow with the plans."""
    m = ebmlang.loads(REGULATOR)
    run(m, Cart(), steps=3)
    compiled = len(m._compiled.modules)
    run(m, Cart(), steps=60)
    assert len(m._compiled.modules) == compiled


def test_starts_and_times_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "model two() {\n  latent x : real = 1\n  energy e = (x^2 - 1)^2 + 0.1 * x\n}"
    m = ebmlang.loads(text)
    right, left = m.infer()["x"], m.infer(starts={"x": -2.0})["x"]
    assert right.item() > 0.9
    assert left.item() < -0.9
    found = m.infer(starts={"x": -2.0}, within=1e-9)
    assert found.status == ("time limit reached before the tolerance",)
    assert found["x"].item() == -2.0
    assert not found.converged.any()
    patient = ebmlang.loads(text.replace("0.1 * x", "0.2 * x"))
    order: list[str] = []
    compiled, begun = ebmlang.Model.compiled, Search.begun

    def compiling(*given: Any) -> Any:
        order.append("compiled")
        return compiled(*given)

    def beginning(search: Search) -> Search:
        order.append("begun")
        return begun(search)

    monkeypatch.setattr(ebmlang.Model, "compiled", compiling)
    monkeypatch.setattr(Search, "begun", beginning)
    assert patient.infer(within=60.0).converged.all()
    assert order == ["compiled", "begun"]
    for start, says in (
        ({"y": 1.0}, "`y`, which is no real unknown"),
        ({"x": [[1.0, 2.0]]}, "has the shape"),
    ):
        with pytest.raises(ebmlang.DataError, match=says):
            m.infer(starts=start)


def test_starts_of_rows() -> None:
    text = """model two(n: int) {
      observed y : real[n]
      latent x : real[n]
      energy e = sum((x^2 - 1)^2 + 0.1 * y * x)
    }"""
    start = torch.tensor([[2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]])
    m = ebmlang.loads(text)
    found = m.infer(y=torch.zeros(3, 2), starts={"x": start})["x"]
    assert torch.equal(torch.sign(found), torch.sign(start))
    piecewise = m.infer(y=torch.zeros(3, 2), starts={"x": start}, max_memory="1KiB")["x"]
    assert torch.allclose(found, piecewise)
