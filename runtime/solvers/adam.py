"""Adam for every row by itself, with a step size that falls until the row settles.

Kingma and Ba 2015, algorithm 1. The fallback for energies with kinks or noise, where methods that trust the
gradient to change smoothly get stuck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    State,
    all_active,
    evaluate_rows,
    full_energy_and_gradient,
    rounding,
    running,
    where_rows,
)


@dataclass(frozen=True, slots=True, eq=False)
class AdamMemory:
    """Gradient, its running means and the best point so far [R, N]; counters, step size and verdict [R]."""

    gradient: Tensor
    mean: Tensor
    square: Tensor
    count: Tensor
    rate: Tensor
    best: Tensor
    best_gradient: Tensor
    best_energy: Tensor
    stale: Tensor
    halt: Tensor


@dataclass(frozen=True, slots=True)
class Adam(AbstractSolver):
    """For any domain.

    `lr` is the first step size. When the best energy of a row has not fallen for `patience` steps, the row
    goes back to its best point with half the step size; below `lr * smallest` it has settled.
    """

    lr: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    patience: int = 30
    smallest: float = 1e-6

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT})
    handles: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        zero = torch.zeros_like(x)
        count = torch.zeros_like(energy, dtype=torch.int64)
        rate = torch.full_like(energy, self.lr)
        memory = AdamMemory(gradient, zero, zero, count, rate, x, gradient, energy, count, running(energy))
        return State(energy, problem.space.optimality(x, gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: AdamMemory = state.memory
        space, active = problem.space, state.active
        count = memory.count + 1
        mean = self.beta1 * memory.mean + (1 - self.beta1) * memory.gradient
        square = self.beta2 * memory.square + (1 - self.beta2) * memory.gradient**2
        bias1, bias2 = (1 - beta ** count.to(x.dtype) for beta in (self.beta1, self.beta2))
        step = (memory.rate / bias1)[:, None] * mean / ((square / bias2[:, None]).sqrt() + self.epsilon)
        moved = where_rows(active, space.retract(x, space.tangent(x, -step)), x)
        energy, gradient = evaluate_rows(problem, moved, active, full_energy_and_gradient)
        energy = torch.where(active, energy, state.energy)
        gradient = where_rows(active, gradient, memory.gradient)

        better = active & (energy < memory.best_energy)
        fallen = active & (energy < memory.best_energy - rounding(memory.best_energy))
        best_energy = torch.where(better, energy, memory.best_energy)
        best = where_rows(better, moved, memory.best)
        best_gradient = where_rows(better, gradient, memory.best_gradient)
        stale = torch.where(fallen, 0, memory.stale + 1)
        # +inf is a forbidden place, not a fault: the row goes back as if it had stopped falling.
        back = active & ((stale >= self.patience) | (energy == torch.inf))
        rate = torch.where(back, memory.rate / 2, memory.rate)
        settled = active & (rate < self.lr * self.smallest)
        moved = where_rows(back, best, moved)
        gradient = where_rows(back, best_gradient, gradient)
        after = AdamMemory(
            gradient=gradient,
            mean=where_rows(back, torch.zeros_like(mean), mean),
            square=where_rows(back, torch.zeros_like(square), square),
            count=torch.where(back, 0, count),
            rate=rate,
            best=best,
            best_gradient=best_gradient,
            best_energy=best_energy,
            stale=torch.where(back, 0, stale),
            halt=torch.where(settled, int(Halt.SETTLED), memory.halt.int()).to(torch.int8),
        )
        energy = torch.where(back, best_energy, energy)
        return moved, State(energy, space.optimality(moved, gradient), active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: AdamMemory = state.memory
        return memory.halt
