"""Two rooms: plans on two levels against one plan of all steps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ebmlang
from ebmlang.planning import Episodes
from tests.gallery.figures import Figure, System

_WORLD = "generated:two_rooms,apart=true,limit=36,door=random,wall=random"

_EPISODES = 50


def measure() -> list[Figure]:
    share, spent = played(None)
    flat, spent_flat = played("flat", restarts=2, iterations=4)
    floors = (("all steps in one plan, at least as much time", flat),)
    return [
        Figure(f"share of {_EPISODES} episodes that end at the goal", share, at_least=0.95, floors=floors),
        Figure("time of a step, one plan over two levels", spent_flat / spent, at_least=1.0),
    ]


def played(objective: str | None, **options: Any) -> tuple[float, float]:
    """The share of episodes that end at the goal, and the processor time of a step."""
    m = ebmlang.load(SYSTEM.path)
    m.plan(_WORLD, objective=objective, steps=2, **options)  # generates the code
    begin = time.process_time()
    runs = [m.plan(_WORLD, seed=seed, objective=objective, **options) for seed in range(_EPISODES)]
    spent = time.process_time() - begin
    found = [run[0] for run in runs if isinstance(run, Episodes)]
    share = float(np.mean([episode.rewards[-1] == 0 for episode in found]))
    return share, spent / sum(episode.steps for episode in found)


SYSTEM = System(
    "two rooms", "planning/two_rooms.ebm", "the flat planner of the same file", measure, long=True
)
