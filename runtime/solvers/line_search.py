"""A strong-Wolfe line search for many rows at once; each row brackets, zooms and finishes on its own.

Conditions: Nocedal and Wright 2006, section 3.1. Near a minimum energies differ by less than their rounding,
where the sufficient decrease cannot be seen any more; there the approximate conditions of Hager and Zhang
2005 (SIAM J. Optim. 16, eq. 4.1) decide by slopes, which stay accurate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.solver import evaluate_rows, full_energy_and_gradient, noise, where_rows

DECREASE = 1e-4
CURVATURE = 0.9
TRIALS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Ray:
    """Where a search starts and goes: x, gradient and direction [R, N], energy and slope [R]."""

    x: Tensor
    energy: Tensor
    gradient: Tensor
    direction: Tensor
    slope: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """Outcome per row: the step [R], 0 where none was found, and energy [R] and gradient [R, N] there."""

    step: Tensor
    energy: Tensor
    gradient: Tensor
    found: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Bracket:
    """Interval (lo, hi) of steps, with acceptable ones in it once hi is finite; [R], the gradient [R, N].

    lo has enough decrease and a slope that is still too steep downhill; hi has too little decrease or goes
    uphill.
    """

    lo: Tensor
    lo_energy: Tensor
    lo_slope: Tensor
    lo_gradient: Tensor
    hi: Tensor
    hi_energy: Tensor
    hi_slope: Tensor
    wide: Tensor


def line_search(problem: Problem, ray: Ray, first: Tensor, rows: Tensor) -> Accepted:
    """Search from the trial steps `first` [R] in the marked rows [R], where slopes must be negative."""
    slack = noise(ray.energy)
    step, searching = first, rows
    best, bracket = _nothing(ray, rows), None
    for trial in range(TRIALS):
        point = ray.x + step[:, None] * ray.direction
        energy, gradient = evaluate_rows(problem, point, searching, full_energy_and_gradient)
        slope = row_dot(gradient, ray.direction)
        # An energy of -inf ends the search: the driver reports it.
        bottomless = energy == -torch.inf
        finite = torch.isfinite(energy) & torch.isfinite(slope)
        enough = finite & (
            (energy <= ray.energy + DECREASE * step * ray.slope) | ((energy - ray.energy).abs() <= slack)
        )
        good = searching & ((enough & (slope.abs() <= -CURVATURE * ray.slope)) | bottomless)
        if bracket is None:
            if bool(good.all()):
                # By far the most frequent case: the first trial is good in every row.
                return Accepted(step, energy, gradient, good)
            bracket = _open_bracket(ray)
        best = _take(best, good, step, energy, gradient)
        searching = searching & ~good
        if trial >= 3:
            searching = searching & ~_exhausted(bracket, ray)
        if not bool(searching.any()):
            break
        lower = searching & enough & (slope < 0)
        upper = searching & ~lower
        previous = bracket
        known = torch.where(finite, energy, torch.inf)
        bracket = _narrow(bracket, lower, upper, step, known, slope, gradient)
        step = torch.where(searching, _next_step(previous, bracket, slack), step)
    # A row that found no strong-Wolfe step keeps the end of its bracket that has enough decrease, if it moved
    # at all.
    assert bracket is not None
    partial = rows & ~best.found & (bracket.lo > 0)
    return _take(best, partial, bracket.lo, bracket.lo_energy, bracket.lo_gradient)


def _nothing(ray: Ray, rows: Tensor) -> Accepted:
    return Accepted(torch.zeros_like(ray.energy), ray.energy, ray.gradient, torch.zeros_like(rows))


def _open_bracket(ray: Ray) -> _Bracket:
    none = torch.zeros_like(ray.energy)
    infinite = torch.full_like(none, torch.inf)
    return _Bracket(none, ray.energy, ray.slope, ray.gradient, infinite, infinite, infinite, infinite)


def _take(best: Accepted, good: Tensor, step: Tensor, energy: Tensor, gradient: Tensor) -> Accepted:
    return Accepted(
        torch.where(good, step, best.step),
        torch.where(good, energy, best.energy),
        gradient if bool(good.all()) else where_rows(good, gradient, best.gradient),
        best.found | good,
    )


def _exhausted(bracket: _Bracket, ray: Ray) -> Tensor:
    """Rows whose bracket is so short that its ends are the same point in this precision."""
    length = (bracket.hi - bracket.lo)[:, None] * ray.direction.abs()
    return (length <= torch.finfo(length.dtype).eps * ray.x.abs()).all(1)


def _narrow(
    bracket: _Bracket,
    lower: Tensor,
    upper: Tensor,
    step: Tensor,
    energy: Tensor,
    slope: Tensor,
    gradient: Tensor,
) -> _Bracket:
    moved = replace(
        bracket,
        lo=torch.where(lower, step, bracket.lo),
        lo_energy=torch.where(lower, energy, bracket.lo_energy),
        lo_slope=torch.where(lower, slope, bracket.lo_slope),
        hi=torch.where(upper, step, bracket.hi),
        hi_energy=torch.where(upper, energy, bracket.hi_energy),
        hi_slope=torch.where(upper, slope, bracket.hi_slope),
        wide=bracket.hi - bracket.lo,
    )
    if bool(lower.any()):
        moved = replace(moved, lo_gradient=where_rows(lower, gradient, bracket.lo_gradient))
    return moved


def _next_step(previous: _Bracket, now: _Bracket, slack: Tensor) -> Tensor:
    width = now.hi - now.lo
    closed = torch.isfinite(width)
    inside = _interpolate(now, width, slack)
    # An interpolation that keeps hitting the same end shrinks the bracket slowly; halving bounds the worst
    # case.
    slow = width > 0.6 * previous.wide
    inside = torch.where(slow, now.lo + 0.5 * width, inside)
    # A trial with no finite energy says nothing but "nearer".
    inside = torch.where(torch.isfinite(now.hi_energy), inside, now.lo + 0.2 * width)
    return torch.where(closed, inside, _extrapolate(previous, now))


def _interpolate(now: _Bracket, width: Tensor, slack: Tensor) -> Tensor:
    """Minimiser of the cubic through both ends (Nocedal and Wright 2006, eq. 3.59), kept off the ends."""
    rise = now.hi_energy - now.lo_energy
    mean = now.lo_slope + now.hi_slope - 3 * rise / width
    root = (mean * mean - now.lo_slope * now.hi_slope).clamp(min=0.0).sqrt()
    cubic = now.hi - width * (now.hi_slope + root - mean) / (now.hi_slope - now.lo_slope + 2 * root)
    # Where the energies agree up to rounding only the slopes carry information.
    secant = now.lo - now.lo_slope * width / (now.hi_slope - now.lo_slope)
    step = torch.where((rise.abs() <= slack) & (now.hi_slope > 0), secant, cubic)
    middle = now.lo + 0.5 * width
    step = torch.where(torch.isfinite(step), step, middle)
    return torch.clamp(step, min=now.lo + 0.1 * width, max=now.hi - 0.1 * width)


def _extrapolate(previous: _Bracket, now: _Bracket) -> Tensor:
    """Beyond lo, where the secant of the slopes reaches 0; at least doubling and at most tenfold."""
    change = now.lo_slope - previous.lo_slope
    secant = now.lo - now.lo_slope * (now.lo - previous.lo) / change
    usable = (change > 0) & torch.isfinite(secant)
    longest = now.lo + 9 * (now.lo - previous.lo).clamp(min=torch.finfo(now.lo.dtype).tiny)
    wished = torch.where(usable, secant, longest)
    return torch.clamp(wished, min=2 * now.lo, max=torch.maximum(longest, 2 * now.lo))
