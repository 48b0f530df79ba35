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

from ebmlang.runtime.domain_base import Kind, row_dot
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.rollout import Stages
from ebmlang.runtime.solvers.projected_gradient import Moved
from ebmlang.runtime.solvers.projected_lbfgs import NEAR, bent_search
from ebmlang.runtime.solvers.riccati import policy
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

FIRST = 1e-4
"""The first shift that is tried, beside the largest curvature along an action."""

GROW = 8.0
"""How much a shift grows when the model still has no minimum, or the step had to be cut."""

ATTEMPTS = 24
SHARES = 6

DECREASE = 1e-4
"""The part of the decrease that the slope promises which a step must bring (Armijo 1966)."""


@dataclass(frozen=True, slots=True, eq=False)
class IlqrMemory:
    """`gradient` [R, N] at the current actions; `shift` [R] is added to the curvature along actions."""

    gradient: Tensor
    shift: Tensor
    stall: Stall
    halt: Tensor


@dataclass(frozen=True, slots=True)
class Ilqr(AbstractSolver):
    """For one array of actions, free or with bounds on single entries.

    A row ends after a window of `patience` steps without progress: where a minimum lies at a kink, such as a
    speed at its limit, no slope is small.
    """

    patience: int = 10

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.ROLLOUT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        memory = IlqrMemory(gradient, torch.zeros_like(energy), no_stall(energy), running(energy))
        return State(energy, problem.space.optimality(x, gradient), all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: IlqrMemory = state.memory
        space, gradient = problem.space, memory.gradient
        lo, hi = space.bounds()
        near = torch.clamp(state.optimality, max=NEAR)[:, None]
        bound = ((x <= lo + near) & (gradient > 0)) | ((x >= hi - near) & (gradient < 0))
        plan = newton_policy(problem.expansion(x), gradient, ~bound, memory.shift)
        moved, share = _followed(problem, x, state, gradient, plan)
        left = state.active & ~moved.found
        if bool(left.any()):
            direction = torch.where(bound, -gradient, plan.change)
            first = torch.ones_like(state.energy)
            other = bent_search(problem, x, state.energy, gradient, direction, bound, first, left)
            moved = Moved(
                where_rows(left, other.x, moved.x),
                torch.where(left, other.energy, moved.energy),
                where_rows(left, other.gradient, moved.gradient),
                moved.found | (left & other.found),
            )
        optimality = space.optimality(moved.x, moved.gradient)
        stall = memory.stall.after(moved.energy, optimality, self.patience)
        ended = (state.active & ~moved.found) | stall.stalled
        halt = torch.where(ended, int(Halt.PRECISION), memory.halt.int()).to(torch.int8)
        # A step that was cut asks for a shorter one, a whole one for less of a shift and soon for none.
        less = torch.where(plan.shift < plan.unit, 0.0, plan.shift / GROW)
        more = torch.maximum(GROW * plan.shift, plan.unit)
        shift = torch.where(share == 1, less, torch.where(share < 0.2, more, plan.shift))
        after = IlqrMemory(moved.gradient, shift, stall, halt)
        return moved.x, State(moved.energy, optimality, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: IlqrMemory = state.memory
        return memory.halt


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """Changes of actions da = k + K ds that lower the energy: K [R, T, m, d], k [R, T, m].

    `change` [R, N] is k + K ds along the linear steps; `shift` [R] is what was added to the curvature along
    every action so that the model has a minimum, `unit` [R] its first size.
    """

    gain: Tensor
    constant: Tensor
    change: Tensor
    shift: Tensor
    unit: Tensor


def newton_policy(model: Stages, gradient: Tensor, free: Tensor, shift: Tensor) -> Policy:
    """The minimum of the model over the free actions [R, N]; minus the gradient where no shift gives one."""
    model = restricted(model, free)
    rows, times, d = model.slope.shape[0], model.slope.shape[1] - 1, model.step.shape[2]
    m = model.slope.shape[2] - d
    along = model.curvature.diagonal(dim1=-2, dim2=-1)[..., d:]
    unit = (FIRST * along.abs().amax((-2, -1))).clamp(min=torch.finfo(along.dtype).tiny)
    gain = gradient.new_zeros(rows, times, m, d)
    constant = torch.where(free, -gradient, 0.0).reshape(rows, times, m)
    change, left = constant.reshape(rows, -1), torch.ones_like(shift, dtype=torch.bool)
    for _ in range(ATTEMPTS):
        extra = torch.zeros_like(model.slope)
        extra[..., d:] = shift[:, None, None]
        gains, constants, positive = policy(
            replace(model, curvature=model.curvature + torch.diag_embed(extra))
        )
        gains, constants = -gains.to(gradient.dtype), -constants.to(gradient.dtype)
        linear = _linear(model, gains, constants)
        good = left & positive & torch.isfinite(linear).all(1) & (row_dot(linear, gradient) <= 0)
        gain = torch.where(good[:, None, None, None], gains, gain)
        constant = torch.where(good[:, None, None], constants, constant)
        change, left = where_rows(good, linear, change), left & ~good
        if not bool(left.any()):
            break
        shift = torch.where(left, torch.maximum(GROW * shift, unit), shift)
    return Policy(gain, constant, torch.where(free, change, 0.0), shift, unit)


def _linear(model: Stages, gain: Tensor, constant: Tensor) -> Tensor:
    """The changes of all actions along the linear steps, [R, N]."""
    state = torch.zeros_like(model.first)
    changes = []
    for t in range(gain.shape[1]):
        action = constant[:, t] + (gain[:, t] @ state[..., None])[..., 0]
        changes.append(action)
        state = (model.step[:, t] @ torch.cat((state, action), 1)[..., None])[..., 0]
    return torch.cat(changes, 1)


def _followed(
    problem: Problem, x: Tensor, state: State, gradient: Tensor, plan: Policy
) -> tuple[Moved, Tensor]:
    """The first of the shares 1, 1/2, 1/4... of the step that lowers the energy enough, with states that
    follow each other and actions that answer to them; and that share [R], 0 where there is none."""
    slope, slack = row_dot(plan.change, gradient), noise(state.energy)
    best = Moved(x, state.energy, gradient, torch.zeros_like(state.active))
    taken = torch.zeros_like(state.energy)
    searching, share = state.active, 1.0
    for _ in range(SHARES):
        point = where_rows(searching, problem.follow(x, share * plan.constant, plan.gain), x)
        trial, slopes = evaluate_rows(problem, point, searching, full_energy_and_gradient)
        enough = trial <= state.energy + DECREASE * share * slope
        sharper = problem.space.optimality(point, slopes) <= 0.5 * state.optimality
        level = ((trial - state.energy).abs() <= slack) & sharper
        good = searching & torch.isfinite(trial) & torch.isfinite(slopes).all(1) & (enough | level)
        best = Moved(
            where_rows(good, point, best.x),
            torch.where(good, trial, best.energy),
            where_rows(good, slopes, best.gradient),
            best.found | good,
        )
        taken = torch.where(good, share, taken)
        searching = searching & ~good
        if not bool(searching.any()):
            break
        share /= 2
    return best, taken


def restricted(model: Stages, free: Tensor) -> Stages:
    """The model in which the other actions keep still."""
    rows, times, d = model.slope.shape[0], model.slope.shape[1], model.step.shape[2]
    m = model.slope.shape[2] - d
    kept = torch.ones_like(model.slope, dtype=torch.bool)
    kept[:, : times - 1, d:] = free.reshape(rows, times - 1, m)
    # What keeps still costs its own square, and is never moved away from 0.
    alone = torch.diag_embed((~kept).to(model.slope.dtype))
    curvature = torch.where(kept[..., None] & kept[..., None, :], model.curvature, alone)
    step = torch.where(kept[:, :-1, None], model.step, 0.0)
    return replace(model, step=step, curvature=curvature, slope=torch.where(kept, model.slope, 0.0))
