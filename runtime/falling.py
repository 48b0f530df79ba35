"""Whether an energy falls without end along the way that a search has gone."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.problem import Problem

SETTLING = 8
"""Doublings after which the falls must grow: near the start anything may bend."""

GROWTH = 1.25
"""A fall over twice the way, as a share of the fall before. It is 2 where the energy falls along a line."""

NOISE = 0.01
"""The share of a fall that a change of the last digits may make of it."""


def floor_under(start: Tensor) -> Tensor:
    """An energy below which nothing but an unbounded one falls from the start [R]: so far below it that the
    digits of its own square leave no trace of it."""
    floor: Tensor = -(1 + start.abs()) / torch.finfo(start.dtype).eps ** 2
    return floor


@torch.no_grad()
def falls_without_end(problem: Problem, start: Tensor, x: Tensor, floor: Tensor) -> Tensor:
    """bool [R]: whether the energies at the points start + 2^k (x - start), put into the domain, pass below
    `floor` [R] while the falls grow with the way.

    Nothing follows from a low energy that rounding has made: where values cancel, other last digits of the
    same point give another energy.
    """
    way, eps = x - start, torch.finfo(x.dtype).eps
    energy = problem.energy(x)
    fall = problem.energy(start) - energy
    alive = torch.isfinite(energy) & (fall > 0)
    found, low = torch.zeros_like(alive), x
    for doubling in range(1, 2 * -int(torch.tensor(eps).log2()) + 40):
        if not bool((alive & ~found).any()):
            break
        there = problem.space.project(start + 2.0**doubling * way)
        value = problem.energy(there)
        least = GROWTH * fall if doubling > SETTLING else 0 * fall
        alive = alive & torch.isfinite(value) & (energy - value > least)
        low = torch.where((alive & ~found)[:, None], there, low)
        found = found | (alive & (value < floor))
        fall, energy = energy - value, value
    if not bool(found.any()):
        return found
    lowest = problem.energy(low)
    made = torch.Generator().manual_seed(0)
    for _ in range(3):
        digits = torch.rand(low.shape, generator=made, dtype=low.dtype).to(low.device) - 0.5
        other = problem.energy(problem.space.project(low * (1 + 16 * eps * digits)))
        found = found & ((other - lowest).abs() <= NOISE * lowest.abs())
    return found
