"""How far along a step: a filter of cost and violation (Fletcher & Leyffer 2002; Waechter & Biegler 2006).

A point is taken when its cost - with the barrier of its slacks - or its violation is lower than at every
point that the filter holds. A whole step that violates more than before, because constraints bend, is tried
again with a correction of second order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebmlang.runtime.constrained.stage_model import StageFunctions, Values

Array = Any
"""A numpy array of float64, unless it says otherwise."""

STAY_INSIDE = 0.99

SHARES = ((1.0, 0.5, 0.25), (0.125, 0.03, 0.008), (2e-3, 2e-4, 2e-5))
"""Shares of a step: those of a group are tried side by side, the next group where none of them will do."""

ARMIJO, LESS = 1e-4, 1e-5
"""What the cost must fall, as a share of what the slope promises; what cost or violation must fall otherwise,
as a share of the violation."""

SMALL, LARGE = 1e-4, 1e4
"""The violation, beside that at the start, below which the cost alone may be asked to fall, and above which
no point is taken."""

ROUNDING = 1e-14
"""Changes of the cost below this share of it tell nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """States and actions z [T + 1, R, n] and slacks [T + 1, R, K], with the values there."""

    z: Array
    s: Array
    values: Values

    def select(self, rows: Array) -> Point:
        return Point(self.z[:, rows], self.s[:, rows], self.values.select(rows))

    def where(self, rows: Array, other: Point) -> Point:
        """The marked rows of this one, bool [R], the others of another one."""
        mine = rows[:, None]
        return Point(
            np.where(mine, self.z, other.z),
            np.where(mine, self.s, other.s),
            Values(
                np.where(rows, self.values.cost, other.values.cost),
                np.where(mine, self.values.gap, other.values.gap),
                np.where(mine, self.values.level, other.values.level),
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Changes of z, of multipliers y and of slacks s."""

    z: Array
    y: Array
    s: Array

    def where(self, rows: Array, other: Step) -> Step:
        mine = rows[:, None]
        pairs = ((self.z, other.z), (self.y, other.y), (self.s, other.s))
        return Step(*(np.where(mine, a, b) for a, b in pairs))


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    point: Point
    step: Step


@dataclass(slots=True, eq=False)
class Filter:
    """Pairs of violation and cost [R] of points that must not be met again; `first` [R] is the violation at
    the start."""

    first: Array
    pairs: list[tuple[Array, Array]]

    @staticmethod
    def of(model: StageFunctions, point: Point) -> Filter:
        return Filter(np.maximum(violation(model, point), 1.0), [])

    def select(self, rows: Array) -> Filter:
        return Filter(self.first[rows], [(a[rows], b[rows]) for a, b in self.pairs])

    def clear(self, rows: Array) -> None:
        """Forget what is held of the marked rows, bool [R]."""
        self.pairs = [(np.where(rows, np.inf, a), np.where(rows, np.inf, b)) for a, b in self.pairs]
        self.pairs = [pair for pair in self.pairs if np.isfinite(pair[0]).any()]

    def add(self, rows: Array, missed: Array, cost: Array) -> None:
        if rows.any():
            self.pairs.append((np.where(rows, missed, np.inf), np.where(rows, cost, np.inf)))

    def admits(self, missed: Array, cost: Array) -> Array:
        """Points [C, R] that no pair speaks against, bool [C, R]."""
        good: Array = np.isfinite(missed) & np.isfinite(cost) & (missed <= LARGE * self.first)
        for least, lowest in self.pairs:
            good &= (missed <= (1 - LESS) * least) | (cost <= lowest - LESS * least)
        return good


def violation(model: StageFunctions, point: Point) -> Array:
    """By how much steps and limits are missed in sum, [R]."""
    copies = point.z.shape[1] // model.live.shape[1]
    off = np.where(np.tile(model.live, (1, copies, 1)), point.values.level + point.s, 0.0)
    found: Array = np.abs(point.values.gap).sum((0, 2)) + np.abs(off).sum((0, 2))
    return found


def barrier(model: StageFunctions, point: Point, mu: Array) -> Array:
    """The cost with the barrier of the slacks, [R]."""
    copies = point.z.shape[1] // model.live.shape[1]
    inside = np.tile(model.inside, (1, copies, 1))
    logs = np.log(np.where(inside, point.s, 1.0)).sum((0, 2))
    found: Array = point.values.cost - np.tile(mu, copies) * logs
    return found


def taken(
    model: StageFunctions,
    at: Point,
    step: Step,
    corrected: Callable[[Array, Array], Step],
    off: Array,
    fall: Array,
    mu: Array,
    held: Filter,
) -> tuple[Reached, Array, Array]:
    """The point that is taken, the length of the step to it [R], and the rows that have one, bool [R].

    `fall` [R] is the slope of the cost along the step, `off` what the limits miss; `corrected` gives the step
    for other gaps.
    """
    inside, rows = model.inside, at.z.shape[1]
    fall = fall - mu * np.where(inside, step.s / np.where(inside, at.s, 1.0), 0.0).sum((0, 2))
    longest = _longest(inside, at.s, step.s)
    before, cost = violation(model, at), barrier(model, at, mu)
    judge = _Judge(held, before, cost, fall)
    best, length, good = Reached(at, step), np.zeros(rows), np.zeros(rows, dtype=bool)
    for number, shares in enumerate(SHARES):
        lengths = np.array(shares)[:, None] * longest
        points = _points(model, at, step, lengths)
        fine = judge.takes(model, points, lengths, mu)
        first = fine.argmax(0)
        new = fine.any(0) & ~good
        chosen = points.select(first * rows + np.arange(rows))
        best = Reached(chosen.where(new, best.point), best.step)
        length, good = np.where(new, lengths[first, np.arange(rows)], length), good | new
        if number == 0:
            again = ~fine[0]
            if again.any():
                whole = points.select(np.arange(rows))
                again &= violation(model, whole) >= before
                best, length, good = _corrected(
                    model, at, (best, length, good), again, whole, longest, corrected, off, judge, mu
                )
        if good.all():
            break
    held.add(good & ~judge.by_cost(length), before, cost)
    return best, length, good


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """What points along a step are compared with: violation and cost [R] before it, and the slope [R]."""

    held: Filter
    before: Array
    cost: Array
    fall: Array

    def by_cost(self, length: Array) -> Array:
        """Whether the cost alone is asked to fall along steps of this length."""
        promised = np.maximum(-self.fall, 0.0)
        found: Array = (
            (self.fall < 0)
            & (self.before <= SMALL * self.held.first)
            & (length * promised**2.3 > self.before**1.1)
        )
        return found

    def takes(self, model: StageFunctions, points: Point, lengths: Array, mu: Array) -> Array:
        """Which of the points [C * R] at lengths [C, R] may be taken, bool [C, R]."""
        missed = violation(model, points).reshape(lengths.shape)
        cost = barrier(model, points, mu).reshape(lengths.shape)
        slack = ROUNDING * (1 + np.abs(self.cost))
        lower = cost <= self.cost + ARMIJO * lengths * self.fall + slack
        either = (missed <= (1 - LESS) * self.before) | (cost <= self.cost - LESS * self.before + slack)
        found: Array = np.where(self.by_cost(lengths), lower, either) & self.held.admits(missed, cost - slack)
        return found


def _points(model: StageFunctions, at: Point, step: Step, lengths: Array) -> Point:
    """The points at lengths [C, R] along a step, all rows of the first length first."""
    z = np.concatenate([at.z + length[:, None] * step.z for length in lengths], 1)
    s = np.concatenate([at.s + length[:, None] * step.s for length in lengths], 1)
    return Point(z, s, model.values(z))


def _corrected(
    model: StageFunctions,
    at: Point,
    found: tuple[Reached, Array, Array],
    again: Array,
    whole: Point,
    longest: Array,
    corrected: Callable[[Array, Array], Step],
    off: Array,
    judge: _Judge,
    mu: Array,
) -> tuple[Reached, Array, Array]:
    """What is found, with a whole step of second order where that may be taken in the rows `again` [R]."""
    best, length, good = found
    missed = np.where(model.live, whole.values.level + whole.s, 0.0)
    by = longest[:, None]
    step = corrected(by * at.values.gap + whole.values.gap, by * off + missed)
    reach = _longest(model.inside, at.s, step.s)
    point = _points(model, at, step, reach[None])
    new = again & judge.takes(model, point, reach[None], mu)[0]
    best = Reached(point.where(new, best.point), step.where(new, best.step))
    return best, np.where(new, reach, length), good | new


def _longest(inside: Array, s: Array, move: Array) -> Array:
    """How far a step goes until a slack has lost nearly all of its size, at most 1; [R]."""
    falls = inside & (move < 0)
    ratio = np.where(falls, -STAY_INSIDE * s / np.where(falls, move, -1.0), 1.0)
    return np.minimum(ratio.min((0, 2), initial=1.0), 1.0)
