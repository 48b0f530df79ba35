"""Along what an unknown can move at a minimum, and how the set that it lies in bends there.

On a curved set the change of the gradient along a direction has two parts: that of the energy, and that of
the set, which bends away from the gradient that presses against it (the Riemannian Hessian: Absil, Mahony &
Sepulchre 2008, section 5.3; for matrices of a fixed rank Vandereycken & Vandewalle 2010).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, ManifoldDomain
from ebmlang.runtime.domains import PositiveSemidefinite
from ebmlang.runtime.simplexes import Simplex
from ebmlang.runtime.space import Unknown

_RANK = 1e-10
"""The share of the largest eigenvalue up to which one counts as 0."""


class Directions(ABC):
    """The directions of one unknown at a minimum x [R, *shape]."""

    __slots__ = ()

    @abstractmethod
    def along(self, v: Tensor) -> Tensor:
        """The part of a vector along which x can move; linear in v and symmetric."""

    def slope(self, at: Tensor, gradient: Tensor) -> Tensor:
        """The part of a gradient that is 0 at every minimum of this kind, as a function of the point."""
        return gradient

    def bend(self, w: Tensor) -> Tensor:
        """The curvature that the set adds along a direction w, beyond the change of `slope`."""
        return torch.zeros_like(w)


@dataclass(frozen=True, slots=True, eq=False)
class Entries(Directions):
    """Those of `free` [R, *shape], each by itself."""

    free: Tensor

    def along(self, v: Tensor) -> Tensor:
        return torch.where(self.free, v, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Face(Directions):
    """The entries above 0 of a simplex, with their sum fixed."""

    free: Tensor

    def along(self, v: Tensor) -> Tensor:
        v = torch.where(self.free, v, 0.0)
        count = self.free.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(self.free, v - v.sum(-1, keepdim=True) / count, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Surface(Directions):
    """The tangent space of a manifold at `x`."""

    domain: ManifoldDomain
    x: Tensor

    def along(self, v: Tensor) -> Tensor:
        return self.domain.tangent(self.x, v)

    def slope(self, at: Tensor, gradient: Tensor) -> Tensor:
        # The projection moves with the point: its change is the bend of the manifold.
        return self.domain.tangent(at, gradient)


@dataclass(frozen=True, slots=True, eq=False)
class Rank(Directions):
    """Symmetric matrices of the rank that a positive semidefinite one has.

    `null` projects on what the matrix sends to 0, `inverse` is its pseudo-inverse, and `press` the part of
    the gradient that holds the rank down, all [R, ..., n, n]. X moves by W, and to second order also by
    W X^+ W between null directions.
    """

    null: Tensor
    inverse: Tensor
    press: Tensor

    def along(self, v: Tensor) -> Tensor:
        v = (v + v.mT) / 2
        return v - self.null @ v @ self.null

    def bend(self, w: Tensor) -> Tensor:
        half = self.press @ w @ self.inverse
        return half + half.mT


def directions(unknown: Unknown, x: Tensor, gradient: Tensor, sought: Tensor) -> Directions:
    """Of an unknown at a minimum x with a gradient there; entries out of `sought` do not move."""
    domain = unknown.domain
    match domain:
        case Simplex():
            return Face(sought & (x > 0))
        case PositiveSemidefinite():
            return _rank(x, gradient)
        case ManifoldDomain():
            return Surface(domain, x)
    if domain.kind is not Kind.BOX:
        return Entries(sought)
    # What lies at a bound is there exactly: everything that moves x clips it.
    inside = (domain.nearest(x + 1) > x) & (domain.nearest(x - 1) < x)
    return Entries(sought & inside)


def _rank(x: Tensor, gradient: Tensor) -> Rank:
    finite = torch.isfinite(x).all(-1, keepdim=True).all(-2, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.where(finite, x, 0.0))
    least = _RANK * values[..., -1:]
    zero = (values <= least).to(x.dtype)
    inverse = torch.where(values > least, 1 / values, 0.0)
    null = (vectors * zero[..., None, :]) @ vectors.mT
    return Rank(
        null,
        (vectors * inverse[..., None, :]) @ vectors.mT,
        null @ (gradient + gradient.mT) @ null / 2,
    )
