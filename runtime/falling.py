"""Whether an energy falls without end along the way that a search has gone."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.domains import PositiveDefinite
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


SINGULAR = 1e3
"""A matrix counts as singular to rounding up to this many last digits of its largest eigenvalue."""

HALVINGS_BACK = 4
"""Halvings of the way to a matrix that is singular to rounding after which its digits are not lost yet."""


@torch.no_grad()
def falls_at_edge(problem: Problem, start: Tensor, x: Tensor) -> Tensor:
    """bool [R]: whether entries of open domains have gone as close to their edge as numbers get, and the
    energy falls by more and more on the way there, as that of `log(x)` does towards 0.

    Far below 0 the coordinate of a positive number is its logarithm. It is taken back to an eighth, a
    quarter and half of the smallest one, where slopes have not underflowed. A matrix that is singular to
    rounding has gone along factors of it, and counts where energies have fallen steadily, as that of
    `-log(x)`, before its digits were lost.
    """
    space, edge = problem.space, math.log(torch.finfo(x.dtype).tiny)
    open_ones = [u.domain.kind is Kind.OPEN for u in space.unknowns]
    if not any(open_ones):
        return torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
    flags = [torch.full((size,), flag) for flag, size in zip(open_ones, space.sizes, strict=True)]
    low = torch.cat(flags).to(x.device) & (x < 0.9 * edge)
    ways = (1 / 8, 1 / 4, 1 / 2, 1.0)
    energies = [problem.energy(torch.where(low, share * edge, x)) for share in ways]
    falls = [before - after for before, after in itertools.pairwise(energies)]
    grows = (falls[0] > 0) & (falls[1] > GROWTH * falls[0]) & (falls[2] > GROWTH * falls[1])
    singular = nearly_singular(problem, x)
    if bool(singular.any()):
        # A factor has half of the digits of its matrix: at most that many halvings lead back to the start.
        halvings = range(round(-math.log2(torch.finfo(x.dtype).eps)) // 3, HALVINGS_BACK, -1)
        energies = [problem.energy(start + 2.0**-k * (x - start)) for k in halvings]
        fallen = -torch.stack(energies).diff(dim=0)
        singular = singular & (fallen[1:] > STEADY * fallen[:-1]).all(0) & (fallen[0] > 0)
    return (low.any(1) & grows) | singular


@torch.no_grad()
def nearly_singular(problem: Problem, x: Tensor) -> Tensor:
    """Rows [R] of x with a positive definite matrix that is singular but for rounding, so that its smallest
    eigenvalues, and with them the energy, are made of nothing else."""
    found = torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
    if not any(isinstance(u.domain, PositiveDefinite) for u in problem.space.unknowns):
        return found
    values = problem.space.values(x)
    for unknown in problem.space.unknowns:
        if isinstance(unknown.domain, PositiveDefinite) and values[unknown.name].shape[-1]:
            sizes = torch.linalg.eigvalsh(values[unknown.name].double()).flatten(0, -2)
            odd = sizes[:, 0] <= SINGULAR * torch.finfo(x.dtype).eps * sizes[:, -1]
            found = found | odd.reshape(x.shape[0], -1).any(1)
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
