"""Random courses of actions over time, to begin a search at.

Noise of every step averages out: it moves no mass. What makes a course different is which way it pushes, and
when it turns round. So courses are constant for a while: levels drawn within the bounds, or going from one
bound to the other, with up to three changes at random times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.seeded import Rows, Stream
from ebmlang.runtime.space import Space
from ebmlang.runtime.trajectories import Trajectories

COURSES = 128
"""Courses that are drawn and evaluated for each row, side by side."""

LEVELS = 4
"""Levels of a course, at most."""

APART = 0.3
"""How far two courses must differ, beside how far they differ on average, for both to be taken."""


@torch.no_grad()
def best_courses(around: Trajectories, x: Tensor, seed: int, rows: Rows, count: int) -> Tensor:
    """The actions x [R, N], then `count` - 1 courses of low energy for every row, [count * R, N].

    `rows` are global row numbers. No two of the courses of a row are close to each other.
    """
    groups = x.shape[0]
    pool = drawn(around.space, x, seed, rows)
    flat = pool.reshape(-1, x.shape[1])
    energy = around.cost(flat, around.states(flat)).reshape(COURSES, groups)
    energy = energy.nan_to_num(nan=torch.inf)
    spread = (pool - pool.mean(0)).square().mean((0, 2)).sqrt()
    found = [x]
    for _ in range(count - 1):
        best = energy.argmin(0)
        chosen = pool[best, torch.arange(groups, device=x.device)]
        found.append(chosen)
        distance = (pool - chosen).square().mean(2).sqrt()
        energy = energy.masked_fill(distance <= APART * spread, torch.inf)
    return torch.cat(found)


def drawn(space: Space, x: Tensor, seed: int, rows: Rows) -> Tensor:
    """Courses for every row, feasible, [COURSES, R, N]."""
    groups, size = x.shape
    (unknown,) = space.unknowns
    steps = space.row_shape(unknown)[0]
    each = size // steps
    stream = Stream(seed, f"{unknown.name}/courses", rows)
    share = _shares(stream, steps, each).to(x.device, x.dtype).reshape(groups, COURSES, size).transpose(0, 1)
    lo, hi = (b.expand(groups, size) for b in space.bounds())
    boxed = torch.isfinite(lo) & torch.isfinite(hi)
    within = torch.where(boxed, lo + share * (hi - lo), 0.0)
    # Without bounds nothing tells how large actions are.
    scale = 10 ** torch.linspace(-1, 1, COURSES, dtype=x.dtype, device=x.device)[:, None, None]
    return space.project(
        torch.where(boxed, within, x + scale * torch.special.ndtri(share.clamp(1e-3, 1 - 1e-3))).reshape(
            -1, size
        )
    ).reshape(COURSES, groups, size)


def _shares(stream: Stream, steps: int, each: int) -> Tensor:
    """Levels over time as shares of a range, [R, COURSES, steps, each]."""
    kinds = torch.arange(COURSES)
    levels = stream.named("levels").uniform((COURSES, LEVELS, each))
    # Every other course goes from bound to bound, beginning at either.
    turns = torch.arange(LEVELS)[:, None] + (levels[:, :, :1] > 0.5)
    levels = torch.where((kinds % 2 == 0)[:, None, None], (turns % 2).to(levels.dtype), levels)
    changes = stream.named("changes").uniform((COURSES, LEVELS - 1)).sort(-1).values * steps
    fewer = torch.arange(LEVELS - 1) >= (kinds // 2 % LEVELS)[:, None]
    changes = changes.masked_fill(fewer, steps)
    which = (torch.arange(steps)[:, None] + 0.5 > changes[:, :, None, :]).sum(-1)
    return levels.gather(2, which[..., None].expand(*which.shape, each))
