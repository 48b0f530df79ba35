"""What methods that compare random courses of actions share: the noise, and what courses cost."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebmlang.runtime.problem import Problem


def noise(problem: Problem, count: int, color: float, seed: int, number: int) -> Tensor:
    """Noise of unit variance [count, N], the same for all rows; `number` counts the draws of a search.

    Sums of cosines over time whose amplitudes fall as frequency^(-color/2): 0 is noise of every step by
    itself, which averages out; more of it lasts longer (colored noise, Timmer & Koenig 1995, in planning
    Pinneri et al. 2020).
    """
    space = problem.space
    (unknown,) = space.unknowns
    steps = max(space.row_shape(unknown)[0], 1)
    made = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    drawn = torch.randn(count, steps, space.size // steps, generator=made, dtype=torch.float64)
    found: Tensor = (waves(steps, color) @ drawn).reshape(count, space.size)
    return found.to(space.device, space.dtype)


def waves(steps: int, color: float) -> Tensor:
    """A matrix [steps, steps] that makes noise of one color from independent noise, both of unit variance."""
    order = torch.arange(steps, dtype=torch.float64)
    found = torch.cos(math.pi / steps * (order[:, None] + 0.5) * order)
    found[:, 0] /= math.sqrt(2)
    found = found * order.clamp(min=1) ** (-color / 2)
    scaled: Tensor = found / found.norm(dim=1, keepdim=True)
    return scaled


@torch.no_grad()
def compared(problem: Problem, points: Tensor) -> Tensor:
    """The energies [S, R] of S courses of every row, [S, R, N]; +inf where there is none."""
    count, rows, size = points.shape
    flat, rollout = points.reshape(count * rows, size), problem.rollout
    if rollout is not None and rollout.stepped and rollout.whole:
        around = problem.trajectories()
        energies = around.cost(flat, around.states(flat))
    else:
        index = torch.arange(rows, device=points.device).repeat(count)
        energies = problem.select(index).energy(flat)
    return energies.reshape(count, rows).nan_to_num(nan=torch.inf)


def ranges(problem: Problem, x: Tensor) -> Tensor:
    """Half the range of every entry [R, N]; without bounds the size of x, at least 1."""
    lo, hi = (bound.expand(x.shape) for bound in problem.space.bounds())
    half = (hi - lo) / 2
    return torch.where(torch.isfinite(half), half, x.abs().clamp(min=1.0))
