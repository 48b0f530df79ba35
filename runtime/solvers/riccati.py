"""Linear-quadratic control by the Riccati recursion: exact, in one pass back and one forward.

With cross terms, affine terms, and matrices that differ from step to step, all in float64. Matrices that the
rows share are in `runtime/recursion.py`, which says how; those of every row are here.

An answer is computed outright where what rounding can do to its energy is known to be little, or where it
stands a check: its energy, from the states that the generated code finds for it, is compared with the least.
Elsewhere, as in an unstable system, the law answers to each state as it comes; the answer is judged by how
far its energy, g' H^-1 g / 2, lies above the minimum: g is the gradient that rounding leaves there, and H the
Hessian along the actions, which the recursion has factored on its way. Either way the excess is compared with
what the answer costs. The slope at the start would be no measure: in an unstable system it grows as the
square of the free motion, and any answer looks flat beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.checked import Outright
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.kept import Remembered
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.recursion import FLAT, Least, Recursion
from ebmlang.runtime.rollout import Rollout, Stages, first_states
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, where_rows

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class RiccatiMemory:
    """The least point `target` [R, N], with its energy [R] and how far that lies above the minimum [R].

    `flat` [R]: some step has an action whose cost does not curve upwards, so there is no minimum; the target
    is the start then. `taken` [R]: whether the step has been taken.
    """

    target: Tensor
    energy: Tensor
    excess: Tensor
    flat: Tensor
    taken: Tensor


@dataclass(frozen=True, slots=True)
class Riccati(AbstractSolver):
    """For one unconstrained array of actions. A row without a strict minimum does not move, and settles."""

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.ROLLOUT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR})

    def init(self, problem: Problem, x: Tensor) -> State:
        least = _minimum(problem)
        positive = least.positive.to(x.device)
        (unknown,) = problem.space.unknowns
        shape = problem.space.row_shape(unknown)
        found = problem.space.join([least.actions.to(x.device, x.dtype).reshape(x.shape[0], *shape)])
        # A row without a minimum must not pass for one that has reached it: it stays where it is.
        target = where_rows(positive, found, x)
        energy, after, gradient = _at_both(problem, x, target)
        excess = least.excess(gradient).to(x.device, x.dtype)
        excess = torch.where(positive, excess, 1.0)
        # What the driver takes for the optimality at the start. One more than the cost: also a start that is
        # the answer is only claimed to be the minimum once the recursion has found that there is one.
        cost = least.cost.to(x.device, x.dtype)
        optimality = 1 + torch.where(positive & torch.isfinite(cost), cost, 0.0)
        memory = RiccatiMemory(target, after, excess, ~positive, torch.zeros_like(positive))
        return State(energy, optimality, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: RiccatiMemory = state.memory
        x = where_rows(state.active, memory.target, x)
        energy = torch.where(state.active, memory.energy, state.energy)
        excess = torch.where(state.active, memory.excess, state.optimality)
        taken = replace(memory, taken=torch.ones_like(memory.taken))
        return x, State(energy, excess, state.active, taken)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: RiccatiMemory = state.memory
        ended = torch.where(memory.flat, int(Halt.SETTLED), int(Halt.PRECISION))
        return torch.where(memory.taken, ended, int(Halt.RUNNING)).to(torch.int8)


def _at_both(problem: Problem, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Energies [R] at x and at the target, and the gradient [R, N] at the target."""
    if x.shape[0] != 1:
        return problem.energy(x), *problem.energy_and_gradient(target)
    # Values of a single row serve any number of points: one loop over time instead of two.
    energy, gradient = problem.energy_and_gradient(torch.cat((x, target)))
    return energy[:1], energy[1:], gradient[1:]


def outright(
    problem: Problem, start: Callable[[], Tensor], kept: Remembered | None, tolerance: float
) -> Outright | None:
    """The answer where the rows share their matrices; None where they do not, or there is no best action."""
    rollout = problem.rollout
    if rollout is None or not rollout.shared or problem.space.mask is not None:
        return None
    recursion, first = _recursion(problem, rollout)
    if not isinstance(recursion, Recursion) or not recursion.positive:
        return None
    response = recursion.response
    if response is None:
        least = recursion.least(first)
        actions, cost, sure = least.actions.flatten(1), least.cost, False
    else:
        actions, cost = response.answer(first)
        sure = rollout.whole and response.sure(first, cost, tolerance)
    x, law = actions.to(first.dtype), recursion.law

    def stands(values: Values) -> Tensor:
        rows, steps = x.shape[0], law.gains.shape[0]
        states = [values[n].expand(rows, *values[n].shape[1:]) for n in rollout.states]
        arrays = torch.cat([s.reshape(rows, steps + 1, -1) for s in states], 2)
        excess = law.excess(arrays, x.reshape(rows, steps, -1))
        return excess <= tolerance * (2 + cost.abs())

    return Outright(x, sure, stands, frozenset(rollout.states))


def _minimum(problem: Problem) -> Least:
    """The answer. The recursion is that of the last question where all that it depends on is the same."""
    rollout = problem.rollout
    if rollout is None:
        return best_actions(problem.stages())
    found, first = _recursion(problem, rollout)
    return best_actions(found) if isinstance(found, Stages) else found.least(first)


def _recursion(problem: Problem, rollout: Rollout) -> tuple[Recursion | Stages, Tensor]:
    """The recursion, or the stages where rows have matrices of their own; and the states at time 0."""
    known: Recursion | None = None if rollout.kept is None else rollout.kept.find(problem.held)
    if known is not None:
        return known, first_states(rollout, problem.space, problem.held)
    stages = problem.stages()
    if stages.step.shape[0] != 1:
        return stages, stages.first
    made = Recursion.of(stages)
    if rollout.kept is not None and stages.offset.shape[0] == 1 and not stages.reads & problem.row_values:
        rollout.kept.keep(problem.held, stages.reads, made, made.size)
    return made, stages.first


def best_actions(stages: Stages) -> Least:
    """The actions of lowest cost."""
    if stages.step.shape[0] == 1:
        return Recursion.of(stages).least(stages.first)
    rows = _ByRow(stages)
    back = _backward(rows)
    state, actions = rows.first, list[Tensor]()
    steps, d = rows.step.shape[0], rows.step.shape[-2]
    cost = torch.zeros_like(state[:, 0, 0])
    for t in range(steps + 1):
        action = -(back.gains[t] @ state) - back.shifts[t] if t < steps else torch.zeros_like(actions[0])
        stage = torch.cat((state, action), 1).abs()
        half = rows.curvature[t].abs() @ stage / 2 + rows.slope[t].abs()
        cost = cost + (stage * half).sum((1, 2))
        if t < steps:
            actions.append(action)
            moved = rows.step[t]
            state = moved[..., :d] @ state + moved[..., d:] @ action + rows.offset[t]
    return Least(torch.stack(actions, 1)[..., 0], back.positive, cost, lambda g: _excess(rows, back, g))


def _excess(stages: _ByRow, back: _Back, gradient: Tensor) -> Tensor:
    """See `Least`, row by row."""
    (steps, rows), d = stages.step.shape[:2], stages.step.shape[-2]
    slopes = gradient.double().reshape(rows, steps, -1, 1)
    push, total = torch.zeros_like(stages.first), torch.zeros_like(stages.first[:, 0, 0])
    for t in reversed(range(steps)):
        pull = slopes[:, t] + stages.step[t][..., d:].mT @ push
        half = torch.linalg.solve_triangular(back.factors[t], pull, upper=False)
        total = total + half.square().sum((1, 2)) / 2
        push = stages.step[t][..., :d].mT @ push - back.gains[t].mT @ pull
    return total


class _ByRow:
    """Stages with matrices of their own for every row, as tensors with time in front."""

    def __init__(self, stages: Stages) -> None:
        self.step, self.curvature = (m.double().movedim(1, 0) for m in (stages.step, stages.curvature))
        self.offset, self.slope = (v.double().movedim(1, 0)[..., None] for v in (stages.offset, stages.slope))
        self.first = stages.first.double()[..., None]


def _solved(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """matrix^-1 right, whether the matrix is positive definite, and its Cholesky factor, for every row."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    least = factor.diagonal(dim1=-2, dim2=-1).amin(-1).square()
    steep = least > FLAT * matrix.diagonal(dim1=-2, dim2=-1).amax(-1)
    return torch.cholesky_solve(right, factor), (info == 0) & steep, factor


@dataclass(frozen=True, slots=True, eq=False)
class _Back:
    """K and k of the best action -K s - k at every time, the Cholesky factor of what an action costs there,
    and per row whether that action is the only one."""

    gains: list[Tensor]
    shifts: list[Tensor]
    factors: list[Tensor]
    positive: Tensor


def _backward(stages: _ByRow) -> _Back:
    """The recursion, row by row."""
    steps, d = stages.step.shape[0], stages.step.shape[-2]
    curvature, slope = stages.curvature, stages.slope
    ahead, push = curvature[steps][..., :d, :d], slope[steps][..., :d, :]
    gains: list[Tensor] = []
    shifts: list[Tensor] = []
    factors: list[Tensor] = []
    positive = torch.ones(stages.first.shape[0], dtype=torch.bool, device=stages.first.device)
    for t in reversed(range(steps)):
        a, b, h = stages.step[t][..., :d], stages.step[t][..., d:], curvature[t]
        cross = h[..., :d, d:]
        back = b.mT @ ahead
        # What the next state costs beyond its quadratic part.
        weight = ahead @ stages.offset[t] + push
        pull = slope[t][..., d:, :] + b.mT @ weight
        right = torch.cat((cross.mT + back @ a, pull), -1)
        solved, good, factor = _solved(h[..., d:, d:] + back @ b, right)
        positive = positive & good
        factors.append(factor)
        gain = solved[..., :d]
        gains.append(gain)
        shifts.append(solved[..., d:])
        push = slope[t][..., :d, :] + a.mT @ weight - gain.mT @ pull
        ahead = h[..., :d, :d] - cross @ gain + a.mT @ (ahead @ (a - b @ gain))
        ahead = (ahead + ahead.mT) / 2
    return _Back(gains[::-1], shifts[::-1], factors[::-1], positive)
