"""Limited-memory BFGS, a separate curvature history and line search for every row.

Liu and Nocedal 1989; two-loop recursion: Nocedal and Wright 2006, algorithm 7.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.line_search import Ray, line_search
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    running,
    where_rows,
)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A step s and the change y of the gradient, [R, N]; `weight` [R] is 1/(s.y), or 0 to skip it."""

    step: Tensor
    change: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """An approximate inverse Hessian: pairs, oldest first, and the scale [R] of its first guess."""

    pairs: tuple[Pair, ...]
    scale: Tensor

    def times(self, vector: Tensor) -> Tensor:
        """Inverse Hessian times a vector, [R, N]."""
        rest = vector.clone()
        shares = []
        for pair in reversed(self.pairs):
            share = pair.weight * row_dot(pair.step, rest)
            rest.addcmul_(share[:, None], pair.change, value=-1.0)
            shares.append(share)
        rest *= self.scale[:, None]
        for pair, share in zip(self.pairs, reversed(shares), strict=True):
            back = pair.weight * row_dot(pair.change, rest)
            rest.addcmul_((share - back)[:, None], pair.step)
        return rest

    def with_pair(self, step: Tensor, change: Tensor, memory: int) -> Curvature:
        """Add the newest pair in the rows where its curvature is safely positive."""
        product, square = row_dot(step, change), row_dot(change, change)
        floor = torch.finfo(step.dtype).eps * row_norm(step) * square.sqrt()
        # Both quotients must be finite: squares of tiny steps underflow in float32.
        useful = (product > floor) & (square > 0) & torch.isfinite(1 / product) & torch.isfinite(square)
        weight = torch.where(useful, 1 / product, 0.0)
        scale = torch.where(useful, product / square, self.scale)
        # A pair with weight 0 must also be finite, because 0 * inf is NaN.
        finite = torch.isfinite(product) & torch.isfinite(square)
        change = torch.where(finite[:, None], change, 0.0)
        return Curvature((*self.pairs, Pair(step, change, weight))[-memory:], scale)

    def forget(self, rows: Tensor) -> Curvature:
        """Drop the history of the marked rows [R]."""
        pairs = tuple(Pair(p.step, p.change, torch.where(rows, 0.0, p.weight)) for p in self.pairs)
        return Curvature(pairs, torch.where(rows, 1.0, self.scale))


def no_curvature(energy: Tensor) -> Curvature:
    """The identity, in every row."""
    return Curvature((), torch.ones_like(energy))


@dataclass(frozen=True, slots=True, eq=False)
class LbfgsMemory:
    """`plain` [R]: rows without history, whose next direction is the steepest descent."""

    gradient: Tensor
    curvature: Curvature
    plain: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class Lbfgs(AbstractSolver):
    """For unknowns without boundaries.

    `memory` is how many pairs each row keeps. A row ends after a window of `patience`
    steps without progress.
    """

    memory: int = 10
    patience: int = 250

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.OPEN})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        optimality, plain = row_norm(gradient), all_active(energy)
        stall = no_stall(energy)
        memory = LbfgsMemory(gradient, no_curvature(energy), plain, stall, running(energy))
        return State(energy, optimality, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: LbfgsMemory = state.memory
        direction = -memory.curvature.times(memory.gradient)
        slope = row_dot(direction, memory.gradient)
        # The optimality of this solver is the norm of the gradient.
        size, length = state.optimality, row_norm(direction)
        downhill = torch.isfinite(length) & (slope < -torch.finfo(x.dtype).eps * size * length)
        plain = memory.plain | ~downhill
        if bool(plain.any()):
            # The scale goes into the direction, not into the step: the square of a huge gradient would
            # overflow.
            short = first_step(x, size)
            direction = where_rows(plain, -short[:, None] * memory.gradient, direction)
            slope = torch.where(plain, -size * (short * size), slope)
        ray = Ray(x, state.energy, memory.gradient, direction, slope)
        accepted = line_search(problem, ray, torch.ones_like(slope), state.active)
        found = state.active & accepted.found
        everywhere = bool(found.all())
        moved = x + accepted.step[:, None] * direction
        stuck, history = state.active & ~found, memory.curvature
        if not everywhere:
            # x stays as it is in rows without a step: 0 times an infinite direction is NaN.
            moved = where_rows(found, moved, x)
        lost = stuck | (plain & ~memory.plain)
        if bool(lost.any()):
            history = history.forget(lost)
        history = history.with_pair(moved - x, accepted.gradient - memory.gradient, self.memory)
        optimality = row_norm(accepted.gradient)
        stall = memory.stall.after(accepted.energy, optimality, self.patience)
        # One more try along the steepest descent, then no decrease is possible in this precision.
        ended = (stuck & plain) | stall.stalled
        halt = torch.where(ended, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)
        plain = torch.where(state.active, ~found, memory.plain)
        after = LbfgsMemory(accepted.gradient, history, plain, stall, halt)
        return moved, State(accepted.energy, optimality, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: LbfgsMemory = state.memory
        return memory.halt


def first_step(x: Tensor, gradient_norm: Tensor) -> Tensor:
    """A step [R] for the first move along the gradient: at most 1, moving by at most 1 or a tenth of x."""
    length = torch.clamp(0.1 * row_norm(x), min=1.0)
    return torch.clamp(length / torch.where(gradient_norm > 0, gradient_norm, 1.0), max=1.0)
