"""A net learns what a planner does in Pendulum-v1, acts in its place, and is where searches begin."""

from __future__ import annotations

import numpy as np

import ebmlang
from ebmlang.planning import Episodes
from tests.gallery.figures import GALLERY, Figure, System

WORLD = "gymnasium:Pendulum-v1"
EPISODES = 50
LEARNT_FROM = 100
"""The seed of the first planned episode, apart from those of the figures."""


def planned_rows() -> dict[str, np.ndarray]:
    """Every step of the planned episodes; the net is not trained yet, so plans do not begin with it."""
    planned = _teacher().plan(WORLD, episodes=EPISODES, seed=LEARNT_FROM, iterations=6)
    assert isinstance(planned, Episodes)
    return planned.transitions()


def iterations(model: ebmlang.Model, states: np.ndarray) -> float:
    """How many steps a plan from one start needs on average until it stops."""
    found = model.plan(obs=states, restarts=1)
    assert not isinstance(found, Episodes)
    return float(found.iterations.double().mean())


def measure() -> list[Figure]:
    rows = planned_rows()
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(obs=rows["obs"], a=rows["plan"], steps=6000, batch_size=256, seed=0, objective="imitate")
    acted = m.plan(WORLD, episodes=10, seed=0, objective="habit", by="policy")
    planned = _teacher().plan(WORLD, episodes=5, steps=40, seed=0)
    assert isinstance(acted, Episodes)
    assert isinstance(planned, Episodes)
    latency = float(np.median(acted.seconds) / np.median(planned.seconds))
    swinging = np.concatenate([e.observations[:40:4] for e in planned])
    learnt, zero = iterations(m, swinging), iterations(_teacher(), swinging)
    floors = (("no torque", -1180.0), ("the planner learnt from", float(rows["reward"].sum()) / EPISODES))
    return [
        Figure(
            "mean return of the policy, seeds 0 to 9",
            float(acted.returns.mean()),
            at_least=-160,
            floors=floors,
        ),
        Figure("time of the policy, as a share of that of a plan", latency, at_most=0.01),
        Figure(
            "steps of a plan that begins with the policy, as a share of those from 0",
            learnt / zero,
            at_most=0.5,
        ),
    ]


def _teacher() -> ebmlang.Model:
    return ebmlang.load(GALLERY / "planning" / "swing_up.ebm")


SYSTEM = System("habit", "planning/habit.ebm", "gymnasium", measure, long=True)
