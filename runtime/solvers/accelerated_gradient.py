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

import math
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
        steepness = row_norm(slope - gradient) / row_norm(trial - x)
        steepness = steepness.nan_to_num(nan=0.0, posinf=0.0).clamp(min=torch.finfo(x.dtype).tiny)
        memory = AcceleratedMemory(gradient, x, steepness, torch.zeros_like(energy), no_stall(energy))
        return State(energy, length, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: AcceleratedMemory = state.memory
        moved = _round(problem, x, state)
        energy = problem.energy(moved.x)
        length, age, steepness = (_per_row(v, energy) for v in (moved.length, moved.age, moved.steepness))
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


Number = Tensor | float
"""One number for each row: [R], or, of a single row on a CPU, a plain one, whose arithmetic needs no call of
torch: of thirty such calls a step would be made, each as long as a pass over a thousand entries."""


@dataclass(slots=True, eq=False)
class _Moving:
    """Where a round stands: `x`, `reached` and `spare` [R, N] are its own tensors; `square` is the square of
    the length of the gradient."""

    x: Tensor
    gradient: Tensor
    reached: Tensor
    spare: Tensor
    length: Number
    square: Number
    steepness: Number
    age: Number


def _round(problem: Problem, x: Tensor, state: State) -> _Moving:
    """Up to `ROUND` steps. A row that meets its bound, or whose gradient is not finite, stops there."""
    memory: AcceleratedMemory = state.memory
    bound = state.bound if state.bound is not None else torch.zeros_like(state.optimality)
    at = _Moving(
        x.clone(),
        memory.gradient,
        memory.reached.clone(),
        torch.empty_like(x),
        _number(state.optimality),
        _number(state.optimality.square()),
        _number(memory.steepness),
        _number(memory.age),
    )
    goes, all_go = state.active, bool(state.active.all())
    for k in range(ROUND):
        _advance(problem, at, goes, all_go, k % LOOK == 0)
        # Of a single row everything is said by whether it goes on.
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
    shorten = shorten if all_go else _either(goes, shorten, 0.0)
    reached = _along(at.x, at.gradient, -shorten, at.spare)
    age, moved = at.age, None
    if looks:
        behind = at.reached.sub_(reached)
        fall = _dot(at.gradient, behind)
        age = _either(fall < 0, 0.0, age)
    momentum = age / (age + 3)
    momentum = momentum if all_go else _either(goes, momentum, 0.0)
    if looks:
        far = momentum * (2 * shorten * fall + momentum * _dot(behind, behind))
        moved = shorten * shorten * at.square + far
        point = _along(reached, behind, -momentum, behind)
    else:
        point = _beyond(at.reached, reached, momentum)
    gradient = problem.gradient(point)
    square = _dot(gradient, gradient)
    length = _root(square) if _finite(square) else _number(row_norm(gradient))
    steepness = at.steepness
    if moved is not None:
        turned = at.square + square - 2 * _dot(gradient, at.gradient)
        # Below its rounding the difference says nothing; a steepness that matters turns gradients by more.
        turned = _either(turned > TURNED * square, turned, 0.0)
        steepness = _larger(steepness, _root(_ratio(turned, moved)))
    if all_go:
        at.length, at.square, at.steepness = length, square, steepness
    else:
        at.length = _either(goes, length, at.length)
        at.square = _either(goes, square, at.square)
        at.steepness = _either(goes, steepness, at.steepness)
    at.age = age + 1
    at.x, at.spare, at.reached, at.gradient = point, at.x, reached, gradient


def _beyond(old: Tensor, new: Tensor, factor: Number) -> Tensor:
    """From `old` to `new` [R, N] and on by `factor` times the same way, in the place of `old`."""
    weight = 1 + factor
    return torch.lerp(old, new, weight[:, None] if isinstance(weight, Tensor) else weight, out=old)


def _along(x: Tensor, direction: Tensor, factor: Number, out: Tensor) -> Tensor:
    """x [R, N] plus `factor` times the direction [R, N]."""
    if isinstance(factor, Tensor):
        return torch.addcmul(x, direction, factor[:, None], out=out)
    return torch.add(x, direction, alpha=factor, out=out)


# --- numbers ---


def _number(rows: Tensor) -> Number:
    """[R] as numbers of the rows."""
    return rows if rows.is_cuda or rows.shape[0] != 1 else rows.item()


def _per_row(number: Number, like: Tensor) -> Tensor:
    """The numbers as [R]."""
    return number if isinstance(number, Tensor) else like.new_tensor([number])


def _dot(a: Tensor, b: Tensor) -> Number:
    return _number(row_dot(a, b))


def _either(flag: Tensor | bool, yes: Number, no: Number) -> Number:
    """`yes` where the flag holds, `no` elsewhere."""
    if isinstance(yes, Tensor) or isinstance(no, Tensor):
        return torch.where(torch.as_tensor(flag), yes, no)
    return yes if flag else no


def _larger(a: Number, b: Number) -> Number:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return max(a, b)  # neither is NaN


def _root(a: Number) -> Number:
    return a.sqrt() if isinstance(a, Tensor) else math.sqrt(a)


def _finite(a: Number) -> bool:
    return bool(torch.isfinite(a).all()) if isinstance(a, Tensor) else math.isfinite(a)


def _ratio(change: Number, shift: Number) -> Number:
    """The steepness that two gradients show; 0 where their points are the same."""
    if not isinstance(change, Tensor) and not isinstance(shift, Tensor):
        plain = change / shift if shift else math.nan
        return plain if math.isfinite(plain) else 0.0
    found = torch.as_tensor(change / shift)
    return torch.where(torch.isfinite(found), found, 0.0)
