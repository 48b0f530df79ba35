"""Conjugate gradients behind the interface of a factorisation, and matrices that are only products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.linear.conjugate import Operation, conjugate_gradient
from ebmlang.runtime.linear.diagonal import largest
from ebmlang.runtime.linear.matrix import Matrix, columns, outside, pick, spread

RELATIVE = 1e-11
"""Residuals of iterative solutions relative to the right-hand side, as far as the type of numbers goes."""
STEPS = 5000
PROBING = 40
"""Steps of conjugate gradients with a random right-hand side that look for negative curvature."""


@dataclass(frozen=True, slots=True, eq=False)
class IterativeFactorization:
    """The float64 matrix, its products, and the inverse of its diagonal (`scale` [R, N]) as preconditioner.

    A solution is as good as its residual: `relative` |b|, or what `STEPS` steps reach. Inexact Newton methods
    ask for less: `dataclasses.replace(factors, relative=0.1)`. `log_det` is not known.
    """

    matrix: Matrix
    times: Operation
    scale: Tensor
    positive: Tensor
    relative: float

    @property
    def exact(self) -> bool:
        return False

    @property
    def log_det(self) -> Tensor:
        return torch.full((self.matrix.rows,), torch.nan, dtype=torch.float64, device=self.matrix.device)

    def solve(self, b: Tensor) -> Tensor:
        right = columns(b, self.matrix.rows).double()
        scale = self.scale[:, None]
        found = conjugate_gradient(self.times, right, lambda r: scale * r, self.relative, STEPS)
        return outside(found.x, self.positive).reshape(b.shape).to(b.dtype)


def iterative(matrix: Matrix, dominant: Tensor, times: Operation | None = None) -> IterativeFactorization:
    """Conjugate gradients with the diagonal as preconditioner.

    Rows that are diagonally `dominant` [R] with a positive diagonal are positive definite by Gershgorin's
    theorem; in the others a few steps with a random right-hand side look for negative curvature. `times` is a
    faster way of multiplying [R, K, N] with the float64 matrix than its own.
    """
    wide = matrix.double()
    product = times or wide.times
    diagonal = wide.diagonal()
    good = (diagonal > 0).all(1) & torch.isfinite(diagonal).all(1)
    scale = torch.where(diagonal > 0, 1 / diagonal, 1.0)
    positive = good
    if not bool((dominant | ~good).all()):
        generator = torch.Generator().manual_seed(0)
        b = torch.randn(wide.rows, 1, wide.size, dtype=torch.float64, generator=generator).to(wide.device)
        found = conjugate_gradient(product, b, lambda r: scale[:, None] * r, 1e-8, PROBING)
        positive = good & (dominant | ~found.negative[:, 0])
    relative = max(RELATIVE, 8 * torch.finfo(matrix.dtype).eps)
    return IterativeFactorization(wide, product, scale, positive, relative)


Product = Callable[[Tensor], Tensor]
"""A direction per row and product, [R, K, N] -> [R, K, N]."""


@dataclass(frozen=True, slots=True, eq=False)
class ImplicitMatrix:
    """diag(scale) H diag(scale) + diag(added), H known by its products only; scale and added [R, N].

    For dense Hessians too large to be written down. `main` [R, N] is the diagonal of H where it is known, and
    preconditions; otherwise ones. `bound` [R] bounds the norm of H. `product` takes [R, K, N].
    """

    product: Product
    main: Tensor
    scale: Tensor
    added: Tensor
    bound: Tensor

    @property
    def rows(self) -> int:
        return self.main.shape[0]

    @property
    def size(self) -> int:
        return self.main.shape[1]

    @property
    def width(self) -> int:
        return self.size

    @property
    def dtype(self) -> torch.dtype:
        return self.main.dtype

    @property
    def device(self) -> torch.device:
        return self.main.device

    def times(self, x: Tensor) -> Tensor:
        vectors = columns(x, self.rows)
        scale, added = self.scale[:, None], self.added[:, None]
        image = self.product((scale * vectors).to(self.dtype)).to(x.dtype)
        return (scale * image + added * vectors).reshape(x.shape).to(x.dtype)

    def diagonal(self) -> Tensor:
        return self.main * self.scale**2 + self.added

    def norm(self) -> Tensor:
        return self.bound * largest(self.scale.abs()) ** 2 + largest(self.added.abs())

    def shifted(self, d: Tensor) -> ImplicitMatrix:
        return replace(self, added=self.added + spread(d, self.size))

    def scaled(self, s: Tensor) -> ImplicitMatrix:
        return replace(self, scale=self.scale * s, added=self.added * s * s)

    def select(self, rows: Tensor) -> ImplicitMatrix:
        if self.rows == 1:
            return self
        parts = (self.main, self.scale, self.added, self.bound)
        main, scale, added, bound = (pick(part, rows) for part in parts)
        whole, inner = self.rows, self.product

        def product(x: Tensor) -> Tensor:
            # The products of the other rows are lost work: callers that drop many rows measure anew.
            full = x.new_zeros(whole, *x.shape[1:]).index_copy(0, rows, x)
            return inner(full).index_select(0, rows)

        return ImplicitMatrix(product, main, scale, added, bound)

    def double(self) -> ImplicitMatrix:
        # The products stay in the type of the problem; what is iterated around them becomes wide.
        return self

    def dense(self) -> Tensor:
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        return self.times(eye.expand(self.rows, self.size, self.size))

    def factor(self) -> IterativeFactorization:
        return iterative(self, torch.zeros(self.rows, dtype=torch.bool, device=self.device))


def implicit(
    product: Product, rows: int, size: int, dtype: torch.dtype, device: torch.device | None = None
) -> ImplicitMatrix:
    """The matrices with these products, whose diagonal is not known.

    The bound of the norm is what a few steps of the power method find, and half as much again.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 1, size, dtype=torch.float64, generator=generator).to(device, dtype)
    length = x.new_zeros(rows, 1, 1)
    for _ in range(8):
        x = product(x / torch.linalg.vector_norm(x, dim=2, keepdim=True).clamp(min=torch.finfo(dtype).tiny))
        length = torch.maximum(length, torch.linalg.vector_norm(x, dim=2, keepdim=True))
    ones = torch.ones(rows, size, dtype=dtype, device=device)
    return ImplicitMatrix(product, ones, ones, torch.zeros_like(ones), 1.5 * length[:, 0, 0])
