"""Costs, steps and constraints of a problem in stages at given states and actions, with their derivatives.

Bounds of single entries stand among the constraints, so that all limits are c(z) <= 0 or c(z) == 0 of one
time each. Arrays are of numpy in float64, with time in front: z [T + 1, R, n] as in `staging`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.constrained.staging import Slots, Staging
from ebmlang.runtime.recursion import as_numpy
from ebmlang.runtime.rollout import first_states
from ebmlang.runtime.space import space_of
from ebmlang.runtime.trajectories import Trajectories

Array = Any
"""A numpy array of float64, unless it says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """The cost [R]; by how much steps miss the next state, `gap` [T, R, d]; the limits `level`
    [T + 1, R, K]."""

    cost: Array
    gap: Array
    level: Array

    def select(self, rows: Array) -> Values:
        return Values(self.cost[rows], self.gap[:, rows], self.level[:, rows])


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Matrices of the steps [T, R, d, n], slopes of the cost [T + 1, R, n] and of the limits
    [T + 1, R, K, n]."""

    step: Array
    cost: Array
    rows: Array


class StageFunctions(Protocol):
    """What a search along states and actions asks for; see `StageModel`."""

    @property
    def slots(self) -> Slots: ...

    @property
    def columns(self) -> Array: ...

    @property
    def bounds(self) -> Array: ...

    @property
    def live(self) -> Array: ...

    @property
    def equal(self) -> Array: ...

    @property
    def inside(self) -> Array: ...

    @property
    def first(self) -> Array: ...

    def select(self, rows: Array) -> Self: ...

    def rolled_out(self, z: Array) -> Array: ...

    def values(self, z: Array) -> Values: ...

    def slopes(self, z: Array) -> Slopes: ...

    def curvature(self, z: Array, costates: Array, y: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class StageModel:
    """`slots` says where the limits of the model stand; after them come bounds of the entries `columns`,
    the lower ones first, `bounds` [T + 1, R, 2 c]. `live` bool [T + 1, R, K] marks limits that are there."""

    staging: Staging
    slots: Slots
    columns: Array
    bounds: Array
    live: Array
    equal: Array

    @staticmethod
    def of(staging: Staging, z: Array) -> StageModel:
        """The model of every row; z are states and actions at which values exist."""
        times, rows = z.shape[:2]
        d = staging.shapes.states
        time, read = _times_read(staging, z, d)
        slots = Slots.of(time, times)
        lo, hi = staging.bounds()
        lo, hi = (np.broadcast_to(side, z.shape).copy() for side in (lo, hi))
        lo[0, :, :d], hi[0, :, :d] = -np.inf, np.inf  # no step leads to the first state
        columns = np.flatnonzero((np.isfinite(lo) | np.isfinite(hi)).any((0, 1)))
        width = slots.width
        live = np.zeros((times, rows, width + 2 * len(columns)), dtype=bool)
        equal = np.zeros((times, 1, live.shape[2]), dtype=bool)
        at, slot = np.divmod(slots.place, max(width, 1))
        live[at, :, slot] = read.T
        equal[at, 0, slot] = staging.equal
        bounds = np.concatenate([lo[..., columns], -hi[..., columns]], 2)
        live[..., width:] = np.isfinite(bounds)
        return StageModel(staging, slots, columns, np.where(np.isfinite(bounds), bounds, 0.0), live, equal)

    def select(self, rows: Array) -> StageModel:
        """The given rows; they may repeat."""
        index = torch.from_numpy(rows).to(self.around.space.device)
        part = Staging(self.staging.constrained.select(index))
        return StageModel(
            part, self.slots, self.columns, self.bounds[:, rows], self.live[:, rows], self.equal
        )

    @property
    def inside(self) -> Array:
        """Limits that are inequalities, bool [T + 1, R, K]."""
        found: Array = self.live & ~self.equal
        return found

    @cached_property
    def around(self) -> Trajectories:
        """The rollouts of the actions alone."""
        problem, rollout = self.staging.constrained.problem, self.staging.rollout
        action = tuple(u for u in problem.space.unknowns if u.name == rollout.action)
        space = space_of(action, problem.space.batch, problem.space.dtype, problem.space.device)
        whole = problem.trajectories()
        return Trajectories(rollout, space, whole.held, whole.repeated)

    @cached_property
    def first(self) -> Array:
        """The first states [R, d]."""
        problem = self.staging.constrained.problem
        return as_numpy(first_states(self.staging.rollout, problem.space, problem.held))

    def actions(self, z: Array) -> Tensor:
        """The actions of z, one row after the other, [R, T * m]."""
        return self._tensor(z[:-1, :, self.staging.shapes.states :]).reshape(z.shape[1], -1)

    def rolled_out(self, z: Array) -> Array:
        """The same actions, with the states that they lead to."""
        d, found = self.staging.shapes.states, z.copy()
        states = self.around.states(self.actions(z).to(self.around.space.dtype))
        found[:, :, :d] = as_numpy(states).swapaxes(0, 1)
        return found

    def values(self, z: Array) -> Values:
        """At z [T + 1, C * R, n], which may hold all rows several times, one after the other."""
        copies = z.shape[1] // self.live.shape[1]
        points, held = self._tensor(z), self.around.repeated(copies)
        with torch.no_grad():
            cost, ends = self.around.cost_and_ends(points, held)
            limits = self.staging.values(points, held)
        d = self.staging.shapes.states
        gap = as_numpy(ends).swapaxes(0, 1) - z[1:, :, :d]
        live = np.tile(self.live, (1, copies, 1))
        level = np.zeros(live.shape)
        width = self.slots.width
        if width:
            at, slot = np.divmod(self.slots.place, width)
            level[at, :, slot] = as_numpy(limits).T
        count = len(self.columns)
        bounds = np.tile(self.bounds, (1, copies, 1))
        level[..., width : width + count] = bounds[..., :count] - z[..., self.columns]
        level[..., width + count :] = bounds[..., count:] + z[..., self.columns]
        return Values(as_numpy(cost), gap, np.where(live, level, 0.0))

    def slopes(self, z: Array) -> Slopes:
        step, slope = self.around.slopes(self._tensor(z))
        rows = np.zeros((*self.live.shape, z.shape[2]))
        width, count = self.slots.width, len(self.columns)
        if width:
            rows[..., :width, :] = self._limit_slopes(z)
        unit = np.eye(z.shape[2])[self.columns]
        rows[..., width : width + count, :], rows[..., width + count :, :] = -unit, unit
        rows *= self.live[..., None]
        along, cost = (np.ascontiguousarray(as_numpy(v).swapaxes(0, 1)) for v in (step, slope))
        return Slopes(along, cost, rows)

    def curvature(self, z: Array, costates: Array, y: Array) -> Array:
        """Second derivatives of cost + costates . steps + y . limits, [T + 1, R, n, n]."""
        points = self._tensor(z)
        bends = self.around.bends(points, self._tensor(costates[1:]))
        if self.slots.width:
            weights = torch.from_numpy(y.swapaxes(0, 1)[:, *np.divmod(self.slots.place, self.slots.width)])
            bends = bends + self._limit_bends(points, weights.to(points))
        found = as_numpy(bends).swapaxes(0, 1)
        return np.ascontiguousarray((found + found.swapaxes(-1, -2)) / 2)

    def _tensor(self, z: Array) -> Tensor:
        """An array with time in front as a tensor with rows in front."""
        return torch.from_numpy(np.ascontiguousarray(z.swapaxes(0, 1))).to(self.around.space.device)

    def _limit_slopes(self, z: Array) -> Array:
        """Slot k of every time in copy k: limits of different times read different entries."""
        width, rows = self.slots.width, z.shape[1]
        _, slot = np.divmod(self.slots.place, width)
        leaf = self._tensor(z).repeat(width, 1, 1).requires_grad_(True)
        with torch.enable_grad():
            found = self.staging.values(leaf, self.around.repeated(width)).reshape(width, rows, -1)
            chosen = torch.from_numpy(slot == np.arange(width)[:, None])[:, None].to(leaf.device)
            total = torch.where(chosen, found, 0.0).sum()
        if not total.requires_grad:
            return np.zeros((z.shape[0], rows, width, z.shape[2]))
        (slope,) = torch.autograd.grad(total, leaf)
        return as_numpy(slope).reshape(width, rows, *z.shape[::2]).transpose(2, 1, 0, 3)

    def _limit_bends(self, points: Tensor, weights: Tensor) -> Tensor:
        """[R, T + 1, n, n]; 0 where all limits are affine."""
        rows, times, n = points.shape
        leaf = points.repeat(n, 1, 1).requires_grad_(True)
        with torch.enable_grad():
            value = (weights.repeat(n, 1) * self.staging.values(leaf, self.around.repeated(n))).sum()
            if not value.requires_grad:
                return points.new_zeros(rows, times, n, n)
            (first,) = torch.autograd.grad(value, leaf, create_graph=True)
            unit = torch.eye(n, dtype=points.dtype, device=points.device).repeat_interleave(rows, 0)[:, None]
            along = (first * unit).sum()
            if not along.requires_grad:
                return points.new_zeros(rows, times, n, n)
            (bend,) = torch.autograd.grad(along, leaf)
        return bend.reshape(n, rows, times, n).permute(1, 2, 3, 0)


def _times_read(staging: Staging, z: Array, d: int) -> tuple[Array, Array]:
    """Which time each limit reads, int64 [M], and in which rows it reads anything but the first state, bool
    [R, M].

    A number that is not finite makes what is computed from it such a one. It stands at all times in one copy
    of z, and at the times whose digit k is 1 in copy k.
    """
    times, rows, n = z.shape
    digits = np.arange(times)[:, None] >> np.arange(max(times - 1, 1).bit_length()) & 1
    marked = np.concatenate([np.ones((times, 1), dtype=bool), digits.astype(bool)], 1).T
    points = np.where(marked[:, None, :, None], np.nan, z.swapaxes(0, 1))
    points[:, :, 0, :d] = z[0, :, :d]
    problem = staging.constrained.problem
    held = problem.trajectories().repeated(len(marked))
    with torch.no_grad():
        found = staging.values(torch.from_numpy(points.reshape(-1, times, n)).to(problem.space.device), held)
    read = np.isnan(as_numpy(found)).reshape(len(marked), rows, -1)
    places = 1 << np.arange(len(marked) - 1)
    return (read[1:].any(1) * places[:, None]).sum(0).astype(np.int64), read[0]
