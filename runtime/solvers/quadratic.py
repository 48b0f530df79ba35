"""The minimum of a quadratic energy: one factorisation, one solution, and its refinement.

The Hessian is measured in its pattern, once for all rows that share it, and factored in float64. The
residual of a solution is the gradient there, so that refinement (Wilkinson 1963; Higham, Accuracy and
Stability, chapter 12) also corrects what rounding has done to the matrix. A singular matrix has a minimum
where the gradient is in its range, and then many; otherwise the energy falls without end, as it does where
the matrix has a negative eigenvalue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_norm
from ebmlang.runtime.linear import Matrix, solve_consistent
from ebmlang.runtime.linear.semidefinite import balanced, least_eigenvalue
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, where_rows

REFINEMENTS = 3
"""Corrections of a solution at most; each needs one gradient."""


@dataclass(frozen=True, slots=True, eq=False)
class QuadraticMemory:
    """The gradient [R, N], and the verdict on each row [R], int8; RUNNING before the step."""

    gradient: Tensor
    verdict: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Steps to the minima [R, N], how each row ended [R], and what turns a gradient left there into a
    correction; None where nothing is to be corrected."""

    step: Tensor
    verdict: Tensor
    correct: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True, slots=True)
class Quadratic(AbstractSolver):
    """For energies that are polynomials of degree 2 in unknowns without bounds."""

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.HESSIAN})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        memory = QuadraticMemory(gradient, torch.zeros_like(energy, dtype=torch.int8))
        # One more than the slope: a stationary start may be a saddle, which only the matrix tells.
        return State(energy, 1 + row_norm(gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: QuadraticMemory = state.memory
        found = minimise(problem.hessian(x), memory.gradient)
        bounded = state.active & (found.verdict != int(Halt.UNBOUNDED))
        x = where_rows(bounded, x + found.step, x)
        energy, gradient = problem.energy_and_gradient(x)
        slope = row_norm(gradient)
        for _ in range(REFINEMENTS if found.correct is not None else 0):
            assert found.correct is not None
            closer = where_rows(bounded, x + found.correct(gradient), x)
            new_energy, new_gradient = problem.energy_and_gradient(closer)
            better = row_norm(new_gradient) < slope
            if not bool(better.any()):
                break
            enough = bool((row_norm(new_gradient) > 0.5 * slope)[better].all())
            x = where_rows(better, closer, x)
            gradient = where_rows(better, new_gradient, gradient)
            energy = torch.where(better, new_energy, energy)
            slope = row_norm(gradient)
            if enough:
                break
        optimality = torch.where(found.verdict == int(Halt.UNBOUNDED), 1 + slope, slope)
        return x, State(energy, optimality, state.active, QuadraticMemory(gradient, found.verdict))

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: QuadraticMemory = state.memory
        return memory.verdict


def minimise(matrix: Matrix, gradient: Tensor) -> Solution:
    """What leads to the minima of quadratics with these Hessians and gradients [R, N]."""
    rows = gradient.shape[0]
    unit = balanced(matrix)
    scale = unit.scale
    factors = unit.matrix.factor()
    regular = factors.positive
    if factors.exact:
        regular = regular & (least_eigenvalue(unit.matrix, factors) > unit.zero)

    def correct(slope: Tensor) -> Tensor:
        step = factors.solve(-scale * slope.double()) * scale
        return torch.nan_to_num(step, nan=0.0).to(slope.dtype)

    verdict = torch.full((rows,), int(Halt.PRECISION), dtype=torch.int8, device=gradient.device)
    if bool(regular.all()):
        return Solution(correct(gradient), verdict, correct)
    finite = torch.isfinite(matrix.norm()).expand(rows)
    odd = (~regular).expand(rows).nonzero()[:, 0]
    part = matrix if matrix.rows == 1 else matrix.select(odd)
    right = -gradient.index_select(0, odd)
    found = solve_consistent(part, right)
    ends = torch.where(found.in_range, int(Halt.MANY), int(Halt.UNBOUNDED))
    # An elimination that is not exact may see a regular matrix where this does.
    ends = torch.where(found.in_range & found.regular.expand_as(ends), int(Halt.PRECISION), ends)
    verdict.index_copy_(0, odd, ends.to(torch.int8))
    verdict = torch.where(finite, verdict, int(Halt.PRECISION)).to(torch.int8)
    step = correct(gradient) if bool(regular.any()) else torch.zeros_like(gradient)
    step.index_copy_(0, odd, torch.nan_to_num(found.x, nan=0.0))
    return Solution(step, verdict, None if matrix.rows == 1 else _of_some(correct, regular))


def _of_some(correct: Callable[[Tensor], Tensor], rows: Tensor) -> Callable[[Tensor], Tensor]:
    """The correction in the marked rows [R] alone."""
    return lambda slope: where_rows(rows, correct(slope), torch.zeros_like(slope))
