"""A point and a pit that its model has never seen: plans with and without a cost on doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ebmlang
from ebmlang.planning import Acting, Course, Episodes, RandomActions, episodes_in, world_of
from tests.gallery.figures import Figure, System


def transitions() -> dict[str, np.ndarray]:
    """Random steps outside of the fence; no row begins or ends near the pit."""
    world = world_of("generated:pit,explore=true", None, False)
    rows = episodes_in(Acting(RandomActions(world), world, {}, Course(500))).transitions()
    outside = np.hypot(*(rows["next_obs.position"] - 4).T) > 1.5
    names = {"position": "obs.position", "action": "action", "next_position": "next_obs.position"}
    return {name: rows[key][outside] for name, key in names.items()}


def exploited(model: ebmlang.Model, episodes: int) -> tuple[float, float]:
    """The share of episodes that end in the pit, and the mean distance to the goal of the others."""
    found = model.plan("generated:pit", episodes=episodes, seed=0)
    assert isinstance(found, Episodes)
    last = [float(np.hypot(*(e.observations["position"] - e.observations["goal"])[-1])) for e in found]
    there = [distance for distance, e in zip(last, found, strict=True) if not e.ended]
    return float(np.mean([e.ended for e in found])), float(np.mean(there)) if there else float("nan")


def with_and_without(model: Path, steps: int, episodes: int) -> list[Figure]:
    """The model trained for so many steps, and the same without the cost on doubt."""
    data = transitions()
    careful = ebmlang.load(model)
    careful.fit(data, steps=steps, batch_size=256)
    bold = ebmlang.load(model, weight=0).bind(data)
    bold.load_state_dict(careful.state_dict())
    share, distance = exploited(careful, episodes)
    without, _ = exploited(bold, episodes)
    floors = (("without the cost on doubt", without),)
    return [
        Figure("episodes that end in the pit", share, at_most=0.05, floors=floors),
        Figure("the same without the cost on doubt, for the bar to mean something", without, at_least=0.5),
        Figure("distance to the goal at the end, of the others", distance, at_most=0.5),
    ]


def measure() -> list[Figure]:
    return with_and_without(SYSTEM.path, steps=3000, episodes=20)


SYSTEM = System(
    "point and pit", "planning/careful_point.ebm", "the model without the cost", measure, long=True
)
