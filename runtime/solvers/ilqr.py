"""Newton's method for a rollout: every step is a linear-quadratic problem, solved by the Riccati recursion.

The second-order model of the energy along the actions splits by time (Dunn & Bertsekas 1989), so that a step
costs T small factorisations instead of one of all actions. Where the model has no minimum, the same curvature
is added along every action (Levenberg 1944). The step is taken as a law that answers to the states as they
come (Jacobson & Mayne 1970; Tassa, Mansard & Todorov 2014). Actions at a bound that the gradient pushes
against it stay there, the others take the Newton step of the face (Bertsekas 1982); with affine steps and
quadratic costs this is an active-set method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.courses import best_courses
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.laws import GROW, Law, best_law, changes
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.solvers.projected_lbfgs import NEAR, bent_search
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    noise,
    running,
    where_every,
    where_rows,
)
from ebmlang.runtime.trajectories import Expansion, Trajectories

SHARES = ((1.0, 0.5, 0.25), (0.125, 0.0625, 0.03125))
"""Shares of a step: those of a group are tried side by side, the next group where none of them will do."""

DECREASE = 1e-4
"""The part of the decrease that the slope promises which a step must bring (Armijo 1966)."""


@dataclass(frozen=True, slots=True, eq=False)
class IlqrMemory:
    """The `states` [R, T + 1, d] of the current actions and the model around them; `shift` [R] is added to
    the curvature along actions, `beside` [R] is the part of the energy that no action changes."""

    states: Tensor
    model: Expansion
    shift: Tensor
    beside: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """Where a search along a law ends: actions x [R, N], their states and energy [R], the share of the step
    [R], and whether the energy is low enough [R]. Where it is `level` [R] with the one before, to rounding,
    slopes decide."""

    x: Tensor
    states: Tensor
    energy: Tensor
    share: Tensor
    found: Tensor
    level: Tensor


@dataclass(frozen=True, slots=True)
class Ilqr(AbstractSolver):
    """For one array of actions, free or with bounds on single entries.

    A row ends after a window of `patience` steps without progress: where a minimum lies at a kink, such as a
    speed at its limit, no slope is small.
    """

    patience: int = 10

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.ROLLOUT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})
    races: ClassVar[bool] = True

    def starts(self, problem: Problem, x: Tensor, seed: int, rows: Rows, count: int) -> Tensor:
        return best_courses(problem.trajectories(), x, seed, rows, count)

    def init(self, problem: Problem, x: Tensor) -> State:
        around = problem.trajectories()
        states = around.states(x)
        cost, model = around.cost(x, states), around.expansion(x, states)
        whole = problem.rollout is not None and problem.rollout.whole
        energy = cost if whole else problem.energy(x)
        stall, halt = no_stall(energy), running(energy)
        memory = IlqrMemory(states, model, torch.zeros_like(energy), energy - cost, stall, halt)
        return State(energy, problem.space.optimality(x, model.gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: IlqrMemory = state.memory
        space, around, gradient = problem.space, problem.trajectories(), memory.model.gradient
        lo, hi = space.bounds()
        near = torch.clamp(state.optimality, max=NEAR)[:, None]
        bound = ((x <= lo + near) & (gradient > 0)) | ((x >= hi - near) & (gradient < 0))
        law = best_law(memory.model, ~bound, memory.shift)
        trial = _along(around, x, state, law)
        left = state.active & ~(trial.found | trial.level)
        if bool(left.any()):
            trial = _along_a_line(problem, around, x, state, law, bound, left, trial)
        model = around.expansion(trial.x, trial.states)
        optimality = space.optimality(trial.x, model.gradient)
        sharper = trial.level & (optimality <= 0.5 * state.optimality)
        moved = state.active & (trial.found | sharper) & torch.isfinite(model.gradient).all(1)
        stall = memory.stall.after(
            torch.where(moved, trial.energy, state.energy),
            torch.where(moved, optimality, state.optimality),
            self.patience,
        )
        ended = (state.active & ~moved) | stall.stalled
        halt = torch.where(ended, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)
        after = IlqrMemory(trial.states, model, _next_shift(law, trial.share), memory.beside, stall, halt)
        reached = State(trial.energy, optimality, state.active, after)
        if bool(moved.all()):
            return trial.x, reached
        # Rows that stay keep everything as it was, but for the verdict.
        kept = replace(state, memory=replace(memory, stall=stall, halt=halt))
        return where_rows(moved, trial.x, x), where_every(moved, reached, kept)

    def curves_up(self, problem: Problem, x: Tensor) -> Tensor:
        around = problem.trajectories()
        model = around.expansion(x, around.states(x))
        pushed = problem.space.residual(x, model.gradient) == 0
        law = best_law(model, ~(pushed & (model.gradient != 0)), torch.zeros(x.shape[0]))
        return law.positive & (law.shift == 0)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: IlqrMemory = state.memory
        return memory.halt


def _next_shift(law: Law, share: Tensor) -> Tensor:
    """A step that was cut asks for a shorter one, a whole one for less of a shift and soon for none."""
    shift, unit = law.shift.to(share.dtype), law.unit.to(share.dtype)
    less = torch.where(shift < unit, 0.0, shift / GROW)
    more = torch.maximum(GROW * shift, unit)
    return torch.where(share == 1, less, torch.where(share < 0.2, more, shift))


def _along(around: Trajectories, x: Tensor, state: State, law: Law) -> _Trial:
    """The lowest of the shares 1, 1/2, 1/4... of the step that lower the energy enough, with states that
    follow each other and actions that answer to them."""
    memory: IlqrMemory = state.memory
    rows, promise = x.shape[0], law.promise.to(x.dtype)
    nowhere = torch.zeros_like(state.active)
    best = _Trial(x, memory.states, state.energy, torch.zeros_like(state.energy), nowhere, nowhere)
    searching = state.active
    for shares in SHARES:
        points, paths = around.follow(x, memory.states, law.constant, law.gain, shares)
        energies = around.cost(points, paths).reshape(-1, rows) + memory.beside
        share = torch.tensor(shares, dtype=x.dtype, device=x.device)[:, None]
        enough = torch.isfinite(energies) & (energies <= state.energy + DECREASE * share * promise)
        which = torch.where(enough, energies, torch.inf).argmin(0)
        found = enough.any(0)
        # What rounding cannot tell apart is tried as a whole step.
        level = ~found & ((energies[0] - state.energy).abs() <= noise(state.energy))
        at = which.where(found, 0) * rows + torch.arange(rows, device=x.device)
        taken = searching & (found | (level & (shares[0] == 1)))
        best = _Trial(
            where_rows(taken, points[at], best.x),
            torch.where(taken[:, None, None], paths[at], best.states),
            torch.where(taken, energies.flatten()[at], best.energy),
            torch.where(taken, share[:, 0][which.where(found, 0)], best.share),
            best.found | (searching & found),
            best.level | (taken & ~found),
        )
        searching = searching & ~taken
        if not bool(searching.any()):
            break
    return best


def _along_a_line(
    problem: Problem,
    around: Trajectories,
    x: Tensor,
    state: State,
    law: Law,
    bound: Tensor,
    left: Tensor,
    trial: _Trial,
) -> _Trial:
    """The trial with rows `left` [R] moved along the projection of a ray, which no state bends."""
    gradient = state.memory.model.gradient
    ahead = changes(state.memory.model, law).to(x.dtype)
    direction = torch.where(bound, -gradient, ahead)
    first = torch.ones_like(state.energy)
    other = bent_search(problem, x, state.energy, gradient, direction, bound, first, left)
    new = left & other.found
    point = where_rows(new, other.x, trial.x)
    return _Trial(
        point,
        torch.where(new[:, None, None], around.states(point), trial.states),
        torch.where(new, other.energy, trial.energy),
        trial.share,
        trial.found | new,
        trial.level,
    )
