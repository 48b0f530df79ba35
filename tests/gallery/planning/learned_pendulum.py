"""Pendulum-v1 of gymnasium, planned through a net that has seen 10,000 random transitions."""

from __future__ import annotations

import numpy as np

import ebmlang
from ebmlang.planning import Acting, Course, Episodes, RandomActions, episodes_in, world_of
from tests.gallery.figures import GALLERY, Figure, System

WORLD = "gymnasium:Pendulum-v1"
EPISODES = 5
TRAINED_ON = 1000
"""The seed of the first episode of transitions, apart from those of the figures."""


def by_chance(episodes: int, seed: int) -> Episodes:
    world = world_of(WORLD, None, False)
    return episodes_in(Acting(RandomActions(world), world, {}, Course(episodes, seed=seed)))


def returns(model: ebmlang.Model) -> float:
    found = model.plan(WORLD, episodes=EPISODES, seed=0)
    assert isinstance(found, Episodes)
    return float(found.returns.mean())


def measure() -> list[Figure]:
    rows = by_chance(50, TRAINED_ON).transitions()
    data = {name: rows[name] for name in ("obs", "action", "next_obs")}
    m = ebmlang.load(SYSTEM.path)
    m.fit(data, steps=4000, batch_size=256)
    fresh = by_chance(5, TRAINED_ON + 50).transitions()
    moved = fresh["next_obs"] - fresh["obs"]
    found = (
        m.terms({name: fresh[name] for name in data} | {"a": np.zeros((40, 1))})["prediction"].mean().item()
    )
    still = float((100 * ((moved / [1, 1, 4]) ** 2).sum(1)).mean())
    learned = returns(m)
    true = returns(ebmlang.load(GALLERY / "planning" / "swing_up.ebm"))
    chance = float(by_chance(EPISODES, 0).returns.mean())
    floors = (("random actions", 0.0), ("true equations, same search", 1.0))
    return [
        Figure("transitions", float(len(data["obs"])), at_most=10_000),
        Figure("error of a step over that of standing still, new episodes", found / still, at_most=0.01),
        Figure(
            "of the way from random actions to the true equations, mean return of seeds 0 to 4",
            (learned - chance) / (true - chance),
            at_least=0.95,
            floors=floors,
        ),
        Figure("mean return", learned, floors=(("random actions", chance), ("true equations", true))),
    ]


SYSTEM = System("learned pendulum", "planning/learned_pendulum.ebm", "gymnasium", measure, long=True)
