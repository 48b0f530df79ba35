"""Linear programs in sparse matrices: their minimum, and what proves that there is none.

The minimum is found by HiGHS (Huangfu & Hall 2018) through scipy. Rows of a batch are laid side by side as
one program, because a call costs more than a small program; where the whole has no answer its halves are
asked, down to single rows. A row without a minimum has no feasible point, which the least violation of its
constraints tells, or a way down without end: a direction along which the energy falls while constraints and
bounds let it go on (Rockafellar 1970, section 27). A convex quadratic program has such a direction under the
same conditions and one more, that the Hessian is 0 along it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebmlang.runtime.constrained.problem import Constrained
from ebmlang.runtime.constrained.quadratic import PROBED_NUMBERS, QuadraticProgram, own_numbers

Array = NDArray[np.float64]

LARGEST_MATRIX = 2**30
"""Coefficients of a row, zeros too, up to which they are measured."""

SIDE_BY_SIDE = 20_000
"""Unknowns of the rows that are solved together."""

FEASIBLE = 1e-10
"""The least tolerance that HiGHS takes."""

STEEP = 1e-7
"""A direction of length 1 along which the energy falls by less than this share of its slope is level."""

FLAT = 1e-12
"""Curvature along a direction, relative to the Hessian, that counts as rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearProgram:
    """minimise cost . d over lo <= d <= hi with matrix d + offset == 0 (where equal) or <= 0.

    cost, lo, hi [N]; matrix [M, N]; offset [M]; equal bool [M]; curvature None, or the Hessian [N, N] of the
    quadratic program of which this is the linear part.
    """

    cost: Array
    matrix: Any
    offset: Array
    equal: NDArray[np.bool_]
    lo: Array
    hi: Array
    curvature: Array | None = None

    @property
    def finite(self) -> bool:
        numbers = (self.cost, self.matrix.data, self.offset)
        return all(bool(np.isfinite(part).all()) for part in numbers) and bool((self.lo <= self.hi).all())


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """d [N], multipliers [M] of the constraints, steps taken."""

    d: Array
    multipliers: Array
    steps: int


def fits(constrained: Constrained, x: Tensor) -> bool:
    """Whether the coefficients of a row at x [R, N] are few enough to be measured."""
    return x.shape[1] * constrained.equal(x).shape[0] <= LARGEST_MATRIX


def measure(constrained: Constrained, x: Tensor) -> list[LinearProgram]:
    """The program of every row around the points x [R, N]. Coefficients are slopes of the constraints, so
    that zeros are zeros."""
    problem = constrained.problem
    rows, size = x.shape
    _, gradient = problem.energy_and_gradient(x)
    with torch.no_grad():
        offset = constrained.values(x)
    entries = offset.shape[1]
    numbers = rows * (size + entries) + own_numbers(problem)
    at_once = max(1, PROBED_NUMBERS // max(1, numbers))
    parts: list[list[Any]] = [[] for _ in range(rows)]
    for begin in range(0, entries, at_once):
        some = range(begin, min(begin + at_once, entries))
        for row, block in enumerate(constrained.jacobian(x, some).cpu().numpy()):
            parts[row].append(scipy.sparse.csr_matrix(block))
    lo, hi = (_numbers(side.expand(rows, size) - x) for side in problem.space.bounds())
    cost, c, equal = _numbers(gradient), _numbers(offset), constrained.equal(x).cpu().numpy()
    empty = scipy.sparse.csr_matrix((0, size))
    return [
        LinearProgram(
            cost[i], scipy.sparse.vstack(parts[i] or [empty], format="csr"), c[i], equal, lo[i], hi[i]
        )
        for i in range(rows)
    ]


def part_of(program: QuadraticProgram, row: int) -> LinearProgram:
    """The linear part of one row of a quadratic program, with its curvature."""
    return LinearProgram(
        _numbers(program.gradient[row]),
        scipy.sparse.csr_matrix(_numbers(program.jacobian[row])),
        _numbers(program.offset[row]),
        program.equal.cpu().numpy(),
        _numbers(program.lo[row] - program.base[row]),
        _numbers(program.hi[row] - program.base[row]),
        _numbers(program.hessian[row]),
    )


def solve(programs: list[LinearProgram], steps: int) -> list[Minimum | None]:
    """The minimum of every program; None where there is none, or none was found in so many steps."""
    if len(programs) > 1 and sum(p.cost.shape[0] for p in programs) <= SIDE_BY_SIDE:
        whole = _solved(_side_by_side(programs), steps)
        if whole is not None:
            return _apart(programs, whole)
    if len(programs) > 1:
        middle = len(programs) // 2
        return [*solve(programs[:middle], steps), *solve(programs[middle:], steps)]
    return [_solved(p, steps) for p in programs]


def least_violation(program: LinearProgram) -> tuple[float, Array] | None:
    """By how much the constraints are violated at least, relative to 1 + their offset, and a point d [N] that
    violates none by more; None where the search for it failed."""
    scale = 1 + np.abs(program.offset)
    both = [program.matrix, -program.matrix[program.equal]]
    sides = np.concatenate([program.offset, -program.offset[program.equal]])
    slack = np.concatenate([scale, scale[program.equal]])[:, None]
    size = program.cost.shape[0]
    found = _highs(
        np.append(np.zeros(size), 1.0),
        scipy.sparse.hstack([scipy.sparse.vstack(both), scipy.sparse.csr_matrix(-slack)], format="csr"),
        -sides,
        None,
        None,
        np.append(program.lo, 0.0),
        np.append(program.hi, np.inf),
    )
    return None if found.status != 0 else (float(found.x[-1]), found.x[:-1])


def solve_nearly(program: LinearProgram, near: float, steps: int) -> Minimum | None:
    """The minimum of a program whose constraints contradict each other by no more than `near`, as equations
    do that follow from each other and whose values are rounded: each is moved by what the least violation
    leaves of it. None for other programs."""
    least = least_violation(program) if program.finite else None
    if least is None or not 0 < least[0] <= near:
        return None
    off = program.matrix @ least[1] + program.offset
    off = np.where(program.equal, off, np.maximum(off, 0.0))
    return _solved(replace(program, offset=program.offset - off), steps)


def way_down(program: LinearProgram) -> Array | None:
    """A direction d [N], entries at most 1, along which the energy falls without end from any feasible point;
    None where there is none."""
    steepest = np.abs(program.cost).max(initial=0.0)
    if steepest == 0:
        return None
    rows = [program.matrix[program.equal]]
    bend = program.curvature
    most = 0.0 if bend is None else np.abs(bend).max(initial=0.0)
    if bend is not None and most > 0:
        rows.append(scipy.sparse.csr_matrix(bend / most))
    flat = scipy.sparse.vstack(rows, format="csr")
    free = program.matrix[~program.equal]
    found = _highs(
        program.cost / steepest,
        free,
        np.zeros(free.shape[0]),
        flat,
        np.zeros(flat.shape[0]),
        np.where(np.isneginf(program.lo), -1.0, 0.0),
        np.where(np.isposinf(program.hi), 1.0, 0.0),
    )
    if found.status != 0 or found.fun > -STEEP:
        return None
    d: Array = found.x
    curved = bend is not None and most > 0 and np.abs(bend @ d).max() > FLAT * most * np.abs(d).max()
    return None if curved else d


def _numbers(value: Tensor) -> Array:
    found: Array = value.detach().double().cpu().numpy()
    return found


def _side_by_side(programs: list[LinearProgram]) -> LinearProgram:
    def joined(name: str) -> Any:
        return np.concatenate([getattr(p, name) for p in programs])

    matrix = scipy.sparse.block_diag([p.matrix for p in programs], format="csr")
    return LinearProgram(
        joined("cost"), matrix, joined("offset"), joined("equal"), joined("lo"), joined("hi")
    )


def _apart(programs: list[LinearProgram], whole: Minimum) -> list[Minimum | None]:
    """The minima of programs that were solved as one; the steps are those of all."""
    points = np.split(whole.d, np.cumsum([p.cost.shape[0] for p in programs])[:-1])
    multipliers = np.split(whole.multipliers, np.cumsum([p.offset.shape[0] for p in programs])[:-1])
    return [Minimum(d, y, whole.steps) for d, y in zip(points, multipliers, strict=True)]


def _solved(program: LinearProgram, steps: int) -> Minimum | None:
    if not program.finite:
        return None
    equal, free = program.equal, ~program.equal
    found = _highs(
        program.cost,
        program.matrix[free],
        -program.offset[free],
        program.matrix[equal],
        -program.offset[equal],
        program.lo,
        program.hi,
        steps,
    )
    if found.status != 0:
        return None
    multipliers = np.zeros_like(program.offset)
    # scipy gives the slope of the minimum in the right-hand sides, which is minus the multiplier.
    multipliers[free], multipliers[equal] = -found.ineqlin.marginals, -found.eqlin.marginals
    return Minimum(found.x, multipliers, int(found.nit))


def _highs(
    cost: Array,
    below: Any,
    most: Array,
    exact: Any,
    value: Array | None,
    lo: Array,
    hi: Array,
    steps: int | None = None,
) -> Any:
    from scipy.optimize import linprog

    options = {"primal_feasibility_tolerance": FEASIBLE, "dual_feasibility_tolerance": FEASIBLE}
    if steps is not None:
        options["maxiter"] = steps
    bounds = np.stack([lo, hi], 1)
    return linprog(cost, below, most, exact, value, bounds, method="highs", options=options)
