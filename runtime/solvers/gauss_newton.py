"""Levenberg-Marquardt: damped Gauss-Newton steps for sums of losses of residuals.

The damping is relative to the largest diagonal entries met so far, so that steps do not depend on the units
of coordinates (More 1978). Where residuals stay large at the minimum the squared Jacobian is a poor Hessian
and the search becomes linear; a row whose gradient falls slowly goes on with the whole Hessian, damped until
it is positive definite (Dennis, Gay and Welsch 1981 switch for the same reason).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_norm
from ebmlang.runtime.hessian import portion_rows
from ebmlang.runtime.linear import Matrix, measure
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.damped import Damping, Point, damped_step
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    running,
)

FIRST = 1e-3
"""The first damping relative to the diagonal."""
SLOW = 0.3
"""A step that leaves more than this share of the gradient is slow."""
PATIENT = 4
"""Slow steps in a row after which the whole Hessian is used."""


@dataclass(frozen=True, slots=True, eq=False)
class GaussNewtonMemory:
    """`slow` int64 [R] counts slow steps in a row; from `PATIENT` on a row uses the whole Hessian."""

    gradient: Tensor
    damping: Damping
    slow: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class GaussNewton(AbstractSolver):
    """For unknowns without bounds. A row ends after a window of `patience` steps without progress."""

    patience: int = 100

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.HESSIAN, View.GAUSS_NEWTON})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.OPEN})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        memory = first_memory(x, energy, gradient)
        return State(energy, row_norm(gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: GaussNewtonMemory = state.memory
        full = memory.slow >= PATIENT
        matrix = weighted_matrix(problem, x, full)
        damping = scaled_to(memory.damping, matrix)
        at = Point(x, state.energy, memory.gradient)
        at, damping, moved = damped_step(problem, at, matrix, damping, state.active)
        optimality = row_norm(at.gradient)
        stall = memory.stall.after(at.energy, optimality, self.patience)
        stuck = state.active & ~moved
        slow = torch.where(optimality > SLOW * state.optimality, memory.slow + 1, 0)
        # One way only: going back and forth between two matrices would start over each time.
        slow = torch.where(full | stuck, PATIENT, slow)
        halt, ended = memory.halt, (stuck & full) | stall.stalled
        if bool(ended.any()):
            halt = torch.where(ended, int(Halt.PRECISION), halt.int()).to(torch.int8)
        after = GaussNewtonMemory(at.gradient, damping, slow, stall, halt)
        return at.x, State(at.energy, optimality, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: GaussNewtonMemory = state.memory
        return memory.halt


def first_memory(x: Tensor, energy: Tensor, gradient: Tensor) -> GaussNewtonMemory:
    """At the start x [R, N]."""
    mu = torch.full(energy.shape, FIRST, dtype=torch.float64, device=x.device)
    damping = Damping(mu, torch.full_like(mu, 4.0), torch.zeros_like(x, dtype=torch.float64))
    slow = torch.zeros_like(energy, dtype=torch.int64)
    return GaussNewtonMemory(gradient, damping, slow, no_stall(energy), running(energy))


def weighted_matrix(problem: Problem, x: Tensor, full: Tensor) -> Matrix:
    """The whole Hessian in the marked rows [R], without the curvature of residuals in the others."""
    if bool(full.all()):
        return problem.hessian(x)
    some = bool(full.any())

    def times(directions: Tensor) -> Tensor:
        squares = problem.normal_times(x, directions[None])
        if not some:
            return squares
        return torch.where(full[:, None, None], problem.hessian_times(x, directions[None]), squares)

    return measure(problem.pattern, times, portion_rows(problem, x.shape[0]), dtype=x.dtype, device=x.device)


def scaled_to(damping: Damping, matrix: Matrix) -> Damping:
    """The damping with the diagonal grown to that of the matrix; 1 where it is still 0."""
    main = matrix.diagonal().double().abs()
    scale = torch.maximum(torch.where(torch.isfinite(main), main, 0.0), damping.scale)
    return Damping(damping.mu, damping.growth, torch.where(scale > 0, scale, 1.0))
