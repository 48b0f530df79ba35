"""A minimum in closed form, such as the softmax that is least among linear energies minus an entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, where_rows


@dataclass(frozen=True, slots=True)
class ClosedForm(AbstractSolver):
    """One evaluation. The formula is a minimum by proof: no gradient is computed to check it.

    A row whose formula is not finite does not move, and keeps the status of a search that ended.
    """

    needs: ClassVar[frozenset[View]] = frozenset({View.CLOSED_FORM})
    handles: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def init(self, problem: Problem, x: Tensor) -> State:
        energy = problem.energy(x)
        # The start is not claimed to be the minimum, whatever it is.
        return State(energy, torch.ones_like(energy), all_active(energy), torch.zeros_like(energy))

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        found = problem.closed_form()
        good = torch.isfinite(found).all(1)
        x = where_rows(state.active & good, found, x)
        energy = problem.energy(x)
        # It is the minimum: what lies above the start is rounding.
        energy = torch.where(energy > state.energy, state.energy, energy)
        optimality = torch.where(good, 0.0, state.optimality)
        return x, State(energy, optimality, state.active, torch.ones_like(energy))

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        ended = torch.where(state.memory > 0, int(Halt.PRECISION), int(Halt.RUNNING))
        return ended.to(torch.int8)
