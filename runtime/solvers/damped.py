"""Damped second-order steps: Newton, Gauss and Newton, Levenberg and Marquardt, on the pattern of the matrix.

Each row solves (H + mu D) p = -g and judges the step by its gain, the energy lost over the energy that the
quadratic model promised. A good gain lowers the damping mu, a bad one raises it (Levenberg 1944; Marquardt
1963; the rule of Nielsen 1999). A matrix that is not positive definite is damped until it is. A damped step
serves better than a line search along Newton's direction where curvature vanishes in parts, as it does for
Huber's loss beyond its threshold: there the undamped direction is as long as the rounding of the matrix
allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot
from ebmlang.runtime.linear import Factorization, Matrix
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.solver import (
    evaluate_rows,
    full_energy_and_gradient,
    noise,
    where_rows,
)

TRIALS = 12
"""Dampings that are tried with one matrix."""
FLATTER = 0.9
"""Where energies cannot be told apart, a step must leave at most this share of the slope along it."""
LEAST = 1e-14
MOST = 1e20
"""Damping relative to the diagonal stays between these."""


@dataclass(frozen=True, slots=True, eq=False)
class Damping:
    """mu and its next growth, float64 [R]; the diagonal D, float64 [R, 1] or [R, N]."""

    mu: Tensor
    growth: Tensor
    scale: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Where a row is: x, gradient [R, N], energy [R]."""

    x: Tensor
    energy: Tensor
    gradient: Tensor


def damped_step(
    problem: Problem, at: Point, matrix: Matrix, damping: Damping, rows: Tensor
) -> tuple[Point, Damping, Tensor]:
    """One step of the marked rows [R]: where it leads, the new damping, and the rows that moved."""
    if matrix.rows == 1 < at.x.shape[0]:
        matrix = _repeated(matrix, at.x.shape[0])
    searching, moved = rows, torch.zeros_like(rows)
    for _ in range(TRIALS):
        trial, damping, good = _try(problem, at, matrix, damping, searching)
        # Rows that have moved have left `searching`, so that `at` keeps their new point.
        at = trial if bool(good.all()) else _merged(good, trial, at)
        moved, searching = moved | good, searching & ~good
        if not bool(searching.any()):
            break
    return at, damping, moved


def _repeated(matrix: Matrix, rows: int) -> Matrix:
    """One matrix as one for every row, whose dampings differ."""
    return matrix.shifted(torch.zeros(rows, dtype=matrix.dtype, device=matrix.device))


def _merged(good: Tensor, new: Point, old: Point) -> Point:
    if not bool(good.any()):
        return old
    return Point(
        where_rows(good, new.x, old.x),
        torch.where(good, new.energy, old.energy),
        where_rows(good, new.gradient, old.gradient),
    )


def _try(
    problem: Problem, at: Point, matrix: Matrix, damping: Damping, searching: Tensor
) -> tuple[Point, Damping, Tensor]:
    factors, damping = _positive(matrix, damping)
    step = factors.solve(at.gradient).neg_()
    downhill = -row_dot(at.gradient, step)
    penalty = damping.mu * _scaled_square(damping.scale, step.double())
    promised = 0.5 * (downhill + penalty)
    point = at.x + step
    if not bool(searching.all()):
        point = where_rows(searching, point, at.x)
    energy, gradient = evaluate_rows(problem, point, searching, full_energy_and_gradient)
    fall = at.energy - energy
    gain = fall.double() / promised
    # Where energies agree up to rounding, slopes decide.
    level = fall.abs() <= noise(at.energy)
    flatter = row_dot(gradient, step) < FLATTER * downhill
    finite = torch.isfinite(energy) & torch.isfinite(promised)
    worth = finite & (promised > 0) & torch.where(level, flatter, gain > 1e-4)
    # An energy of -inf ends the search: the driver reports it.
    good = searching & (worth | (energy == -torch.inf))
    gain = torch.where(level & flatter, 1.0, gain)
    return Point(point, energy, gradient), _adapted(damping, gain, good, searching), good


def _scaled_square(scale: Tensor, step: Tensor) -> Tensor:
    """The sum of D step^2, [R]."""
    if scale.shape[1] == 1:
        return scale[:, 0] * row_dot(step, step)
    return row_dot(scale * step, step)


def _adapted(damping: Damping, gain: Tensor, good: Tensor, tried: Tensor) -> Damping:
    """Less damping after a good gain, more after a bad one, ever faster after failures."""
    lower = torch.where(gain > 0.9, 0.1, torch.where(gain > 0.25, 0.3, 2.0))
    factor = torch.where(good, lower, damping.growth)
    factor = torch.where(tried, factor, 1.0)
    growth = torch.where(good, 4.0, torch.where(tried, (2 * damping.growth).clamp(max=1e4), damping.growth))
    return replace(damping, mu=(damping.mu * factor).clamp(LEAST, MOST), growth=growth)


def _positive(matrix: Matrix, damping: Damping) -> tuple[Factorization, Damping]:
    """Factors of H + mu D, with mu raised in rows that need it."""
    while True:
        added = damping.mu[:, None] * damping.scale
        shift = added[:, 0] if added.shape[1] == 1 else added
        factors = matrix.shifted(shift.to(matrix.dtype)).factor()
        weak = ~factors.positive & (damping.mu < MOST)
        if not bool(weak.any()):
            return factors, damping
        mu = torch.where(weak, (10 * damping.mu).clamp(min=1e-6, max=MOST), damping.mu)
        damping = replace(damping, mu=mu)
