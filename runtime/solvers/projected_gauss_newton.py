"""Gauss-Newton with bounds on single entries: damped steps among the entries that no bound holds.

The two-metric projection of Bertsekas 1982 (see `newton`) with the matrix of `gauss_newton`, damped as by
Levenberg and Marquardt relative to its diagonal; projected steps of this kind are those of Kanzow, Yamashita
and Fukushima 2004 (J. Comput. Appl. Math. 172, 375-397). The damping follows the share of the promised fall
that the step along the bent ray kept. Where the gradient falls slowly, the whole Hessian takes over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot
from ebmlang.runtime.linear import masked, modified
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.damped import LEAST, MOST, Damping
from ebmlang.runtime.solvers.gauss_newton import PATIENT, SLOW, first_memory, scaled_to, weighted_matrix
from ebmlang.runtime.solvers.gauss_newton import GaussNewtonMemory as Memory
from ebmlang.runtime.solvers.projected_lbfgs import NEAR, bent_search
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, noise


@dataclass(frozen=True, slots=True)
class ProjectedGaussNewton(AbstractSolver):
    """For unknowns with bounds on single entries. A row ends after `patience` steps without progress."""

    patience: int = 100

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.HESSIAN, View.GAUSS_NEWTON})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        memory = first_memory(x, energy, gradient)
        return State(energy, problem.space.optimality(x, gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: Memory = state.memory
        space, gradient, active = problem.space, memory.gradient, state.active
        full = memory.slow >= PATIENT
        matrix = weighted_matrix(problem, x, full)
        damping = scaled_to(memory.damping, matrix)
        lo, hi = space.bounds()
        near = torch.clamp(state.optimality, max=NEAR)[:, None]
        bound = ((x <= lo + near) & (gradient > 0)) | ((x >= hi - near) & (gradient < 0)) | (lo == hi)
        inner = torch.where(bound, 0.0, gradient)
        added = damping.mu[:, None] * damping.scale
        factors = modified(masked(matrix.shifted(added.to(matrix.dtype)), ~bound)).factors
        step = factors.solve(inner)
        downhill = row_dot(step, inner)
        step = torch.where(torch.isfinite(step) & (downhill > 0)[:, None], step, inner)
        direction = -torch.where(bound, gradient, step)
        moved = bent_search(
            problem, x, state.energy, gradient, direction, bound, torch.ones_like(state.energy), active
        )
        promised = 0.5 * (downhill.double() + row_dot(added * step, step.double()))
        fall = state.energy - moved.energy
        gain = torch.where(fall.abs() <= noise(state.energy), 1.0, fall.double() / promised)
        optimality = space.optimality(moved.x, moved.gradient)
        stall = memory.stall.after(moved.energy, optimality, self.patience)
        stuck = active & ~moved.found
        slow = torch.where(optimality > SLOW * state.optimality, memory.slow + 1, 0)
        slow = torch.where(full | stuck, PATIENT, slow)
        ended = (stuck & full) | stall.stalled
        halt = torch.where(ended, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)
        after = Memory(moved.gradient, _adapted(damping, gain, moved.found), slow, stall, halt)
        return moved.x, State(moved.energy, optimality, active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: Memory = state.memory
        return memory.halt


def _adapted(damping: Damping, gain: Tensor, found: Tensor) -> Damping:
    """Less damping after a step that kept what it promised, more after one that the search had to shorten."""
    factor = torch.where(gain > 0.75, 0.1, torch.where(gain > 0.25, 0.5, 4.0))
    factor = torch.where(found, factor, 10.0)
    return Damping((damping.mu * factor).clamp(LEAST, MOST), damping.growth, damping.scale)
