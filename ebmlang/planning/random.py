"""Actions by chance: what an untrained agent does, and where data for a first model of a world comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.planner import Planned
from ebmlang.planning.worlds import Observed, World


class RandomActions:
    """Draws actions from the space of the world, by the seed of the episode.

    An action lasts `hold` steps on average, at least 1: after every step it is drawn anew with the
    probability 1 / hold. With 1 all actions are independent.
    """

    def __init__(self, world: World, hold: float = 1.0) -> None:
        self._world, self._hold = world, hold

    def begin(self, seed: int) -> None:
        """A new episode."""
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._held: Any = None

    def remember(self, observed: Observed) -> None:
        """Chance has no memory."""

    def plan(self, observed: Observed, number: int) -> Planned:
        """One action."""
        lasts = self._held is not None and self._hold > 1 and self._rng.random() >= 1 / self._hold
        if not lasts:
            self._held = self._world.random(self._rng)
        if self._held is None:
            raise DataError(f"{self._world.name} has no actions to draw from", "a model that plans")
        one = np.asarray(self._held)[None]
        return Planned(None, one, one, None)
