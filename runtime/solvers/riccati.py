"""Linear-quadratic control by the Riccati recursion: exact, in one pass back and one forward.

Kalman 1960; Bertsekas, Dynamic Programming and Optimal Control, 2017, section 3.1, with cross terms,
affine terms, and matrices that differ from step to step. The cost to go is updated as
Hxx - Hxu K + A'P(A - BK), symmetrised: the textbook form (B'PA)'K of the last part loses its sign to
rounding. All of it is computed in float64.

The answer is judged by how far its energy, g' H^-1 g / 2, lies above the minimum: g is the gradient that
rounding leaves there, and H the Hessian along the actions, which the recursion has factored on its way. It is
compared with what the answer costs, entry by entry and without signs. The slope at the start would be no
measure: in an unstable system it grows as the square of the free motion, and any answer looks flat beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.rollout import Stages, first_states
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, where_rows

FLAT = 1e-12
"""A pivot below this share of the largest diagonal entry may be nothing but rounding."""

Array = Any
"""A numpy array of float64."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Least:
    """The actions [R, T, m] of lowest cost; whether they are the only ones, [R]; what they cost, entry by
    entry and without signs, [R]; and how far above the minimum the energy is where the gradient is [R, N]."""

    actions: Tensor
    positive: Tensor
    cost: Tensor
    excess: Callable[[Tensor], Tensor]


def _minimum(problem: Problem) -> Least:
    """The answer. The recursion is that of the last question where all that it depends on is the same."""
    rollout = problem.rollout
    kept = None if rollout is None else rollout.kept
    if rollout is None or kept is None:
        return best_actions(problem.stages())
    recursion: Recursion | None = kept.find(problem.held)
    if recursion is None:
        stages = problem.stages()
        if stages.step.shape[0] != 1:
            return best_actions(stages)
        recursion, first = Recursion.of(stages), stages.first
        if stages.offset.shape[0] == 1 and not stages.reads & problem.row_values:
            kept.keep(problem.held, stages.reads, recursion, recursion.size)
    else:
        first = first_states(rollout, problem.space, problem.held)
    return recursion.least(first)


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


@dataclass(frozen=True, slots=True, eq=False)
class Recursion:
    """The best law a = -K s - k of stages with one set of matrices, as numpy arrays with time in front.

    gains K [T, m, d]; shifts k [T, m, O]; step [T, d, d + m] and offset [T, d, O] of the next state, with
    O = 1 or the number of rows; magnitudes of the stage costs, `curvature` [T + 1, d + m, d + m] and `slope`
    [T + 1, d + m, O]; `back` [T, d, m + d], the step of the action and of the closed loop beside each other,
    and the inverse Cholesky factor `root` [T, m, m] of what an action costs. `shifts`, `offset` and `slope`
    are None where they are 0. `positive` says whether every step has exactly one best action; without, the
    rest means nothing.
    """

    gains: Array
    step: Array
    curvature: Array
    back: Array
    root: Array
    shifts: Array | None
    offset: Array | None
    slope: Array | None
    positive: bool

    @staticmethod
    def of(stages: Stages) -> Recursion:
        """Small matrices: a call of numpy takes a fraction of one of PyTorch."""
        step, curvature = (np.ascontiguousarray(_numpy(v)[0]) for v in (stages.step, stages.curvature))
        back = _matrices(step, curvature)
        affine = bool(stages.offset.any()) or bool(stages.slope.any())
        d, size = step.shape[1], np.abs(curvature)
        if not back.positive:
            return Recursion(back.gains, step, size, step, back.factors, None, None, None, False)
        b = step[..., d:]
        law = back.gains, step, size, np.concatenate((b, step[..., :d] - b @ back.gains), 2)
        root = np.linalg.inv(np.tril(back.factors))
        if not affine:
            return Recursion(*law, root, None, None, None, True)
        offset, slope = (
            np.ascontiguousarray(_numpy(v).transpose(1, 2, 0)) for v in (stages.offset, stages.slope)
        )
        return Recursion(*law, root, _vectors(step, back, offset, slope), offset, np.abs(slope), True)

    @property
    def size(self) -> int:
        """In bytes."""
        given = self.shifts, self.offset, self.slope
        arrays = (self.gains, self.step, self.curvature, self.back, self.root, *given)
        return sum(a.nbytes for a in arrays if a is not None)

    def least(self, first: Tensor) -> Least:
        """The answer that follows from the states [R, d] at time 0."""
        (steps, m, d), rows = self.gains.shape, first.shape[0]
        actions, stages = np.empty((steps, m, rows)), np.zeros((steps + 1, d + m, rows))
        state = np.ascontiguousarray(_numpy(first).T)
        # The driver names rows whose values are not finite; the others do not mind them.
        with np.errstate(invalid="ignore", over="ignore"):
            for t in range(steps):
                # The law answers to the state as it comes: rounding does not grow in an unstable system.
                stages[t, :d] = state
                action = np.dot(self.gains[t], state, actions[t])
                if self.shifts is not None:
                    action += self.shifts[t]
                np.negative(action, action)
                # As the generated code adds: in an unstable system another order of sums is another system.
                state = np.dot(self.step[t, :, :d], state)
                state += np.dot(self.step[t, :, d:], action)
                if self.offset is not None:
                    state += self.offset[t]
            stages[steps, :d], stages[:steps, d:] = state, actions
            np.abs(stages, stages)
            half = np.matmul(self.curvature / 2, stages)
            if self.slope is not None:
                half += self.slope
            cost = torch.from_numpy(np.einsum("tzr,tzr->r", half, stages))
        found = torch.from_numpy(np.ascontiguousarray(actions.transpose(2, 0, 1)))
        return Least(found, torch.full((rows,), self.positive), cost, self.excess)

    def excess(self, gradient: Tensor) -> Tensor:
        """See `Least`."""
        (steps, m, d), rows = self.gains.shape, gradient.shape[0]
        if not self.positive:
            return torch.zeros(rows, dtype=torch.float64)
        slopes = np.ascontiguousarray(_numpy(gradient).reshape(rows, steps, m).transpose(1, 2, 0))
        pulls, push = np.empty((steps, m, rows)), np.zeros((d, rows))
        with np.errstate(invalid="ignore", over="ignore"):
            given = np.matmul(self.gains.transpose(0, 2, 1), slopes)
            for t in range(steps - 1, -1, -1):
                moved = np.dot(self.back[t].T, push)
                np.add(slopes[t], moved[:m], pulls[t])
                push = np.subtract(moved[m:], given[t], push)
            half = np.matmul(self.root, pulls)
            return torch.from_numpy(np.einsum("tmr,tmr->r", half, half) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class _Matrices:
    """The recursion over the matrices: K, the cost to go [T, d, d] from times 1..T, and the Cholesky factors
    of what an action costs."""

    gains: Array
    ahead: Array
    factors: Array
    positive: bool


def _matrices(step: Array, curvature: Array) -> _Matrices:
    """From the steps [T, d, d + m] and the curvature [T + 1, d + m, d + m] of the stage costs."""
    steps, d, width = step.shape
    m = width - d
    a, b = np.ascontiguousarray(step[..., :d]), np.ascontiguousarray(step[..., d:])
    alone, cross, both = curvature[:steps, :d, :d], curvature[:steps, :d, d:], curvature[:steps, d:]
    crossing = bool(cross.any())
    gains, closed = np.empty((steps, m, d)), np.empty((d, d))
    ahead, factors = np.empty((steps, d, d)), np.empty((steps, m, m))
    carried, acted = np.empty((d, width)), np.empty((m, width))
    moved, cost = np.empty((d, d)), np.empty((d, d))
    ahead[-1:] = curvature[steps, :d, :d]
    for t in range(steps - 1, -1, -1):
        p = ahead[t]
        np.dot(p, step[t], carried)
        np.dot(b[t].T, carried, acted)
        acted += both[t]
        factor, gain, info = lapack.dposv(acted[:, d:], acted[:, :d], lower=1)
        if info != 0:
            return _Matrices(gains, ahead, factors, False)
        factors[t], gains[t] = factor, gain
        if t == 0:
            break
        np.dot(b[t], gains[t], moved)
        np.subtract(a[t], moved, closed)
        np.dot(p, closed, moved)
        np.dot(a[t].T, moved, cost)
        cost += alone[t]
        if crossing:
            cost -= cross[t] @ gains[t]
        np.add(cost, cost.T, ahead[t - 1])
        ahead[t - 1] *= 0.5
    # The squares of the least pivots, beside the largest entries that were factored.
    diagonal = factors.diagonal(axis1=1, axis2=2)
    largest = np.einsum("tij,tij->ti", np.tril(factors), np.tril(factors)).max(1, initial=0.0)
    positive = bool((diagonal.min(1, initial=np.inf) ** 2 > FLAT * largest).all())
    return _Matrices(gains, ahead, factors, positive)


def _vectors(step: Array, back: _Matrices, offset: Array, slope: Array) -> Array:
    """The constant part k [T, m, O] of the law, from the offsets [T, d, O] of the steps and the slopes
    [T + 1, d + m, O] of the stage costs."""
    steps, d, _ = step.shape
    count = max(offset.shape[2], slope.shape[2])
    shifts = np.empty((steps, slope.shape[1] - d, count))
    push = slope[steps, :d]
    for t in range(steps - 1, -1, -1):
        # What the next state costs beyond its quadratic part.
        weight = back.ahead[t] @ offset[t] + push
        pull = slope[t, d:] + step[t, :, d:].T @ weight
        shifts[t] = lapack.dpotrs(back.factors[t], pull, lower=1)[0]
        push = slope[t, :d] + step[t, :, :d].T @ weight - back.gains[t].T @ pull
    return shifts


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


def _numpy(x: Tensor) -> Array:
    return x.detach().cpu().double().numpy()


def policy(stages: Stages) -> tuple[Tensor, Tensor, Tensor]:
    """The best action -K s - k at every time: K [R, T, m, d], k [R, T, m], and per row [R] whether it is
    the only one."""
    back = _backward(_ByRow(stages))
    return torch.stack(back.gains, 1), torch.stack(back.shifts, 1)[..., 0], back.positive


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
