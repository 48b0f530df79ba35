"""Domains as images of all real numbers: a smooth map from unconstrained coordinates u to a value x.

A density p(x) on a domain becomes p(x(u)) |dx/du| over u. Every map here keeps the shape of the value, so
that layouts do not change. Where the domain has fewer dimensions than its values (a simplex, a sphere), u has
directions that x does not see; they get a density of their own that does not depend on x, so the law of x is
exact and u has a proper law.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.domain_base import Domain, Kind, pick_rows
from ebmlang.runtime.domains import Interval, Nonnegative, Positive, PositiveDefinite, PositiveSemidefinite
from ebmlang.runtime.manifolds import SO3, Sphere, Stiefel, UnitColumns
from ebmlang.runtime.simplexes import OpenSimplex, Simplex

_RADIUS = 0.25
"""Standard deviation of the logarithm of a length that the value does not see: far from 0, and not stiff."""


class Transform(ABC):
    """A smooth map from coordinates u [R, *shape] onto a domain. Rows are independent."""

    __slots__ = ()

    @abstractmethod
    def value(self, u: Tensor) -> Tensor:
        """x(u), shaped as u."""

    @abstractmethod
    def bias(self, u: Tensor) -> Tensor:
        """What is added to the energy, [R]: -log |dx/du|, less the log-density of directions not seen,
        up to a constant."""

    @abstractmethod
    def coordinates(self, x: Tensor) -> Tensor:
        """Some u with x(u) = x for x inside of the domain; close to it for x on the border."""

    @abstractmethod
    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        """Which coordinates matter, bool broadcastable to [R, *shape]; None: all."""

    @abstractmethod
    def select(self, rows: Tensor, rank: int) -> Self:
        """The map of the given rows; `rank` counts the dimensions of one row's value."""


def _summed(x: Tensor) -> Tensor:
    """[R, ...] -> [R]."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def _softplus(u: Tensor) -> Tensor:
    return torch.clamp(u, min=0.0) + torch.log1p(torch.exp(-u.abs()))


def _inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))


def _log_sigmoid(u: Tensor) -> Tensor:
    return -_softplus(-u)


@dataclass(frozen=True, slots=True, eq=False)
class Between(Transform):
    """Entries in [lo, hi], each bound finite or not: the logistic function between two bounds, softplus
    beside one. Bounds broadcast to [R, *shape]. Entries whose bounds are equal stay there."""

    lo: Tensor
    hi: Tensor

    def value(self, u: Tensor) -> Tensor:
        lo, hi, below, above = self._parts()
        # Both branches of `where` are differentiated, so infinite bounds are replaced by 0 in them.
        low, high = torch.where(below, lo, 0.0), torch.where(above, hi, 0.0)
        inside = low + (high - low) * torch.sigmoid(u)
        one = torch.where(below, low + _softplus(u), torch.where(above, high - _softplus(u), u))
        return torch.where(below & above, inside, one)

    def bias(self, u: Tensor) -> Tensor:
        lo, hi, below, above = self._parts()
        width = torch.where(below & above & (hi > lo), hi - lo, 1.0)
        inside = width.log() + _log_sigmoid(u) + _log_sigmoid(-u)
        one = torch.where(below | above, _log_sigmoid(u), torch.zeros_like(u))
        return -_summed(torch.where(below & above, inside, one).expand_as(u))

    def coordinates(self, x: Tensor) -> Tensor:
        lo, hi, below, above = self._parts()
        eps = torch.finfo(x.dtype).eps
        width = torch.where(below & above & (hi > lo), hi - lo, 1.0)
        share = ((x - torch.where(below, lo, 0.0)) / width).clamp(_BORDER, 1 - _BORDER)
        off = torch.where(below, x - torch.where(below, lo, 0.0), torch.where(above, hi, 0.0) - x)
        one = torch.where(below | above, _inverse_softplus(off.clamp(min=max(_BORDER, eps))), x)
        return torch.where(below & above, torch.logit(share), one)

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        apart = self.hi > self.lo
        return None if bool(apart.all()) else apart

    def select(self, rows: Tensor, rank: int) -> Self:
        return replace(self, lo=pick_rows(self.lo, rows, rank), hi=pick_rows(self.hi, rows, rank))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.lo, self.hi, torch.isfinite(self.lo), torch.isfinite(self.hi)


_BORDER = 1e-3
"""How far inside a start on the border of a domain is moved, as a share: u must be finite, and not far
out."""


@dataclass(frozen=True, slots=True, eq=False)
class OnSimplex(Transform):
    """softmax(u) along the last dimension, entries that `allowed` leaves out 0.

    With s = logsumexp(u) the change from u to (x without one entry, s) has the determinant prod x_i, and s,
    which x does not see, is standard normal.
    """

    allowed: Tensor | None

    def value(self, u: Tensor) -> Tensor:
        if self.allowed is None:
            return torch.softmax(u, -1)
        return torch.softmax(torch.where(self.allowed, u, -torch.inf), -1)

    def bias(self, u: Tensor) -> Tensor:
        kept = u if self.allowed is None else torch.where(self.allowed, u, -torch.inf)
        total = torch.logsumexp(kept, -1)
        logs = u - total[..., None]
        logs = logs if self.allowed is None else torch.where(self.allowed, logs, 0.0)
        return _summed(total.square() / 2 - logs.sum(-1))

    def coordinates(self, x: Tensor) -> Tensor:
        return x.clamp(min=_BORDER / x.shape[-1]).log()

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        return self.allowed

    def select(self, rows: Tensor, rank: int) -> Self:
        return self if self.allowed is None else replace(self, allowed=pick_rows(self.allowed, rows, rank))


@dataclass(frozen=True, slots=True, eq=False)
class FromCholesky(Transform):
    """Symmetric positive definite L L^T, u the lower triangle of L with its diagonal through softplus.

    d(L L^T) / dL = 2^n prod L_ii^(n - i), i from 0 (Muirhead 1982, theorem 2.1.9). What lies above the
    diagonal does not move.
    """

    def value(self, u: Tensor) -> Tensor:
        factor = self._factor(u)
        return factor @ factor.mT

    def bias(self, u: Tensor) -> Tensor:
        diagonal = torch.diagonal(u, dim1=-2, dim2=-1)
        size = u.shape[-1]
        powers = size - torch.arange(size, dtype=u.dtype, device=u.device)
        return -_summed(powers * _softplus(diagonal).log() + _log_sigmoid(diagonal))

    def coordinates(self, x: Tensor) -> Tensor:
        # The square root of the rounding lifts a singular start (a zero matrix) off the border.
        lift = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) * _BORDER
        factor = torch.linalg.cholesky_ex(x + lift).L
        diagonal = torch.diagonal(factor, dim1=-2, dim2=-1)
        return torch.tril(factor, -1) + torch.diag_embed(_inverse_softplus(diagonal))

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        return torch.ones(shape, dtype=torch.bool).tril()

    def select(self, rows: Tensor, rank: int) -> Self:
        return self

    @staticmethod
    def _factor(u: Tensor) -> Tensor:
        diagonal = torch.diagonal(u, dim1=-2, dim2=-1)
        return torch.tril(u, -1) + torch.diag_embed(_softplus(diagonal))


@dataclass(frozen=True, slots=True, eq=False)
class OnSphere(Transform):
    """u / |u| along `dim`; the length, which x does not see, is log-normal around 1."""

    dim: int

    def value(self, u: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(u, dim=self.dim, keepdim=True)
        return u / length

    def bias(self, u: Tensor) -> Tensor:
        # du = r^(n - 1) dr dx, and a log-normal length has the density exp(-(log r)^2 / 2 s^2) / r.
        log = u.square().sum(self.dim).log() / 2
        return _summed(log.square() / (2 * _RADIUS**2) + u.shape[self.dim] * log)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        return None

    def select(self, rows: Tensor, rank: int) -> Self:
        return self


@dataclass(frozen=True, slots=True, eq=False)
class OnFrames(Transform):
    """The orthonormal factor Q of u = Q T, T upper triangular with a positive diagonal.

    du = prod T_ii^(n - i) dQ dT (i from 1; Muirhead 1982, theorem 2.1.13), so with that divided out any law
    of T leaves Q alone: T_ii is log-normal around 1, and the entries above the diagonal are standard normal.
    `turns` takes rotations of 3-space, which their first two columns determine.
    """

    turns: bool

    def value(self, u: Tensor) -> Tensor:
        q, _ = self._factors(u)
        if not self.turns:
            return q
        third = torch.linalg.cross(q[..., 0], q[..., 1])
        return torch.cat((q, third[..., None]), -1)

    def bias(self, u: Tensor) -> Tensor:
        _, t = self._factors(u)
        diagonal = torch.diagonal(t, dim1=-2, dim2=-1)
        rows, columns = u.shape[-2], t.shape[-1]
        powers = rows - torch.arange(columns, dtype=u.dtype, device=u.device)
        log = diagonal.log()
        above = torch.triu(t, 1).square().sum((-2, -1)) / 2
        return _summed((log.square() / (2 * _RADIUS**2) + powers * log).sum(-1) + above)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        if not self.turns:
            return None
        return (torch.arange(3) < 2).expand(shape)

    def select(self, rows: Tensor, rank: int) -> Self:
        return self

    def _factors(self, u: Tensor) -> tuple[Tensor, Tensor]:
        q, t = torch.linalg.qr(u[..., :2] if self.turns else u)
        sign = torch.where(torch.diagonal(t, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(u.dtype)
        return q * sign[..., None, :], t * sign[..., :, None]


def transform_of(domain: Domain, name: str, like: Tensor) -> Transform | None:
    """The map onto a domain, None for all real numbers; tensors as `like`.

    Raises DataError for a domain without one.
    """
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    infinite = torch.full_like(zero, torch.inf)
    match domain:
        case Interval():
            return Between(*domain.bounds(like))
        case Nonnegative() | Positive():
            return Between(zero, infinite)
        case Simplex() | OpenSimplex():
            allowed = domain.where
            return OnSimplex(None if allowed is None else allowed.to(like.device))
        case PositiveDefinite() | PositiveSemidefinite():
            return FromCholesky()
        case Sphere():
            return OnSphere(-1)
        case UnitColumns():
            return OnSphere(-2)
        case Stiefel():
            return OnFrames(False)
        case SO3():
            return OnFrames(True)
        case _ if domain.kind is Kind.LINEAR:
            return None
    raise DataError(
        f"`{name}` is {domain.describe()}, and no sampler keeps a variable there",
        "give it, or choose another domain",
    )
