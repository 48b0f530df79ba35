"""Two-metric projection: L-BFGS in the entries free to move, projected gradient in those at their bounds.

Bertsekas 1982 (SIAM J. Control Optim. 20). Which entries are held is decided again at every step, for every
row. The curvature of the free entries comes from the same history of steps, cut to these entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot, row_norm
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.lbfgs import Curvature, first_step, no_curvature
from ebmlang.runtime.solvers.projected_gradient import Moved, shortening
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    evaluate_rows,
    full_energy_and_gradient,
    no_stall,
    noise,
    running,
    where_rows,
)

DECREASE = 1e-4
BACKTRACKS = 40
NEAR = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class ProjectedLbfgsMemory:
    """`plain` [R]: rows without usable history, which move along the gradient."""

    gradient: Tensor
    curvature: Curvature
    plain: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class ProjectedLbfgs(AbstractSolver):
    """For unknowns with bounds on single entries.

    `memory` is how many curvature pairs each row keeps. A row ends after a window of `patience`
    steps without progress.
    """

    memory: int = 10
    patience: int = 250

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.OPEN, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        optimality, plain = problem.space.optimality(x, gradient), all_active(energy)
        stall = no_stall(energy)
        memory = ProjectedLbfgsMemory(gradient, no_curvature(energy), plain, stall, running(energy))
        return State(energy, optimality, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: ProjectedLbfgsMemory = state.memory
        space, active, gradient = problem.space, state.active, memory.gradient
        lo, hi = space.bounds()
        # Entries this close to a bound that the gradient pushes against it count as being there, or the
        # search would be cut short by bounds just ahead (Bertsekas 1982, eq. 32).
        near = torch.clamp(state.optimality, max=NEAR)[:, None]
        bound = ((x <= lo + near) & (gradient > 0)) | ((x >= hi - near) & (gradient < 0))
        inner = torch.where(bound, 0.0, gradient)
        newton, scale = restricted_times(memory.curvature, inner, ~bound)
        slope = -row_dot(newton, inner)
        size = row_norm(inner)
        uphill = ~(slope < -torch.finfo(x.dtype).eps * size * row_norm(newton)) & (size > 0)
        plain = memory.plain | uphill
        outward = torch.where(plain, 1.0, scale)[:, None] * gradient
        direction = -torch.where(bound | plain[:, None], outward, newton)
        first = torch.where(plain, first_step(x, row_norm(gradient)), 1.0)
        moved = bent_search(problem, x, state.energy, gradient, direction, bound, first, active)
        stuck = active & ~moved.found
        history = memory.curvature
        if bool((stuck | (plain & ~memory.plain)).any()):
            history = history.forget(stuck | (plain & ~memory.plain))
        history = history.with_pair(moved.x - x, moved.gradient - gradient, self.memory)
        optimality = space.optimality(moved.x, moved.gradient)
        stall = memory.stall.after(moved.energy, optimality, self.patience)
        ended = (stuck & plain) | stall.stalled
        halt = torch.where(ended, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)
        plain = torch.where(active, ~moved.found, memory.plain)
        after = ProjectedLbfgsMemory(moved.gradient, history, plain, stall, halt)
        return moved.x, State(moved.energy, optimality, active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: ProjectedLbfgsMemory = state.memory
        return memory.halt


def restricted_times(curvature: Curvature, vector: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse Hessian of the free entries times a vector [R, N] that is 0 elsewhere; and its scale [R].

    Each pair is cut to the free entries. For a quadratic energy and entries that stayed at their bounds this
    is a pair of the restricted Hessian, which a cut through the full inverse would not give.
    """
    rest, scale = vector.clone(), curvature.scale
    if not curvature.pairs:
        return rest * scale[:, None], scale
    # All pairs at once, [R, pairs, N]: on small problems the number of operations is what costs.
    held = ~free[:, None]
    steps = torch.stack([pair.step for pair in curvature.pairs], 1).masked_fill_(held, 0.0)
    changes = torch.stack([pair.change for pair in curvature.pairs], 1).masked_fill_(held, 0.0)
    known = torch.stack([pair.weight for pair in curvature.pairs], 1)
    products, squares = row_dot(steps, changes), row_dot(changes, changes)
    floor = torch.finfo(steps.dtype).eps * row_norm(steps) * squares.sqrt()
    useful = (known > 0) & (products > floor) & torch.isfinite(1 / products) & (squares > 0)
    weights = torch.where(useful, 1 / products, 0.0).unbind(1)
    # The scale comes from the newest useful pair.
    newest = useful.shape[1] - 1 - useful.flip(1).to(torch.int8).argmax(1, keepdim=True)
    latest = (products / squares).gather(1, newest)[:, 0]
    scale = torch.where(useful.any(1), latest, scale)
    pairs = list(zip(steps.unbind(1), changes.unbind(1), weights, strict=True))
    shares = []
    for step, change, weight in reversed(pairs):
        share = weight * row_dot(step, rest)
        rest.addcmul_(share[:, None], change, value=-1.0)
        shares.append(share)
    rest *= scale[:, None]
    for (step, change, weight), share in zip(pairs, reversed(shares), strict=True):
        rest.addcmul_((share - weight * row_dot(change, rest))[:, None], step)
    return rest, scale


def bent_search(
    problem: Problem,
    x: Tensor,
    energy: Tensor,
    gradient: Tensor,
    direction: Tensor,
    bound: Tensor,
    length: Tensor,
    active: Tensor,
) -> Moved:
    """Shorten the step along the projection of a ray until the energy falls enough (Bertsekas 1982, eq.

    37).
    """
    slack = noise(energy)
    inner_slope = row_dot(torch.where(bound, 0.0, gradient), direction)
    best = Moved(x, energy, gradient, torch.zeros_like(active))
    searching = active
    for _ in range(BACKTRACKS):
        point = where_rows(searching, problem.space.retract(x, length[:, None] * direction), x)
        trial, slopes = evaluate_rows(problem, point, searching, full_energy_and_gradient)
        shift = point - x
        before, after = row_dot(gradient, shift), row_dot(slopes, shift)
        promised = length * inner_slope + row_dot(torch.where(bound, gradient, 0.0), shift)
        still = ~(shift != 0).any(1)
        usable = torch.isfinite(trial) & torch.isfinite(after) & ~still
        enough = trial <= energy + DECREASE * promised
        by_slope = ((trial - energy).abs() <= slack) & (before < 0) & (after <= (2 * DECREASE - 1) * before)
        good = searching & ((usable & (enough | by_slope)) | (trial == -torch.inf))
        best = Moved(
            where_rows(good, point, best.x),
            torch.where(good, trial, best.energy),
            where_rows(good, slopes, best.gradient),
            best.found | good,
        )
        searching = searching & ~good & ~still
        if not bool(searching.any()):
            break
        length = torch.where(searching, length * shortening(energy, trial, before), length)
    return best
