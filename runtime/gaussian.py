"""Integrals over real unknowns whose energy is a polynomial of degree 2 that curves upwards.

With minimum E* and matrix H of second derivatives over N unknowns, exp(-beta E) is a Gaussian with the mean
at the minimum, the covariance (beta H)^-1 and the integral
log Z = -beta E* - 1/2 log det(beta H / 2 pi).
Where H does not curve upwards in every direction the integral is infinite, which the answer says by its
direction, in the names of the unknowns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.linear import (
    Factorization,
    Matrix,
    Pattern,
    assemble,
    color_count,
    lowest_direction,
    null_directions,
    plain_directions,
    probes,
)
from ebmlang.runtime.linear.selected import inverse_diagonal
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.space import Space

MOST_TRACED = 1024
"""Unknowns up to which an integral is differentiable in the values that are given."""

_EXPLAINED = 8
"""Rows with an infinite integral whose direction is looked for."""

_NUMBERS = 1 << 24


class Unmeasured(Exception):
    """The matrix is too large to be factored; `because` says how large."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """The integral of R rows over N coordinates.

    log_z float64 [R], inf where the integral is. mean [R, N]; nan there. `variance` [R, N] and `covariance`
    [R, N, N], None where they would be too large; given entries have none, 0. `faults`: what is wrong with
    each row, "" where nothing is.
    """

    log_z: Tensor
    mean: Tensor
    variance: Tensor | None
    covariance: Tensor | None
    faults: tuple[str, ...]


def integrate(problem: Problem, pattern: Pattern, beta: float, memory: int) -> Gaussian:
    """log Z and moments of a problem in float64 whose energy is of degree 2 in its coordinates.

    Raises Unmeasured.
    """
    space = problem.space
    with torch.no_grad():
        zero = torch.zeros(space.rows, space.size, dtype=torch.float64, device=space.device)
        x = space.project(zero)
        _, gradient = problem.energy_and_gradient(x)
        matrix = hessian_of(problem, pattern, x)
        factors = matrix.factor()
        if not factors.exact:
            raise Unmeasured(f"the Hessian of {space.size:,} unknowns is too large to be factored")
        for _ in range(2):  # the second solve takes away the rounding of the first
            x = x - space.sought(factors.solve(gradient))
            energy, gradient = problem.energy_and_gradient(x)
        positive = factors.positive.expand(space.rows)
        free = _free(space)
        log_det = factors.log_det + free * math.log(beta / (2 * math.pi))
        log_z = -beta * energy - 0.5 * log_det
        # An energy that is inf, or NaN, gives -inf or NaN here.
        log_z = torch.where(positive, log_z, math.inf)
        mean = torch.where(positive[:, None], x, torch.nan)
        covariance = _covariance(matrix, factors, space, memory)
        variance: Tensor | None
        if covariance is not None:
            variance = covariance.diagonal(dim1=1, dim2=2)
        else:
            variance = inverse_diagonal(matrix, factors)
        covariance = _scaled(covariance, space, beta, 2)
        variance = _scaled(variance, space, beta, 1)
        faults = faults_of(matrix, positive, space, energy)
    log_z = _traced(problem, x, factors, log_z, beta)
    return Gaussian(log_z, mean, variance, covariance, faults)


def hessian_of(problem: Problem, pattern: Pattern, x: Tensor) -> Matrix:
    """The matrices at x, a single one where all rows turn out to share it."""
    rows, size = x.shape
    count = max(color_count(pattern), 1)
    step = max(1, _NUMBERS // max(1, rows * size))
    parts = []
    for first in range(0, count, step):
        directions = probes(pattern, torch.float64, x.device, first, min(first + step, count))
        parts.append(problem.hessian_times(x, directions[None]))
    products = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    if rows > 1 and bool((products == products[:1]).all()):
        products = products[:1]
    return assemble(pattern, products)


def _free(space: Space) -> Tensor:
    """How many coordinates of each row are integrated over, [R or 1]."""
    if space.mask is None:
        return torch.full((1,), float(space.size), dtype=torch.float64, device=space.device)
    return space.mask.sum(1).double()


def _covariance(matrix: Matrix, factors: Factorization, space: Space, memory: int) -> Tensor | None:
    """A^-1 [R or 1, N, N], where it is small or dense anyway."""
    size = space.size
    if 32.0 * matrix.rows * size * size > memory or size > MOST_TRACED:
        return None
    eye = torch.eye(size, dtype=torch.float64, device=space.device)
    found = factors.solve(eye.expand(matrix.rows, size, size).clone())
    return 0.5 * (found + found.mT)


def _scaled(values: Tensor | None, space: Space, beta: float, dims: int) -> Tensor | None:
    """Moments for every row, 0 at given entries."""
    if values is None:
        return None
    values = values / beta
    if space.mask is not None:
        keep = space.mask if dims == 1 else space.mask[:, :, None] & space.mask[:, None]
        values = torch.where(keep, values, 0.0)
    return values.expand(space.rows, *values.shape[1:])


# --- what is wrong --------------------------------------------------------------------------------


def faults_of(matrix: Matrix, positive: Tensor, space: Space, energy: Tensor) -> tuple[str, ...]:
    """What is wrong with each row, "" where nothing is."""
    found = ["the energy is NaN" if bad else "" for bad in torch.isnan(energy).tolist()]
    known: dict[int, str] = {}
    for row in torch.nonzero(~positive)[:, 0].tolist():
        own = row if matrix.rows > 1 else 0
        if own not in known:
            known[own] = _fault(matrix, own, space) if len(known) < _EXPLAINED else _PLAIN
        found[row] = known[own]
    return tuple(found)


_PLAIN = "the energy does not curve upwards in every direction"


def _fault(matrix: Matrix, row: int, space: Space) -> str:
    if not bool(torch.isfinite(matrix.norm()[row if matrix.rows > 1 else 0])):
        return "second derivatives are not finite"
    least, direction = lowest_direction(matrix, row)
    basis = null_directions(matrix, row, 1)
    if len(basis):
        shown = along(plain_directions(basis)[0], space)
        return f"the energy does not curve along {shown}: add a term, or give an entry"
    return f"the energy curves downwards along {along(direction, space)} (curvature {float(least):.3g})"


def along(direction: Tensor, space: Space) -> str:
    """A direction [N] in the names of the unknowns: `z[0] + 2 z[3]`."""
    largest = direction.abs().max()
    scaled = direction / direction[int(direction.abs().argmax())] if float(largest) > 0 else direction
    shown = torch.nonzero(scaled.abs() > 1e-6)[:, 0].tolist()
    parts = [_weighted(float(scaled[place]), place_name(place, space)) for place in shown[:4]]
    return " + ".join(parts) + (f" and {len(shown) - 4:,} more" if len(shown) > 4 else "")


def _weighted(weight: float, name: str) -> str:
    return name if abs(weight - 1.0) < 1e-9 else f"{weight:.3g} {name}"


def place_name(place: int, space: Space) -> str:
    """The name of a coordinate: `z[1, 3]`, in a joint space with the number of its example."""
    for unknown, size in zip(space.unknowns, space.sizes, strict=True):
        if place < size:
            at = [int(i) for i in np.unravel_index(place, space.row_shape(unknown))] if size > 1 else []
            example = ""
            if space.joint and at:
                example = "" if unknown.per_batch else f" of example {at[0]}"
                at = at[1:]
            if not unknown.shape:
                return f"{unknown.name}{example}"
            at = at or [0] * len(unknown.shape)
            return f"{unknown.name}[{', '.join(map(str, at))}]{example}"
        place -= size
    raise IndexError(place)


# --- derivatives by what is given -----------------------------------------------------------------


def _traced(problem: Problem, x: Tensor, factors: Factorization, log_z: Tensor, beta: float) -> Tensor:
    """log Z with its first derivatives by the held values.

    The minimum does not move the energy to first order, so dE* is the derivative of E at a fixed x; that of
    log det H is the trace of H^-1 dH. Beyond MOST_TRACED unknowns nothing is attached.
    """
    if not torch.is_grad_enabled() or problem.space.joint or problem.space.size > MOST_TRACED:
        return log_z
    energy = problem.functions.energy(problem.unknown(x), problem.held)
    if not energy.requires_grad:  # neither values nor parameters of nets are watched
        return log_z
    rows, size = x.shape
    eye = torch.eye(size, dtype=torch.float64, device=x.device)
    with torch.no_grad():
        inverse = torch.stack([factors.solve(eye[k].expand(rows, size)) for k in range(size)], 1)
    repeated = torch.arange(rows, device=x.device).repeat_interleave(size)
    many = problem.select(repeated)
    leaf = x[repeated].requires_grad_(True)
    (slope,) = torch.autograd.grad(
        many.functions.energy(many.unknown(leaf), many.held).sum(), leaf, create_graph=True
    )
    directions = many.space.sought(eye.repeat(rows, 1))
    trace = torch.zeros(rows, dtype=torch.float64, device=x.device)
    if slope.requires_grad:
        weight = many.space.sought(inverse.flatten(0, 1))
        (product,) = torch.autograd.grad(
            (slope * directions).sum(), leaf, create_graph=True, materialize_grads=True
        )
        trace = (product * weight).sum(1).reshape(rows, size).sum(1)
    moving = -beta * energy.reshape(-1).expand(rows) - 0.5 * trace
    return log_z.detach() + (moving - moving.detach())
