"""Accelerated gradient for smooth convex energies of many unknowns; the steepness is found on the way.

Nesterov 1983 with the momentum k / (k + 3) of Su, Boyd and Candes 2016 and the restart of O'Donoghue and
Candes 2015. The step length is 1 / L; L grows wherever two gradients differ by more than L times the distance
of their points, so that no bound has to be known.

Neither the momentum nor its restart asks for an energy. So a step of the driver is a round of up to `ROUND`
gradients, at the extrapolated points, and one energy at the last of them. A row that meets its tolerance
stays where it is for the rest of the round. Work is done in place on tensors that the round has made; those
that it was given, and gradients, which may be views of held values, are only read.
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

ROUND = 32
"""Gradients between two energies, which cost about as much."""

LOOK = 2
"""Of so many steps one looks at the steepness and at where the momentum leads."""

TURNED = 1e-4
"""Squares of the change of a gradient below this share of its own square are taken for rounding."""

FEWEST = 500
"""Unknowns from which on it is taken by itself (see `compiler.methods`). Measured on pictures, random graphs
and grids with few data: below, factors fill little, and Newton's steps win by up to 4 where the problem is
badly conditioned; above, they lose by up to 28 where it is not, and in every case from 10,000 on."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceleratedMemory:
    """The gradient at the iterate and the last point that a gradient step reached, [R, N]; the steepness, and
    the steps since the momentum was last thrown away, [R]."""

    gradient: Tensor
    reached: Tensor
    steepness: Tensor
    age: Tensor
    stall: Stall


@dataclass(frozen=True, slots=True)
class AcceleratedGradient(AbstractSolver):
    """For energies without bounds. A row ends after a window of `patience` rounds without progress."""

    patience: int = 8

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.OPEN})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        length = row_norm(gradient)
        # A trial step finds the first steepness.
        trial = x - first_step(x, length)[:, None] * gradient
        slope = problem.gradient(trial)
        steepness = _ratio(row_norm(slope - gradient), row_norm(trial - x))
        steepness = steepness.clamp(min=torch.finfo(x.dtype).tiny)
        memory = AcceleratedMemory(gradient, x, steepness, torch.zeros_like(energy), no_stall(energy))
        return State(energy, length, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: AcceleratedMemory = state.memory
        moved = _round(problem, x, state)
        energy, length = problem.energy(moved.x), moved.length
        age, steepness = moved.age, moved.steepness
        bad = ~(torch.isfinite(energy) & torch.isfinite(length))
        back = bad | ~state.active
        if bool(back.any()):
            # Too far, outside of what is defined: back, and shorter steps without momentum.
            for mine, old in ((moved.x, x), (moved.reached, memory.reached)):
                mine.copy_(where_rows(back, old, mine))
            moved.gradient = where_rows(back, memory.gradient, moved.gradient)
            energy = torch.where(back, state.energy, energy)
            length = torch.where(back, state.optimality, length)
            steepness = torch.where(bad, 4 * memory.steepness, steepness)
            age = torch.where(bad, 0.0, age)
        stall = memory.stall.after(energy, length, self.patience)
        kept = AcceleratedMemory(moved.gradient, moved.reached, steepness, age, stall)
        return moved.x, State(energy, length, state.active, kept)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: AcceleratedMemory = state.memory
        return torch.where(memory.stall.stalled, int(Halt.PRECISION), int(Halt.RUNNING)).to(torch.int8)


@dataclass(slots=True, eq=False)
class _Moving:
    """Where a round stands: `x`, `reached` and `spare` [R, N] are its own tensors; `square` [R] is the square
    of the length of the gradient."""

    x: Tensor
    gradient: Tensor
    reached: Tensor
    spare: Tensor
    length: Tensor
    square: Tensor
    steepness: Tensor
    age: Tensor


def _round(problem: Problem, x: Tensor, state: State) -> _Moving:
    """Up to `ROUND` steps. A row that meets its bound, or whose gradient is not finite, stops there."""
    memory: AcceleratedMemory = state.memory
    bound = state.bound if state.bound is not None else torch.zeros_like(state.optimality)
    at = _Moving(
        x.clone(),
        memory.gradient,
        memory.reached.clone(),
        torch.empty_like(x),
        state.optimality,
        state.optimality.square(),
        memory.steepness,
        memory.age,
    )
    goes, all_go = state.active, bool(state.active.all())
    for k in range(ROUND):
        _advance(problem, at, goes, all_go, k % LOOK == 0)
        goes = goes & (at.length > bound) & (at.length < torch.inf)
        all_go = bool(goes.all())
        if not all_go and not bool(goes.any()):
            break
    return at


def _advance(problem: Problem, at: _Moving, goes: Tensor, all_go: bool, looks: bool) -> None:
    """One gradient step with momentum; rows that do not go stay.

    If it looks, momentum that leads uphill is thrown away, and the steepness is measured: how far the point
    moves and how much the gradient turns are known from inner products, which write nothing.
    """
    shorten = 1 / at.steepness
    shorten = shorten if all_go else torch.where(goes, shorten, 0.0)
    reached = _along(at.x, at.gradient, -shorten, at.spare)
    age, moved = at.age, None
    if looks:
        behind = at.reached.sub_(reached)
        fall = row_dot(at.gradient, behind)
        age = age.masked_fill(fall < 0, 0.0)
    momentum = age / (age + 3)
    momentum = momentum if all_go else torch.where(goes, momentum, 0.0)
    if looks:
        far = momentum * (2 * shorten * fall + momentum * row_dot(behind, behind))
        moved = shorten.square() * at.square + far
        point = _along(reached, behind, -momentum, behind)
    else:
        point = _beyond(at.reached, reached, momentum)
    gradient = problem.gradient(point)
    square = row_dot(gradient, gradient)
    length = square.sqrt() if bool(torch.isfinite(square).all()) else row_norm(gradient)
    steepness = at.steepness
    if moved is not None:
        turned = at.square + square - 2 * row_dot(gradient, at.gradient)
        # Below its rounding the difference says nothing; a steepness that matters turns gradients by more.
        turned = torch.where(turned > TURNED * square, turned, 0.0)
        steepness = torch.maximum(steepness, _ratio(turned, moved).sqrt())
    if all_go:
        at.length, at.square, at.steepness = length, square, steepness
    else:
        at.length = torch.where(goes, length, at.length)
        at.square = torch.where(goes, square, at.square)
        at.steepness = torch.where(goes, steepness, at.steepness)
    at.age = age + 1
    at.x, at.spare, at.reached, at.gradient = point, at.x, reached, gradient


def _beyond(old: Tensor, new: Tensor, factor: Tensor) -> Tensor:
    """From `old` to `new` [R, N] and on by `factor` [R] times the same way, in the place of `old`."""
    if old.shape[0] == 1 and not old.is_cuda:
        return torch.lerp(old, new, 1 + float(factor), out=old)
    return torch.lerp(old, new, 1 + factor[:, None], out=old)


def _along(x: Tensor, direction: Tensor, factor: Tensor, out: Tensor) -> Tensor:
    """x [R, N] plus `factor` [R] times the direction [R, N]."""
    if x.shape[0] == 1 and not x.is_cuda:
        return torch.add(x, direction, alpha=float(factor), out=out)
    return torch.addcmul(x, direction, factor[:, None], out=out)


def _ratio(change: Tensor, shift: Tensor) -> Tensor:
    """The steepness that two gradients show, [R]; 0 where their points are the same."""
    found = change / shift
    return torch.where(torch.isfinite(found), found, 0.0)
