"""Metropolis jumps without a length of their own: how chains leave a valley whose walls slopes do not pass.

A jump moves some coordinates at once: one, all, or any number in between, each order of magnitude as often as
another. Its length is drawn the same way, from the width that chains have when hot down to a thousandth of
it. So it has heavy tails, as in fast and generalised annealing (Szu & Hartley 1987; Tsallis & Stariolo 1996),
and no size to be tuned. Which coordinates move and how far depends on nothing that the chain has seen, so
that proposals are symmetric, and the rule of Metropolis et al. (1953) keeps any law.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.target import Target

SHORTEST = 1e-3
"""The shortest jumps, beside the widest."""


@dataclass(frozen=True, slots=True, eq=False)
class Landed:
    """Where jumps lead: x [R, N], the potential there [R], and which share of them was taken [R]."""

    x: Tensor
    potential: Tensor
    taken: Tensor


def jumped(
    target: Target, x: Tensor, potential: Tensor, width: Tensor, count: int, randomness: Randomness
) -> Landed:
    """The end of `count` jumps from x [R, N], of widths [R or 1, N]."""
    total = torch.zeros_like(potential)
    for _ in range(count):
        proposed, luck = _proposed(target, x, width, randomness)
        after = target.potential(proposed)
        taken = luck < torch.exp((potential - after).clamp(max=0.0)).nan_to_num(nan=0.0)
        x = torch.where(taken[:, None], proposed, x)
        potential = torch.where(taken, after, potential)
        total = total + taken
    return Landed(x, potential, total / max(count, 1))


def _proposed(target: Target, x: Tensor, width: Tensor, randomness: Randomness) -> tuple[Tensor, Tensor]:
    """The ends of one jump [R, N], and numbers [R] that decide about it."""
    size = x.shape[1]
    lots = randomness.uniform(size + 3)
    share = float(size) ** -lots[:, :1]
    chosen = lots[:, 3:] < share
    # At least one: that with the smallest lot.
    chosen |= lots[:, 3:] == lots[:, 3:].amin(1, keepdim=True)
    length = SHORTEST ** lots[:, 1:2]
    move = target.moving(length * width * randomness.normal(size))
    return torch.where(chosen, x + move, x), lots[:, 2]
