"""Domains as images of all real numbers: a smooth map from unconstrained coordinates u to a value x.

A density p(x) on a domain becomes p(x(u)) |dx/du| over u. Every map here keeps the shape of the value, so
that layouts do not change. Where the domain has fewer dimensions than its values (a simplex, a sphere), u has
directions that x does not see; they get a density of their own that does not depend on x, so the law of x is
exact and u has a proper law.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
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
    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        """The gradient along u of f(x(u)) + bias(u), where `along` is that of f along x; all shaped as u."""

    @abstractmethod
    def coordinates(self, x: Tensor) -> Tensor:
        """Some u with x(u) = x for x inside of the domain; close to it for x on the border."""

    @abstractmethod
    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        """Which coordinates matter, bool broadcastable to [R, *shape]; None: all."""

    @abstractmethod
    def select(self, rows: Tensor, rank: int) -> Self:
        """The map of the given rows; `rank` counts the dimensions of one row's value."""

    @abstractmethod
    def surplus(self, moves: Tensor) -> Tensor:
        """The logarithm of what the integral of exp(-E(x(u)) - bias(u)) over u is times that of exp(-E) over
        the domain, float64 [R]: the constant of `bias`. `moves` bool [R, *shape] are entries that vary."""


def _constant(value: float, moves: Tensor) -> Tensor:
    return torch.full((moves.shape[0],), value, dtype=torch.float64, device=moves.device)


def _summed(x: Tensor) -> Tensor:
    """[R, ...] -> [R]."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def _softplus(u: Tensor) -> Tensor:
    return torch.logaddexp(u, torch.zeros((), dtype=u.dtype, device=u.device))


def _inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))


def _log_sigmoid(u: Tensor) -> Tensor:
    return -_softplus(-u)


def _differentiated(transform: Transform, u: Tensor, along: Tensor) -> Tensor:
    """`pulled` by automatic differentiation."""
    leaf = u.detach().requires_grad_(True)
    with torch.enable_grad():
        x, bias = transform.value(leaf), transform.bias(leaf)
    found: tuple[Tensor, ...] = torch.autograd.grad([x, bias], leaf, [along, torch.ones_like(bias)])
    return found[0]


_BORDER = 1e-3
"""How far inside a start on the border of a domain is moved, as a share: u must be finite, and not far
out."""


@dataclass(frozen=True, slots=True, eq=False)
class Beside(Transform):
    """Entries above a bound (sign 1) or below it (sign -1): bound + sign softplus(u). The bound broadcasts to
    [R, *shape]."""

    bound: Tensor
    sign: float

    def value(self, u: Tensor) -> Tensor:
        return torch.add(self.bound, _softplus(u), alpha=self.sign)

    def bias(self, u: Tensor) -> Tensor:
        return _summed(_softplus(-u))

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        return (self.sign * along + 1) * torch.sigmoid(u) - 1

    def coordinates(self, x: Tensor) -> Tensor:
        return _inverse_softplus((self.sign * (x - self.bound)).clamp(min=_BORDER))

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        return None

    def select(self, rows: Tensor, rank: int) -> Self:
        return replace(self, bound=pick_rows(self.bound, rows, rank))

    def surplus(self, moves: Tensor) -> Tensor:
        return _constant(0.0, moves)


@dataclass(frozen=True, slots=True, eq=False)
class Between(Transform):
    """Entries between two finite bounds, which broadcast to [R, *shape]: the logistic function. Entries whose
    bounds are equal stay there."""

    lo: Tensor
    hi: Tensor

    def value(self, u: Tensor) -> Tensor:
        return self.lo + (self.hi - self.lo) * torch.sigmoid(u)

    def bias(self, u: Tensor) -> Tensor:
        # The width is a constant factor.
        return _summed(_softplus(u) + _softplus(-u))

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        share = torch.sigmoid(u)
        return along * (self.hi - self.lo) * share * (1 - share) + 2 * share - 1

    def coordinates(self, x: Tensor) -> Tensor:
        width = torch.where(self.hi > self.lo, self.hi - self.lo, 1.0)
        return torch.logit(((x - self.lo) / width).clamp(_BORDER, 1 - _BORDER))

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        apart = self.hi > self.lo
        return None if bool(apart.all()) else apart

    def select(self, rows: Tensor, rank: int) -> Self:
        return replace(self, lo=pick_rows(self.lo, rows, rank), hi=pick_rows(self.hi, rows, rank))

    def surplus(self, moves: Tensor) -> Tensor:
        width = (self.hi - self.lo).double()
        return -_summed(torch.where(moves & (width > 0), width, 1.0).log())


@dataclass(frozen=True, slots=True, eq=False)
class EachBounded(Transform):
    """Entries with bounds of several kinds: `choices` are pairs of a mask, which broadcasts to [R, *shape],
    and the map of the entries that it marks. The others are the numbers themselves."""

    choices: tuple[tuple[Tensor, Transform], ...]

    def value(self, u: Tensor) -> Tensor:
        return self._chosen(u, lambda t: t.value(u))

    def bias(self, u: Tensor) -> Tensor:
        # Entry by entry: every map is one of single entries, so that a row of one entry is a map of its own.
        zero = torch.zeros_like(u)
        return _summed(self._chosen(zero, lambda t: t.bias(u.reshape(-1, 1)).reshape(u.shape)))

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        return self._chosen(along, lambda t: t.pulled(u, along))

    def coordinates(self, x: Tensor) -> Tensor:
        return self._chosen(x, lambda t: t.coordinates(x))

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        parts = [(mask, t.moving(shape)) for mask, t in self.choices]
        held = [mask & ~moves for mask, moves in parts if moves is not None]
        return None if not held else ~torch.stack(torch.broadcast_tensors(*held)).any(0)

    def select(self, rows: Tensor, rank: int) -> Self:
        pairs = ((pick_rows(mask, rows, rank), t.select(rows, rank)) for mask, t in self.choices)
        return replace(self, choices=tuple(pairs))

    def surplus(self, moves: Tensor) -> Tensor:
        parts = [transform.surplus(moves & mask) for mask, transform in self.choices]
        return torch.stack(parts).sum(0)

    def _chosen(self, plain: Tensor, of: Callable[[Transform], Tensor]) -> Tensor:
        found = plain
        for mask, transform in self.choices:
            found = torch.where(mask, of(transform), found)
        return found


def bounded(lo: Tensor, hi: Tensor) -> Transform | None:
    """The map onto entries in [lo, hi], each bound finite or not; None where all of them are infinite."""
    below, above = torch.broadcast_tensors(torch.isfinite(lo), torch.isfinite(hi))
    kinds = [
        (below & above, Between(torch.where(below, lo, 0.0), torch.where(above, hi, 1.0))),
        (below & ~above, Beside(torch.where(below, lo, 0.0), 1.0)),
        (above & ~below, Beside(torch.where(above, hi, 0.0), -1.0)),
    ]
    found = [(mask, transform) for mask, transform in kinds if bool(mask.any())]
    if len(found) == 1 and bool(found[0][0].all()):
        return found[0][1]
    return EachBounded(tuple(found)) if found else None


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

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        kept = u if self.allowed is None else torch.where(self.allowed, u, -torch.inf)
        x, total = torch.softmax(kept, -1), torch.logsumexp(kept, -1, keepdim=True)
        ones = torch.ones_like(u) if self.allowed is None else self.allowed.to(u.dtype).expand_as(u)
        return x * (along - (x * along).sum(-1, keepdim=True) + total + ones.sum(-1, keepdim=True)) - ones

    def coordinates(self, x: Tensor) -> Tensor:
        return x.clamp(min=_BORDER / x.shape[-1]).log()

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        return self.allowed

    def select(self, rows: Tensor, rank: int) -> Self:
        return self if self.allowed is None else replace(self, allowed=pick_rows(self.allowed, rows, rank))

    def surplus(self, moves: Tensor) -> Tensor:
        return _constant(math.prod(moves.shape[1:-1]) * math.log(2 * math.pi) / 2, moves)


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

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        return _differentiated(self, u, along)

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

    def surplus(self, moves: Tensor) -> Tensor:
        return _constant(-math.prod(moves.shape[1:-1]) * math.log(2), moves)

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

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(u, dim=self.dim, keepdim=True)
        x = u / length
        radial = length.log() / _RADIUS**2 + u.shape[self.dim]
        return (along + x * (radial - (along * x).sum(self.dim, keepdim=True))) / length

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        return None

    def select(self, rows: Tensor, rank: int) -> Self:
        return self

    def surplus(self, moves: Tensor) -> Tensor:
        lengths = math.prod(moves.shape[1:]) // moves.shape[self.dim]
        return _constant(lengths * math.log(_RADIUS * math.sqrt(2 * math.pi)), moves)


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

    def pulled(self, u: Tensor, along: Tensor) -> Tensor:
        return _differentiated(self, u, along)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def moving(self, shape: tuple[int, ...]) -> Tensor | None:
        if not self.turns:
            return None
        return (torch.arange(3) < 2).expand(shape)

    def select(self, rows: Tensor, rank: int) -> Self:
        return self

    def surplus(self, moves: Tensor) -> Tensor:
        columns = 2 if self.turns else moves.shape[-1]
        each = columns * math.log(_RADIUS) + columns * (columns + 1) / 4 * math.log(2 * math.pi)
        return _constant(math.prod(moves.shape[1:-2]) * each, moves)

    def _factors(self, u: Tensor) -> tuple[Tensor, Tensor]:
        q, t = torch.linalg.qr(u[..., :2] if self.turns else u)
        sign = torch.where(torch.diagonal(t, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(u.dtype)
        return q * sign[..., None, :], t * sign[..., :, None]


def transform_of(domain: Domain, name: str, like: Tensor) -> Transform | None:
    """The map onto a domain, None for all real numbers; tensors as `like`.

    Raises DataError for a domain without one.
    """
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    match domain:
        case Interval():
            return bounded(*domain.bounds(like))
        case Nonnegative() | Positive():
            return Beside(zero, 1.0)
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
