"""A net learns the plans of a planner for Pendulum-v1, acts in its place, and is where its plans begin."""

from __future__ import annotations

import numpy as np

import ebmlang
from ebmlang.planning import Episodes
from tests.gallery.figures import GALLERY, Figure, System

WORLD = "gymnasium:Pendulum-v1"
EPISODES = 50
PLANNER = GALLERY / "planning/swing_up.ebm"


def iterations(model: ebmlang.Model, states: np.ndarray) -> float:
    """How many steps plans need on average until they stop."""
    found = model.plan(obs=states)
    assert not isinstance(found, Episodes)
    return float(found.iterations.double().mean())


def planned_rows(teacher: ebmlang.Model) -> dict[str, np.ndarray]:
    """Every step of the planned episodes."""
    planned = teacher.plan(WORLD, episodes=EPISODES, seed=100, iterations=4, every=4)
    assert isinstance(planned, Episodes)
    return planned.transitions()


def measure() -> list[Figure]:
    teacher = ebmlang.load(PLANNER)
    rows = planned_rows(teacher)
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(obs=rows["obs"], a=rows["plan"], steps=3000, batch_size=256, seed=0)
    acted = m.plan(WORLD, episodes=10, seed=0, by="policy")
    cold = teacher.plan(WORLD, episodes=1, steps=40, seed=0, warm=False)
    assert isinstance(acted, Episodes)
    assert isinstance(cold, Episodes)
    states = acted[0].observations[:-1:4]
    latency = float(np.median(acted.seconds) / np.median(cold.seconds))
    floors = (("no torque", -1180.0), ("the planner", float(rows["reward"].sum()) / EPISODES))
    return [
        Figure(
            "mean return of the policy, seeds 0 to 9",
            float(acted.returns.mean()),
            at_least=-160,
            floors=floors,
        ),
        Figure("latency of the policy, as a share of that of a plan", latency, at_most=0.01),
        Figure(
            "iterations of a plan from the policy, as a share of those from 0",
            iterations(m, states) / iterations(teacher, states),
            at_most=0.5,
        ),
    ]


SYSTEM = System("habit", "planning/habit.ebm", "gymnasium", measure, long=True)
