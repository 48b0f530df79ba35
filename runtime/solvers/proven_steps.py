"""Accelerated proximal gradient where the compiler has proven how much the smooth part bends.

A step of length 1 / L, with L the largest eigenvalue of the Hessian of the proven majorant, lowers the energy
without being tested: it needs one gradient and no energy. Steps grow from there as long as two gradients in a
row allow it, and come in rounds. A round that ends higher than it began is taken back, and the next one
begins with the proven length; so nothing that is tried can do harm.

Beck and Teboulle 2009 (FISTA, constant step); steps by differences of gradients, between the bounds of a
proven one: Malitsky and Mishchenko 2020; restart by the gradient test: O'Donoghue and Candes 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot, row_norm
from ebmlang.runtime.problem import Problem, Values
from ebmlang.runtime.solvers.gram import gram_of
from ebmlang.runtime.solvers.gram_fista import momentum
from ebmlang.runtime.solvers.solver import Stall, State, all_active, no_stall, rounding, where_rows

ROUND = 16
"""Steps between two energies."""

LOOK = 4
"""Of so many steps one looks whether all rows have converged."""

MOST_UNKNOWNS = 256
"""Unknowns up to which the matrix of the majorant is written down for fewer rows than unknowns: it costs
about as many gradients as it has columns."""

SHORTER = 0.95
"""Of the longest step that two gradients allow."""


@dataclass(frozen=True, slots=True)
class _Quadratic:
    """A majorant in the place of the smooth part."""

    majorant: Callable[[Values, Values], Tensor]

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        return self.majorant(unknown, held)

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class ProvenMemory:
    """`proven` and `length` are the lengths of steps, [R]: the one that is safe, and the one in use; `origin`
    [R, N] is the extrapolated point, and `age` [R] counts steps since momentum was dropped."""

    proven: Tensor
    length: Tensor
    origin: Tensor
    age: Tensor
    stall: Stall


def proven_length(problem: Problem, x: Tensor) -> Tensor | None:
    """Lengths [R] at most 1 / L; None where no bound is proven, or its matrix would cost too much."""
    rows, size = x.shape
    if problem.majorant is None or size > max(MOST_UNKNOWNS, rows):
        return None
    found = gram_of(replace(problem, split=_Quadratic(problem.majorant)), x)
    return None if found is None else found.length


def proven_start(problem: Problem, proven: Tensor, x: Tensor, proximal: Proximal) -> State:
    """State at x."""
    total, optimality = _rated(problem, x, proven, proximal)
    memory = ProvenMemory(proven, proven, x, torch.zeros_like(total, dtype=torch.int64), no_stall(total))
    return State(total, optimality, all_active(total), memory)


Proximal = Callable[[Problem, Tensor, Tensor, Tensor], Tensor]
"""A problem, points [R, N], lengths [R] and weights [R or 1, N] to the proximal points [R, N]."""


def proven_step(
    problem: Problem, x: Tensor, state: State, growth: float, patience: int, proximal: Proximal
) -> tuple[Tensor, State]:
    """One round in every active row."""
    memory: ProvenMemory = state.memory
    moved = _round(problem, x, state, growth, proximal)
    total, optimality = _rated(problem, moved.x, memory.proven, proximal)
    keep = state.active
    rose = ~(total <= state.energy + rounding(state.energy)) & (moved.longest > memory.proven)
    back = rose | ~keep
    to = where_rows(back, x, moved.x)
    total = torch.where(back, state.energy, total)
    optimality = torch.where(back, state.optimality, optimality)
    stall = memory.stall.after(total, optimality, max(patience // ROUND, 8))
    after = ProvenMemory(
        memory.proven,
        torch.where(back, memory.proven, moved.length),
        where_rows(back, x, moved.origin),
        moved.age.masked_fill(back, 0),
        stall,
    )
    return to, State(total, optimality, keep, after)


@dataclass(frozen=True, slots=True, eq=False)
class _Moved:
    """Where a round ends; `longest` [R] is the longest step of it."""

    x: Tensor
    origin: Tensor
    length: Tensor
    longest: Tensor
    age: Tensor


def _round(problem: Problem, x: Tensor, state: State, growth: float, proximal: Proximal) -> _Moved:
    memory: ProvenMemory = state.memory
    weights, proven = problem.absolute(), memory.proven
    shares = torch.tensor(momentum(), dtype=x.dtype, device=x.device)
    origin, length, age = memory.origin, memory.length, memory.age
    longest, before, slope = length, origin, None
    for number in range(ROUND):
        _, gradient = problem.smooth_and_gradient(origin)
        if slope is not None:
            shift = origin - before
            bend = row_dot(gradient - slope, shift)
            allowed = SHORTER * row_dot(shift, shift) / bend
            length = torch.where(bend > 0, torch.minimum(growth * length, allowed), growth * length)
            length = torch.maximum(length, proven)
            longest = torch.maximum(longest, length)
        before, slope = origin, gradient
        to = proximal(problem, origin - length[:, None] * gradient, length, weights)
        gap, moved = origin - to, to - x
        # Momentum that points uphill is dropped.
        age = torch.where(row_dot(gap, moved) > 0, 0, age + 1)
        origin, x = to + shares[age.clamp(max=len(shares) - 1)][:, None] * moved, to
        if state.bound is not None and number % LOOK == LOOK - 1:
            near = 2 * row_norm(gap) / length <= state.bound
            if bool((near | ~state.active).all()):
                break
    return _Moved(x, origin, length, longest, age)


def _rated(problem: Problem, x: Tensor, length: Tensor, proximal: Proximal) -> tuple[Tensor, Tensor]:
    """The whole energy at x [R, N], and the length of the proximal gradient, [R] each."""
    smooth, gradient = problem.smooth_and_gradient(x)
    weights = problem.absolute()
    near = proximal(problem, x - length[:, None] * gradient, length, weights)
    return smooth + problem.penalty(x, weights), row_norm(x - near) / length
