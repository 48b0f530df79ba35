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


_FLAT = ((1, 4), (2, 2), (2, 4))
"""Starts and steps of the search of the flat planner, of about as much time as two levels, and more."""


def measure() -> list[Figure]:
    share, spent = played(None)
    flat = {each: played("flat", restarts=each[0], iterations=each[1]) for each in _FLAT}
    floors = tuple(
        (f"flat, {starts} starts of {steps} steps, {took / spent:.2g} times the time", reached)
        for (starts, steps), (reached, took) in flat.items()
    )
    equal = [reached for reached, took in flat.values() if took <= 1.25 * spent]
    return [
        Figure(f"share of {_EPISODES} episodes that end at the goal", share, at_least=0.95, floors=floors),
        Figure(
            "less that of the best flat planner of at most 1.25 times the time",
            share - max(equal, default=0.0),
            at_least=0.05,
        ),
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
