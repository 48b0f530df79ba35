"""The Riccati recursion for Newton steps of problems in stages: many rows at once, in numpy.

    minimise  sum_t 1/2 z_t'H_t z_t + g_t'z_t   subject to   s[t+1] = W_t z_t + r_t

over z_t = (s_t, a_t), from a given change of the first state. The cost to go is updated in the form that
keeps it symmetric and positive (Joseph): near an answer the weights of active constraints are ten orders
above others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
"""A numpy array of float64, unless it says otherwise."""

REGULAR = 1e-10
"""Added to the curvature along actions; its inverse is the weight of equations. Numbers are near 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """K [T, R, m, d] of the law -K s - k, the curvature along actions [T, R, m, m] with its inverse, and the
    curvature of the cost to go `ahead` [T, R, d, d] at the times 1..T."""

    gains: Array
    pivots: Array
    inverse: Array
    ahead: Array

    @property
    def positive(self) -> Array:
        """Rows where the cost of every action curves upwards, whatever comes before it, bool [R]."""
        pivots, m = self.pivots, self.pivots.shape[-1]
        if m == 1:
            return (pivots > 0).all((0, 2, 3))
        good = np.isfinite(pivots).all((0, 2, 3))
        least = np.linalg.eigvalsh(np.where(good[:, None, None], pivots, np.eye(m)))
        found: Array = good & (least > 0).all((0, 2))
        return found


def factored(step: Array, curvature: Array, regular: float | Array) -> Factors:
    """From the steps W [T, R or 1, d, n] and the curvature H [T + 1, R or 1, n, n], with `regular` (one
    number, or [R]) added along actions."""
    steps, d = step.shape[0], step.shape[2]
    m = step.shape[3] - d
    rows = max(step.shape[1], curvature.shape[1])
    gains, pivots, inverse = (np.empty((steps, rows, m, k)) for k in (d, m, m))
    aheads = np.empty((steps, rows, d, d))
    ahead = curvature[steps, :, :d, :d]
    shift = np.asarray(regular).reshape(-1, 1, 1) * np.eye(m)
    forth, along = step[..., :d], step[..., d:]
    back, both, alone = along.swapaxes(-1, -2), curvature[..., d:, :], curvature[..., :d, :d]
    across, acted = curvature[..., :d, d:], curvature[..., d:, d:]
    for t in range(steps - 1, -1, -1):
        aheads[t] = ahead
        cost = np.matmul(back[t], np.matmul(ahead, step[t])) + both[t]
        pivots[t] = cost[..., d:] + shift
        inverse[t] = 1 / pivots[t] if m == 1 else _inverse(pivots[t])
        gain = np.matmul(inverse[t], cost[..., :d], out=gains[t])
        if t == 0:
            break
        closed = forth[t] - np.matmul(along[t], gain)
        crossed = np.matmul(across[t], gain)
        own = np.matmul(gain.swapaxes(-1, -2), np.matmul(acted[t], gain))
        later = np.matmul(closed.swapaxes(-1, -2), np.matmul(ahead, closed))
        ahead = alone[t] - crossed - crossed.swapaxes(-1, -2) + own + later
        ahead = (ahead + ahead.swapaxes(-1, -2)) / 2
    return Factors(gains, pivots, inverse, aheads)


def _inverse(matrix: Array) -> Array:
    """Inverses of matrices [R, m, m]; of those without one nothing is said."""
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        bad = ~(np.abs(np.linalg.det(matrix)) > 0)
        return np.linalg.inv(np.where(bad[:, None, None], np.eye(matrix.shape[-1]), matrix))


def solved(step: Array, factors: Factors, slope: Array, offset: Array | None = None) -> Array:
    """The change z [T + 1, R, n], from no change of the first state, for slopes g [T + 1, R, n] and offsets r
    [T, R, d] (None: 0)."""
    steps, d = step.shape[0], step.shape[2]
    shifts = np.empty((steps, *slope.shape[1:2], slope.shape[2] - d))
    push = slope[steps, :, :d]
    for t in range(steps - 1, -1, -1):
        if offset is not None:
            push = push + applied(factors.ahead[t], offset[t])
        pull = slope[t] + transposed(step[t], push)
        shifts[t] = applied(factors.inverse[t], pull[:, d:])
        push = pull[:, :d] - transposed(factors.gains[t], pull[:, d:])
    z = np.zeros_like(slope)
    for t in range(steps):
        z[t, :, d:] = -applied(factors.gains[t], z[t, :, :d]) - shifts[t]
        z[t + 1, :, :d] = applied(step[t], z[t])
        if offset is not None:
            z[t + 1, :, :d] += offset[t]
    return z


def costates(step: Array, slope: Array) -> Array:
    """What the rest costs along the states at the times 0..T, [T + 1, R, d], for slopes [T + 1, R, n]."""
    steps, d = step.shape[0], step.shape[2]
    found = np.empty((steps + 1, slope.shape[1], d))
    found[steps] = slope[steps, :, :d]
    for t in range(steps - 1, -1, -1):
        found[t] = slope[t, :, :d] + transposed(step[t][..., :d], found[t + 1])
    return found


def applied(matrix: Array, vector: Array) -> Array:
    """Matrices [..., a, b] times vectors [..., b]."""
    return np.matmul(matrix, vector[..., None])[..., 0]


def transposed(matrix: Array, vector: Array) -> Array:
    """The same with the transposed matrices."""
    return np.matmul(vector[..., None, :], matrix)[..., 0, :]


def squared(rows: Array, weight: Array) -> Array:
    """G'wG at every time, [T + 1, R, n, n], from rows G [T + 1, R or 1, K, n] and weights [T + 1, R, K]."""
    if rows.shape[1] > 1 or weight.shape[1] == 1:
        return np.matmul((rows * weight[..., None]).swapaxes(-1, -2), rows)
    n = rows.shape[3]
    outer = (rows[:, 0, :, :, None] * rows[:, 0, :, None, :]).reshape(rows.shape[0], -1, n * n)
    return np.matmul(weight, outer).reshape(*weight.shape[:2], n, n)
