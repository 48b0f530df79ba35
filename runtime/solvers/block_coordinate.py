"""Descent by groups of unknowns in turn, each by the method of its own plan, with extrapolation.

A step goes through all groups once; every group takes steps of its solver from where it stands, and keeps
what does not raise the energy. The map from a point to the point after one sweep is then accelerated
(Anderson 1965, in the form of Walker & Ni 2011, type II): the next sweep may begin at a combination of the
last ones. Such a sweep counts only where it ends no higher than the last point; elsewhere it is done again
from there, and the past is forgotten.

Stationary in every group is stationary for all unknowns together, because kinks, where there are any, and
domains do not join unknowns of different groups (Tseng 2001).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.blocks import Blocks
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.fista import proximal_point
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    rounding,
    where_rows,
)

DEPTH = 8
"""Sweeps that an extrapolation combines."""

SHORTER = 4
"""Shares of an extrapolation that are tried, each a quarter of the one before."""

INNER = 10
"""Steps of a group's solver in one sweep at most."""

ENOUGH = 0.05
"""A group has had its turn when its optimality has fallen to this share."""


@dataclass(frozen=True, slots=True, eq=False)
class SweepMemory:
    """`origin` [R, N] is where the next sweep begins, `bold` [R] whether that is an extrapolation. `step` and
    `image` [R, N] are the last sweep and where it ended; `steps` and `images` [R, DEPTH, N] how they have
    changed from sweep to sweep, newest first and 0 where nothing is known; `known` [R] that there was one."""

    origin: Tensor
    bold: Tensor
    step: Tensor
    image: Tensor
    steps: Tensor
    images: Tensor
    known: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class BlockCoordinate(AbstractSolver):
    """For energies that are easy in each of some groups. A row ends after `patience` sweeps in vain."""

    patience: int = 100

    needs: ClassVar[frozenset[View]] = frozenset({View.BLOCKS})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX, Kind.CONVEX, Kind.OPEN})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        optimality = stationarity(problem, x, gradient)
        none = torch.zeros_like(energy, dtype=torch.bool)
        past = x.new_zeros(x.shape[0], DEPTH, x.shape[1])
        halt = torch.zeros_like(energy, dtype=torch.int8)
        memory = SweepMemory(x, none, x, x, past, past, none, no_stall(energy), halt)
        return State(energy, optimality, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: SweepMemory = state.memory
        active = state.active
        origin = where_rows(memory.bold, memory.origin, x)
        image, endless = sweep(problem, origin, active)
        energy, gradient = problem.energy_and_gradient(image)
        failed = active & ~(energy <= state.energy + rounding(state.energy))
        again = failed & memory.bold
        if bool(again.any()):
            at = again.nonzero()[:, 0]
            part = problem.select(at)
            redone, endless_too = sweep(part, x.index_select(0, at), active.index_select(0, at))
            new_energy, new_gradient = part.energy_and_gradient(redone)
            image, gradient = image.index_copy(0, at, redone), gradient.index_copy(0, at, new_gradient)
            energy = energy.index_copy(0, at, new_energy)
            endless = endless.index_copy(0, at, endless_too)
            origin = where_rows(again, x, origin)
            failed = active & ~(energy <= state.energy + rounding(state.energy))
        moved = active & ~failed
        optimality = torch.where(moved, stationarity(problem, image, gradient), state.optimality)
        image, energy = where_rows(moved, image, x), torch.where(moved, energy, state.energy)
        stall = memory.stall.after(energy, optimality, self.patience)
        halt = torch.where(failed | stall.stalled, int(Halt.PRECISION), memory.halt.int())
        halt = torch.where(endless, int(Halt.UNBOUNDED), halt).to(torch.int8)
        after = _remembered(memory, image, image - origin, again | failed)
        after = _extrapolated(problem, replace(after, stall=stall, halt=halt), state.energy)
        return image, State(energy, optimality, active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: SweepMemory = state.memory
        return memory.halt


# --- one sweep ------------------------------------------------------------------------------------


def sweep(problem: Problem, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Every group improved once, [R, N], and whether in some group the energy falls without end, [R]."""
    if not problem.space.joint:
        return _swept(problem, x, active)
    x, endless = x.clone(), torch.zeros_like(active)
    # A sweep over all examples at once cannot tell restarts apart, so they are done one by one.
    for row in active.nonzero()[:, 0].tolist():
        found, falls = _swept(problem, x[row : row + 1], active[row : row + 1])
        x[row], endless[row] = found[0], falls.any()
    return x, endless


def _swept(problem: Problem, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    endless = torch.zeros_like(active)
    for part in _blocks(problem).parts:
        own = part.of(problem, x)
        going = active if own.shape[0] == active.shape[0] else active.expand(own.shape[0])
        better, falls = improved(part.solver, part.at(problem, x), own, going)
        endless = endless | (falls if falls.shape == endless.shape else falls.any())
        x = part.put(problem, x, better)
    return x, endless


def improved(solver: AbstractSolver, problem: Problem, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """A few steps of a solver from x [R, N], none of which raises the energy; and rows without end [R]."""
    x = problem.space.project(x)
    state = solver.init(problem, x)
    usable = active & torch.isfinite(state.energy) & torch.isfinite(state.optimality)
    state = replace(state, active=usable)
    best, energy, optimality = x, state.energy, state.optimality
    goal = ENOUGH * optimality
    endless = torch.zeros_like(active)
    for _ in range(INNER):
        x, state = solver.step(problem, x, state)
        slack = rounding(energy)
        level = (state.energy <= energy + slack) & (state.optimality < optimality)
        take = usable & torch.isfinite(state.energy) & ((state.energy < energy - slack) | level)
        best = where_rows(take, x, best)
        energy = torch.where(take, state.energy, energy)
        optimality = torch.where(take, state.optimality, optimality)
        halt = solver.done(problem, x, state)
        endless = endless | (usable & (halt == int(Halt.UNBOUNDED)))
        running = state.active & (halt == int(Halt.RUNNING)) & (state.optimality > goal)
        running = running & torch.isfinite(state.energy)
        if not bool(running.any()):
            break
        state = replace(state, active=running)
    return best, endless


def stationarity(problem: Problem, x: Tensor, gradient: Tensor) -> Tensor:
    """0 exactly where every group is stationary, [R], in the units of a gradient."""
    blocks = _blocks(problem)
    if all(part.problem.split is None for part in blocks.parts):
        return problem.space.optimality(x, gradient)
    if problem.space.joint and x.shape[0] != 1:
        rows = zip(x.split(1), gradient.split(1), strict=True)
        return torch.cat([stationarity(problem, *row) for row in rows]) if x.shape[0] else x.new_zeros(0)
    square = x.new_zeros(x.shape[0])
    for part in blocks.parts:
        own = part.of(problem, x)
        if part.problem.split is None:
            residual = part.problem.space.residual(own, part.of(problem, gradient))
        else:
            at = part.at(problem, x)
            _, slope = at.smooth_and_gradient(own)
            unit = torch.ones_like(slope[:, 0]) if slope.shape[1] else slope.new_ones(slope.shape[0])
            residual = own - proximal_point(at, own - slope, unit, at.absolute())
        squares = residual.square().sum(1)
        square = square + (squares if squares.shape == square.shape else squares.sum())
    return square.sqrt()


def _blocks(problem: Problem) -> Blocks:
    if problem.blocks is None:
        raise ValueError("this problem is not given by groups of unknowns")
    return problem.blocks


# --- extrapolation --------------------------------------------------------------------------------


def _remembered(memory: SweepMemory, image: Tensor, step: Tensor, forget: Tensor) -> SweepMemory:
    """One more sweep; rows that `forget` [R] keep nothing of what was before it."""
    news = (memory.known & ~forget)[:, None]

    def pushed(past: Tensor, change: Tensor) -> Tensor:
        newest = torch.where(news, change, 0.0)[:, None]
        kept = torch.where(forget[:, None, None], 0.0, past[:, :-1])
        return torch.cat([newest, kept], 1)

    return replace(
        memory,
        step=step,
        image=image,
        steps=pushed(memory.steps, step - memory.step),
        images=pushed(memory.images, image - memory.image),
        known=torch.ones_like(memory.known),
    )


def _extrapolated(problem: Problem, memory: SweepMemory, ceiling: Tensor) -> SweepMemory:
    """Where the next sweep begins: the combination of images whose steps cancel best (least squares), if its
    energy is no higher than `ceiling` [R]."""
    steps = memory.steps.double()
    gram = steps @ steps.mT
    main = torch.diagonal(gram, dim1=1, dim2=2)
    scale = main.clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    unit = gram / (scale[:, :, None] * scale[:, None, :])
    eps = torch.finfo(memory.step.dtype).eps
    unit = unit + torch.diag_embed(torch.where(main > 0, 100 * eps, 1.0))
    right = (steps @ memory.step.double()[..., None])[..., 0] / scale
    factor, failed = torch.linalg.cholesky_ex(unit)
    weights = torch.cholesky_solve(right[..., None], factor)[..., 0] / scale
    change = (weights[:, None].to(memory.images.dtype) @ memory.images)[:, 0]
    good = (failed == 0) & torch.isfinite(change).all(1) & (main > 0).any(1)
    origin, bold, share = memory.image, torch.zeros_like(good), 1.0
    for _ in range(SHORTER):
        trial = problem.space.project(memory.image - torch.where(good[:, None], share * change, 0.0))
        take = good & ~bold & (problem.energy(trial) <= ceiling)
        origin, bold = where_rows(take, trial, origin), bold | take
        if bool((bold | ~good).all()):
            break
        share *= 0.25
    # Where no share of it is any good, the past belongs to another valley.
    stale = (good & ~bold)[:, None, None]
    steps, images = (torch.where(stale, 0.0, past) for past in (memory.steps, memory.images))
    return replace(memory, origin=origin, bold=bold, steps=steps, images=images)
