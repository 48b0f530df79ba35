"""Worlds of a single point against their rules, and plans over several futures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.planning import world_of
from ebmlang.planning.points import Pit, WindyCart
from ebmlang.runtime.result import Result
from tests.planning.test_acting import run


def test_a_cart_without_wind_moves_as_it_is_pushed() -> None:
    world = WindyCart(gusts=0, limit=3)
    place, speed = world.begin(1)
    for force in (1.0, -0.5, 2.0):
        step = world.step(np.array([force]))
        place, speed = place + 0.2 * speed, speed + 0.2 * force
        np.testing.assert_allclose(step.observation, [place, speed])
        assert step.reward == pytest.approx(-(place**2 + 0.1 * speed**2 + 0.1 * force**2))
    assert step.cut
    assert not step.ended


def test_gusts_have_their_spread() -> None:
    world = WindyCart(gusts=0.3, limit=10_000)
    speed = world.begin(0)[1]
    blown = []
    for _ in range(2000):
        after = world.step(np.zeros(1)).observation[1]
        blown.append(after - speed)
        speed = after
    # Four standard errors of the mean and of the standard deviation.
    assert abs(np.mean(blown)) < 4 * 0.3 / np.sqrt(2000)
    assert abs(np.std(blown) - 0.3) < 4 * 0.3 / np.sqrt(4000)


def test_whoever_gets_into_the_pit_stays_there() -> None:
    world = Pit(limit=50)
    for seed in range(5):
        seen = world.begin(seed)
        for _ in range(30):
            step = world.step(np.sign(np.array([4.0, 4.0]) - seen["position"]))
            seen = step.observation
            if step.ended:
                break
        assert step.ended
        assert np.hypot(*(seen["position"] - 4)) <= 1
        stuck = world.step(np.ones(2))
        np.testing.assert_array_equal(stuck.observation["position"], seen["position"])
    assert world.picture() is not None


def test_explorers_stop_at_the_fence() -> None:
    world = world_of("generated:pit,explore=true", None, False)
    rng = np.random.default_rng(0)
    for seed in range(40):
        place = world.begin(seed)["position"]
        assert np.hypot(*(place - 4)) > 1.5
        for _ in range(16):
            step = world.step(rng.uniform(-1, 1, 2))
            near = np.hypot(*(step.observation["position"] - 4)) <= 1.5
            assert step.cut or not near
            if step.cut or step.ended:
                break


def test_the_worst_of_several_futures() -> None:
    """min over a of max over i of (x + a + z_i)^2 is half way between the outermost z."""
    text = """model robust(M: int) {
      observed x : real
      random   z : real[M] ~ normal()
      latent   a : real[1]
      cost worst = max((x + a[0] + z[i])^2, over = i in 0..M)
      plan a
    }"""
    z = torch.tensor([[-1.0, 0.5, 2.0, 0.1], [0.3, 0.2, -3.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([0.7, -0.2], dtype=torch.float64)
    found = ebmlang.loads(text).plan(x=x, z=z, iterations=3000)
    assert isinstance(found, Result)
    expected = -x - (z.amax(1) + z.amin(1)) / 2
    torch.testing.assert_close(found["a"][:, 0], expected, atol=1e-2, rtol=0)


def test_draws_of_a_plan_are_its_own() -> None:
    """The same in the whole search of a plan, others in the next plan, and again with the same seed."""
    text = """model drawn(T: int = 2) {
      observed s0 : real
      random   z  : real[T] ~ normal()
      latent   a  : real[T]
      cost near = ||a - z||^2
      plan a
    }"""

    def world(state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return state

    (first,), (again,) = (
        run(ebmlang.loads(text), world, first=np.array(0.0), steps=3, seed=4, warm=False) for _ in range(2)
    )
    np.testing.assert_array_equal(first.actions, again.actions)
    assert len(np.unique(first.actions)) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [("windy_cart,gusts=-1", "gusts=-1 is no standard deviation"), ("pit,depth=2", "no option `depth`")],
)
def test_mistakes(name: str, says: str) -> None:
    with pytest.raises(ebmlang.DataError, match=says):
        world_of(f"generated:{name}", None, False)
