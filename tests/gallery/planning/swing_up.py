"""Pendulum-v1 of gymnasium, planned through its own dynamics."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
from ebmlang.planning import Episodes
from ebmlang.runtime.result import Result
from tests.gallery.figures import Figure, System

STEPS, STARTS = 30, 100


def measure() -> list[Figure]:
    m = ebmlang.load(SYSTEM.path)
    found = m.plan("gymnasium:Pendulum-v1", episodes=10, seed=0)
    assert isinstance(found, Episodes)
    floors = (("no torque", -1180.0), ("near-optimal dynamic programming", -126.1))
    mean = float(found.returns.mean())
    return [
        Figure("mean return of seeds 0 to 9", mean, at_least=-131.5, floors=floors),
        *single_plans(),
    ]


def single_plans() -> list[Figure]:
    """Cold plans of 30 steps from 20 states, against the best of 100 searches from random courses by another
    method."""
    m, rng = ebmlang.load(SYSTEM.path, T=STEPS), np.random.default_rng(5)
    angles = np.append(np.pi, rng.uniform(-np.pi, np.pi, 19))
    speeds = np.append(0.0, rng.uniform(-1, 1, 19))
    seen = np.stack((np.cos(angles), np.sin(angles), speeds), 1)
    best = np.array([_lowest(m, obs, rng) for obs in seen])
    own, single = (
        np.array([_energy(m.plan(obs=obs, restarts=restarts)) for obs in seen]) for restarts in (None, 1)
    )
    return [
        Figure(
            "plans within 1 % of the best known, of 20",
            float((own <= 1.01 * best + 1e-3).sum()),
            at_least=20,
            floors=(("one start", float((single <= 1.01 * best + 1e-3).sum())),),
        ),
        Figure(
            "mean excess over the best known",
            float((own / best - 1).mean()),
            at_most=0.01,
            floors=(("one start", float((single / best - 1).mean())),),
        ),
    ]


def _energy(found: object) -> float:
    assert isinstance(found, Result)
    return float(found.energy)


def _lowest(m: ebmlang.Model, obs: np.ndarray, rng: np.random.Generator) -> float:
    """The lowest energy that projected L-BFGS finds from constant torques and torques that switch."""
    switches = rng.uniform(0, STEPS, (STARTS, 3)) + STEPS * (
        np.arange(3) >= rng.integers(0, 4, STARTS)[:, None]
    )
    turns = (np.arange(STEPS)[:, None] > switches[:, None]).sum(2)
    courses = rng.uniform(-2, 2, STARTS)[:, None] * (-1.0) ** turns
    starts = {"a": torch.tensor(courses[..., None])}
    rows = np.repeat(obs[None], STARTS, 0)
    found = m.infer(obs=rows, starts=starts, using="projected_lbfgs", steps=100)
    return float(found.energy.min())


SYSTEM = System("pendulum", "planning/swing_up.ebm", "gymnasium", measure, long=True)
