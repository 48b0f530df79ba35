"""The cross-entropy method: the best of many random courses say where the next ones are drawn.

Rubinstein 1999; with noise that lasts and a best course that is kept, as Pinneri et al. 2020 plan with it,
and spreads around the mean before (Hansen & Ostermeier 2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_norm
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.sampled import compared, noise, ranges
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    State,
    all_active,
    rounding,
    running,
    where_rows,
)

KEPT = 0.1
"""The part of mean and spread that is kept from one step to the next."""

NARROW = 1e-5
"""Spread beside the first one at which a row has settled."""


@dataclass(frozen=True, slots=True, eq=False)
class CemMemory:
    """Where courses are drawn: `mean` and `spread` [R, N]; `first` [R] is the norm of the first spread,
    `stale` [R] counts steps without a better course, `number` counts steps."""

    mean: Tensor
    spread: Tensor
    first: Tensor
    stale: Tensor
    halt: Tensor
    number: int


@dataclass(frozen=True, slots=True)
class Cem(AbstractSolver):
    """For one array of actions, free or with bounds on single entries; energies may jump.

    A row settles when courses are drawn from nearly one point, or `patience` steps have found none that is
    better.
    """

    samples: int = 64
    elites: int = 8
    color: float = 1.0
    patience: int = 20
    seed: int = 0

    needs: ClassVar[frozenset[View]] = frozenset({View.ROLLOUT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, spread = problem.energy(x), ranges(problem, x)
        stale = torch.zeros_like(energy, dtype=torch.int64)
        memory = CemMemory(x, spread, row_norm(spread), stale, running(energy), 0)
        return State(energy, 1 + memory.first, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: CemMemory = state.memory
        drawn = noise(problem, self.samples, self.color, self.seed, memory.number)[:, None]
        drawn = memory.mean + memory.spread * drawn
        points = torch.stack([x, *(problem.space.project(course) for course in drawn)])
        energies = compared(problem, points)
        energies = torch.cat((state.energy[None], energies[1:]))
        count = min(self.elites, self.samples)
        best = energies.topk(count, 0, largest=False).indices
        chosen = points.gather(0, best[..., None].expand(-1, -1, x.shape[1]))
        mean = KEPT * memory.mean + (1 - KEPT) * chosen.mean(0)
        # Around the mean before: a spread that counted only how elites differ would narrow on the way.
        around = (chosen - memory.mean).square().mean(0).sqrt()
        spread = KEPT * memory.spread + (1 - KEPT) * around
        energy = torch.where(state.active, energies.amin(0), state.energy)
        better = energy < state.energy - rounding(state.energy)
        stale = torch.where(better, 0, memory.stale + 1)
        width = row_norm(spread)
        settled = (width <= NARROW * memory.first) | (stale >= self.patience)
        halt = torch.where(state.active & settled, int(Halt.SETTLED), memory.halt.int()).to(torch.int8)
        after = CemMemory(
            where_rows(state.active, mean, memory.mean),
            where_rows(state.active, spread, memory.spread),
            memory.first,
            stale,
            halt,
            memory.number + 1,
        )
        # No slope is known: what stands for it tells how far courses spread, and is never taken for 0.
        return where_rows(state.active, chosen[0], x), State(energy, 1 + width, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: CemMemory = state.memory
        return memory.halt
