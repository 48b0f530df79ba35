"""Primal-dual interior points for problems in stages that need not be linear, along states and actions.

    minimise  cost(z)   subject to   s[t+1] = f(z_t),   c(z) <= 0 or c(z) == 0

with states that need not follow from the actions before the end (multiple shooting; Bock & Plitt 1984). A
Newton step on the conditions of Karush, Kuhn and Tucker with slacks, c(z) + s = 0 and s y = mu, is that of a
linear-quadratic problem, solved by the Riccati recursion. Steps are accepted by a filter, with a correction
of second order (`shooting_filter`). Where the model curves down along some actions, what curves down is
left out of its stages.

All rows go side by side; each has its own mu, filter and end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebmlang.runtime.constrained.shooting_filter import Filter, Point, Step, taken
from ebmlang.runtime.constrained.stage_model import Slopes, StageFunctions
from ebmlang.runtime.constrained.stage_recursion import (
    REGULAR,
    Factors,
    applied,
    costates,
    factored,
    solved,
    squared,
    transposed,
)

Array = Any
"""A numpy array of float64, unless it says otherwise."""

FIRST_MU, LEAST_MU = 0.1, 1e-11

SMALL_MU = 1e-8

AWAY = 1e-2
"""How far from bounds a search begins, as a share of their distance or of 1."""

SAFE = 1e10
"""Multipliers times slacks stay within this factor of mu."""

FLAT = 1e-8
"""The least curvature of a stage from which what curves down was left out, beside its largest."""

ACCURATE = 1e-12
"""What the conditions may leave, beside the numbers that they are sums of."""

FIRM = 1e-7
"""The inverse of the weight of what is taken as an equation at the end."""

OPEN, MOST_CLOSED = 1e-8, 3
"""The sum of gaps above which states do not follow from the actions, and how often that is mended."""

STALE, PATIENT = 6, 40
"""Steps without less of an error or a smaller mu before a search ends: once mu is small, and before."""


@dataclass(slots=True, eq=False)
class Found:
    """Where a search has come: z [T + 1, R, n], multipliers y and slacks s [T + 1, R, K], costates
    [T + 1, R, d]; what the conditions leave there, `error` [R], and int64 [R] steps."""

    z: Array
    y: Array
    s: Array
    costates: Array
    error: Array
    steps: Array


def search(model: StageFunctions, z: Array, limit: int, over: Callable[[], bool]) -> Found:
    """From z, whose first states are those of the problem, until the conditions hold, nothing helps any more,
    `limit` steps are taken, or time is `over`."""
    rows = z.shape[1]
    state = _begin(model, z)
    found = Found(
        state.at.z.copy(), state.y.copy(), state.at.s.copy(), np.zeros((*z.shape[:2], model.first.shape[1])),
        np.full(rows, np.inf), np.zeros(rows, dtype=np.int64),
    )  # fmt: skip
    running = np.flatnonzero(np.isfinite(state.at.values.cost))
    state, part = _rows(state, running), model.select(running)
    for _ in range(limit):
        if not len(running) or over():
            break
        going = _advance(part, state)
        for name, value in (
            ("z", state.at.z),
            ("y", state.y),
            ("s", state.at.s),
            ("costates", state.costates),
        ):
            getattr(found, name)[:, running] = value
        found.error[running] = state.error
        found.steps[running] += 1
        if not going.all():
            running = running[going]
            state, part = _rows(state, np.flatnonzero(going)), part.select(np.flatnonzero(going))
    return found


@dataclass(slots=True, eq=False)
class _State:
    """Rows in play. `least` [R] is the smallest error so far, `stale` [R] the steps since, `closed` [R] how
    often states were made to follow from the actions."""

    at: Point
    y: Array
    mu: Array
    filter: Filter
    costates: Array
    error: Array
    least: Array
    stale: Array
    closed: Array


def _begin(model: StageFunctions, z: Array) -> _State:
    """Well inside of the bounds, with slacks and multipliers on the central path."""
    z, count = z.copy(), len(model.columns)
    lo, hi = model.bounds[..., :count], -model.bounds[..., count:]
    below, above = (
        model.live[..., model.slots.width :][..., part] for part in (slice(count), slice(count, None))
    )
    room = np.where(below & above, hi - lo, np.inf)
    inner = z[..., model.columns]
    inner = np.where(
        below, np.maximum(inner, lo + np.minimum(AWAY * np.maximum(1, np.abs(lo)), AWAY * room)), inner
    )
    inner = np.where(
        above, np.minimum(inner, hi - np.minimum(AWAY * np.maximum(1, np.abs(hi)), AWAY * room)), inner
    )
    z[..., model.columns] = inner
    values, inside = model.values(z), model.inside
    # Bounds keep the slacks that they have; others begin at least a little inside.
    s = np.where(inside, np.maximum(-values.level, AWAY), 0.0)
    s[..., model.slots.width :] = np.where(inside, -values.level, 0.0)[..., model.slots.width :]
    mu = np.where(inside.any((0, 2)), FIRST_MU, LEAST_MU)
    y = np.where(inside, mu[:, None] / np.where(inside, s, 1.0), 0.0)
    rows, d = z.shape[1], model.first.shape[1]
    return _State(
        Point(z, s, values), y, mu, Filter.of(model, Point(z, s, values)), np.zeros((*z.shape[:2], d)),
        np.full(rows, np.inf), np.full(rows, np.inf), np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.int64),
    )  # fmt: skip


def _rows(state: _State, index: Array) -> _State:
    return _State(
        state.at.select(index), state.y[:, index], state.mu[index], state.filter.select(index),
        state.costates[:, index], state.error[index], state.least[index], state.stale[index],
        state.closed[index],
    )  # fmt: skip


def _advance(model: StageFunctions, state: _State) -> Array:
    """One step, which changes the state; the rows that go on, bool [R]."""
    at, inside = state.at, model.inside
    with np.errstate(all="ignore"):
        slopes = model.slopes(at.z)
        pull = slopes.cost + transposed(slopes.rows, state.y)
        state.costates = costates(slopes.step, pull)
        off = np.where(model.live, at.values.level + at.s, 0.0)
        done = _judged(model, state, slopes, pull, off)
        curvature = model.curvature(at.z, state.costates, state.y)
        weight = np.where(inside, state.y / np.where(inside, at.s, 1.0), 0.0)
        weight = np.where(model.live & model.equal, 1 / REGULAR, weight)
        factors = _upwards(slopes, curvature + squared(slopes.rows, weight))

        def direction(gap: Array, off: Array) -> Step:
            """The Newton step for these gaps of steps and of limits."""
            target = np.where(inside, at.s * state.y - state.mu[:, None], 0.0)
            change = weight * off - np.where(inside, target / np.where(inside, at.s, 1.0), 0.0)
            z = solved(slopes.step, factors, pull + transposed(slopes.rows, change), gap)
            moved = applied(slopes.rows, z)
            return Step(z, weight * moved + change, np.where(inside, -(off + moved), 0.0))

        step = direction(at.values.gap, off)
        fall = (slopes.cost * step.z).sum((0, 2))
        reached, length, good = taken(model, at, step, direction, off, fall, state.mu, state.filter)
        far = np.isfinite(step.z).all((0, 2))
        dual = _dual_length(inside, state.y, reached.step.y)
        y = state.y + np.where(model.equal, length[:, None], dual[:, None]) * reached.step.y
        s = np.where(inside, reached.point.s, 1.0)
        low, high = state.mu[:, None] / (SAFE * s), SAFE * state.mu[:, None] / s
        y = np.where(inside, np.clip(y, low, high), np.where(model.live, y, 0.0))
    moved = good & far
    state.at = reached.point.where(moved, at)
    state.y = np.where(moved[:, None], y, state.y)
    return (
        (moved | _closed(model, state, ~moved & ~done))
        & ~done
        & (state.stale < np.where(state.mu <= SMALL_MU, STALE, PATIENT))
    )


def _closed(model: StageFunctions, state: _State, stuck: Array) -> Array:
    """Of rows that found no step, those [R] whose states did not follow from their actions, and now do."""
    at, inside = state.at, model.inside
    open_ = stuck & (np.abs(at.values.gap).sum((0, 2)) > OPEN) & (state.closed < MOST_CLOSED)
    if not open_.any():
        return open_
    with np.errstate(all="ignore"):
        z = model.rolled_out(at.z)
        values = model.values(z)
    open_ &= np.isfinite(values.cost) & np.isfinite(values.level).all((0, 2))
    slack = np.where(inside, np.maximum(-values.level, AWAY), 0.0)
    state.at = Point(z, slack, values).where(open_, at)
    fresh = np.where(inside, state.mu[:, None] / np.where(inside, slack, 1.0), 0.0)
    state.y = np.where(open_[:, None], fresh, state.y)
    state.filter.clear(open_)
    state.closed = state.closed + open_
    return open_


def _judged(model: StageFunctions, state: _State, slopes: Slopes, pull: Array, off: Array) -> Array:
    """Lower mu where the conditions at it nearly hold; rows in which they hold for the least, bool [R]."""
    at, d = state.at, model.first.shape[1]
    along = pull[:-1, :, d:] + transposed(slopes.step[..., d:], state.costates[1:])
    largest = np.abs(slopes.cost).max((0, 2), initial=0.0) + np.abs(state.costates).max((0, 2), initial=0.0)
    size = 1 + largest + np.abs(state.y).max((0, 2), initial=0.0)
    reach = 1 + np.abs(at.z).max((0, 2), initial=0.0)
    missed = (
        np.maximum(np.abs(at.values.gap).max((0, 2), initial=0.0), np.abs(off).max((0, 2), initial=0.0))
        / reach
    )
    slope = np.abs(along).max((0, 2), initial=0.0) / size
    products = np.where(model.inside, at.s * state.y, 0.0)
    kept = state.mu
    for _ in range(8):
        central = np.where(model.inside, np.abs(products - state.mu[:, None]), 0.0).max((0, 2), initial=0.0)
        near = np.maximum(np.maximum(missed, slope), central / size) <= 10 * state.mu
        lower = near & (state.mu > LEAST_MU)
        if not lower.any():
            break
        state.mu = np.where(lower, np.maximum(np.minimum(0.2 * state.mu, state.mu**1.5), LEAST_MU), state.mu)
        state.filter.clear(lower)
    state.error = np.maximum(np.maximum(missed, slope), products.max((0, 2), initial=0.0) / size)
    last = state.mu <= LEAST_MU
    better = (state.error < 0.9 * state.least) | (state.mu < kept)
    state.stale = np.where(better, 0, state.stale + 1)
    state.least = np.minimum(state.least, state.error)
    return last & (state.error <= ACCURATE)


def _upwards(slopes: Slopes, curvature: Array) -> Factors:
    """Factors of the stages; of rows that curve down along some actions, those of stages without what curves
    down."""
    factors = factored(slopes.step, curvature, REGULAR)
    down = np.flatnonzero(~factors.positive)
    if not len(down):
        return factors
    part = curvature[:, down]
    finite = np.isfinite(part).all((0, 2, 3))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], part, 0.0))
    # Measured: keeping the sizes of what curves down, or adding to the curvature along actions, takes more
    # steps and ends in fewer answers.
    least = FLAT * np.abs(values).max((0, 2), keepdims=True)
    turned = np.matmul(vectors * np.maximum(values, least)[..., None, :], vectors.swapaxes(-1, -2))
    again = factored(slopes.step[:, down], turned, REGULAR)
    for name in ("gains", "pivots", "inverse", "ahead"):
        getattr(factors, name)[:, down] = getattr(again, name)
    return factors


def _dual_length(inside: Array, y: Array, move: Array) -> Array:
    falls = inside & (move < 0)
    ratio = np.where(falls, -0.99 * y / np.where(falls, move, -1.0), 1.0)
    return np.minimum(ratio.min((0, 2), initial=1.0), 1.0)


# --- the active set once more --------------------------------------------------------------------


def polished(model: StageFunctions, found: Found, rounds: int = 3) -> Found:
    """Newton steps with the limits that are active - multipliers above slacks - taken as equations. Where the
    guess is wrong the result is worse."""
    active = model.live & (model.equal | (found.y > found.s))
    weight = np.where(active, 1 / FIRM, 0.0)
    z, y = found.z.copy(), np.where(active, found.y, 0.0)
    lam = found.costates
    with np.errstate(all="ignore"):
        for _ in range(rounds):
            values, slopes = model.values(z), model.slopes(z)
            lam = costates(slopes.step, slopes.cost + transposed(slopes.rows, y))
            factors = _upwards(slopes, model.curvature(z, lam, y) + squared(slopes.rows, weight))
            off = np.where(active, values.level, 0.0)
            pull = slopes.cost + transposed(slopes.rows, y + weight * off)
            change = solved(slopes.step, factors, pull, values.gap)
            y = y + weight * (off + np.where(active, applied(slopes.rows, change), 0.0))
            z = z + change
        slopes = model.slopes(z)
        lam = costates(slopes.step, slopes.cost + transposed(slopes.rows, y))
    return Found(z, y, found.s, lam, found.error, found.steps)
