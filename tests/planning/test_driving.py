"""The road with two lanes: what moves how, and what a collision is."""

from typing import Any

import numpy as np
import pytest

import ebmlang
from ebmlang.errors import DataError
from ebmlang.planning.driving import Driving


def test_the_car_moves_as_a_single_track() -> None:
    world = Driving(cars=0)
    world.begin(0)
    world.car = np.array([0.0, 0.0, 10.0, np.pi / 6])
    after = world.step(np.array([0.5, -1.0])).observation["car"]
    assert after == pytest.approx([2 * np.cos(np.pi / 6), 1.0, 10.4, np.pi / 6 - 0.1])


def test_cars_of_one_lane_keep_apart_and_do_not_hit_who_stands_still() -> None:
    world = Driving(cars=6, limit=200)
    for seed in range(5):
        world.begin(seed)
        world.car[:] = world.others[:, 0].max() + 60, 0.0, 0.0, 0.0
        steps = [world.step(np.zeros(2)) for _ in range(200)]
        assert not any(step.ended for step in steps)
        for lane in Driving.lanes:
            place = np.sort(world.others[world.others[:, 1] == lane, 0])
            assert np.diff(place).min() > Driving.length
        assert steps[-1].cut
        stopped = world.others[world.others[:, 1] == 0.0]
        assert stopped[:, 2].max() < 0.5


def test_overlapping_rectangles_are_a_collision() -> None:
    world = Driving(cars=1)
    world.begin(0)
    world.others[0] = 20.0, 0.0, 0.0
    for along, across, hit in ((15.6, 0.0, True), (15.4, 0.0, False), (20.0, 1.7, True), (20.0, 1.9, False)):
        world.car[:2] = along, across
        assert world.collided() == hit
    world.car[:] = 15.4, 0.0, 10.0, 0.0
    step = world.step(np.zeros(2))
    assert step.ended
    assert step.reward == pytest.approx(-100.5)


def test_episodes_depend_on_the_seed_alone() -> None:
    world, other = Driving(), Driving()
    first = world.begin(3)
    world.step(np.ones(2))
    assert all(np.array_equal(first[name], other.begin(3)[name]) for name in Driving.entries)
    assert not np.array_equal(first["others"], other.begin(4)["others"])


def test_options() -> None:
    with pytest.raises(ebmlang.DataError, match="no option `car`"):
        ebmlang.loads("model m { latent a : real[2]; energy e = ||a||^2; plan a }").plan(
            "generated:driving,car=2"
        )


@pytest.mark.parametrize("options", [{"cars": "many"}, {"cars": -1}, {"limit": 0}, {"limit": "long"}])
def test_options_that_are_no_numbers_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="is no number of"):
        Driving(**options)
