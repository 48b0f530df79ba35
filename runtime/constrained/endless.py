"""Whether an energy falls without end where the constraints hold.

That penalty and energy together fall without end, or the energy alone along a way, is no proof: under
x * y >= 1 and y >= 0 both fall along -x, where no point is feasible. So feasible points are looked for far
out, and their energies are compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.constrained.augmented import Search
from ebmlang.runtime.constrained.problem import excess, largest

DISTANCES = (1e4, 1e8, 1e16, 1e24)
"""How far out feasible points are looked for, in units of 1 + the size of the start."""

MOST_STEPS = 200

DIGITS = 16
"""A constraint holds far out if the last digits of x, times this, change it by as much as it is violated."""

STEADY = 0.9
"""A fall from one such point to the next, as a share of the fall before: it must not fade."""


MINOR = 1e-3
"""Entries that have gone less than this share of the way may stay behind ever more, as on a parabola."""


@torch.no_grad()
def falls_where_constraints_hold(search: Search, rows: Tensor, x: Tensor) -> Tensor:
    """bool [len(rows)]: whether near every one of the far points in the direction of x from the start, or in
    that of its large entries, there is a point which meets the constraints, and the energies of these points
    fall, each time by no less."""
    way = x - search.start[rows]
    size = way.abs().amax(1, keepdim=True)
    unit = way / size.clamp(min=torch.finfo(x.dtype).tiny)
    falls = _falls_along(search, rows, unit)
    large = torch.where(unit.abs() > MINOR, unit, 0.0)
    others = (~falls & (large != unit).any(1)).nonzero()[:, 0]
    if others.shape[0]:
        falls[others] = _falls_along(search, rows[others], large[others])
    return falls


def _falls_along(search: Search, rows: Tensor, unit: Tensor) -> Tensor:
    """The same for directions `unit` [len(rows), N]."""
    start = search.start[rows]
    reach = 1 + start.abs().amax(1, keepdim=True)
    problem = search.constrained.problem.select(rows)
    holds = torch.isfinite(unit).all(1)
    energies = []
    for distance in DISTANCES:
        there = problem.space.project(start + distance * reach * unit)
        feasible = _nearest_feasible(search, rows, there)
        holds = holds & _feasible(search, rows, feasible)
        energies.append(problem.energy(feasible))
    falls = -torch.stack(energies).diff(dim=0)
    steady = (falls[1:] >= STEADY * falls[:-1]).all(0) & (falls[0] > 0)
    result: Tensor = holds & steady & torch.isfinite(falls).all(0)
    return result


def _nearest_feasible(search: Search, rows: Tensor, x: Tensor) -> Tensor:
    """Where the violation alone is minimised from x [R, N]."""
    c = search.constrained.select(rows).values(x)
    zeros, unit = torch.zeros_like(c), torch.ones_like(x[:, 0])
    with torch.enable_grad():
        return search.minimise(rows, x, zeros, unit, search.tol * 1e-3, MOST_STEPS, True).x


def _feasible(search: Search, rows: Tensor, x: Tensor) -> Tensor:
    """Whether the constraints hold at x [R, N] within the tolerance, or as well as its digits allow, [R]."""
    constrained = search.constrained.select(rows)
    c = constrained.values(x)
    made, eps = torch.Generator().manual_seed(0), torch.finfo(x.dtype).eps
    digits = torch.rand(x.shape, generator=made, dtype=x.dtype).to(x.device) - 0.5
    moved = constrained.values(x * (1 + DIGITS * eps * digits))
    allowed = torch.maximum(search.near * search.scale[rows], DIGITS * (moved - c).abs())
    return largest((excess(c, search.equal) - allowed).clamp(min=0)) == 0
