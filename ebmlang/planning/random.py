"""Actions by chance: what an untrained agent does, and where data for a first model of a world comes from."""

from __future__ import annotations

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.planner import Planned
from ebmlang.planning.worlds import Observed, World


class RandomActions:
    """Draws every action from the space of the world, by the seed of the episode."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, seed: int) -> None:
        """A new episode."""
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def remember(self, observed: Observed) -> None:
        """Chance has no memory."""

    def plan(self, observed: Observed, number: int) -> Planned:
        """One action."""
        action = self._world.random(self._rng)
        if action is None:
            raise DataError(f"{self._world.name} has no actions to draw from", "a model that plans")
        one = np.asarray(action)[None]
        return Planned(None, one, one, None)
