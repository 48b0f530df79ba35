"""Spectral projected gradient on convex sets and manifolds, a step size and a search for every row.

Birgin, Martinez and Raydan 2000 (SIAM J. Optim. 10); step sizes: Barzilai and Borwein 1988, alternated as in
Frassoldati, Zanni and Zanghirati 2008 (ABBmin); nonmonotone decrease: Grippo, Lampariello and Lucidi 1986. On
manifolds the same loop runs along retractions of tangent steps: Wen and Yin 2013.
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
    evaluate_rows,
    full_energy_and_gradient,
    no_stall,
    noise,
    running,
    where_rows,
)

DECREASE = 1e-4
BACKTRACKS = 40
LENGTHS = (1e-20, 1e20)


@dataclass(frozen=True, slots=True, eq=False)
class SpectralMemory:
    """Tangent gradient [R, N]; step size [R]; recent energies and short step sizes [R, window]."""

    gradient: Tensor
    length: Tensor
    energies: Tensor
    shorts: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """Outcome of a search: the point and its raw gradient [R, N], energy and whether one was found [R]."""

    x: Tensor
    energy: Tensor
    gradient: Tensor
    found: Tensor


@dataclass(frozen=True, slots=True)
class ProjectedGradient(AbstractSolver):
    """For any domain.

    A step may end above the last energy, but not above the highest of the last `window` ones. `ratio` decides
    between the long and the short step size. A row ends after a window of `patience`
    steps without progress.
    """

    window: int = 10
    recent: int = 5
    ratio: float = 0.8
    patience: int = 250

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT})
    handles: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        optimality = problem.space.optimality(x, gradient)
        tangent = problem.space.tangent(x, gradient)
        memory = SpectralMemory(
            gradient=tangent,
            length=first_step(x, row_norm(tangent)),
            energies=energy[:, None].repeat(1, self.window),
            shorts=torch.full_like(energy, torch.inf)[:, None].repeat(1, self.recent),
            stall=no_stall(energy),
            halt=running(energy),
        )
        return State(energy, optimality, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: SpectralMemory = state.memory
        space, active = problem.space, state.active
        ceiling = memory.energies.amax(1)
        moved = _arc_search(problem, x, state.energy, ceiling, memory.gradient, memory.length, active)
        tangent = space.tangent(moved.x, moved.gradient)
        shift, change = moved.x - x, tangent - memory.gradient
        length, shorts = self._next_length(memory, shift, change)
        stuck = active & ~moved.found
        optimality = space.optimality(moved.x, moved.gradient)
        keep = active & moved.found
        after = SpectralMemory(
            gradient=where_rows(keep, tangent, memory.gradient),
            length=length,
            energies=torch.cat((memory.energies[:, 1:], moved.energy[:, None]), 1),
            shorts=shorts,
            stall=memory.stall.after(moved.energy, optimality, self.patience),
            halt=torch.where(stuck, int(Halt.PRECISION), memory.halt.int()).to(torch.int8),
        )
        return moved.x, State(moved.energy, torch.where(keep, optimality, state.optimality), active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: SpectralMemory = state.memory
        stalled = memory.stall.stalled
        return torch.where(stalled, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)

    def _next_length(self, memory: SpectralMemory, shift: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        square, product, bend = row_dot(shift, shift), row_dot(shift, change), row_dot(change, change)
        long, short = square / product, product / bend
        convex = (product > 0) & torch.isfinite(long) & torch.isfinite(short)
        shorts = torch.cat((memory.shorts[:, 1:], torch.where(convex, short, torch.inf)[:, None]), 1)
        chosen = torch.where(short < self.ratio * long, shorts.amin(1), long)
        # Where the energy bends down along the step there is no curvature to invert: go further.
        chosen = torch.where(convex, chosen, 5 * memory.length)
        return torch.clamp(chosen, *LENGTHS), shorts


def _arc_search(
    problem: Problem,
    x: Tensor,
    energy: Tensor,
    ceiling: Tensor,
    gradient: Tensor,
    length: Tensor,
    active: Tensor,
) -> Moved:
    """Shorten the step along the arc of projections (or retractions) until the energy is low enough."""
    slack = noise(energy)
    best = Moved(x, energy, torch.zeros_like(gradient), torch.zeros_like(active))
    searching = active
    for _ in range(BACKTRACKS):
        point = where_rows(searching, problem.space.retract(x, -length[:, None] * gradient), x)
        trial, slopes = evaluate_rows(problem, point, searching, full_energy_and_gradient)
        shift = point - x
        square = row_dot(shift, shift)
        before, after = row_dot(gradient, shift), row_dot(slopes, shift)
        usable = torch.isfinite(trial) & torch.isfinite(after) & (square > 0)
        enough = trial <= ceiling - DECREASE * square / length
        # Below the rounding of the energy slopes decide (Hager and Zhang 2005, eq. 4.1).
        by_slope = ((trial - energy).abs() <= slack) & (before < 0) & (after <= (2 * DECREASE - 1) * before)
        good = searching & ((usable & (enough | by_slope)) | (trial == -torch.inf))
        best = Moved(
            where_rows(good, point, best.x),
            torch.where(good, trial, best.energy),
            where_rows(good, slopes, best.gradient),
            best.found | good,
        )
        searching = searching & ~good & (square > 0)
        if not bool(searching.any()):
            break
        length = torch.where(searching, length * shortening(energy, trial, before), length)
    return best


def shortening(energy: Tensor, trial: Tensor, slope: Tensor) -> Tensor:
    """Factor [R] in [0.1, 0.5] by the minimum of the parabola through energy, slope and the trial energy."""
    factor = -0.5 * slope / (trial - energy - slope)
    return torch.where(torch.isfinite(factor), torch.clamp(factor, 0.1, 0.5), 0.2)
