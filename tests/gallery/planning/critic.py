"""A critic learns the value of a linear-quadratic problem from the trajectories of a planner."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are

import ebmlang
from ebmlang.planning import Episodes
from tests.gallery.figures import Figure, System

A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
EPISODES, STEPS = 1000, 60
AHEAD = 56
"""Steps before the end of an episode that are left out: what they cost to go is cut off."""


def riccati() -> NDArray[np.float64]:
    """The quadratic form of what is lost from a state on, for ever."""
    found: NDArray[np.float64] = solve_discrete_are(A, B, np.eye(2), 0.1 * np.eye(1))
    return found


def measure() -> list[Figure]:
    far = ebmlang.load(SYSTEM.path, T=60)
    planned = far.plan("generated:cart", objective="far", episodes=EPISODES, steps=STEPS, every=STEPS)
    assert isinstance(planned, Episodes)
    rows = planned.transitions()
    early = rows["t"] < STEPS - AHEAD
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(s0=rows["obs"][early], to_go=rows["to_go"][early], steps=3000, batch_size=256, seed=0)
    states = np.random.default_rng(1).normal(size=(2000, 2))
    value = np.einsum("ni,ij,nj->n", states, riccati(), states)
    with torch.no_grad():
        error = m.net("V")(torch.from_numpy(states).float())[:, 0].numpy() - value
    found = m.plan("generated:cart", episodes=20, steps=60, seed=1000)
    short = m.plan("generated:cart", objective="far", episodes=20, steps=60, seed=1000)
    assert isinstance(found, Episodes)
    assert isinstance(short, Episodes)
    first = np.stack([episode.observations[0] for episode in found])
    best = np.einsum("ni,ij,nj->n", first, riccati(), first).sum()
    above = -found.returns.sum() / best - 1
    without = -short.returns.sum() / best - 1
    return [
        Figure(
            "R2 of the critic against the Riccati value, states not met",
            1 - float((error**2).sum() / ((value - value.mean()) ** 2).sum()),
            at_least=0.999,
        ),
        Figure(
            "cost of 3 steps ahead with the critic, above the optimum for ever",
            above,
            at_most=0.02,
            floors=(("without the critic", without),),
        ),
    ]


SYSTEM = System("critic", "planning/critic.ebm", "scipy solve_discrete_are", measure, long=True)
