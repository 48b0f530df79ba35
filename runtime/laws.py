"""The best changes of actions around a rollout, as laws that answer to the states; for many rows at once.

The recursion of Riccati over the second-order model of each row (Jacobson & Mayne 1970; Bertsekas 2017,
section 3.1), in numpy: small matrices, whose time is the number of calls. Where the model has no minimum, the
same curvature is added along every action (Levenberg 1944); several sizes of it are tried side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.generated import Array
from ebmlang.runtime.recursion import FLAT
from ebmlang.runtime.trajectories import Expansion

FIRST = 1e-4
"""The first shift that is tried, beside the largest curvature along an action."""

GROW = 8.0
"""How much a shift grows when the model still has no minimum, or the step had to be cut."""

AT_ONCE, ROUNDS = 3, 8
"""Shifts that are tried side by side, and how often larger ones follow."""


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Changes of actions da = k + K ds that lower the energy: gain K [R, T, m, d], constant k [R, T, m].

    `shift` [R] is what was added to the curvature along every action so that the model has a minimum, `unit`
    [R] its first size. `promise` [R] is the slope of the energy along the change. `positive` [R] tells where
    there is a minimum; elsewhere the change is minus the gradient. In float64.
    """

    gain: Tensor
    constant: Tensor
    shift: Tensor
    unit: Tensor
    promise: Tensor
    positive: Tensor


def best_law(model: Expansion, free: Tensor, shift: Tensor) -> Law:
    """The law of the actions that are free [R, N]; the others keep still."""
    rows, steps, d, width = model.step.shape
    m = width - d
    step, curvature, slope = (v.cpu().numpy() for v in (model.step, model.curvature, model.slope))
    unit = FIRST * np.abs(curvature.diagonal(axis1=2, axis2=3)[:, :-1, d:]).max((1, 2), initial=0.0)
    unit = np.maximum(unit, np.finfo(float).tiny)
    kept = free.cpu().numpy().reshape(rows, steps, m)
    moves, costs = _stages(step, curvature, slope, kept)
    gradient = model.gradient.double().cpu().numpy().reshape(rows, steps, m)
    law = np.concatenate((np.zeros((rows, steps, m, d)), np.where(kept, -gradient, 0.0)[..., None]), 3)
    promise = -np.square(law[..., d]).sum((1, 2))
    tried, positive, left = shift.double().cpu().numpy(), np.zeros(rows, bool), np.arange(rows)
    taken = tried.copy()
    for _ in range(ROUNDS):
        shifts = [tried[left]]
        for _ in range(AT_ONCE - 1):
            shifts.append(np.maximum(GROW * shifts[-1], unit[left]))
        some = (moves, costs) if len(left) == rows else (moves[:, left], costs[:, left])
        several = [np.concatenate([v] * AT_ONCE, 1) for v in some]
        found = _laws(several[0], several[1], np.concatenate(shifts))
        good = found.positive.reshape(AT_ONCE, -1)
        any_ = good.any(0)
        pick = (good.argmax(0) * len(left) + np.arange(len(left)))[any_]
        at = left[any_]
        law[at], promise[at] = found.law[:, pick].transpose(1, 0, 2, 3), found.promise[pick]
        taken[at], positive[at] = np.concatenate(shifts)[pick], True
        tried[left] = np.maximum(GROW * shifts[-1], unit[left])
        left = left[~any_]
        if not len(left):
            break
    taken[left] = tried[left]
    parts = (torch.from_numpy(v) for v in (law[..., :d], law[..., d], taken, unit, promise, positive))
    return Law(*(v.to(model.step.device) for v in parts))


def changes(model: Expansion, law: Law) -> Tensor:
    """The changes of all actions along the linear steps, [R, N]."""
    step, gain, constant = (v.cpu().numpy() for v in (model.step, law.gain, law.constant))
    rows, steps, m, d = gain.shape
    found, state = np.empty((rows, steps, m)), np.zeros((rows, d, 1))
    for t in range(steps):
        found[:, t] = constant[:, t] + np.matmul(gain[:, t], state)[..., 0]
        state = np.matmul(step[:, t], np.concatenate((state, found[:, t, :, None]), 1))
    return torch.from_numpy(found.reshape(rows, -1)).to(law.gain.device)


def _stages(step: Array, curvature: Array, slope: Array, kept: Array) -> tuple[Array, Array]:
    """The stages with a 1 beside the state, so that slopes are entries of matrices, and time in front: moves
    [T, R, d + 1, d + 1 + m] and costs [T + 1, R, d + 1 + m, d + 1 + m].

    What keeps still costs its own square, and moves nothing.
    """
    rows, steps, d, width = step.shape
    order = [*range(d), width, *range(d, width)]
    costs = np.zeros((steps + 1, rows, width + 1, width + 1))
    costs[..., :width, :width] = curvature.swapaxes(0, 1)
    costs[..., :width, width] = costs[..., width, :width] = slope.swapaxes(0, 1)
    moves = np.zeros((steps, rows, d + 1, width + 1))
    moves[..., :d, :width], moves[..., d, width] = step.swapaxes(0, 1), 1.0
    if not kept.all():
        moving = np.ones((steps, rows, width + 1), bool)
        moving[..., d:width] = kept.swapaxes(0, 1)
        moves *= moving[..., None, :]
        costs[:-1] *= moving[..., None, :] & moving[..., None]
        costs[:-1] += np.eye(width + 1) * ~moving[..., None]
    return moves[..., order], costs[..., order, :][..., order]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """`law` [T, R, m, d + 1] with the constant part last; what it promises [R], and whether it is the only
    one [R]."""

    law: Array
    promise: Array
    positive: Array


def _laws(moves: Array, costs: Array, shift: Array) -> _Found:
    """The laws of stages as `_stages` gives them, with a shift [R] along every action."""
    steps, rows, e, width = moves.shape
    law, positive = np.empty((steps, rows, width - e, e)), np.ones(rows, bool)
    ahead = costs[-1, :, :e, :e]
    costs = costs[:-1].copy()
    costs[..., range(e, width), range(e, width)] += shift[:, None]
    back = moves.transpose(0, 1, 3, 2)
    with np.errstate(all="ignore"):
        for t in range(steps - 1, -1, -1):
            cost = np.matmul(back[t], np.matmul(ahead, moves[t]))
            cost += costs[t]
            solved, good = _solved(cost[:, e:, e:], cost[:, e:, :e])
            positive &= good
            ahead = cost[:, :e, :e] - np.matmul(cost[:, :e, e:], solved)
            ahead += ahead.transpose(0, 2, 1)
            ahead *= 0.5
            np.negative(solved, out=law[t])
        promise = ahead[:, -1, -1]
        positive &= np.isfinite(promise)
    return _Found(law, promise, positive)


def _solved(matrix: Array, right: Array) -> tuple[Array, Array]:
    """matrix^-1 right, and whether the matrix [R, m, m] is positive definite; the rest means nothing."""
    if matrix.shape[1] == 1:
        return right / matrix, matrix[:, 0, 0] > 0
    good: Array = np.asarray(np.isfinite(matrix).all((1, 2)))
    identity = np.eye(matrix.shape[1])
    least = np.linalg.eigvalsh(np.where(good[:, None, None], matrix, identity))
    good &= least[:, 0] > FLAT * np.abs(least).max(1)
    return np.linalg.solve(np.where(good[:, None, None], matrix, identity), right), good
