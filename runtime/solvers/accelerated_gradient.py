"""Accelerated gradient for smooth convex energies of many unknowns; the steepness is found on the way.

Nesterov 1983 with the restart of O'Donoghue and Candes 2015. One evaluation a step, at the extrapolated
point, which is the iterate that the driver sees. The step length is 1 / L; L grows wherever two gradients
differ by more than L times the distance of their points, so that no bound has to be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.lbfgs import first_step
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    where_rows,
)

FEWEST = 500
"""Unknowns from which on it is taken by itself (see `compiler.methods`). Measured on pictures, random graphs
and grids with few data: below, factors fill little, and Newton's steps win by up to 4 where the problem is
badly conditioned; above, they lose by up to 28 where it is not, and in every case from 10,000 on."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceleratedMemory:
    """The gradient at the iterate and the last point that a gradient step reached, [R, N]; the steepness and
    the number that the momentum follows from, [R]."""

    gradient: Tensor
    reached: Tensor
    steepness: Tensor
    theta: Tensor
    stall: Stall


@dataclass(frozen=True, slots=True)
class AcceleratedGradient(AbstractSolver):
    """For energies without bounds. A row ends after a window of `patience` steps without progress."""

    patience: int = 250

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.OPEN})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        length = row_norm(gradient)
        # A trial step finds the first steepness.
        trial = x - first_step(x, length)[:, None] * gradient
        _, slope = problem.energy_and_gradient(trial)
        steepness = _steepness(slope - gradient, trial - x).clamp(min=torch.finfo(x.dtype).tiny)
        memory = AcceleratedMemory(gradient, x, steepness, torch.ones_like(energy), no_stall(energy))
        return State(energy, length, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: AcceleratedMemory = state.memory
        reached = torch.addcmul(x, memory.gradient, (-1 / memory.steepness)[:, None])
        ahead = reached - memory.reached
        # Uphill momentum is thrown away.
        uphill = row_dot(memory.gradient, ahead) > 0
        theta = torch.where(uphill, 1.0, memory.theta)
        after = (1 + (1 + 4 * theta.square()).sqrt()) / 2
        momentum = torch.where(uphill, 0.0, (theta - 1) / after)
        moved = torch.addcmul(reached, ahead, momentum[:, None])
        moved = moved if bool(state.active.all()) else where_rows(state.active, moved, x)
        energy, gradient = problem.energy_and_gradient(moved)
        length = row_norm(gradient)
        steepness = torch.maximum(memory.steepness, _steepness(gradient - memory.gradient, moved - x))
        bad = ~(torch.isfinite(energy) & torch.isfinite(length))
        if bool(bad.any()):
            # Too far, outside of what is defined: back, and a shorter step without momentum.
            moved, gradient = where_rows(bad, x, moved), where_rows(bad, memory.gradient, gradient)
            reached = where_rows(bad, x, reached)
            energy = torch.where(bad, state.energy, energy)
            length = torch.where(bad, state.optimality, length)
            steepness = torch.where(bad, 4 * memory.steepness, steepness)
            after = torch.where(bad, 1.0, after)
        kept = AcceleratedMemory(
            gradient, reached, steepness, after, memory.stall.after(energy, length, self.patience)
        )
        return moved, State(energy, length, state.active, kept)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: AcceleratedMemory = state.memory
        return torch.where(memory.stall.stalled, int(Halt.PRECISION), int(Halt.RUNNING)).to(torch.int8)


def _steepness(change: Tensor, shift: Tensor) -> Tensor:
    found = row_norm(change) / row_norm(shift)
    return torch.where(torch.isfinite(found), found, 0.0)
