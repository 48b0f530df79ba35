"""Linear-quadratic control by the Riccati recursion: exact, in one pass back and one forward.

Kalman 1960; Bertsekas, Dynamic Programming and Optimal Control, 2017, section 3.1, with cross terms,
affine terms, and matrices that differ from step to step. The cost to go is updated as
Hxx - Hxu K + A'P(A - BK), symmetrised: the textbook form (B'PA)'K of the last part loses its sign to
rounding. All of it is computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.rollout import Stages
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State, all_active, where_rows

FLAT = 1e-12
"""A pivot below this share of the largest diagonal entry may be nothing but rounding."""

Array = Any
"""A numpy array [d, d] for all rows, or a tensor [R, d, d]; vectors of rows are [d, R] or [R, d, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class RiccatiMemory:
    """`flat` [R]: some step has an action whose cost does not curve upwards, so there is no minimum.
    `taken` [R]: whether the step has been taken."""

    flat: Tensor
    taken: Tensor


@dataclass(frozen=True, slots=True)
class Riccati(AbstractSolver):
    """For one unconstrained array of actions. A row without a strict minimum does not move, and settles."""

    needs: ClassVar[frozenset[View]] = frozenset({View.GRADIENT, View.ROLLOUT})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient = problem.energy_and_gradient(x)
        nothing = torch.zeros_like(energy, dtype=torch.bool)
        memory = RiccatiMemory(nothing, nothing)
        # One more than the slope: also a start that is stationary is only claimed to be the minimum once
        # the recursion has found that there is one.
        optimality = 1 + torch.linalg.vector_norm(gradient, dim=1)
        return State(energy, optimality, all_active(energy), memory)

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        actions, positive = best_actions(problem.stages())
        (unknown,) = problem.space.unknowns
        shape = problem.space.row_shape(unknown)
        found = problem.space.join([actions.to(x.device, x.dtype).reshape(x.shape[0], *shape)])
        moved = state.active & positive.to(x.device)
        x = where_rows(moved, found, x)
        energy, gradient = problem.energy_and_gradient(x)
        # A row without a minimum must not pass for one that has reached it.
        slope = torch.linalg.vector_norm(gradient, dim=1)
        optimality = torch.where(positive.to(x.device), slope, 1 + slope)
        memory = RiccatiMemory(~positive.to(x.device), torch.ones_like(moved))
        return x, State(energy, optimality, state.active, memory)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: RiccatiMemory = state.memory
        ended = torch.where(memory.flat, int(Halt.SETTLED), int(Halt.PRECISION))
        return torch.where(memory.taken, ended, int(Halt.RUNNING)).to(torch.int8)


def best_actions(stages: Stages) -> tuple[Tensor, Tensor]:
    """The actions [R, T, m] of lowest cost, and per row [R] whether they are the only ones."""
    rows = stages.offset.shape[0]
    if stages.step.shape[0] == 1:
        # Small matrices: a call of numpy takes a fraction of one of PyTorch.
        actions, positive = _solve(_Shared(stages))
        found = torch.from_numpy(np.ascontiguousarray(actions.transpose(2, 0, 1)))
        return found, torch.full((rows,), bool(positive))
    actions, positive = _solve(_ByRow(stages))
    return actions[..., 0].movedim(0, 1), positive


class _Shared:
    """Stages with one set of matrices, as numpy arrays with time in front."""

    def __init__(self, stages: Stages) -> None:
        def vectors(x: Tensor) -> Array:
            return np.ascontiguousarray(_numpy(x).transpose(1, 2, 0))

        self.step, self.curvature = _numpy(stages.step)[0], _numpy(stages.curvature)[0]
        self.offset, self.slope = vectors(stages.offset), vectors(stages.slope)
        self.first = _numpy(stages.first).T
        self.affine = bool(self.offset.any() or self.slope.any())

    def solve(self, matrix: Array, right: Array) -> tuple[Array, Array]:
        """matrix^-1 right, and whether the matrix is positive definite."""
        factor, found, info = lapack.dposv(matrix, right)
        if info != 0:
            return found, False
        return found, factor.diagonal().min() ** 2 > FLAT * matrix.diagonal().max()

    def stack(self, items: list[Array]) -> Array:
        return np.stack(items)

    def beside(self, left: Array, right: Array) -> Array:
        return np.concatenate((left, right), -1)


class _ByRow:
    """Stages with matrices of their own for every row, as tensors with time in front."""

    def __init__(self, stages: Stages) -> None:
        self.step, self.curvature = (m.double().movedim(1, 0) for m in (stages.step, stages.curvature))
        self.offset, self.slope = (
            v.double().movedim(1, 0)[..., None] for v in (stages.offset, stages.slope)
        )
        self.first = stages.first.double()[..., None]
        self.affine = True

    def solve(self, matrix: Array, right: Array) -> tuple[Array, Array]:
        factor, info = torch.linalg.cholesky_ex(matrix)
        least = factor.diagonal(dim1=-2, dim2=-1).amin(-1).square()
        steep = least > FLAT * matrix.diagonal(dim1=-2, dim2=-1).amax(-1)
        return torch.cholesky_solve(right, factor), (info == 0) & steep

    def stack(self, items: list[Array]) -> Array:
        return torch.stack(items)

    def beside(self, left: Array, right: Array) -> Array:
        return torch.cat((left, right), -1)


def _numpy(x: Tensor) -> Array:
    return x.detach().cpu().double().numpy()


def policy(stages: Stages) -> tuple[Tensor, Tensor, Tensor]:
    """The best action -K s - k at every time: K [R, T, m, d], k [R, T, m], and per row [R] whether it is
    the only one."""
    gains, shifts, positive = _backward(_ByRow(stages))
    return torch.stack(gains, 1), torch.stack(shifts, 1)[..., 0], positive


def _solve(stages: _Shared | _ByRow) -> tuple[Array, Array]:
    """The actions at every time, and whether every step has exactly one best action."""
    gains, shifts, positive = _backward(stages)
    d = stages.step.shape[-2]
    state = stages.first
    actions = []
    for t, gain in enumerate(gains):
        action = -(gain @ state)
        if stages.affine:
            action = action - shifts[t]
        actions.append(action)
        moved = stages.step[t]
        state = moved[..., :d] @ state + moved[..., d:] @ action
        if stages.affine:
            state = state + stages.offset[t]
    return stages.stack(actions), positive


def _backward(stages: _Shared | _ByRow) -> tuple[list[Array], list[Array], Array]:
    """K and k of the best action -K s - k at every time, and whether it is the only one. Without offsets and
    slopes k is 0 and left out."""
    steps, d = stages.step.shape[0], stages.step.shape[-2]
    curvature, slope = stages.curvature, stages.slope
    ahead, push = curvature[steps][..., :d, :d], slope[steps][..., :d, :]
    gains: list[Array] = []
    shifts: list[Array] = []
    positive: Array = True
    for t in reversed(range(steps)):
        a, b, h = stages.step[t][..., :d], stages.step[t][..., d:], curvature[t]
        cross = h[..., :d, d:]
        back = b.swapaxes(-1, -2) @ ahead
        right = cross.swapaxes(-1, -2) + back @ a
        if stages.affine:
            # What the next state costs beyond its quadratic part.
            weight = ahead @ stages.offset[t] + push
            pull = slope[t][..., d:, :] + b.swapaxes(-1, -2) @ weight
            right = stages.beside(right, pull)
        solved, good = stages.solve(h[..., d:, d:] + back @ b, right)
        positive = positive & good
        gain = solved[..., :d]
        gains.append(gain)
        if stages.affine:
            shifts.append(solved[..., d:])
            turned = a.swapaxes(-1, -2) @ weight - gain.swapaxes(-1, -2) @ pull
            push = slope[t][..., :d, :] + turned
        ahead = h[..., :d, :d] - cross @ gain + a.swapaxes(-1, -2) @ (ahead @ (a - b @ gain))
        ahead = (ahead + ahead.swapaxes(-1, -2)) / 2
    return gains[::-1], shifts[::-1], positive
