"""Newton's method for energies that are not convex: damped steps downhill, and out of saddles.

A step (H + mu I) p = -g with a positive definite matrix is the exact answer of a trust region whose radius is
the length of p (More and Sorensen 1983, SIAM J. Sci. Stat. Comput. 4, 553-572); `damped` adapts mu instead of
the radius, and takes the matrix in the pattern that it has. Where the gradient vanishes and the matrix still
curves down, the search goes on along a direction of negative curvature (Conn, Gould and Toint 2000, chapter
6), so that an answer is no saddle and no maximum, as far as the matrix can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.linear import modified
from ebmlang.runtime.linear.semidefinite import random_vectors
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.damped import Damping, Point, damped_step
from ebmlang.runtime.solvers.newton import first_damping
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    evaluate_rows,
    full_energy_and_gradient,
    no_stall,
    running,
    where_rows,
)

INVERSIONS = 12
"""Steps of inverse iteration that look for the lowest curvature. Any negative one will do."""
BACKTRACKS = 30
FIRST = 1.0
"""The first damping relative to the mean curvature: long first steps end in other basins than short ones, on
average in none that are lower."""


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """Where a stationary point curves down: unit directions [R, N] and curvatures [R], both 0 elsewhere."""

    direction: Tensor
    curvature: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TrustRegionMemory:
    """`halt` [R]: rows that no damping moves any further; `down`: the ways out of saddles."""

    gradient: Tensor
    damping: Damping | None
    down: Descent
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class TrustRegion(AbstractSolver):
    """For unknowns without bounds. A row ends after a window of `patience` steps without progress.

    The optimality of a row that stands on a saddle is the size of its negative curvature, so that it goes on.
    """

    patience: int = 50

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.HESSIAN})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.OPEN})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        optimality = row_norm(gradient)
        still = optimality <= math.sqrt(torch.finfo(x.dtype).eps)
        down = _looked_down(problem, x, still)
        memory = TrustRegionMemory(gradient, None, down, no_stall(energy), running(energy))
        return State(energy, _height(optimality, down), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: TrustRegionMemory = state.memory
        at = Point(x, state.energy, memory.gradient)
        saddle = state.active & (memory.down.curvature < 0)
        plain = state.active & ~saddle
        damping, moved = memory.damping, torch.zeros_like(saddle)
        if bool(plain.any()):
            matrix = problem.hessian(x)
            damping = damping or first_damping(matrix, x.shape[0], FIRST)
            at, damping, moved = damped_step(problem, at, matrix, damping, plain)
        if bool(saddle.any()):
            at, left = _leave(problem, at, memory.down, saddle)
            moved = moved | left
        optimality = row_norm(at.gradient)
        bound = torch.zeros_like(optimality) if state.bound is None else state.bound
        down = _looked_down(problem, at.x, plain & (optimality <= bound))
        stall = memory.stall.after(at.energy, optimality, self.patience)
        halt, ended = memory.halt, (state.active & ~moved) | stall.stalled
        if bool(ended.any()):
            halt = torch.where(ended & (down.curvature == 0), int(Halt.PRECISION), halt.int()).to(torch.int8)
        after = TrustRegionMemory(at.gradient, damping, down, stall, halt)
        return at.x, State(at.energy, _height(optimality, down), state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: TrustRegionMemory = state.memory
        return memory.halt


def _height(optimality: Tensor, down: Descent) -> Tensor:
    """How far rows are from a point that is stationary and curves nowhere down, [R]."""
    return torch.maximum(optimality, -down.curvature)


def _looked_down(problem: Problem, x: Tensor, rows: Tensor) -> Descent:
    """The ways down from the marked rows [R] of x [R, N], by inverse iteration.

    Curvatures within the square root of the rounding of the matrix count as 0: an energy that does not change
    along a direction, as under a rotation, has no way down.
    """
    direction, curvature = torch.zeros_like(x), torch.zeros_like(x[:, 0]) if x.shape[1] else x.sum(1)
    index = rows.nonzero()[:, 0]
    if index.shape[0] == 0 or x.shape[1] == 0:
        return Descent(direction, curvature)
    part = problem.select(index)
    matrix = part.hessian(x.index_select(0, index)).double()
    floor = math.sqrt(torch.finfo(x.dtype).eps) * matrix.norm()
    if bool(matrix.shifted(floor).factor().positive.all()):
        return Descent(direction, curvature)
    factors = modified(matrix).factors
    vector = random_vectors(1, matrix).expand(index.shape[0], -1)
    for _ in range(INVERSIONS):
        vector = part.space.sought(factors.solve(vector))
        vector = vector / row_norm(vector)[:, None]
    bend = row_dot(vector, matrix.times(vector))
    falls = bend < -floor
    bend, vector = torch.where(falls, bend, 0.0), torch.where(falls[:, None], vector, 0.0)
    return Descent(
        direction.index_copy(0, index, vector.to(x.dtype)), curvature.index_copy(0, index, bend.to(x.dtype))
    )


def _leave(problem: Problem, at: Point, down: Descent, rows: Tensor) -> tuple[Point, Tensor]:
    """Steps of the marked rows [R] along their ways down, and the rows that have found a lower point.

    The sign is the one along which the gradient does not rise; the length, at first 1, is quartered until the
    energy falls by a share of what the curvature promises.
    """
    uphill = row_dot(at.gradient, down.direction) > 0
    direction = torch.where(uphill[:, None], -down.direction, down.direction)
    length, searching, found = torch.ones_like(at.energy), rows, torch.zeros_like(rows)
    for _ in range(BACKTRACKS):
        point = where_rows(searching, at.x + length[:, None] * direction, at.x)
        energy, gradient = evaluate_rows(problem, point, searching, full_energy_and_gradient)
        lower = energy <= at.energy + 0.1 * length**2 * down.curvature
        good = searching & lower & (torch.isfinite(row_norm(gradient)) | (energy == -torch.inf))
        at = Point(
            where_rows(good, point, at.x),
            torch.where(good, energy, at.energy),
            where_rows(good, gradient, at.gradient),
        )
        found, searching = found | good, searching & ~good
        if not bool(searching.any()):
            break
        length = torch.where(searching, length / 4, length)
    return at, found
