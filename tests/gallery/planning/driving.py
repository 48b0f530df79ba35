"""Driving among other cars on two lanes: collisions, and how far from the middle of a lane."""

from __future__ import annotations

import numpy as np

import ebmlang
from ebmlang.planning import Episodes
from ebmlang.planning.driving import Driving
from tests.gallery.figures import Figure, System

EPISODES = 200


def measure() -> list[Figure]:
    found = ebmlang.load(SYSTEM.path).plan(
        "generated:driving", episodes=EPISODES, seed=0, steps=60, every=3, iterations=4
    )
    assert isinstance(found, Episodes)
    cars = [episode.observations["car"] for episode in found]
    off = [np.abs(car[:, 1, None] - np.array(Driving.lanes)).min(1).mean() for car in cars]
    speed = np.mean([car[:, 2].mean() for car in cars])
    changed = np.mean([abs(car[-1, 1] - car[0, 1]) > 1.75 for car in cars])
    return [
        Figure(f"collisions in {EPISODES} episodes", sum(e.ended for e in found), at_most=0),
        Figure("mean distance from the middle of a lane, metres", float(np.mean(off)), at_most=0.2),
        Figure("mean speed, of 20 that are wanted, metres per second", float(speed)),
        Figure("share of episodes that end in the other lane", float(changed)),
    ]


SYSTEM = System("driving", "planning/driving.ebm", "generated", measure, long=True)
