"""A problem in stages without its cost: half the squares of what its limits are missed by, in their place.

Steps and bounds of actions hold as they do, those of states are limits. Where the least value is not 0, the
limits cannot hold near that point (Birgin & Martinez 2014, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ebmlang.runtime.constrained.stage_model import Slopes, StageModel, Values
from ebmlang.runtime.constrained.stage_recursion import squared, transposed
from ebmlang.runtime.constrained.staging import Slots

Array = Any
"""A numpy array of float64, unless it says otherwise."""

CALM = 1e-8
"""Curvature along everything, of which the squares may have none."""


@dataclass(frozen=True, eq=False)
class SoftLimits:
    """The same problem as `base`; the functions are those of `StageModel`."""

    base: StageModel

    @property
    def slots(self) -> Slots:
        return self.base.slots

    @property
    def columns(self) -> Array:
        return self.base.columns

    @property
    def bounds(self) -> Array:
        return self.base.bounds

    @property
    def equal(self) -> Array:
        return self.base.equal

    @property
    def first(self) -> Array:
        return self.base.first

    @property
    def live(self) -> Array:
        found = self.base.live.copy()
        found[..., : self.slots.width] = False
        states = np.tile(self.columns < self.base.staging.shapes.states, 2)
        found[..., self.slots.width :][..., states] = False
        return found

    @property
    def inside(self) -> Array:
        return self.live & ~self.equal

    def select(self, rows: Array) -> SoftLimits:
        return SoftLimits(self.base.select(rows))

    def rolled_out(self, z: Array) -> Array:
        return self.base.rolled_out(z)

    def missed(self, level: Array) -> Array:
        """By how much limits are missed, with their signs, [T + 1, R, K]; 0 for bounds of actions."""
        copies = level.shape[1] // self.base.live.shape[1]
        limits = np.tile(self.base.live & ~self.live, (1, copies, 1))
        return np.where(limits, np.where(self.equal, level, np.maximum(level, 0.0)), 0.0)

    def values(self, z: Array) -> Values:
        found = self.base.values(z)
        copies = z.shape[1] // self.base.live.shape[1]
        cost = np.square(self.missed(found.level)).sum((0, 2)) / 2
        return Values(cost, found.gap, np.where(np.tile(self.live, (1, copies, 1)), found.level, 0.0))

    def slopes(self, z: Array) -> Slopes:
        found, missed = self.base.slopes(z), self.missed(self.base.values(z).level)
        return Slopes(found.step, transposed(found.rows, missed), found.rows * self.live[..., None])

    def curvature(self, z: Array, costates: Array, y: Array) -> Array:
        """That of Gauss and Newton: the second derivatives of limits and steps are left out."""
        found, missed = self.base.slopes(z), self.missed(self.base.values(z).level)
        return squared(found.rows, (missed != 0).astype(float)) + CALM * np.eye(z.shape[2])
