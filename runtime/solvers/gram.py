"""The matrix of a quadratic energy, found once: rows then iterate by matrix products, not by evaluations.

The matrix is read off the energy by differentiating twice, whatever terms and unknowns the energy has.
Nothing here is trusted for an answer: a solver that uses the matrix checks its iterates against gradients of
the energy itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.solver import Shared

WIDEST = 1024
"""Unknowns of a matrix that all rows share, at most."""
WIDEST_JOINT = 256
"""The same where each column of the matrix costs an evaluation of its own."""
WIDEST_OWN = 64
LARGEST_OWN = 2**22
"""Unknowns, and numbers in all, of matrices that differ by row."""
TOGETHER = 64
"""Columns that are found at once, if there are not more rows than that anyway."""


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Second derivatives: one matrix [N, N] for all rows, or `own` ones [R, N, N], symmetric.

    `length` [R] is at most the inverse of the largest eigenvalue in magnitude.
    """

    shared: Shared | None
    own: Tensor | None
    length: Tensor

    def times(self, x: Tensor) -> Tensor:
        """Matrix times vector in every row, [R, N]."""
        if self.shared is not None:
            return x @ self.shared.tensor
        assert self.own is not None
        product: Tensor = (x[:, None] @ self.own)[:, 0]
        return product


def gram_of(problem: Problem, x: Tensor) -> Gram | None:
    """The matrices of a smooth part that is quadratic; None where they cannot be had at a fair price.

    x [R, N] is any point at which the energy is finite.
    """
    rows, size = x.shape
    if size == 0 or rows == 0:
        return None
    joint = problem.space.joint
    narrow = size <= (WIDEST_JOINT if joint else WIDEST) and _pays(problem, size)
    if narrow and (joint or rows == 1 or _alike(problem, x)):
        matrix = _shared_matrix(problem, x)
        if not bool(torch.isfinite(matrix).all()):
            return None
        length = _length(matrix)
        return Gram(Shared(matrix), None, length.expand(rows)) if bool(torch.isfinite(length)) else None
    if joint or size > WIDEST_OWN or rows * size * size > LARGEST_OWN:
        return None
    matrices = _own_matrices(problem, x)
    if not bool(torch.isfinite(matrices).all()):
        return None
    lengths = _length(matrices)
    return Gram(None, matrices, lengths) if bool(torch.isfinite(lengths).all()) else None


def second_derivative(problem: Problem, x: Tensor, direction: Tensor) -> Tensor:
    """Second derivative of the smooth part times a direction, in every row, [R, N]; given entries count."""
    if problem.space.joint and x.shape[0] > 1:
        pairs = zip(x.split(1), direction.split(1), strict=True)
        return torch.cat([second_derivative(problem, *pair) for pair in pairs])
    space, joint = problem.space, problem.space.joint
    assert problem.split is not None
    leaves = [part.detach().requires_grad_(True) for part in space.split(x)]
    along = space.split(direction)
    with torch.enable_grad():
        parts = [leaf.squeeze(0) for leaf in leaves] if joint else leaves
        energy = problem.split.smooth(space.values_of(parts), problem.held).sum()
        slopes: list[Tensor | None] = [None] * len(leaves)
        if energy.requires_grad:
            slopes = list(torch.autograd.grad(energy, leaves, create_graph=True, allow_unused=True))
        pairs = zip(slopes, along, strict=True)
        products = [(s * v).sum() for s, v in pairs if s is not None and s.requires_grad]
        bends: list[Tensor | None] = [None] * len(leaves)
        if products:
            bends = list(torch.autograd.grad(products, leaves, allow_unused=True))
    found = [
        torch.zeros_like(leaf) if bend is None else bend for bend, leaf in zip(bends, leaves, strict=True)
    ]
    return space.join(found)


def _pays(problem: Problem, size: int) -> bool:
    """Whether a product with the matrix costs a row less than a few evaluations of the energy."""
    # An evaluation reads the given values about twice, and some dozens of vectors of the unknowns. Measured
    # with 64 x N dictionaries: 512 unknowns gain a third of the time, 1024 lose half of it.
    given = sum(
        value.numel() // (value.shape[0] if name in problem.row_values and value.ndim else 1)
        for name, value in problem.held.items()
    )
    return size * size <= 400 * size + 5 * given


def _alike(problem: Problem, x: Tensor) -> bool:
    """Whether the matrices of all rows agree up to rounding, by their products with one uneven direction."""
    size = x.shape[1]
    # Equal products with a direction of no pattern mean equal matrices, but for a null set. If they differ by
    # less than is seen here, the gradients of the energy itself correct it.
    direction = torch.cos(2.399963 * torch.arange(1, size + 1, dtype=x.dtype, device=x.device) ** 2)
    product = second_derivative(problem, x, direction.expand_as(x))
    finite = torch.isfinite(product).all(1)
    if not bool(finite.any()):
        return False
    product = product[finite]
    unit = 64 * torch.finfo(x.dtype).eps * math.sqrt(size)
    return bool((product - product[:1]).abs().max() <= unit * product.abs().max())


def _shared_matrix(problem: Problem, x: Tensor) -> Tensor:
    size = x.shape[1]
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    first = torch.isfinite(x).all(1).to(torch.int8).argmax()[None]
    # One row of the problem stands against all columns, so that its values are not copied.
    one, at = problem.select(first), x.index_select(0, first)
    columns = [
        second_derivative(one, at.expand_as(part), part) for part in unit.split(max(x.shape[0], TOGETHER))
    ]
    matrix = torch.cat(columns)
    return (matrix + matrix.T) / 2


def _own_matrices(problem: Problem, x: Tensor) -> Tensor:
    unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    columns = [second_derivative(problem, x, one.expand_as(x)) for one in unit]
    matrices = torch.stack(columns, 1)
    return (matrices + matrices.mT) / 2


def _length(matrix: Tensor) -> Tensor:
    """At most the inverse of the largest |eigenvalue|, [...], for matrices [..., N, N]; 1 for zeros.

    The Frobenius norm of a power p of a symmetric matrix lies between the power of its largest |eigenvalue|
    and sqrt(N) times that, so its p-th root is a bound that is at most N^(1/2p) too large: 2 % for 128
    unknowns.
    """
    size = matrix.shape[-1]
    squarings = 7 if size <= 256 else 5
    scale = matrix.abs().amax((-2, -1))
    safe = torch.where(scale > 0, scale, 1.0)
    power, logarithm = matrix / safe[..., None, None], torch.zeros_like(scale)
    for _ in range(squarings):
        norm = torch.linalg.matrix_norm(power)
        norm = torch.where(norm > 0, norm, 1.0)
        power = power / norm[..., None, None]
        power, logarithm = power @ power, 2 * (logarithm + torch.log(norm))
    norm = torch.linalg.matrix_norm(power)
    root = torch.exp((logarithm + torch.log(norm)) / 2**squarings) * safe
    rounded = 1 + 4 * size * torch.finfo(matrix.dtype).eps
    return torch.where(scale > 0, 1 / (root * rounded), 1.0)
