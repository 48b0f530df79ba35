"""Ways down from points without slope, where the energy is not known to be convex or jumps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.solver import rounding, where_rows
from ebmlang.runtime.steepness import Slopes

DIRECTIONS = 16
"""Steps of Lanczos' method, each of which costs two gradients."""

NEAREST, GROWTH, LONGEST = 1e-5, 4.0, 1.0
"""Lengths tried along a direction, as shares of the size of x."""

CLEAR = 8
"""A change of the energy counts above this many times what other last digits of x make of it."""


LOOKS = 8
"""Random directions in which a jump is looked for, each of them forwards and backwards."""


@torch.no_grad()
def across_a_jump(
    problem: Problem, x: Tensor, slopes: Slopes, rows: Tensor, tol: float
) -> tuple[Tensor, Tensor]:
    """Points [R, N] right beside x whose energy is lower by more than `tol` of its size, and where there are
    some among the marked rows [R], bool [R]; x elsewhere."""
    best, lowest = x, slopes.energy - tol * (1 + slopes.energy.abs())
    if not bool(rows.any()):
        return best, rows
    near = math.sqrt(torch.finfo(x.dtype).eps) * slopes.length
    made = torch.Generator().manual_seed(0)
    for _ in range(LOOKS):
        way = near * torch.randn(x.shape[1:], generator=made, dtype=torch.float64).to(x)
        for side in (1, -1):
            there = problem.space.retract(x, problem.space.tangent(x, side * way))
            energy = problem.energy(there)
            lower = rows & (energy < lowest)
            best, lowest = where_rows(lower, there, best), torch.where(lower, energy, lowest)
    return best, (best != x).any(1)


@torch.no_grad()
def way_down(problem: Problem, x: Tensor, slopes: Slopes, suspected: Tensor) -> tuple[Tensor, Tensor]:
    """Points [R, N] below x, and where there are some, bool [R]; x elsewhere. Only rows with `suspected`
    entries [R, N] are asked, and only along those and what they curve together with.

    Directions come from the matrix of second derivatives, seen through differences of slopes. A way counts
    where the first change of the energy that rounding does not hide is a fall.
    """
    pinned = _held_back(problem, x) if bool(suspected.any()) else suspected
    suspected = suspected & ~pinned
    found = suspected.any(1)
    some = found.nonzero()[:, 0]
    if some.shape[0] == 0 or x.shape[1] == 0:
        return x, found
    part, at = problem.select(some), x[some]
    size = slopes.length[some].amax(1)
    best, lowest = at, part.energy(at)
    for direction in lowest_directions(part, at, size, ~pinned[some], suspected[some]):
        for side in (1, -1):
            there, energy = first_fall(part, at, side * direction, size)
            lower = energy < lowest
            best, lowest = where_rows(lower, there, best), torch.where(lower, energy, lowest)
    down = (best != at).any(1)
    return x.index_copy(0, some, best), found.index_copy(0, some, down)


def _held_back(problem: Problem, x: Tensor) -> Tensor:
    """Entries whose slope pushes them against their bound, bool [R, N]. On a simplex slopes that are all
    alike push nowhere, and only entries at 0 have a bound."""
    space = problem.space
    _, gradient = problem.energy_and_gradient(x)
    held = (gradient != 0) & (space.residual(x, gradient) == 0)
    boxes = [
        torch.full((n,), u.domain.kind is Kind.BOX) for u, n in zip(space.unknowns, space.sizes, strict=True)
    ]
    return held & (torch.cat(boxes).to(x.device) | (x == 0)) if boxes else held


def first_fall(problem: Problem, x: Tensor, direction: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest point on the way out along a direction while the energy falls, and its energy; x and inf
    where the first change that counts is a rise."""
    before = problem.energy(x)
    noise = CLEAR * (rounding(before) + _jitter(problem, x, before))
    best, lowest = x, before
    looking = torch.ones_like(before, dtype=torch.bool)
    share = NEAREST
    while share <= LONGEST and bool(looking.any()):
        there = problem.space.retract(x, (share * size)[:, None] * direction)
        energy = problem.energy(there)
        seen = (energy - before).abs() > noise
        falls = looking & seen & (energy < lowest)
        best, lowest = where_rows(falls, there, best), torch.where(falls, energy, lowest)
        looking = looking & (falls | ~seen) & torch.isfinite(energy)
        share *= GROWTH
    return best, torch.where(lowest < before, lowest, torch.inf)


def _jitter(problem: Problem, x: Tensor, energy: Tensor) -> Tensor:
    """How far other last digits of x move the energy, [R]: more than its rounding where parts of it
    cancel."""
    made, eps = torch.Generator().manual_seed(0), torch.finfo(x.dtype).eps
    found = torch.zeros_like(energy)
    for _ in range(3):
        digits = torch.rand(x.shape, generator=made, dtype=x.dtype).to(x.device) - 0.5
        other = problem.energy(problem.space.project(x * (1 + 4 * eps * digits)))
        found = torch.maximum(found, (other - energy).abs().nan_to_num(posinf=0.0))
    return found


def lowest_directions(
    problem: Problem, x: Tensor, size: Tensor, free: Tensor, first: Tensor
) -> tuple[Tensor, ...]:
    """Unit directions [R, N] of the least curvature in a Krylov space, the least of all first. It begins
    with the entries `first` and stays among those that are `free`, both [R, N]."""
    near = (torch.finfo(x.dtype).eps ** (1 / 3) * size)[:, None]

    def feasible(v: Tensor) -> Tensor:
        v = problem.space.tangent(x, torch.where(free, v, 0.0))
        return problem.space.sought(
            (problem.space.retract(x, near * v) - problem.space.retract(x, -near * v)) / (2 * near)
        )

    def bent(v: Tensor) -> Tensor:
        ahead, behind = (
            _slope(problem, problem.space.retract(x, near * v)),
            _slope(problem, problem.space.retract(x, -near * v)),
        )
        change = (ahead - behind) / (2 * near)
        return feasible(torch.where(torch.isfinite(change), change, 0.0))

    made = torch.Generator().manual_seed(0)
    v = torch.randn(x.shape[1:], generator=made, dtype=torch.float64).to(x)
    v = feasible(torch.where(first, v, 0.0))
    basis, products = [_unit(v)], []
    for _ in range(min(DIRECTIONS, x.shape[1])):
        products.append(bent(basis[-1]))
        rest = products[-1]
        for _ in range(2):
            for known in basis:
                rest = rest - row_dot(rest, known)[:, None] * known
        if len(basis) == x.shape[1] or not bool((row_norm(rest) > 1e-6 * row_norm(products[-1])).any()):
            break
        basis.append(_unit(rest))
    stacked, images = torch.stack(basis[: len(products)], 1), torch.stack(products, 1)
    small = (stacked @ images.mT).double()
    _, turns = torch.linalg.eigh(torch.nan_to_num((small + small.mT) / 2))
    turned = turns.mT.to(x.dtype) @ stacked
    return tuple(_unit(turned[:, k]) for k in range(min(2, turned.shape[1])))


def _slope(problem: Problem, x: Tensor) -> Tensor:
    _, gradient = problem.energy_and_gradient(x)
    return problem.space.tangent(x, gradient)


def _unit(v: Tensor) -> Tensor:
    return v / row_norm(v).clamp(min=torch.finfo(v.dtype).tiny)[:, None]
