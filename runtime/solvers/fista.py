"""Accelerated proximal gradient for a smooth energy plus weighted absolute values.

A quadratic energy whose matrix can be had takes the much faster way of `gram_fista`; here are steps that
evaluate the energy, for all others.

Beck and Teboulle 2009 (SIAM J. Imaging Sci. 2, FISTA); steps that may grow again: Scheinberg, Goldfarb and
Bai 2014; restart by the gradient test: O'Donoghue and Candes 2015, section 3.2. Steps, restarts and tests are
per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.gram import gram_of
from ebmlang.runtime.solvers.gram_fista import GramMemory, gram_start, gram_step
from ebmlang.runtime.solvers.proven_steps import ProvenMemory, proven_length, proven_start, proven_step
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    evaluate_rows,
    no_stall,
    rounding,
    smooth_energy_and_gradient,
    where_rows,
)

BACKTRACKS = 40
PROBES = 3


@dataclass(frozen=True, slots=True, eq=False)
class FistaMemory:
    """`before` is the iterate before x, `origin` the last extrapolated point, [R, N] each.

    For a quadratic energy `gradient` and `before_gradient` belong to x and `before`; otherwise `gradient`
    belongs to `origin`, and `before_gradient` is not used. `inertia` is the sequence t_k of the method and
    `length` the step size, [R]; `grain` [R] bounds the rounding of a gradient.
    """

    origin: Tensor
    before: Tensor
    gradient: Tensor
    before_gradient: Tensor
    inertia: Tensor
    length: Tensor
    grain: Tensor
    stall: Stall


@dataclass(frozen=True, slots=True, eq=False)
class _Move:
    """One proximal step from the extrapolated point `origin`; smooth energy and gradient at `to`."""

    origin: Tensor
    origin_gradient: Tensor
    to: Tensor
    energy: Tensor
    gradient: Tensor
    length: Tensor


@dataclass(frozen=True, slots=True)
class Fista(AbstractSolver):
    """For real and bounded unknowns; zeros of the answer are exact.

    `quadratic` says that the smooth part is a polynomial of degree 2 in the unknowns. Then a step is a round
    of iterations with its matrix, if that is not too large (`gram` False: never). Otherwise the gradient at
    the extrapolated point is an exact combination of two known ones, and a step costs a single evaluation.
    If the smooth part is not quadratic, a step costs one gradient and one energy; with a proven bound of its
    curvature, a step is a round of iterations that cost one gradient each. `growth` is how much such a
    step size may grow from one step to the next; `patience` is the number of steps without any progress after
    which a row ends.
    """

    quadratic: bool = False
    gram: bool = True
    growth: float = 1.02
    patience: int = 250

    needs: ClassVar[frozenset[View]] = frozenset({View.SMOOTH_PLUS_ABSOLUTE})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        matrix = gram_of(problem, x) if self.quadratic and self.gram and not problem.lengths else None
        if matrix is not None:
            return gram_start(problem, matrix, x)
        proven = None if self.quadratic else proven_length(problem, x)
        if proven is not None:
            return proven_start(problem, proven, x, proximal_point)
        smooth, gradient = problem.smooth_and_gradient(x)
        length = 1 / _curvature(problem, x, gradient)
        weights = problem.absolute()
        total = smooth + problem.penalty(x, weights)
        near = proximal_point(problem, x - length[:, None] * gradient, length, weights)
        optimality = row_norm(x - near) / length
        grain = 16 * torch.finfo(x.dtype).eps * row_norm(gradient)
        stall = no_stall(total)
        memory = FistaMemory(x, x, gradient, gradient, torch.ones_like(total), length, grain, stall)
        return State(total, optimality, all_active(total), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        if isinstance(state.memory, GramMemory):
            return gram_step(problem, x, state, self.patience)
        if isinstance(state.memory, ProvenMemory):
            return proven_step(problem, x, state, self.growth, self.patience, proximal_point)
        memory: FistaMemory = state.memory
        weights = problem.absolute()
        length = memory.length * self.growth
        # t_{k+1} for a step size that changes (Scheinberg, Goldfarb and Bai 2014, section 3).
        inertia = (1 + torch.sqrt(1 + 4 * memory.inertia**2 / self.growth)) / 2
        share = ((memory.inertia - 1) / inertia)[:, None]
        origin = x + share * (x - memory.before)
        if self.quadratic:
            origin_gradient = memory.gradient + share * (memory.gradient - memory.before_gradient)
            move = _quadratic_move(problem, origin, origin_gradient, length, weights, state)
            # An element of the subdifferential at the new point, from the optimality of the proximal step.
            slope = (move.origin - move.to) / move.length[:, None] + move.gradient - move.origin_gradient
            optimality = row_norm(slope)
        else:
            move = _general_move(problem, x, origin, length, weights, state)
            # The same element, its change of gradient bounded through the test that the step has passed.
            optimality = 2 * row_norm(move.origin - move.to) / move.length
        total = move.energy + problem.penalty(move.to, weights)
        # Momentum that points uphill is dropped.
        uphill = row_dot(move.origin - move.to, move.to - x) > 0
        keep = state.active
        after = FistaMemory(
            gradient=where_rows(keep, move.gradient, memory.gradient),
            origin=move.origin,
            before=x,
            before_gradient=memory.gradient,
            inertia=torch.where(uphill, 1.0, inertia),
            length=move.length,
            grain=memory.grain,
            stall=memory.stall.after(total, optimality, self.patience),
        )
        energy = torch.where(keep, total, state.energy)
        optimality = torch.where(keep, optimality, state.optimality)
        return where_rows(keep, move.to, x), State(energy, optimality, keep, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: FistaMemory | GramMemory | ProvenMemory = state.memory
        return torch.where(memory.stall.stalled, int(Halt.PRECISION), 0).to(torch.int8)


def proximal_point(problem: Problem, x: Tensor, length: Tensor, weights: Tensor) -> Tensor:
    """argmin_u |u - x|^2 / (2 length) + sum_i w_i |u_i| within the bounds: soft threshold, then clamp.

    Groups, which have no bounds, are shortened as wholes.
    """
    return problem.space.project(problem.shrunk(x, length[:, None] * weights))


def _curvature(problem: Problem, x: Tensor, gradient: Tensor) -> Tensor:
    """A first guess of the largest curvature at x, [R], by a few steps of the power method on gradients."""
    span = torch.finfo(x.dtype).eps ** (1 / 3) * torch.clamp(row_norm(x), min=1.0)
    # An uneven direction, so that it is not orthogonal to the one that is sought by some symmetry.
    ramp = 1 + torch.arange(x.shape[1], dtype=x.dtype, device=x.device) / max(x.shape[1], 1)
    direction = problem.space.sought(ramp.expand_as(x))
    found = torch.zeros_like(span)
    for _ in range(PROBES):
        unit = direction / torch.clamp(row_norm(direction), min=torch.finfo(x.dtype).tiny)[:, None]
        _, there = problem.smooth_and_gradient(problem.space.project(x + span[:, None] * unit))
        direction = (there - gradient) / span[:, None]
        size = row_norm(direction)
        found = torch.where(torch.isfinite(size), torch.maximum(found, size), found)
        direction = torch.where(torch.isfinite(size)[:, None], direction, unit)
    return torch.where(found > 0, found, 1.0)


def _quadratic_move(
    problem: Problem, origin: Tensor, origin_gradient: Tensor, length: Tensor, weights: Tensor, state: State
) -> _Move:
    """Shorten steps until the curvature along the move is at most 1/length (exact for a quadratic)."""
    memory: FistaMemory = state.memory
    to = proximal_point(problem, origin - length[:, None] * origin_gradient, length, weights)
    energy, gradient = problem.smooth_and_gradient(to)
    for _ in range(BACKTRACKS):
        shift = to - origin
        square = row_dot(shift, shift)
        bend = row_dot(gradient - origin_gradient, shift)
        allowed = square / length + memory.grain * square.sqrt()
        long = state.active & ~(bend <= allowed)
        if not bool(long.any()):
            break
        shrink = torch.clamp(0.95 * square / (bend * length), min=0.2, max=0.9)
        shrink = torch.where(torch.isfinite(shrink), shrink, 0.2)
        length = torch.where(long, length * shrink, length)
        shorter = proximal_point(problem, origin - length[:, None] * origin_gradient, length, weights)
        to = where_rows(long, shorter, to)
        new_energy, new_gradient = evaluate_rows(problem, to, long, smooth_energy_and_gradient)
        energy = torch.where(long, new_energy, energy)
        gradient = where_rows(long, new_gradient, gradient)
    return _Move(origin, origin_gradient, to, energy, gradient, length)


def _general_move(
    problem: Problem, x: Tensor, origin: Tensor, length: Tensor, weights: Tensor, state: State
) -> _Move:
    """Shorten steps until the smooth energy lies below its quadratic model (Beck and Teboulle 2009, eq.

    2.6).
    """
    origin = problem.space.project(origin)
    at_origin, gradient = problem.smooth_and_gradient(origin)
    lost = state.active & ~(torch.isfinite(at_origin) & torch.isfinite(row_norm(gradient)))
    if bool(lost.any()):
        # Extrapolation has left the set where the energy is finite; x itself has not.
        origin = where_rows(lost, x, origin)
        energy_x, gradient_x = evaluate_rows(problem, origin, lost, smooth_energy_and_gradient)
        at_origin = torch.where(lost, energy_x, at_origin)
        gradient = where_rows(lost, gradient_x, gradient)
    slack = rounding(at_origin)
    length = _within_curvature(state, origin, gradient, length)
    to = proximal_point(problem, origin - length[:, None] * gradient, length, weights)
    energy = problem.smooth(to)
    for _ in range(BACKTRACKS):
        shift = to - origin
        square = row_dot(shift, shift)
        model = at_origin + row_dot(gradient, shift) + square / (2 * length)
        long = state.active & ~(energy <= model + slack)
        if not bool(long.any()):
            break
        length = torch.where(long, length * 0.7, length)
        shorter = proximal_point(problem, origin - length[:, None] * gradient, length, weights)
        to = where_rows(long, shorter, to)
        energy = torch.where(long, _smooth_rows(problem, to, long), energy)
    # A test that rounding decides says nothing: the step size must not grow on it.
    blind = square <= 2 * length * slack
    length = torch.where(blind, torch.minimum(length, state.memory.length), length)
    return _Move(origin, gradient, to, energy, gradient, length)


def _within_curvature(state: State, origin: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
    """Shorten steps that are too long for the curvature between this extrapolated point and the one before.

    Near the answer the test by energies drowns in rounding, and a step just too long would keep it there.
    """
    memory: FistaMemory = state.memory
    shift = origin - memory.origin
    square, bend = row_dot(shift, shift), row_dot(gradient - memory.gradient, shift)
    steep = bend > square / length + memory.grain * square.sqrt()
    return torch.where(steep & torch.isfinite(bend), 0.95 * square / bend, length)


def _smooth_rows(problem: Problem, x: Tensor, rows: Tensor) -> Tensor:
    """Smooth energies [R] of which only the marked rows are meant to be used."""
    if x.is_cuda:
        return problem.smooth(x)
    index = rows.nonzero()[:, 0]
    if 4 * index.shape[0] > x.shape[0]:
        return problem.smooth(x)
    energy = problem.select(index).smooth(x.index_select(0, index))
    return energy.new_full((x.shape[0],), torch.inf).index_copy(0, index, energy)
