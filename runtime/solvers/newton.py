"""Newton's method on the pattern of the Hessian, every row with its own matrix.

Without bounds by damped steps (see `damped`). With bounds by the two-metric projection of Bertsekas 1982
(SIAM J. Control 20, 221-246): Newton's system among the entries that no bound holds, steps bent at the
bounds. A matrix that is not positive definite is shifted until it is, so that every direction goes downhill.
For a convex quadratic with bounds the free entries settle after a few steps, and the next step is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.linear import Matrix, solve_among
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.damped import Damping, Point, damped_step
from ebmlang.runtime.solvers.lbfgs import first_step
from ebmlang.runtime.solvers.projected_lbfgs import NEAR, bent_search
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    running,
)

FIRST = 1e-2
"""The first damping relative to the mean curvature."""


class KeptMatrix:
    """A matrix in a solver's memory that has no rows: all rows use the same one."""

    __slots__ = ("matrix",)

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix


@dataclass(frozen=True, slots=True, eq=False)
class NewtonMemory:
    """`shift` float64 [R] is what the last matrix needed to be positive definite; `plain` [R] marks rows
    that go along the gradient; `matrix` keeps a Hessian that all rows share."""

    gradient: Tensor
    shift: Tensor
    plain: Tensor
    stall: Stall
    halt: Tensor
    matrix: KeptMatrix | None


def _begin(problem: Problem, x: Tensor) -> State:
    energy, gradient = problem.energy_and_gradient(x)
    shift = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
    none = torch.zeros_like(energy, dtype=torch.bool)
    memory = NewtonMemory(gradient, shift, none, no_stall(energy), running(energy), None)
    return State(energy, problem.space.optimality(x, gradient), all_active(energy), memory)


@dataclass(frozen=True, slots=True, eq=False)
class DampedMemory:
    """`halt` [R]: rows that no damping moves any further."""

    gradient: Tensor
    damping: Damping | None
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class Newton(AbstractSolver):
    """For unknowns without bounds. A row ends after a window of `patience` steps without progress."""

    patience: int = 50

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.HESSIAN})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        memory = DampedMemory(gradient, None, no_stall(energy), running(energy))
        return State(energy, row_norm(gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: DampedMemory = state.memory
        matrix = problem.hessian(x)
        damping = memory.damping or first_damping(matrix, x.shape[0], FIRST)
        at = Point(x, state.energy, memory.gradient)
        at, damping, moved = damped_step(problem, at, matrix, damping, state.active)
        optimality = row_norm(at.gradient)
        stall = memory.stall.after(at.energy, optimality, self.patience)
        halt, ended = memory.halt, (state.active & ~moved) | stall.stalled
        if bool(ended.any()):
            halt = torch.where(ended, int(Halt.PRECISION), halt.int()).to(torch.int8)
        after = DampedMemory(at.gradient, damping, stall, halt)
        return at.x, State(at.energy, optimality, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: DampedMemory = state.memory
        return memory.halt


def first_damping(matrix: Matrix, rows: int, share: float) -> Damping:
    """A share of the mean curvature of each row, the same along all coordinates."""
    main = matrix.diagonal().double()
    mean = main.abs().mean(1, keepdim=True) if main.shape[1] else main.new_ones(main.shape[0], 1)
    usable = torch.isfinite(mean) & (mean > 0)
    scale = torch.where(usable, mean, 1.0).expand(rows, 1)
    mu = torch.full_like(scale[:, 0], share)
    return Damping(mu, torch.full_like(mu, 4.0), scale)


@dataclass(frozen=True, slots=True)
class ProjectedNewton(AbstractSolver):
    """For unknowns with bounds on single entries. A row ends after `patience` steps without progress."""

    patience: int = 50

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.HESSIAN})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        return _begin(problem, x)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: NewtonMemory = state.memory
        space, gradient, active = problem.space, memory.gradient, state.active
        kept = memory.matrix
        if kept is None and problem.shares_hessian:
            kept = KeptMatrix(problem.shared_hessian(x))
        matrix = problem.hessian(x) if kept is None else kept.matrix
        lo, hi = space.bounds()
        near = torch.clamp(state.optimality, max=NEAR)[:, None]
        bound = ((x <= lo + near) & (gradient > 0)) | ((x >= hi - near) & (gradient < 0)) | (lo == hi)
        inner = torch.where(bound, 0.0, gradient)
        found = solve_among(matrix, ~bound, inner, memory.shift / 3 if bool(memory.shift.any()) else None)
        newton = found.solution
        slope = -row_dot(newton, inner)
        uphill = ~(torch.isfinite(slope) & (slope < 0)) & bool(inner.any())
        plain = memory.plain | uphill
        newton = torch.where(torch.isfinite(newton), newton, 0.0)
        direction = -torch.where(bound | plain[:, None], gradient, newton)
        first = torch.where(plain, first_step(x, row_norm(gradient)), 1.0)
        moved = bent_search(problem, x, state.energy, gradient, direction, bound, first, active)
        stuck = active & ~moved.found
        optimality = space.optimality(moved.x, moved.gradient)
        stall = memory.stall.after(moved.energy, optimality, self.patience)
        ended = (stuck & plain) | stall.stalled
        halt = torch.where(ended, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)
        after = NewtonMemory(moved.gradient, found.shift, stuck, stall, halt, kept)
        return moved.x, State(moved.energy, optimality, active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: NewtonMemory = state.memory
        return memory.halt
