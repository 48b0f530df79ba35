"""Path-integral control: the mean of random courses, each with the weight that its cost leaves it.

Kappen 2005; Williams, Aldrich & Theodorou 2017. The weight of a course is exp(-(E - lowest) / temperature),
with energies counted in units of how far courses lie above the lowest one on average, so that a temperature
means the same for every model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.sampled import compared, noise, ranges
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, running, where_rows

SHRINK = 0.7
"""How much narrower courses are drawn after a step that has found nothing better."""

NARROW = 1e-5
"""Width beside the first one at which a row has settled."""


@dataclass(frozen=True, slots=True, eq=False)
class MppiMemory:
    """`width` [R] is the share of half the range that the noise has; `number` counts steps."""

    width: Tensor
    halt: Tensor
    number: int


@dataclass(frozen=True, slots=True)
class Mppi(AbstractSolver):
    """For one array of actions, free or with bounds on single entries; energies may jump."""

    samples: int = 128
    temperature: float = 0.1
    width: float = 0.5
    color: float = 1.0
    seed: int = 0

    needs: ClassVar[frozenset[View]] = frozenset({View.ROLLOUT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy = problem.energy(x)
        width = torch.full_like(energy, self.width)
        return State(energy, 1 + width, all_active(energy), MppiMemory(width, running(energy), 0))

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: MppiMemory = state.memory
        drawn = noise(problem, self.samples, self.color, self.seed, memory.number)[:, None]
        drawn = x + memory.width[:, None] * ranges(problem, x) * drawn
        points = torch.stack([problem.space.project(course) for course in drawn])
        mean = weighted(points, compared(problem, points), self.temperature)
        energy = compared(problem, mean[None])[0]
        better = state.active & (energy < state.energy)
        width = torch.where(state.active & ~better, SHRINK * memory.width, memory.width)
        settled = state.active & (width <= NARROW * self.width)
        halt = torch.where(settled, int(Halt.SETTLED), memory.halt.int()).to(torch.int8)
        after = MppiMemory(width, halt, memory.number + 1)
        energy = torch.where(better, energy, state.energy)
        return where_rows(better, mean, x), State(energy, 1 + width, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: MppiMemory = state.memory
        return memory.halt


def weighted(points: Tensor, energies: Tensor, temperature: float) -> Tensor:
    """The mean of courses [S, R, N] with energies [S, R], [R, N]: the lowest course at a temperature of 0."""
    finite = torch.isfinite(energies)
    lowest = energies.amin(0)
    above = torch.where(finite, energies - lowest, 0.0)
    unit = (above.sum(0) / finite.sum(0).clamp(min=1)).clamp(min=torch.finfo(energies.dtype).tiny)
    scaled = torch.where(finite, above / (temperature * unit), torch.inf)
    return torch.einsum("sr,srn->rn", torch.softmax(-scaled, 0).nan_to_num(nan=0.0), points)
