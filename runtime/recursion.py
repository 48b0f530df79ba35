"""The Riccati recursion over the matrices of a rollout that all rows share, in numpy.

Kalman 1960; Bertsekas, Dynamic Programming and Optimal Control, 2017, section 3.1. The cost to go is updated
as Hxx - Hxu K + A'(P A - P B K), symmetrised: the textbook form (B'PA)'K of the last part loses its sign to
rounding. Small matrices: a call of numpy takes a fraction of one of PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ebmlang.runtime.rollout import Stages

FLAT = 1e-12
"""A pivot below this share of the largest diagonal entry may be nothing but rounding."""

WIDEST = 32
"""States of one time, beyond which the answer as a matrix costs more than it saves."""

MOST_NUMBERS = 2**22
"""Numbers in the answer as a matrix, with the states that it leads through."""

SAFETY = 10.0
"""How much larger errors of rounding are taken to be than they are on average."""

Array = Any
"""A numpy array of float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Least:
    """The actions [R, T, m] of lowest cost; whether they are the only ones, [R]; what they cost, entry by
    entry and without signs, [R]; and how far above the minimum the energy is where the gradient is [R, N]."""

    actions: Tensor
    positive: Tensor
    cost: Tensor
    excess: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Recursion:
    """The best law a = -K s - k of stages with one set of matrices, as numpy arrays with time in front.

    gains K [T, m, d]; shifts k [T, m, O]; step [T, d, d + m] and offset [T, d, O] of the next state, with
    O = 1 or the number of rows; curvature [T + 1, d + m, d + m] and slope [T + 1, d + m, O] of the stage
    costs; factors [T, m, m], the lower Cholesky factors of what an action costs. `shifts`, `offset` and
    `slope` are None where they are 0. `positive` says whether every step has exactly one best action;
    without, the rest means nothing.
    """

    gains: Array
    step: Array
    curvature: Array
    factors: Array
    shifts: Array | None
    offset: Array | None
    slope: Array | None
    positive: bool

    @staticmethod
    def of(stages: Stages) -> Recursion:
        step, curvature = (np.ascontiguousarray(as_numpy(v)[0]) for v in (stages.step, stages.curvature))
        back = _matrices(step, curvature)
        law = back.gains, step, curvature, back.factors
        if not back.positive or not (bool(stages.offset.any()) or bool(stages.slope.any())):
            return Recursion(*law, None, None, None, back.positive)
        offset, slope = (
            np.ascontiguousarray(as_numpy(v).transpose(1, 2, 0)) for v in (stages.offset, stages.slope)
        )
        return Recursion(*law, _vectors(step, back, offset, slope), offset, slope, True)

    @property
    def size(self) -> int:
        """In bytes, with what is derived when it is asked for."""
        given = self.shifts, self.offset, self.slope
        arrays = (self.gains, self.step, self.curvature, self.factors, *given)
        return 3 * sum(int(a.nbytes) for a in arrays if a is not None)

    @cached_property
    def response(self) -> Response | None:
        """The answer as a matrix; None where it would be large, where rows have affine parts of their own, or
        there is no best action."""
        steps, d, width = self.step.shape
        own = (v.shape[2] for v in (self.shifts, self.offset, self.slope) if v is not None)
        if not self.positive or max(own, default=1) > 1 or d > WIDEST or steps * width * d > MOST_NUMBERS:
            return None
        return _response(self)

    @cached_property
    def law(self) -> Law:
        steps, m, _ = self.gains.shape
        shifts = np.zeros((steps, m, 1)) if self.shifts is None else self.shifts
        parts = self.gains.transpose(0, 2, 1), shifts.transpose(0, 2, 1), np.tril(self.factors)
        return Law(*(torch.from_numpy(np.ascontiguousarray(v)) for v in parts))

    def least(self, first: Tensor) -> Least:
        """The answer that follows from the states [R, d] at time 0."""
        (steps, m, d), rows = self.gains.shape, first.shape[0]
        actions, stages = np.empty((steps, m, rows)), np.zeros((steps + 1, d + m, rows))
        state = np.ascontiguousarray(as_numpy(first).T)
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
            half = np.matmul(np.abs(self.curvature) / 2, stages)
            if self.slope is not None:
                half += np.abs(self.slope)
            cost = torch.from_numpy(np.einsum("tzr,tzr->r", half, stages))
        found = torch.from_numpy(np.ascontiguousarray(actions.transpose(2, 0, 1)))
        return Least(found, torch.full((rows,), self.positive), cost, self.excess)

    def excess(self, gradient: Tensor) -> Tensor:
        """See `Least`."""
        (steps, m, d), rows = self.gains.shape, gradient.shape[0]
        if not self.positive:
            return torch.zeros(rows, dtype=torch.float64)
        slopes = np.ascontiguousarray(as_numpy(gradient).reshape(rows, steps, m).transpose(1, 2, 0))
        pulls, push = np.empty((steps, m, rows)), np.zeros((d, rows))
        back = self._back
        with np.errstate(invalid="ignore", over="ignore"):
            given = np.matmul(self.gains.transpose(0, 2, 1), slopes)
            for t in range(steps - 1, -1, -1):
                moved = np.dot(back[t].T, push)
                np.add(slopes[t], moved[:m], pulls[t])
                push = np.subtract(moved[m:], given[t], push)
            half = np.matmul(np.linalg.inv(np.tril(self.factors)), pulls)
            return torch.from_numpy(np.einsum("tmr,tmr->r", half, half) / 2)

    @cached_property
    def _back(self) -> Array:
        """The step of the action and of the closed loop beside each other, [T, d, m + d]."""
        d = self.step.shape[1]
        b = self.step[..., d:]
        return np.concatenate((b, self.step[..., :d] - b @ self.gains), 2)


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """The best action -K s - k at every time: `gains` K' [T, d, m], `shifts` k [T, O, m], and the lower
    Cholesky factors [T, m, m] of what an action costs; tensors of float64."""

    gains: Tensor
    shifts: Tensor
    factors: Tensor

    def excess(self, states: Tensor, actions: Tensor) -> Tensor:
        """How far actions [R, T, m] are above the minimum, from the states [R, T + 1, d] they lead to; [R].

        With the cost to go as the measure of what lies ahead, an action that is not that of the law costs
        (a + K s + k)' M (a + K s + k) / 2 more, M being what an action costs there; nothing else does.
        """
        gains, shifts, factors = (v.to(states.dtype) for v in (self.gains, self.shifts, self.factors))
        besides = torch.baddbmm(actions.transpose(0, 1) + shifts, states[:, :-1].transpose(0, 1), gains)
        return (besides @ factors).square().sum((0, 2)) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """What follows from h, the state at time 0 with a 1 beside it, in float64.

    actions [d + 1, T * m] is a matrix of all actions. cost and rounding [d + 1, d + 1] are quadratic forms of
    h: what all stages cost, and by how much rounding to u raises that, times 2 / u^2, as a rule. Without
    signs the stages cost at most `largest` |h|^2.
    """

    actions: Tensor
    cost: Tensor
    rounding: Tensor
    largest: float

    def answer(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [R, T * m] and what they cost [R], from the states [R, d] at time 0."""
        wide = _wide(first)
        return wide @ self.actions, ((wide @ self.cost) * wide).sum(1)

    def sure(self, first: Tensor, cost: Tensor, tolerance: float) -> bool:
        """Whether in every row, whatever the order of sums, the energy is finite and as near to the least as
        the tolerance asks, beside what the answer costs [R]."""
        limits, wide = torch.finfo(first.dtype), _wide(first)
        excess = ((wide @ self.rounding) * wide).sum(1) * ((SAFETY * limits.eps / 2) ** 2 / 2)
        finite = self.largest * wide.square().sum(1) <= limits.max / 1e6
        return bool(((excess <= tolerance * (2 + cost.abs())) & finite).all())


def _wide(first: Tensor) -> Tensor:
    return torch.nn.functional.pad(first.double(), (0, 1), value=1.0)


def _response(recursion: Recursion) -> Response:
    gains, step, curvature = recursion.gains, recursion.step, recursion.curvature
    steps, m, d = gains.shape
    stages = np.zeros((steps + 1, d + m, d + 1))
    stages[0, :d, :d] = np.eye(d)
    shifts, offset, slope = recursion.shifts, recursion.offset, recursion.slope
    for now, after, gain, move, t in zip(stages, stages[1:, :d], -gains, step, range(steps), strict=False):
        action = now[d:]
        np.dot(gain, now[:d], action)
        if shifts is not None:
            action[:, d:] -= shifts[t]
        np.dot(move, now, after)
        if offset is not None:
            after[:, d:] += offset[t]
    half = np.matmul(curvature, stages)
    half *= 0.5
    if slope is not None:
        half[..., d:] += slope
    cost = stages.reshape(-1, d + 1).T @ half.reshape(-1, d + 1)
    actions = stages[:steps, d:].transpose(2, 0, 1).reshape(d + 1, steps * m)
    return Response(
        torch.from_numpy(np.ascontiguousarray(actions)),
        torch.from_numpy(cost),
        torch.from_numpy(_rounding(recursion, stages[:steps])),
        float(np.linalg.norm(half) * np.linalg.norm(stages)),
    )


def _rounding(recursion: Recursion, stages: Array) -> Array:
    """The form of `Response`, from the states and actions [T, d + m, d + 1] that h leads to.

    An error e of the state at time t changes the actions that the law would take from there on by K A..A e,
    and what they cost by e'W e / 2, with W = K'M K + A'W A. Errors that do not know of each other add up as
    their squares; e'W e is on average |e|^2 tr W / d, and the error of a product A s about u |A| |s|.
    """
    gains, step, factors = recursion.gains, recursion.step, np.tril(recursion.factors)
    steps, _, d = gains.shape
    bent = np.matmul(factors.transpose(0, 2, 1), gains)
    weights, moved = np.matmul(bent.transpose(0, 2, 1), bent), np.empty((d, d))
    with np.errstate(invalid="ignore", over="ignore"):
        for t in range(steps - 2, 0, -1):
            forth = step[t, :, :d]
            np.dot(weights[t + 1], forth, moved)
            weights[t] += np.dot(forth.T, moved)
        scale = np.empty(stages.shape[:2])
        scale[:] = (np.append(np.einsum("tii->t", weights[1:]), 0.0) * _squares(step) / d)[:, None]
        scale[:, d:] += _squares(factors)[:, None]
        scaled = (stages * np.sqrt(scale)[..., None]).reshape(-1, d + 1)
        return scaled.T @ scaled


def _squares(arrays: Array) -> Array:
    """The squared Frobenius norms of matrices [T, ...], [T]."""
    return np.einsum("tij,tij->t", arrays, arrays)


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
    alone, cross, both = curvature[:steps, :d, :d], curvature[:steps, :d, d:], curvature[:steps, d:]
    crossing = bool(cross.any())
    forth, across = (
        np.ascontiguousarray(step[..., part]).transpose(0, 2, 1) for part in (slice(d), slice(d, width))
    )
    gains, ahead, factors = np.empty((steps, m, d)), np.empty((steps, d, d)), np.empty((steps, m, m))
    carried, acted = np.empty((d, width)), np.empty((m, width))
    own, used = carried[:, :d], carried[:, d:]
    moved, cost = np.empty((d, d)), np.empty((d, d))
    ahead[-1:] = curvature[steps, :d, :d]
    solve = scipy.linalg.lapack.dposv
    for t in range(steps - 1, -1, -1):
        np.dot(ahead[t], step[t], carried)
        np.dot(across[t], carried, acted)
        np.add(acted, both[t], acted)
        factors[t], gains[t], info = solve(acted[:, d:], acted[:, :d], lower=1)
        if info != 0:
            return _Matrices(gains, ahead, factors, False)
        if t == 0:
            break
        np.dot(used, gains[t], moved)
        np.subtract(own, moved, moved)
        np.dot(forth[t], moved, cost)
        np.add(cost, alone[t], cost)
        if crossing:
            cost -= cross[t] @ gains[t]
        np.add(cost, cost.T, moved)
        np.multiply(moved, 0.5, ahead[t - 1])
    # The squares of the least pivots, beside the largest entries that were factored.
    diagonal = factors.diagonal(axis1=1, axis2=2)
    largest = np.square(np.tril(factors)).sum(2).max(1, initial=0.0)
    positive = bool((diagonal.min(1, initial=np.inf) ** 2 > FLAT * largest).all())
    return _Matrices(gains, ahead, factors, positive)


def _vectors(step: Array, back: _Matrices, offset: Array, slope: Array) -> Array:
    """The constant part k [T, m, O] of the law, from the offsets [T, d, O] of the steps and the slopes
    [T + 1, d + m, O] of the stage costs."""
    steps, d, _ = step.shape
    count = max(offset.shape[2], slope.shape[2])
    shifts = np.empty((steps, slope.shape[1] - d, count))
    push = slope[steps, :d]
    solve = scipy.linalg.lapack.dpotrs
    for t in range(steps - 1, -1, -1):
        # What the next state costs beyond its quadratic part.
        weight = back.ahead[t] @ offset[t] + push
        pull = slope[t, d:] + step[t, :, d:].T @ weight
        shifts[t] = solve(back.factors[t], pull, lower=1)[0]
        push = slope[t, :d] + step[t, :, :d].T @ weight - back.gains[t].T @ pull
    return shifts


def as_numpy(x: Tensor) -> Array:
    return x.detach().cpu().double().numpy()
