"""Whether an energy falls without end along the way that a search has gone."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.problem import Problem

SETTLING = 8
"""Doublings after which the falls must grow: near the start anything may bend."""

GROWTH = 1.25
"""A fall over twice the way, as a share of the fall before. It is 2 where the energy falls along a line."""

STEADY, STEADY_DOUBLINGS = 0.9, 60
"""A fall that stays this share of an earlier one over this many doublings, as that of `-log(x)` does, never
ends. That of `-log(log(x))`, or of anything that has a limit, becomes smaller."""

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
    `floor` [R] while the falls grow with the way, or fall by as much each time the way is doubled.

    Nothing follows from a low energy that rounding has made: where values cancel, other last digits of the
    same point give another energy.
    """
    way, eps = x - start, torch.finfo(x.dtype).eps
    energy = problem.energy(x)
    fall = problem.energy(start) - energy
    alive = torch.isfinite(energy) & (fall > 0)
    found, low = torch.zeros_like(alive), x
    steady, settled = alive.clone(), torch.zeros_like(fall)
    for doubling in range(1, 2 * -int(torch.tensor(eps).log2()) + 40):
        if not bool((alive & ~found).any()):
            break
        there = problem.space.project(start + 2.0**doubling * way)
        value = problem.energy(there)
        fall, before = energy - value, fall
        settled = fall if doubling == SETTLING else settled
        least = GROWTH * before if doubling > SETTLING else 0 * fall
        steady = steady & torch.isfinite(value) & (fall > STEADY * settled)
        alive = (alive & torch.isfinite(value) & (fall > least)) | steady
        low = torch.where((alive & ~found)[:, None], there, low)
        found = found | (alive & (value < floor)) | (steady & (doubling >= STEADY_DOUBLINGS))
        energy = value
    if not bool(found.any()):
        return found
    lowest = problem.energy(low)
    made = torch.Generator().manual_seed(0)
    for _ in range(3):
        digits = torch.rand(low.shape, generator=made, dtype=low.dtype).to(low.device) - 0.5
        other = problem.energy(problem.space.project(low * (1 + 16 * eps * digits)))
        found = found & ((other - lowest).abs() <= NOISE * lowest.abs())
    return found


@torch.no_grad()
def named_fall(problem: Problem, start: Tensor, x: Tensor) -> str:
    """In which term the energy of a single row has fallen most from `start` to x [1, N], and which unknown
    has moved furthest; empty where no term has fallen. A search that has kept its start is asked for its
    slope."""
    if bool((x == start).all()):
        x = problem.space.project(start - problem.energy_and_gradient(start)[1])
    before, after = problem.terms(start), problem.terms(x)
    change = {name: float((after[name].double() - before[name].double()).sum()) for name in after}
    term = min(change, key=lambda name: change[name], default=None)
    if term is None or not change[term] < 0:
        return ""
    space = problem.space
    ways = [float(part.abs().max()) if part.shape[1] else 0.0 for part in (x - start).split(space.sizes, 1)]
    unknown = space.unknowns[ways.index(max(ways))].name
    return f"the energy falls without end in term '{term}' along '{unknown}'"
