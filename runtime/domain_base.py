"""What a solver may ask of the set that an unknown lives in.

Shapes. A value of an unknown is [R, *shape], R rows. Tensors that describe a domain (bounds, masks) broadcast
against [R, *shape]; those of rank 1 + len(shape) whose first size is not 1 differ by row.

Solvers move *coordinates*. For closed domains and manifolds the coordinates are the value itself, so that
bounds are met exactly. For open domains, which have no boundary to stop at, they are unconstrained numbers u
with value = transform(u).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import Self

import torch
from torch import Tensor

from ebmlang.runtime.seeded import Stream


class Kind(Enum):
    """How a domain is kept, which decides what solvers can handle it."""

    LINEAR = "all of a linear space"
    BOX = "bounds on single entries"
    CONVEX = "a closed convex set with a projection"
    MANIFOLD = "a manifold with a retraction"
    OPEN = "an open set, in unconstrained coordinates"


class DomainError(ValueError):
    """A domain that cannot be: no point in it, or numbers that describe no set.

    The text holds the numbers.
    """


class Domain(ABC):
    """A set of values. Every method is batched over the leading dimensions and treats rows independently."""

    __slots__ = ()

    @property
    @abstractmethod
    def kind(self) -> Kind: ...

    @property
    @abstractmethod
    def tied(self) -> int:
        """How many trailing dimensions are tied together: 0 elementwise, 1 vectors, 2 matrices."""

    @abstractmethod
    def describe(self) -> str:
        """Words that follow the name of a variable, such as `in [0, 1]`."""

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise DomainError when values of this shape cannot be in the domain."""

    @abstractmethod
    def nearest(self, x: Tensor) -> Tensor:
        """The value in the domain nearest to x (for open domains: x). Same shape as x."""

    @abstractmethod
    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        """The start when none is declared, [len(stream.rows), *shape], float64, on the CPU."""

    @abstractmethod
    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        """A random value per row, for restarts; `around` [R, *shape] is the declared start.

        float64, on the CPU.
        """

    @abstractmethod
    def inside(self, x: Tensor, atol: float) -> Tensor:
        """Whether the value x is in the domain up to `atol`: bool, [R, ...], one entry per point."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The coordinates nearest to x that belong to the domain."""

    @abstractmethod
    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """The part of a direction v along which x can move to first order (manifolds); v itself elsewhere."""

    @abstractmethod
    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        """The point of the domain reached from x by `step`."""

    @abstractmethod
    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Zero exactly where x is stationary: P(x - gradient) - x, or the tangent gradient. Shape of x."""

    @abstractmethod
    def value(self, coordinates: Tensor) -> Tensor:
        """What the user sees."""

    @abstractmethod
    def coordinates(self, value: Tensor) -> Tensor:
        """Inverse of `value` for values inside the domain."""

    @abstractmethod
    def select(self, rows: Tensor, rank: int) -> Self:
        """The domain of the given rows; `rank` is the number of dimensions of one row's value."""

    @abstractmethod
    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        """The same domain with its tensors moved."""


class ConvexDomain(Domain):
    """A closed convex set: moves are projected."""

    __slots__ = ()

    def project(self, x: Tensor) -> Tensor:
        return self.nearest(x)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        return self.nearest(x + step)

    def value(self, coordinates: Tensor) -> Tensor:
        return coordinates

    def coordinates(self, value: Tensor) -> Tensor:
        return value


class ManifoldDomain(Domain):
    """A smooth manifold embedded in the space of its values."""

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        return Kind.MANIFOLD

    def project(self, x: Tensor) -> Tensor:
        return self.nearest(x)

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self.tangent(x, gradient)

    def value(self, coordinates: Tensor) -> Tensor:
        return coordinates

    def coordinates(self, value: Tensor) -> Tensor:
        return value

    def select(self, rows: Tensor, rank: int) -> Self:
        return self

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        return self


class OpenDomain(Domain):
    """An open set that a smooth one-to-one map sends all of a linear space to."""

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        return Kind.OPEN

    def nearest(self, x: Tensor) -> Tensor:
        return x

    def project(self, x: Tensor) -> Tensor:
        return x

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        return x + step

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def select(self, rows: Tensor, rank: int) -> Self:
        return self

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        return self


def differs_by_row(tensor: Tensor, rank: int) -> bool:
    """Whether a tensor that belongs to values of `rank` dimensions has one entry per row."""
    return tensor.ndim == rank + 1 and tensor.shape[0] != 1


def pick_rows(tensor: Tensor, rows: Tensor, rank: int) -> Tensor:
    """The given rows of a tensor that differs by row; a shared tensor as it is."""
    return tensor.index_select(0, rows) if differs_by_row(tensor, rank) else tensor


def all_per_row(mask: Tensor) -> Tensor:
    """[R, ...] bool -> [R] bool."""
    return mask.flatten(1).all(1) if mask.ndim > 1 else mask


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows, [R, N] x [R, N] -> [R]."""
    if a.ndim == 2 == b.ndim and a.shape[0] == 1 == b.shape[0] and a.dtype == b.dtype:
        # One long row: no tensor of products.
        return torch.dot(a[0], b[0])[None]
    product: Tensor = torch.linalg.vecdot(a, b)
    return product


def row_norm(x: Tensor) -> Tensor:
    """Euclidean norm of each row, [R, N] -> [R]; a row of no entries has norm 0."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1)
    if not x.is_cuda and bool(torch.isinf(norm).any()):
        # The squares of huge numbers overflow; their norm need not.
        scale = x.abs().amax(-1)
        safe = torch.where(torch.isfinite(scale) & (scale > 0), scale, 1.0)
        norm = torch.linalg.vector_norm(x / safe[..., None], dim=-1) * safe
    return norm


def filled(rows: int, shape: tuple[int, ...], value: float) -> Tensor:
    """A constant start."""
    return torch.full((rows, *shape), value, dtype=torch.float64)


def check_vectors(shape: tuple[int, ...], name: str) -> None:
    """Raise DomainError unless the last dimension has entries."""
    if not shape or shape[-1] == 0:
        raise DomainError(f"{name} needs vectors with at least one entry, found the shape {list(shape)}")


def check_square(shape: tuple[int, ...], name: str, size: int | None = None) -> None:
    """Raise DomainError unless the last two dimensions are equal, and equal to `size` when given."""
    square = len(shape) >= 2 and shape[-1] == shape[-2]
    if not square or (size is not None and shape[-1] != size):
        wanted = "square matrices" if size is None else f"matrices of {size} x {size}"
        raise DomainError(f"{name} needs {wanted}, found the shape {list(shape)}")
