"""Products with the Hessian of a problem, and the Hessian as a matrix in its pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ebmlang.runtime.linear.assembly import measure
from ebmlang.runtime.linear.iterative import implicit
from ebmlang.runtime.linear.matrix import Matrix, masked
from ebmlang.runtime.linear.patterns import DensePattern, Pattern
from ebmlang.runtime.linear.placing import Placing

if TYPE_CHECKING:
    from ebmlang.runtime.problem import Problem, Values

Times = Callable[["Problem", Tensor, Tensor], Tensor]
Product = Callable[["Values", "Values", "Values"], dict[str, Tensor]]

LARGEST_DENSE = 4000
"""A larger dense matrix is not written down: its products are used."""


@dataclass(frozen=True)
class HessianForm:
    """What is proven about the Hessian: its pattern, found when it is first asked for; whether all rows
    share it; whether it is the same at every x (a shared one is constant); and what places its written
    entries in a pattern, the same for all rows."""

    find: Callable[[], Pattern] = field(repr=False)
    shared: bool = False
    constant: bool = False
    place: Callable[[Pattern], Placing] | None = field(repr=False, default=None)

    @cached_property
    def pattern(self) -> Pattern:
        return self.find()

    @cached_property
    def placing(self) -> Placing | None:
        return None if self.place is None else self.place(self.pattern)


def hessian(problem: Problem, x: Tensor) -> Matrix:
    """The Hessians at x [R, N]; one for all rows where they share it."""
    if not problem.shares_hessian or x.shape[0] == 0:
        return _measured(problem, x)
    mask = problem.space.mask
    whole = shared_hessian(problem, x)
    return whole if mask is None else masked(whole, mask)


def shared_hessian(problem: Problem, x: Tensor) -> Matrix:
    """The matrix of the first row of x [R, N], as if no entry were given."""
    first = problem.select(torch.zeros(1, dtype=torch.int64, device=x.device))
    return _measured(replace(first, space=replace(first.space, mask=None, held=None)), x[:1])


def _measured(problem: Problem, x: Tensor) -> Matrix:
    pattern, space = problem.pattern, problem.space
    rows, size = x.shape
    if isinstance(pattern, DensePattern) and size > LARGEST_DENSE:
        return implicit(lambda v: problem.hessian_times(x, v), rows, size, space.dtype, space.device)
    written = _entered(problem, x)
    if written is not None:
        return written
    weight = portion_rows(problem, rows)
    return measure(
        pattern, lambda v: problem.hessian_times(x, v[None]), weight, dtype=space.dtype, device=space.device
    )


def portion_rows(problem: Problem, rows: int) -> int:
    """Rows for the size of portions: directions of several rows are rows of their own, each with a copy of
    all that its row holds."""
    if rows <= 1 or problem.space.joint:
        return rows
    held = (problem.held[name] for name in problem.row_values & problem.held.keys())
    own = sum(v.numel() // rows for v in held if v.shape[0] == rows)
    return rows * (1 + own // max(problem.space.size, 1))


def entry_places(problem: Problem) -> Placing | None:
    """Where the written entries stand; None where none are written, or their places differ by row."""
    form = problem.form
    if form is None or not writes(problem, "hessian_entries"):
        return None
    if not problem.space.entrywise or form.placing is None:
        return None
    return form.placing if form.placing.steps else None


def _entered(problem: Problem, x: Tensor) -> Matrix | None:
    """The matrices from their written entries, if there are any."""
    places, derivatives = entry_places(problem), problem.derivatives
    if places is None or derivatives is None:
        return None
    space = problem.space
    with torch.no_grad():
        values = derivatives.hessian_entries(space.values(x), problem.held)
    matrix: Matrix = places.matrix(values, x.shape[0], space.dtype, space.device)
    if space.curved:
        slope, turn = space.slopes(x)
        matrix = matrix.scaled(slope).shifted(problem.energy_and_gradient(x)[1] * turn)
    return matrix if space.mask is None else masked(matrix, space.mask)


def hessian_times(problem: Problem, x: Tensor, directions: Tensor) -> Tensor:
    """[R, N], [R or 1, P, N] -> [R, P, N]; rows and columns of given entries are those of the identity.

    Written out where every operation has a derivative row, else by differentiating the gradient. Formulas are
    along values v(u): along their coordinates u the Hessian is v' H v' + g v'', g being the gradient along v.
    """
    if not writes(problem, "hessian_times"):
        return _products(problem, x, directions, _differentiated, False)
    if not problem.space.curved:
        return _products(problem, x, directions, _times, True)
    slope, turn = problem.space.slopes(x)
    bend = problem.energy_and_gradient(x)[1] * turn
    found = _along_values(problem, x, directions, _times, slope)
    return found + bend[:, None] * directions


def normal_times(problem: Problem, x: Tensor, directions: Tensor) -> Tensor:
    """The same for the weighted squared Jacobian of the residuals."""
    if not writes(problem, "normal_times"):
        raise ValueError("no residuals are known of this energy")
    if not problem.space.curved:
        return _products(problem, x, directions, _residual_times, True)
    return _along_values(problem, x, directions, _residual_times, problem.space.slopes(x)[0])


def _along_values(problem: Problem, x: Tensor, directions: Tensor, times: Times, slope: Tensor) -> Tensor:
    """Products of a matrix along values that move with their coordinates by `slope` [R, N]."""
    if problem.space.mask is not None:
        slope = torch.where(problem.space.mask, slope, 1.0)
    return slope[:, None] * _products(problem, x, slope[:, None] * directions, times, True)


def writes(problem: Problem, name: str) -> bool:
    """Whether a derivative of this name was written when compiling."""
    return problem.derivatives is not None and name in problem.derivatives.written


def _products(problem: Problem, x: Tensor, directions: Tensor, times: Times, broadcasts: bool) -> Tensor:
    """`times` takes one direction per row, or with `broadcasts` many for one row."""
    space = problem.space
    if not space.entrywise:
        raise ValueError("second derivatives are taken of numbers, bounded or not")
    rows, count = x.shape[0], directions.shape[1]
    directions = directions.expand(rows, count, x.shape[1])
    sought = directions if space.mask is None else torch.where(space.mask[:, None], directions, 0.0)
    if space.joint:
        products = torch.zeros_like(sought)
        for row in range(rows):
            for number in range(count):
                products[row, number] = times(problem, x[row, None], sought[row, number, None])[0]
    elif count == 1:
        products = times(problem, x, sought[:, 0])[:, None]
    elif rows == 1 and broadcasts:
        # What depends on x alone is computed once for all directions.
        products = times(problem, x, sought[0])[None]
    else:
        # Directions are further rows of the same problem.
        repeated = torch.arange(rows, device=x.device).repeat_interleave(count)
        many = problem.select(repeated)
        products = times(many, x.index_select(0, repeated), sought.reshape(rows * count, x.shape[1]))
        products = products.reshape(rows, count, x.shape[1])
    if space.mask is None:
        return products
    return torch.where(space.mask[:, None], products, directions)


def _times(problem: Problem, x: Tensor, direction: Tensor) -> Tensor:
    assert problem.derivatives is not None
    return _multiplied(problem, problem.derivatives.hessian_times, x, direction)


def _residual_times(problem: Problem, x: Tensor, direction: Tensor) -> Tensor:
    assert problem.derivatives is not None
    return _multiplied(problem, problem.derivatives.normal_times, x, direction)


def _multiplied(problem: Problem, product: Product, x: Tensor, direction: Tensor) -> Tensor:
    """A written product with one direction per row, [R, N] -> [R, N]."""
    space = problem.space
    with torch.no_grad():
        at, along = space.split(x), space.split(direction)
        if space.joint:
            at, along = [p.squeeze(0) for p in at], [p.squeeze(0) for p in along]
        names = [unknown.name for unknown in space.unknowns]
        found = product(space.values_of(at), problem.held, dict(zip(names, along, strict=True)))
        flat = [
            found[name].expand(part.shape).reshape(-1, size)
            for name, part, size in zip(names, along, space.sizes, strict=True)
        ]
        return torch.cat(flat, dim=1) if len(flat) > 1 else flat[0]


def _differentiated(problem: Problem, x: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the gradient along a direction, by differentiating twice."""
    leaf = x.detach().requires_grad_(True)
    # Fused attention has no second derivative; the same written out has one.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        energy = problem.functions.energy(problem.unknown(leaf), problem.held).sum()
        if not energy.requires_grad:
            return torch.zeros_like(x)
        (slope,) = torch.autograd.grad(energy, leaf, create_graph=True)
        if not slope.requires_grad:
            return torch.zeros_like(x)
        along = (slope * direction).sum()
        (product,) = torch.autograd.grad(along, leaf, materialize_grads=True)
    return product.detach()
