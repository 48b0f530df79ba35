"""Pendulum-v1 of gymnasium, planned through its own dynamics."""

from __future__ import annotations

import ebmlang
from ebmlang.planning import Episodes
from tests.gallery.figures import Figure, System

LOCAL = "single searches end in local minima: a start that hangs swings up late"


def measure() -> list[Figure]:
    m = ebmlang.load(SYSTEM.path)
    found = m.plan("gymnasium:Pendulum-v1", episodes=10, seed=0, iterations=4)
    assert isinstance(found, Episodes)
    floors = (("no torque", -1180.0), ("near-optimal dynamic programming", -126.1))
    mean = float(found.returns.mean())
    return [Figure("mean return of seeds 0 to 9", mean, at_least=-131.5, floors=floors, shortfall=LOCAL)]


SYSTEM = System("pendulum", "planning/swing_up.ebm", "gymnasium", measure, long=True)
