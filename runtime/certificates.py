"""What is known of an answer, in the user's words.

Of a quadratic energy without a unique minimum, directions along which the energy does not change, or falls
without end, are found from the Hessian in its pattern, and named by the variables that move along them and
the terms that make the energy fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.methods import claim_of, find_method
from ebmlang.runtime.driver import Outcome
from ebmlang.runtime.linear import (
    Matrix,
    lowest_direction,
    null_directions,
    plain_directions,
    solve_consistent,
)
from ebmlang.runtime.linear.semidefinite import balanced
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status

MOST_ROWS = 20
"""Rows whose directions are named; the others say only that there are some."""
MOST_DIRECTIONS = 3
FAR_OUT = 1e6
"""How far, in sizes of x, the energy is looked at along a direction in which it is said to fall."""
MOST_ENTRIES = 6
"""Longer vectors are cut short."""


def certificate(module: ModuleType, method: str, converged: Tensor, gap: Tensor | None = None) -> str:
    """What is known about the answer: the claim of the method, for the rows that reached it."""
    row = find_method(method)
    claim = "" if row is None else claim_of(row, convex=vars(module).get("CONVEX", False))
    count, total = int(converged.sum()), int(converged.numel())
    if count < total:
        claim = f"{claim} in {count:,} of {total:,} rows; see the status of the others"
    if gap is None:
        return claim
    return f"{claim}; no row is more than {float(gap.max()):.2g} above its minimum (duality gap)"


def with_directions(problem: Problem, outcome: Outcome) -> Outcome:
    """The outcome whose sentences name free directions, and those along which the energy is unbounded.

    A matrix that rounding has made singular may tell of a fall that the energy does not have: such rows lack
    digits.
    """
    odd = [row for row, kind in enumerate(outcome.status) if kind in (Status.MANY, Status.UNBOUNDED)]
    if not odd:
        return outcome
    sentences, status = list(outcome.sentences), list(outcome.status)
    known: dict[Status, str] = {}
    for row in odd[:MOST_ROWS]:
        kind = outcome.status[row]
        if kind in known:
            sentences[row] = known[kind]
            continue
        says = _sentence(problem, outcome.x, row, kind)
        if says is None:
            status[row] = Status.PRECISION
            says = Status.PRECISION.sentence(str(outcome.x.dtype).removeprefix("torch."))
        sentences[row] = says
        if problem.shares_hessian and problem.space.mask is None and kind is Status.MANY:
            known[kind] = sentences[row]
    for row in odd[MOST_ROWS:]:
        sentences[row] = known.get(outcome.status[row], sentences[row])
    return replace(outcome, sentences=tuple(sentences), status=tuple(status))


def _sentence(problem: Problem, x: Tensor, row: int, kind: Status) -> str | None:
    index = torch.tensor([row], device=x.device)
    one, at = problem.select(index), x[index]
    matrix = one.hessian(at)
    if kind is Status.MANY:
        return kind.sentence(f": {free_directions(one, matrix)}")
    why = _fall(one, matrix, at)
    return None if why is None else kind.sentence(f": {why}")


def free_directions(problem: Problem, matrix: Matrix) -> str:
    """`x moves along (1, 1) without changing the energy: observe one entry or add a term`."""
    found = null_directions(matrix, 0, MOST_DIRECTIONS + 1)
    if len(found) == 0:
        return "the matrix is singular to rounding"
    shown = plain_directions(found[:MOST_DIRECTIONS])
    texts = [_along(problem, direction) for direction in shown]
    more = " and others" if len(found) > MOST_DIRECTIONS else ""
    many = "some entries" if len(found) > 1 else "one entry"
    return f"{'; '.join(texts)}{more} without changing the energy: observe {many} or add a term"


def _fall(problem: Problem, matrix: Matrix, x: Tensor) -> str | None:
    """Why a quadratic has no minimum: negative curvature, or a slope that nothing stops. None where something
    does."""
    least, direction = lowest_direction(matrix)
    size = float(matrix.norm().double().max())
    if float(least) < -1e-3 * float(balanced(matrix).zero.max()) * max(size, 1e-300) and _curved(
        problem, x, direction
    ):
        return (
            f"curvature is negative along {_named(problem, _plain(_upright(direction)))}"
            f"{_blame(_curvatures(problem, x, direction))}"
        )
    _, gradient = problem.energy_and_gradient(x)
    fall = solve_consistent(matrix, -gradient).fall[0].double()
    if not bool(fall.any()):
        return "the matrix of the energy is not positive definite"
    length = FAR_OUT * (1 + x.abs().amax()) / fall.abs().amax()
    if not bool(problem.energy(x + (length * fall).to(x.dtype)) < problem.energy(x)):
        return None
    return (
        f"the energy falls without end along {_named(problem, _plain(fall))}"
        f"{_blame(_slopes(problem, x, fall))}"
    )


def _curved(problem: Problem, x: Tensor, direction: Tensor) -> bool:
    """Whether the energy itself curves down along a direction."""
    product = problem.hessian_times(x, direction.to(x.dtype)[None, None])[0, 0]
    return float(product.double() @ direction) < 0


def _blame(parts: dict[str, float]) -> str:
    """The term that falls most."""
    name = min(parts, key=lambda n: parts[n], default=None)
    return "" if name is None or not parts[name] < 0 else f", caused by term '{name}'"


def _slopes(problem: Problem, x: Tensor, direction: Tensor) -> dict[str, float]:
    """The slope of every term along a direction."""
    return _differences(problem, x, direction, lambda low, middle, high: (high - low) / 2)


def _curvatures(problem: Problem, x: Tensor, direction: Tensor) -> dict[str, float]:
    """The curvature of every term along a direction."""
    return _differences(problem, x, direction, lambda low, middle, high: high - 2 * middle + low)


def _differences(
    problem: Problem, x: Tensor, direction: Tensor, of: Callable[[float, float, float], float]
) -> dict[str, float]:
    """Differences of the terms at a long step, which for polynomials of degree 2 do not depend on it."""
    along = direction.to(x.dtype)[None]
    step = 1 + float(x.abs().max())
    found = [problem.terms(x + k * step * along) for k in (-1, 0, 1)]
    low, middle, high = ({n: float(v.double().sum()) for n, v in terms.items()} for terms in found)
    return {name: of(low[name], middle[name], high[name]) for name in middle}


def _upright(direction: Tensor) -> Tensor:
    """The direction or its opposite, whichever has a positive largest entry."""
    return direction * direction[direction.abs().argmax()].sign()


def _plain(direction: Tensor) -> Tensor:
    """The direction with its largest entry 1 or -1 and rounding set to 0."""
    unit = direction / direction.abs().max()
    return torch.where(unit.abs() > 1e-6, unit, 0.0)


def _along(problem: Problem, direction: Tensor) -> str:
    names, vectors = _parts(problem, direction)
    verb = "moves" if len(names) == 1 else "move"
    return f"{' and '.join(names)} {verb} along {' and '.join(vectors)}"


def _named(problem: Problem, direction: Tensor) -> str:
    return ", ".join(f"{name} = {vector}" for name, vector in zip(*_parts(problem, direction), strict=True))


def _parts(problem: Problem, direction: Tensor) -> tuple[list[str], list[str]]:
    """The variables that move along a direction [N], and how."""
    space = problem.space
    names, vectors = [], []
    for unknown, part in zip(space.unknowns, direction.split(space.sizes), strict=True):
        if bool(part.any()):
            names.append(unknown.name)
            vectors.append(_vector(part, unknown.shape))
    return names, vectors


def _vector(part: Tensor, shape: tuple[int, ...]) -> str:
    """`1`, `(1, 0, -1)`, `(1, 1, ..., 1)`; a few moving entries of many as `entries 7, 9 by (1, -1)`, in the
    subscripts of the variable."""
    values = part.tolist()
    if len(values) == 1:
        return _number(values[0])
    if len(values) <= MOST_ENTRIES:
        return f"({', '.join(map(_number, values))})"
    moving = [i for i, v in enumerate(values) if v]
    if len(moving) <= MOST_ENTRIES and len(values) == math.prod(shape):
        places = [tuple(int(k) for k in np.unravel_index(i, shape)) for i in moving]
        shown = ", ".join(f"{at[0]:,}" if len(at) == 1 else str(list(at)) for at in places)
        if len(moving) == 1:
            return f"entry {shown}"
        return f"entries {shown} by ({', '.join(_number(values[i]) for i in moving)})"
    if len({_number(v) for v in values}) == 1 or values[0] or values[-1]:
        return f"({', '.join(map(_number, values[:2]))}, ..., {_number(values[-1])})"
    first, last = moving[0], moving[-1]
    inner = f"{_number(values[first])}, ..., {_number(values[last])}"
    return f"(0, ..., {inner}, ..., 0) from entry {first:,} to {last:,}"


def _number(value: float) -> str:
    text = f"{value:.3g}"
    return "0" if text == "-0" else text
