"""A quadratic program in stages, measured from the functions of a rollout and its constraints.

    minimise  sum_t 1/2 z_t'H_t z_t + g_t'z_t   subject to   s[t+1] = W_t z_t + c_t,
                                                              G_t z_t + h_t <= 0 or == 0

with z_t = (s_t, a_t) side by side. Constraints are affine and read one time each, so that a probe of one
entry of z at all times finds a column of every G_t, and a probe that grows with time tells which t an entry
reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.constrained.staging import Slots, Staging
from ebmlang.runtime.recursion import as_numpy
from ebmlang.runtime.rollout import Stages

Array = Any
"""A numpy array of float64, unless it says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class StagedProgram:
    """d states and m actions, n = d + m, over T steps; all arrays have time in front, then R rows or 1.

    first [R, d]; step [T, R or 1, d, n], offset [T, R or 1, d]; curvature [T + 1, R or 1, n, n], slope
    [T + 1, R or 1, n]; rows [T + 1, R or 1, K, n] and level [T + 1, R, K] of constraints, of which `live`
    bool [T + 1, R, K] are some and `equal` bool [T + 1, 1, K] are equations. The first K - 2 c of every
    time are constraints of the model, then come the lower and the upper bounds of c entries. `place` int64
    [M] is where each constraint of the model stands among the (T + 1) K.
    """

    first: Array
    step: Array
    offset: Array
    curvature: Array
    slope: Array
    rows: Array
    level: Array
    live: Array
    equal: Array
    place: Array

    def select(self, index: Array) -> StagedProgram:
        """The given rows."""

        def some(value: Array) -> Array:
            return value if value.shape[1] == 1 else value[:, index]

        return StagedProgram(
            self.first[index],
            some(self.step),
            some(self.offset),
            some(self.curvature),
            some(self.slope),
            some(self.rows),
            self.level[:, index],
            self.live[:, index],
            self.equal,
            self.place,
        )


def staged(staging: Staging) -> StagedProgram:
    """The program of every row."""
    problem = staging.constrained.problem
    stages, space = problem.stages(), problem.space
    count, steps, d = space.rows, stages.step.shape[1], stages.step.shape[2]
    n = stages.step.shape[3]
    slopes, level, time = _limits(staging, stages)
    slots = Slots.of(time, steps + 1)
    lo, hi = staging.bounds()
    lo[0, :, :d], hi[0, :, :d] = -np.inf, np.inf  # no step leads to the first state
    columns = np.flatnonzero((np.isfinite(lo) | np.isfinite(hi)).any((0, 1)))
    width, most = slots.width, slots.width + 2 * len(columns)
    rows = np.zeros((steps + 1, slopes.shape[0], most, n))
    levels = np.zeros((steps + 1, count, most))
    equal = np.zeros((steps + 1, 1, most), dtype=bool)
    live = np.zeros_like(levels, dtype=bool)
    at, slot = np.divmod(slots.place, width) if width else (slots.place, slots.place)
    rows[at, :, slot] = slopes.transpose(2, 0, 1)
    levels[at, :, slot] = level.T
    equal[at, 0, slot] = staging.equal
    live[at, :, slot] = (slopes != 0).any(1).T
    unit = np.eye(n)[columns]
    rows[..., width:, :] = np.concatenate([-unit, unit])
    bounds = np.concatenate([lo[..., columns], -hi[..., columns]], 2)
    live[..., width:] = np.isfinite(bounds)
    levels[..., width:] = np.where(np.isfinite(bounds), bounds, 0.0)
    return StagedProgram(
        as_numpy(stages.first),
        _in_time(stages.step),
        _in_time(stages.offset),
        _in_time(stages.curvature),
        _in_time(stages.slope),
        rows,
        levels,
        live,
        equal,
        at * most + slot,
    )


def _in_time(value: Tensor) -> Array:
    return np.ascontiguousarray(as_numpy(value).swapaxes(0, 1))


def _limits(staging: Staging, stages: Stages) -> tuple[Array, Array, Array]:
    """Slopes [R or 1, n, M] and values at 0 [R, M] of the constraints, and the time that each reads, [M]."""
    problem = staging.constrained.problem
    rows, times, n = problem.space.rows, stages.slope.shape[1], stages.slope.shape[2]
    count = stages.step.shape[0]
    probes = torch.cat((torch.eye(n), torch.eye(n))).to(problem.space.device, problem.space.dtype)
    growing = torch.arange(times, device=probes.device, dtype=probes.dtype)
    scale = torch.stack((torch.ones_like(growing), growing)).repeat_interleave(n, 0)
    points = (scale[..., None] * probes[:, None]).repeat(count, 1, 1)
    index = torch.arange(count, device=probes.device).repeat_interleave(2 * n)
    held = problem.select(index).held if rows > 1 else problem.held
    zero = torch.zeros(rows, times, n, dtype=probes.dtype, device=probes.device)
    with torch.no_grad():
        level = staging.values(zero, problem.held)
        moved = staging.values(points, held).reshape(count, 2, n, -1) - level[:count, None, None]
    plain, grown = (as_numpy(part) for part in moved.unbind(1))
    largest = np.abs(plain).sum(0).argmax(0)
    entry = np.arange(plain.shape[2])
    row = np.abs(plain[:, largest, entry]).argmax(0)
    first, second = plain[row, largest, entry], grown[row, largest, entry]
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(first != 0, np.rint(second / first), 0.0)
    return plain, as_numpy(level), np.clip(np.nan_to_num(time), 0, times - 1).astype(np.int64)
