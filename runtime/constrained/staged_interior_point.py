"""Primal-dual interior points for quadratic programs in stages, in time that grows with the steps.

Mehrotra's predictor and corrector (Mehrotra 1992) as for dense programs, but the Newton step is that of a
linear-quadratic problem, whose curvature is H_t + G_t'w_t G_t with weights w from the slacks: the Riccati
recursion factors it at a cost of T (d + m)^3 (Rao, Wright & Rawlings 1998). States follow from actions at
all times, so the step needs no multipliers of the dynamics.

All rows go side by side through numpy, whose calls on small matrices cost a fraction of those of PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ebmlang.runtime.constrained.stage_recursion import (
    REGULAR,
    applied,
    costates,
    factored,
    solved,
    squared,
    transposed,
)
from ebmlang.runtime.constrained.stages import StagedProgram

Array = Any
"""A numpy array of float64, unless it says otherwise."""

MOST_STEPS = 60

FIRM = 1e-7
"""The inverse of the weight of what is taken as an equation at the end."""

REFINED = 4
"""Solutions for that; each leaves `FIRM` of the violation before."""

ACCURATE = 1e-12
STAY_INSIDE = 0.995

CURVED = 1e-9
"""A share of the largest curvature along an action by which it may be negative from rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class StagedAnswer:
    """States and actions z [T + 1, R, n], multipliers of the constraints of the model [R, M], costates
    [T + 1, R, d], steps taken int64 [R]."""

    z: Array
    multipliers: Array
    costates: Array
    steps: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """z [T + 1, R, n]; multipliers and slacks [T + 1, R, K], slacks of equations being 0."""

    z: Array
    y: Array
    s: Array


def convex(program: StagedProgram) -> bool:
    """Whether the cost of every action curves upwards, whatever comes before it."""
    size = np.abs(program.curvature).max(initial=0.0)
    if not np.isfinite(size) or not np.isfinite(program.step).all():
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        pivots = factored(program.step, program.curvature, REGULAR * max(size, 1e-300)).pivots
    least = np.linalg.eigvalsh(pivots).min(initial=0.0) if np.isfinite(pivots).all() else -np.inf
    return bool(least >= -CURVED * np.abs(pivots).max(initial=0.0))


def solve(program: StagedProgram, limit: int = MOST_STEPS) -> tuple[StagedAnswer, StagedAnswer]:
    """The minimiser of every row as the interior point leaves it, and with its active constraints taken as
    equations; the caller measures which is better."""
    # Rows that are not finite stay as they are: whoever judges the answer names them.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scaled, energy, norms = _scale(program)
        at = _start(scaled)
        steps = _search(scaled, at, min(limit, MOST_STEPS))
        fine = _polished(scaled, at)
        return _answer(scaled, at, steps, energy, norms), _answer(scaled, fine, steps, energy, norms)


def _search(program: StagedProgram, at: _Point, limit: int) -> Array:
    """Move the points of all rows until they are accurate; the steps of each, int64 [R]."""
    rows = at.z.shape[1]
    steps, left = np.zeros(rows, dtype=np.int64), np.ones(rows)
    running = np.flatnonzero(np.isfinite(at.z).all((0, 2)) & np.isfinite(at.s).all((0, 2)))
    for _ in range(limit):
        if not len(running):
            break
        part = program.select(running)
        moved, length = _step(part, _rows(at, running))
        steps[running] += 1
        # What is left of stationarity is linear in the step.
        left[running] *= 1 - length
        for name in ("z", "y", "s"):
            getattr(at, name)[:, running] = getattr(moved, name)
        finite = np.isfinite(moved.z).all((0, 2)) & np.isfinite(moved.y).all((0, 2))
        done = (left[running] <= ACCURATE) & _accurate(part, moved)
        running = running[finite & ~done & (length > 0)]
    return steps


def _rows(point: _Point, index: Array) -> _Point:
    return _Point(point.z[:, index], point.y[:, index], point.s[:, index])


def _answer(program: StagedProgram, at: _Point, steps: Array, energy: Array, norms: Array) -> StagedAnswer:
    rows = program.first.shape[0]
    slope = applied(program.curvature, at.z) + program.slope + transposed(program.rows, at.y)
    found = costates(program.step, slope) * energy[:, None]
    own = at.y * energy[:, None] / norms
    return StagedAnswer(at.z, own.swapaxes(0, 1).reshape(rows, -1)[:, program.place], found, steps)


def _scale(program: StagedProgram) -> tuple[StagedProgram, Array, Array]:
    """Rows of norm 1 and numbers of the energy near 1; what these were divided by, [R] and [T + 1, R, K]."""
    norms = np.linalg.norm(program.rows, axis=-1)
    norms = np.where(norms > 0, norms, 1.0)
    rows = program.first.shape[0]
    energy = np.maximum(
        np.abs(program.curvature).max((0, 2, 3), initial=0.0), np.abs(program.slope).max((0, 2), initial=0.0)
    )
    energy = np.broadcast_to(np.maximum(energy, 1e-300), (rows,))
    own = energy[:1] if program.curvature.shape[1] == program.slope.shape[1] == 1 else energy
    scaled = replace(
        program,
        curvature=program.curvature / own[:, None, None],
        slope=program.slope / own[:, None],
        rows=program.rows / norms[..., None],
        level=program.level / norms,
    )
    return scaled, energy, norms


def _start(program: StagedProgram) -> _Point:
    """Actions 0 and the states that follow, with slacks and multipliers well inside."""
    times, rows = program.level.shape[:2]
    d, n = program.first.shape[1], program.rows.shape[3]
    z = np.zeros((times, rows, n))
    z[0, :, :d] = program.first
    for t in range(times - 1):
        z[t + 1, :, :d] = applied(program.step[t], z[t]) + program.offset[t]
    slack = np.maximum(-(applied(program.rows, z) + program.level), 1.0)
    inside = program.live & ~program.equal
    return _Point(z, inside.astype(float), np.where(program.equal, 0.0, slack))


# --- one step ------------------------------------------------------------------------------------


def _accurate(p: StagedProgram, at: _Point) -> Array:
    """Rows whose constraints hold with slacks and multipliers that complement each other, bool [R]."""
    off = np.abs(np.where(p.live, applied(p.rows, at.z) + p.level + at.s, 0.0)).max((0, 2), initial=0.0)
    gap = _mean(p, at.s * at.y)
    size = 1 + np.abs(at.z).max((0, 2), initial=0.0) + np.abs(at.y).max((0, 2), initial=0.0)
    return np.maximum(off, gap) <= ACCURATE * size


def _mean(p: StagedProgram, products: Array) -> Array:
    inside = p.live & ~p.equal
    return np.where(inside, products, 0.0).sum((0, 2)) / np.maximum(inside.sum((0, 2)), 1)


def _step(p: StagedProgram, at: _Point) -> tuple[_Point, Array]:
    """One predictor and one corrector on the same factors, and how far they went, [R]."""
    inside = p.live & ~p.equal
    off = np.where(p.live, applied(p.rows, at.z) + p.level + at.s, 0.0)
    weight = np.where(
        inside, at.y / np.where(inside, at.s, 1.0), np.where(p.live & p.equal, 1 / REGULAR, 0.0)
    )
    factors = factored(p.step, p.curvature + squared(p.rows, weight), REGULAR)
    slope = applied(p.curvature, at.z) + p.slope
    mu = _mean(p, at.s * at.y)

    def direction(target: Array) -> _Point:
        """The Newton direction that lowers s y by `target`."""
        change = weight * off - np.where(inside, target / np.where(inside, at.s, 1.0), 0.0)
        z = solved(p.step, factors, slope + transposed(p.rows, at.y + change))
        moved = applied(p.rows, z)
        return _Point(z, weight * moved + change, np.where(inside, -(off + moved), 0.0))

    ahead = direction(at.s * at.y)
    primal, dual = _reach(inside, at.s, ahead.s), _reach(inside, at.y, ahead.y)
    trial = _mean(p, (at.s + primal[:, None] * ahead.s) * (at.y + dual[:, None] * ahead.y))
    centre = np.where(mu > 0, np.clip(trial / np.maximum(mu, 1e-300), 0, 1) ** 3, 0.0)
    move = direction(at.s * at.y + ahead.s * ahead.y - (centre * mu)[:, None])
    reach = np.minimum(_reach(inside, at.s, move.s), _reach(inside, at.y, move.y))
    # Stationarity couples both kinds of moves, so that they have one length.
    length = np.where(reach >= 1 / STAY_INSIDE, 1.0, STAY_INSIDE * reach)
    by = length[:, None]
    return _Point(at.z + by * move.z, at.y + by * move.y, at.s + by * move.s), length


def _reach(inside: Array, value: Array, move: Array) -> Array:
    """How far `move` goes before a value that counts becomes 0, at most 2; [R]."""
    falls = inside & (move < 0)
    ratio = np.where(falls, -value / np.where(falls, move, -1.0), 2.0)
    return np.minimum(ratio.min((0, 2), initial=2.0), 2.0)


# --- the active set once more --------------------------------------------------------------------


def _polished(p: StagedProgram, at: _Point) -> _Point:
    """The point with the constraints that are active - multipliers above slacks - taken as equations.

    Each solution is a step of the method of multipliers with a large weight (Bertsekas 1982, chapter 2), so
    that equations may depend on each other. Where the guess is wrong the result is worse.
    """
    active = p.live & (p.equal | (at.y > at.s))
    weight = np.where(active, 1 / FIRM, 0.0)
    factors = factored(p.step, p.curvature + squared(p.rows, weight), REGULAR)
    z, y = at.z, np.where(active, at.y, 0.0)
    for _ in range(REFINED):
        off = np.where(active, applied(p.rows, z) + p.level, 0.0)
        slope = applied(p.curvature, z) + p.slope + transposed(p.rows, y + weight * off)
        change = solved(p.step, factors, slope)
        y = y + weight * (off + np.where(active, applied(p.rows, change), 0.0))
        z = z + change
    return _Point(z, y, at.s)
