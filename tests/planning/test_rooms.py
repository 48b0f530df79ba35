"""Worlds of rooms against their geometry, worked out another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import ebmlang
from ebmlang.planning import Episodes, world_of
from ebmlang.planning.generated import GENERATED
from ebmlang.planning.rooms import FourRooms, TwoRooms


def meets_stone(world: TwoRooms, before: Any, after: Any) -> bool:
    """Whether a straight way leads through the wall, looked at in many places."""
    places = before + np.linspace(0, 1, 401)[:, None] * (after - before)
    deep = np.abs(places[:, 0] - world.wall) < world.thickness / 2 - 1e-6
    return bool((deep & (np.abs(places[:, 1] - world.door) > world.opening / 2 + 1e-6)).any())


@pytest.mark.parametrize("place", [8.0, "random"])
def test_a_point_never_gets_into_the_wall(place: float | str) -> None:
    stopped = 0
    for seed in range(20):
        world = TwoRooms(wall=place, door=place, limit=100)
        rng = np.random.default_rng(seed)
        before = world.begin(seed)["position"]
        for _ in range(100):
            # Towards the door and past it, with noise, so that all of its edges are met.
            towards = np.array([world.wall, world.door]) - before
            action = np.clip(0.5 * np.sign(towards) + rng.uniform(-1, 1, 2), -1, 1)
            after = world.step(action).observation["position"]
            free = np.clip(before + action, 0.5, 15.5)
            if meets_stone(world, before, free):
                stopped += 1
                (dx, dy), (fx, fy) = after - before, free - before
                assert abs(dx * fy - dy * fx) < 1e-6
            else:
                np.testing.assert_allclose(after, free)
            assert not meets_stone(world, before, after)
            before = after
    assert stopped > 50


def test_pixels_show_the_point_and_the_wall() -> None:
    world = TwoRooms(wall="random", door="random", pixels=True)
    at = np.arange(16) + 0.5
    for seed in range(5):
        seen = world.begin(seed)
        for name, place in (("pixels", seen["position"]), ("goal_pixels", seen["goal"])):
            blot, wall = seen[name]
            row, column = np.unravel_index(blot.argmax(), blot.shape)
            assert abs(column + 0.5 - place[0]) <= 0.5
            assert abs(row + 0.5 - place[1]) <= 0.5
            assert wall.sum() == pytest.approx(world.thickness * (16 - world.opening), rel=1e-5)
            assert (wall.sum(axis=0) @ at) / wall.sum() == pytest.approx(world.wall, abs=1e-5)
            open_ = 2 - wall.sum(axis=1)
            assert (open_ @ at) / open_.sum() == pytest.approx(world.door, abs=1e-5)


def test_rooms_and_rewards() -> None:
    for seed in range(20):
        seen = TwoRooms(apart=True).begin(seed)
        assert (seen["position"][0] - 8) * (seen["goal"][0] - 8) < 0
    world = TwoRooms(limit=3)
    seen = world.begin(0)
    world.goal = seen["position"] + np.array([1.5, 0.0])
    steps = [world.step(np.array([x, 0.0])) for x in (0.2, 0.4, -0.4)]
    assert [s.reward for s in steps] == [-1.0, 0.0, -1.0]
    assert [s.cut for s in steps] == [False, False, True]


@pytest.mark.parametrize("doors", [0, 7, "random"])
def test_the_grid_is_the_graph_of_its_free_cells(doors: int | str) -> None:
    world = FourRooms(doors=doors)
    table = world.begin(5)["next"]
    grid = nx.grid_2d_graph(25, 25)
    grid.remove_nodes_from([tuple(cell) for cell in np.argwhere(~world.free)])
    assert nx.is_connected(grid)
    assert (~world.free).sum() == 2 * 25 - 1 - 4
    for cell in np.flatnonzero(world.free):
        place = divmod(int(cell), 25)
        near = {divmod(int(to), 25) for to in table[cell]} - {place}
        assert near == set(grid.neighbors(place))
    assert (table[7 * 25 + 7] - (7 * 25 + 7)).tolist() == [-25, 1, 25, -1]


def test_slips() -> None:
    world = FourRooms(slip=0.3, limit=10_000)
    world.begin(1)
    table, slipped, number = world._next, 0, 4000
    for _ in range(number):
        world.cell = 7 * 25 + 7
        slipped += world.step(1).observation["cell"] != table[7 * 25 + 7, 1]
    assert abs(slipped / number - 0.3) < 4 * np.sqrt(0.21 / number)


def test_variables_take_entries_of_their_names(tmp_path: Path) -> None:
    text = """model straight(T: int = 3) {
      observed position : real[2]
      observed goal : real[2]
      latent a : real[T, 2] in [-1, 1]
      cost away = ||position + sum(a, over = 0) - goal||^2
      plan a
    }"""
    found = ebmlang.loads(text).plan("generated:two_rooms", episodes=3, steps=4, pictures=True)
    assert isinstance(found, Episodes)
    assert all(e.observations["position"].shape == (5, 2) for e in found)
    assert found[0].pictures[0].shape == (160, 160, 3)
    from ebmlang.cli import main

    out = str(tmp_path / "rows.npz")
    env = ["--env", "generated:four_rooms,slip=0.1", "--steps", "5", "--no-progress"]
    assert main(["collect", *env, "-o", out]) == 0
    rows = np.load(out)
    assert rows["action"].shape == (5,)
    assert rows["obs.next"].shape == (5, 625, 4)


@pytest.mark.parametrize(
    ("world", "says"),
    [
        ("two_room", "there is no generated world `two_room`"),
        ("two_rooms,dor=3", "the world two_rooms has no option `dor`"),
        ("two_rooms,door=40", "door=40 is no place for it"),
        ("two_rooms,wall=left", "wall=left is no place for it"),
        ("two_rooms,limit=0", "limit=0 is no number of steps"),
        ("four_rooms,slip=2", "slip=2 is no probability"),
        ("four_rooms,doors=left", "doors=left"),
    ],
)
def test_mistakes(world: str, says: str) -> None:
    with pytest.raises(ebmlang.DataError, match=says):
        world_of(f"generated:{world}")


def test_every_world_is_described() -> None:
    page = Path("docs/planning.md").read_text()
    assert all(f"generated:{name}" in page for name in GENERATED)
