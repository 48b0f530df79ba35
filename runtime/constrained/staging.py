"""A problem with hard constraints along the states and actions of a rollout.

z = (s, a) side by side at the times 0..T, with no action at T, is what methods in stages work on; x are the
coordinates of the unknowns: the actions alone, or the actions and the states that equations give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.constrained.problem import Constrained, flat, joined
from ebmlang.runtime.constrained.units import constraint_unit
from ebmlang.runtime.recursion import as_numpy
from ebmlang.runtime.rollout import Rollout, Shapes, Tie, shapes_of, split
from ebmlang.runtime.spec import ConstraintSpec

Array = Any
"""A numpy array of float64, unless it says otherwise."""


@dataclass(frozen=True, eq=False)
class Staging:
    """Arrays of z have time in front: [T + 1, R, n] with n = d + m."""

    constrained: Constrained

    @property
    def rollout(self) -> Rollout:
        found = self.constrained.problem.rollout
        assert found is not None
        return found

    @cached_property
    def shapes(self) -> Shapes:
        problem = self.constrained.problem
        return shapes_of(self.rollout, problem.space, problem.held)

    # --- coordinates ---

    @cached_property
    def place(self) -> Array:
        """Where each coordinate of x stands in a row of z, its times one after the other; int64 [N]."""
        shapes, at, starts = self.shapes, 0, {}
        for name, cell in shapes.cells.items():
            starts[name] = (at, cell.numel(), shapes.steps + 1)
            at += cell.numel()
        starts[self.rollout.action] = (at, shapes.actions, shapes.steps)
        parts = []
        for unknown in self.constrained.problem.space.unknowns:
            first, count, times = starts[unknown.name]
            parts.append((np.arange(times)[:, None] * shapes.width + first + np.arange(count)).ravel())
        return np.concatenate(parts)

    def coordinates(self, z: Array) -> Tensor:
        """x [R, N] of z."""
        space = self.constrained.problem.space
        rows = np.ascontiguousarray(z.swapaxes(0, 1)).reshape(z.shape[1], -1)
        return torch.from_numpy(rows[:, self.place]).to(space.device, space.dtype)

    def along(self, x: Tensor, fill: float = 0.0) -> Array:
        """z with the coordinates x [R, N], and `fill` where there are none."""
        shapes = self.shapes
        z = np.full((x.shape[0], (shapes.steps + 1) * shapes.width), fill)
        z[:, self.place] = as_numpy(x)
        return np.ascontiguousarray(z.reshape(x.shape[0], shapes.steps + 1, -1).swapaxes(0, 1))

    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds along z, infinite where there are none."""
        lo, hi = (side.expand(-1, len(self.place)) for side in self.constrained.problem.space.bounds())
        return self.along(lo, -np.inf), self.along(hi, np.inf)

    # --- constraints ---

    @cached_property
    def limits(self) -> tuple[ConstraintSpec, ...]:
        """The constraints that are no steps."""
        ties = {name for name, *_ in self.rollout.ties}
        return tuple(s for s in self.constrained.specs if s.name not in ties)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        space = self.constrained.problem.space
        nowhere = torch.zeros(space.rows, space.size, dtype=space.dtype, device=space.device)
        with torch.no_grad():
            found = self.constrained.by_name(nowhere)
        return {s.name: found[s.name].shape[1] for s in self.constrained.specs}

    @cached_property
    def equal(self) -> Array:
        """Which entries of the limits are equations, bool [M]."""
        flags = [np.full(self._sizes[s.name], s.relation == "==") for s in self.limits]
        return np.concatenate(flags) if flags else np.zeros(0, dtype=bool)

    def values(self, z: Tensor, held: Any) -> Tensor:
        """The entries of the limits at z [P, T + 1, n], [P, M]; differentiable."""
        if not self.limits:
            return z.new_zeros(z.shape[0], 0)
        states, unknown = split(self.rollout, self.shapes, z)
        found = self.rollout.functions.limits_of_states(states, unknown, held)
        return joined([flat(found[s.name], s, z.shape[0]) for s in self.limits], z)

    def multipliers(self, own: Array, costates: Array) -> Tensor:
        """Those of all constraints, [R, M], from those of the limits [R, M'] and the costates
        [T + 1, R, d], which are minus those of the steps."""
        space = self.constrained.problem.space
        given, at = {}, 0
        for spec in self.limits:
            given[spec.name] = own[:, at : at + self._sizes[spec.name]]
            at += self._sizes[spec.name]
        for tie in self.rollout.ties:
            given[tie[0]] = self._of_tie(tie, costates)
        parts = [given[s.name] for s in self.constrained.specs]
        whole = np.concatenate(parts, 1) if parts else own
        return torch.from_numpy(np.ascontiguousarray(whole)).to(space.device, space.dtype)

    def _of_tie(self, tie: Tie, costates: Array) -> Array:
        name, state, entry, after, sign = tie
        at = 0
        for own, cell in self.shapes.cells.items():
            if own == state:
                break
            at += cell.numel()
        part = (
            slice(at, at + self.shapes.cells[state].numel())
            if entry is None
            else slice(at + entry, at + entry + 1)
        )
        times = slice(1, None) if after else slice(1)
        found = -sign * costates[times, :, part].swapaxes(0, 1).reshape(costates.shape[1], -1)
        unit = constraint_unit(name, self.constrained.problem.held)
        return found if unit is None else found * as_numpy(unit)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Constraints by time: `place` int64 [M] is where each stands among (T + 1) K, with at most K = `width`
    at one time."""

    time: Array
    place: Array
    width: int

    @staticmethod
    def of(time: Array, times: int) -> Slots:
        """From the time that each reads, int64 [M]."""
        counts = np.bincount(time, minlength=times)
        width = int(counts.max(initial=0))
        order = np.argsort(time, kind="stable")
        slot = np.empty_like(time)
        slot[order] = np.arange(len(time)) - np.repeat(np.cumsum(counts) - counts, counts)
        return Slots(time, time * width + slot, width)
