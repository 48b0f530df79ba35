"""Rows of several steps, and random actions that last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ebmlang.cli import main
from ebmlang.errors import DataError
from ebmlang.planning import Acting, Course, Episodes, RandomActions, episodes_in, world_of


def by_chance(text: str, course: Course, hold: float = 1) -> Episodes:
    world = world_of(text, None, False)
    return episodes_in(Acting(RandomActions(world, hold), world, {}, course))


def test_windows_are_the_episodes_in_pieces() -> None:
    found = by_chance("generated:two_rooms,door=random", Course(3, steps=17, seed=4))
    rows = found.windows(5)
    assert rows["action"].shape == (9, 5, 2)
    assert rows["obs.position"].shape == (9, 6, 2)
    assert rows["obs.door"].shape == (9, 6)
    assert rows["t"].tolist() == [0, 5, 10] * 3
    for row, (number, begin) in enumerate(zip(rows["episode"], rows["t"], strict=True)):
        episode = found[int(number)]
        for step in range(5):
            at = begin + step
            np.testing.assert_array_equal(rows["action"][row, step], episode.actions[at])
            assert rows["reward"][row, step] == episode.rewards[at]
            for after in (0, 1):
                seen = rows["obs.position"][row, step + after]
                np.testing.assert_array_equal(seen, episode.observations["position"][at + after])


def test_only_the_last_piece_of_a_finished_task_has_ended() -> None:
    found = by_chance("generated:pit", Course(12))
    long = found.windows(1)
    assert any(e.ended for e in found)
    assert long["ended"].sum() == sum(e.ended for e in found)
    np.testing.assert_array_equal(long["ended"], found.transitions()["ended"])


def test_episodes_that_are_too_short_are_named() -> None:
    found = by_chance("generated:cart", Course(2, steps=4))
    assert found.windows(4)["obs"].shape == (2, 5, 2)
    with pytest.raises(DataError, match="no episode has 5 steps: the longest has 4"):
        found.windows(5)


def test_held_actions_last_as_long_as_said_on_average() -> None:
    steps, hold = 4000, 5
    world = "generated:two_rooms,limit=5000"
    (one,) = by_chance(world, Course(1, steps=steps), hold)
    changes = np.any(one.actions[1:] != one.actions[:-1], axis=1).mean()
    deviation = np.sqrt(1 / hold * (1 - 1 / hold) / (steps - 1))
    assert abs(changes - 1 / hold) < 4 * deviation
    (every,) = by_chance(world, Course(1, steps=50))
    assert (every.actions[1:] != every.actions[:-1]).any(axis=1).all()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.npz"
    env = ["--env", "generated:cart", "--steps", "20", "--episodes", "2", "--no-progress"]
    assert main(["collect", *env, "--window", "8", "--hold", "4", "-o", str(out)]) == 0
    assert "obs [4, 9, 2]" in capsys.readouterr().out
    assert dict(np.load(out))["action"].shape == (4, 8, 1)
    assert main(["collect", *env, "--window", "21", "-o", str(tmp_path / "none.npz")]) == 1
    assert "windows of at most 20" in capsys.readouterr().err
    model = "models/gallery/planning/regulator.ebm"
    assert main(["collect", model, *env, "--hold", "4", "-o", str(tmp_path / "none.npz")]) == 2
    assert "--hold goes with random actions" in capsys.readouterr().err
