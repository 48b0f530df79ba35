"""Primal-dual interior points for convex quadratic programs, batched over rows.

Mehrotra's predictor and corrector (Mehrotra 1992; Nocedal & Wright 2006, algorithm 16.4) on

    minimise 1/2 d'Hd + g'd   subject to   A d + a = 0,   G d + h + s = 0,   s >= 0,

where G holds the inequalities and the finite bounds, these as plus or minus unit rows that are never
formed. Each step factors one dense symmetric matrix per row. Then the constraints that are active are taken
as equations and the optimality conditions solved once more, which gives the answer to rounding where the
active set is right.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from ebmlang.runtime.constrained.quadratic import QuadraticProgram

MOST_STEPS = 60
REGULAR = 1e-11
"""Added to the diagonal relative to the scale of the program: dependent equations and flat directions."""

ACCURATE = 1e-12
STAY_INSIDE = 0.995
FACTORED_NUMBERS = 2**25
"""Entries of all matrices that are factored together."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """d [R, N], multipliers of the constraints [R, M], steps taken int64 [R], duality gap [R]."""

    d: Tensor
    multipliers: Tensor
    steps: Tensor
    gap: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The program with rows of norm 1 and numbers near 1; `kind` tells equations from inequalities.

    `live` [R, Mi + 2 N] marks the inequalities that count: rows that are not zero, bounds that are finite, on
    entries that can move (`free` [R, N] as 0 and 1; `held` are the moves of the others).
    """

    hessian: Tensor
    gradient: Tensor
    equations: Tensor
    equation_offset: Tensor
    rows: Tensor
    offset: Tensor
    live: Tensor
    free: Tensor
    energy_scale: Tensor
    norms: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """d, multipliers of equations, multipliers and slacks of inequalities."""

    d: Tensor
    y: Tensor
    z: Tensor
    s: Tensor


Rows = TypeVar("Rows", _Scaled, _Point)


def solve(program: QuadraticProgram, steps: int = MOST_STEPS) -> Answer:
    """The minimiser of every row, as good as it gets in so many steps; the caller measures how good."""
    rows, size = program.base.shape
    side = size + program.offset.shape[1]
    at_once = max(1, FACTORED_NUMBERS // max(1, side * side))
    parts = [_solve(_rows(program, i, min(i + at_once, rows)), steps) for i in range(0, rows, at_once)]
    if len(parts) == 1:
        return parts[0]
    return Answer(
        torch.cat([p.d for p in parts]),
        torch.cat([p.multipliers for p in parts]),
        torch.cat([p.steps for p in parts]),
        torch.cat([p.gap for p in parts]),
    )


def _rows(program: QuadraticProgram, start: int, stop: int) -> QuadraticProgram:
    part = slice(start, stop)
    return QuadraticProgram(
        program.base[part],
        program.hessian[part],
        program.gradient[part],
        program.jacobian[part],
        program.offset[part],
        program.equal,
        program.lo[part],
        program.hi[part],
    )


def _solve(program: QuadraticProgram, limit: int) -> Answer:
    scaled = _scale(program)
    point = _start(scaled)
    rows = program.base.shape[0]
    steps = torch.zeros(rows, dtype=torch.int64, device=point.d.device)
    running = torch.arange(rows, device=point.d.device)
    for _ in range(min(limit, MOST_STEPS)):
        # A row without a feasible point takes all steps there are, the others a few.
        part, at = _select(scaled, running), _select(point, running)
        going = ~_accurate(part, at)
        if not bool(going.any()):
            break
        if not bool(going.all()):
            running, part, at = running[going], _select(part, going), _select(at, going)
        moved = _step(part, at)
        sound = _finite(moved)
        running = running[sound]
        for field in fields(point):
            getattr(point, field.name)[running] = getattr(moved, field.name)[sound]
        steps[running] += 1
    gap = (point.s * point.z * scaled.live).sum(1) * scaled.energy_scale
    multipliers = torch.zeros_like(program.offset)
    inequalities = point.z[:, : scaled.rows.shape[1]]
    multipliers[:, program.equal] = point.y
    multipliers[:, ~program.equal] = inequalities
    multipliers = multipliers * scaled.energy_scale[:, None] / scaled.norms
    return Answer(point.d, multipliers, steps, gap)


def _select(parts: Rows, rows: Tensor) -> Rows:
    """Some rows of tensors that have one row each, given as numbers or as bools."""
    return replace(parts, **{field.name: getattr(parts, field.name)[rows] for field in fields(parts)})


def _scale(program: QuadraticProgram) -> _Scaled:
    free = (program.lo < program.hi).to(program.base.dtype)
    jacobian = program.jacobian * free[:, None]
    norms = torch.linalg.vector_norm(jacobian, dim=2)
    empty = norms == 0
    norms = norms.masked_fill(empty, 1.0)
    jacobian, offset = jacobian / norms[..., None], program.offset / norms
    hessian = program.hessian * free[:, None] * free[..., None]
    gradient = program.gradient * free
    size = torch.maximum(hessian.abs().flatten(1).amax(1), gradient.abs().amax(1)).clamp(min=1e-300)
    lower, upper = program.lo - program.base, program.hi - program.base
    bounds = torch.cat([lower, -upper], 1)  # each has to be <= +d or -d
    finite = torch.isfinite(bounds) & (free.repeat(1, 2) > 0)
    kept = ~program.equal
    live = torch.cat([~empty[:, kept], finite], 1).to(hessian.dtype)
    inequality = torch.cat([offset[:, kept], torch.where(finite, bounds, 0.0)], 1)
    return _Scaled(
        hessian / size[:, None, None],
        gradient / size[:, None],
        jacobian[:, program.equal],
        offset[:, program.equal],
        jacobian[:, kept],
        inequality * live,
        live,
        free,
        size,
        norms,
    )


def _times(p: _Scaled, d: Tensor) -> Tensor:
    """G d, [R, Mi + 2 N]: inequalities, then lower and upper bounds."""
    return torch.cat([_product(p.rows, d), -d, d], 1)


def _back(p: _Scaled, z: Tensor) -> Tensor:
    """G'z, [R, N]."""
    count, size = p.rows.shape[1], p.rows.shape[2]
    general, lower, upper = z[:, :count], z[:, count : count + size], z[:, count + size :]
    return _product(p.rows.transpose(1, 2), general) - lower + upper


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.matmul(matrix, vector[..., None]).squeeze(-1)


def _start(p: _Scaled) -> _Point:
    """d = 0 with slacks and multipliers well inside."""
    d = torch.zeros_like(p.gradient)
    s = torch.where(p.live > 0, (-p.offset).clamp(min=1.0), 1.0)
    return _Point(d, torch.zeros_like(p.equation_offset), p.live.clone(), s)


@dataclass(frozen=True, slots=True, eq=False)
class _Residuals:
    """Of stationarity [R, N], equations [R, Me], inequalities [R, K]; mean complementarity [R]."""

    dual: Tensor
    equations: Tensor
    inequalities: Tensor
    mu: Tensor


def _residuals(p: _Scaled, at: _Point) -> _Residuals:
    dual = _product(p.hessian, at.d) + p.gradient
    dual = (dual + _product(p.equations.transpose(1, 2), at.y)) * p.free + _back(p, at.z) * p.free
    equations = _product(p.equations, at.d) + p.equation_offset
    inequalities = (_times(p, at.d) + p.offset + at.s) * p.live
    mu = (at.s * at.z * p.live).sum(1) / p.live.sum(1).clamp(min=1)
    return _Residuals(dual, equations, inequalities, mu)


def _accurate(p: _Scaled, at: _Point) -> Tensor:
    found = _residuals(p, at)
    parts = torch.cat([found.dual, found.equations, found.inequalities, found.mu[:, None]], 1)
    size = 1 + at.d.abs().amax(1) + at.z.amax(1) if at.z.shape[1] else 1 + at.d.abs().amax(1)
    return parts.abs().amax(1) <= ACCURATE * size


def _step(p: _Scaled, at: _Point) -> _Point:
    """One predictor and one corrector on the same factors."""
    found = _residuals(p, at)
    weight = at.z / at.s * p.live
    factors = _factored(p, weight)
    target = at.s * at.z
    ahead = _direction(p, at, found, weight, factors, target)
    primal, dual = _reach(p, at.s, ahead.s), _reach(p, at.z, ahead.z)
    count = p.live.sum(1).clamp(min=1)
    trial = ((at.s + primal[:, None] * ahead.s) * (at.z + dual[:, None] * ahead.z) * p.live).sum(1) / count
    centre = torch.where(found.mu > 0, (trial / found.mu.clamp(min=1e-300)).clamp(0, 1) ** 3, 0.0)
    target = at.s * at.z + ahead.s * ahead.z - (centre * found.mu)[:, None]
    move = _direction(p, at, found, weight, factors, target)
    primal, dual = _reach(p, at.s, move.s), _reach(p, at.z, move.z)
    # With a quadratic energy stationarity couples d and z, so both go the same way.
    length = (STAY_INSIDE * torch.minimum(primal, dual)).clamp(max=1.0)[:, None]
    full = torch.minimum(primal, dual)[:, None] >= 1 / STAY_INSIDE
    length = torch.where(full, 1.0, length)
    return _Point(
        at.d + length * move.d, at.y + length * move.y, at.z + length * move.z, at.s + length * move.s
    )


def _factored(p: _Scaled, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of [[H + G'WG, A'], [A, 0]], regularised; the identity at entries that cannot move."""
    count, size = p.rows.shape[1], p.rows.shape[2]
    general, lower, upper = weight.split([count, size, size], 1)
    matrix = p.hessian + p.rows.transpose(1, 2) @ (general[..., None] * p.rows)
    diagonal = lower + upper + REGULAR + (1 - p.free)
    top = matrix + torch.diag_embed(diagonal)
    below = torch.diag_embed(torch.full_like(p.equation_offset, -REGULAR))
    whole = torch.cat(
        [torch.cat([top, p.equations.transpose(1, 2)], 2), torch.cat([p.equations, below], 2)], 1
    )
    factors, pivots, _ = torch.linalg.lu_factor_ex(whole)
    return factors, pivots


def _direction(
    p: _Scaled,
    at: _Point,
    found: _Residuals,
    weight: Tensor,
    factors: tuple[Tensor, Tensor],
    target: Tensor,
) -> _Point:
    """The Newton direction that lowers s z by `target`."""
    first = weight * found.inequalities - target / at.s * p.live
    right = torch.cat([-found.dual - _back(p, first) * p.free, -found.equations], 1)
    solution = torch.linalg.lu_solve(*factors, right[..., None])[..., 0]
    d, y = solution.split([p.gradient.shape[1], p.equation_offset.shape[1]], 1)
    moved = _times(p, d)
    return _Point(d, y, (weight * moved + first) * p.live, -(found.inequalities + moved) * p.live)


def _reach(p: _Scaled, value: Tensor, move: Tensor) -> Tensor:
    """How far `move` goes before a value that counts becomes 0, at most 2; [R]."""
    if not value.shape[1]:
        return value.new_full((value.shape[0],), 2.0)
    ratio = torch.where((move < 0) & (p.live > 0), -value / move.clamp(max=-1e-300), 2.0)
    return ratio.amin(1).clamp(max=2.0)


def _finite(point: _Point) -> Tensor:
    parts = torch.cat([point.d, point.y, point.z, point.s], 1)
    finite: Tensor = torch.isfinite(parts).all(1)
    return finite


# --- the active set once more --------------------------------------------------------------------


def polished(program: QuadraticProgram, answer: Answer) -> Answer:
    """The answer with its active constraints and bounds taken as equations, solved to rounding.

    An inequality is active when its multiplier is larger than its slack. Where the guess is wrong, or the
    equations are singular, the result is worse than the answer: the caller compares.
    """
    rows, size = program.base.shape
    slack = -(_product(program.jacobian, answer.d) + program.offset)
    active = program.equal | (answer.multipliers > slack)
    dual = program.gradient + _product(program.hessian, answer.d)
    dual = dual + _product(program.jacobian.transpose(1, 2), answer.multipliers)
    lower, upper = program.lo - program.base, program.hi - program.base
    at_lo, at_hi = dual > answer.d - lower, -dual > upper - answer.d
    value = torch.where(at_lo, lower, torch.where(at_hi, upper, answer.d))
    fixed = at_lo | at_hi | (program.lo >= program.hi)
    value = torch.where(program.lo >= program.hi, lower.clamp(max=0), value)
    value = torch.where(torch.isfinite(value), value, 0.0)
    free, on = (~fixed).to(dual.dtype), active.to(dual.dtype)
    matrix = torch.zeros(rows, size + active.shape[1], size + active.shape[1], dtype=dual.dtype)
    matrix = matrix.to(dual.device)
    matrix[:, :size, :size] = program.hessian * free[..., None]
    matrix[:, :size, size:] = program.jacobian.transpose(1, 2) * free[..., None]
    matrix[:, size:, :size] = program.jacobian * on[..., None]
    exact = matrix + torch.diag_embed(torch.cat([1 - free, 1 - on], 1))
    scale = torch.cat([program.hessian.abs().flatten(1).amax(1)[:, None].expand(rows, size), on], 1)
    sign = torch.cat([free, -on], 1)
    right = torch.cat([torch.where(fixed, value, -program.gradient), -program.offset * on], 1)
    factors, pivots, _ = torch.linalg.lu_factor_ex(exact + torch.diag_embed(REGULAR * sign * scale))
    solution = torch.linalg.lu_solve(factors, pivots, right[..., None])
    for _ in range(3):  # the regularisation is taken out again by refinement
        solution = solution + torch.linalg.lu_solve(factors, pivots, right[..., None] - exact @ solution)
    d, multipliers = solution[..., 0].split([size, active.shape[1]], 1)
    return replace(answer, d=d, multipliers=multipliers)


# --- multipliers of a degenerate point -------------------------------------------------------------

MOST_DEGENERATE = 64
"""Rows whose multipliers are looked for one by one."""

TOUCHING = 1e-9
"""A constraint or bound with less room than this times 1 + its numbers is active."""

CLOSE = 1e-6
"""A point that misses a constraint by more than this, relative in the same way, is left alone."""


def with_least_multipliers(program: QuadraticProgram, answer: Answer, rows: list[int]) -> Answer:
    """The answer with other multipliers in some rows: those that leave the least gradient of the Lagrangian.

    More constraints than unknowns may touch at the answer. Then the equations of the active set do not say
    which multipliers are positive, and non-negative least squares does (Lawson & Hanson 1974).
    """
    multipliers = answer.multipliers.clone()
    for row in rows[:MOST_DEGENERATE]:
        found = _least(program, answer.d[row], row)
        if found is not None:
            multipliers[row] = found
    return replace(answer, multipliers=multipliers)


def _least(program: QuadraticProgram, d: Tensor, row: int) -> Tensor | None:
    """Multipliers [M] at d [N]; None when the search for them ends without any."""
    from scipy.optimize import nnls

    slope = program.gradient[row] + program.hessian[row] @ d
    jacobian = program.jacobian[row]
    c = jacobian @ d + program.offset[row]
    size = 1 + (jacobian.abs() @ d.abs()) + program.offset[row].abs()
    if bool((torch.where(program.equal, c.abs(), c) > CLOSE * size).any()):
        return None  # not feasible: no multipliers make it an answer
    active = (~program.equal & (c >= -TOUCHING * size)).nonzero()[:, 0]
    x, near = program.base[row] + d, TOUCHING * (1 + d.abs())
    free = program.lo[row] < program.hi[row]
    unit = torch.eye(d.shape[0], dtype=d.dtype, device=d.device)
    lower = unit[:, free & (x - program.lo[row] <= near)]
    upper = unit[:, free & (program.hi[row] - x <= near)]
    exact = jacobian[program.equal].T
    columns = torch.cat([exact, -exact, jacobian[active].T, -lower, upper], 1)[free]
    if 0 in columns.shape:
        return torch.zeros_like(c)  # nothing touches, or nothing moves; scipy's nnls is undefined there
    norms = torch.linalg.vector_norm(columns, dim=0)
    norms = torch.where(norms > 0, norms, 1.0)
    scale = slope.abs().amax().clamp(min=1e-300)
    try:
        weights, _ = nnls((columns / norms).cpu().numpy(), (-slope[free] / scale).cpu().numpy())
    except (RuntimeError, ValueError):
        return None
    solved = torch.from_numpy(weights).to(d) * scale / norms
    found, count = torch.zeros_like(c), exact.shape[1]
    found[program.equal] = solved[:count] - solved[count : 2 * count]
    found[active] = solved[2 * count : 2 * count + active.shape[0]]
    return found
