"""The domains an unknown may have.

`DOMAINS` at the end lists them all by the name they have in the language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import (
    ConvexDomain,
    Domain,
    DomainError,
    Kind,
    OpenDomain,
    check_square,
    filled,
    pick_rows,
)
from ebmlang.runtime.manifolds import SE2, SO3, Sphere, Stiefel, UnitColumns
from ebmlang.runtime.seeded import Stream
from ebmlang.runtime.simplexes import OpenSimplex, Simplex, SparseSimplex

__all__ = [
    "DOMAINS",
    "SE2",
    "SO3",
    "Domain",
    "DomainError",
    "Interval",
    "Kind",
    "Nonnegative",
    "OpenSimplex",
    "Positive",
    "PositiveDefinite",
    "PositiveSemidefinite",
    "Reals",
    "Simplex",
    "Sphere",
    "Stiefel",
    "UnitColumns",
]

Bound = float | Tensor


@dataclass(frozen=True, slots=True)
class Reals(ConvexDomain):
    """All real numbers."""

    @property
    def kind(self) -> Kind:
        return Kind.LINEAR

    @property
    def tied(self) -> int:
        return 0

    def check(self, shape: tuple[int, ...]) -> None:
        return

    def describe(self) -> str:
        return "real"

    def nearest(self, x: Tensor) -> Tensor:
        return x

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return filled(len(stream.rows), shape, 0.0)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return around + stream.normal(tuple(around.shape[1:]))

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return torch.isfinite(x)

    def select(self, rows: Tensor, rank: int) -> Reals:
        return self

    def to(self, dtype: torch.dtype, device: torch.device) -> Reals:
        return self


@dataclass(frozen=True, slots=True)
class Nonnegative(ConvexDomain):
    """Entries >= 0."""

    @property
    def kind(self) -> Kind:
        return Kind.BOX

    @property
    def tied(self) -> int:
        return 0

    def check(self, shape: tuple[int, ...]) -> None:
        return

    def describe(self) -> str:
        return "nonnegative"

    def nearest(self, x: Tensor) -> Tensor:
        return x.clamp(min=0.0)

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        # P(x - g) - x, written so that nothing is lost when x is large beside g.
        return torch.maximum(-gradient, -x)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return filled(len(stream.rows), shape, 0.0)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return (around + stream.normal(tuple(around.shape[1:]))).abs()

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return torch.isfinite(x) & (x >= -atol)

    def select(self, rows: Tensor, rank: int) -> Nonnegative:
        return self

    def to(self, dtype: torch.dtype, device: torch.device) -> Nonnegative:
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Interval(ConvexDomain):
    """Entries in [lo, hi]. Bounds are numbers or tensors, may be infinite and may differ by row."""

    lo: Bound
    hi: Bound

    @property
    def kind(self) -> Kind:
        return Kind.BOX

    @property
    def tied(self) -> int:
        return 0

    def check(self, shape: tuple[int, ...]) -> None:
        lo, hi = torch.as_tensor(self.lo).detach().cpu(), torch.as_tensor(self.hi).detach().cpu()
        low, high = torch.broadcast_tensors(lo.double(), hi.double())
        bad = ~(low <= high) | (low == torch.inf) | (high == -torch.inf)
        if bool(bad.any()):
            at = tuple(int(i) for i in bad.nonzero()[0])
            place = f" at entry {list(at)}" if at else ""
            found = f"[{float(low[at]):g}, {float(high[at]):g}]"
            raise DomainError(
                f"the interval {found}{place} holds no number ({int(bad.sum())} of {bad.numel()})"
            )

    def describe(self) -> str:
        return f"in [{_range_text(self.lo)}, {_range_text(self.hi)}]"

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Both bounds as tensors with the dtype and device of `like`, broadcastable to it."""
        return torch.as_tensor(self.lo).to(like), torch.as_tensor(self.hi).to(like)

    def nearest(self, x: Tensor) -> Tensor:
        lo, hi = self.bounds(x)
        return torch.clamp(x, min=lo, max=hi)

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        lo, hi = self.bounds(x)
        # P(x - g) - x, written so that nothing is lost when x is large beside g.
        return torch.clamp(-gradient, min=lo - x, max=hi - x)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.nearest(filled(len(stream.rows), shape, 0.0))

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        shape = tuple(around.shape[1:])
        lo, hi = self.bounds(around)
        low, high = torch.isfinite(lo), torch.isfinite(hi)
        near = around + stream.normal(shape)
        # Reflection at the only finite bound keeps the draw inside without piling it up there.
        above = torch.where(low, lo + (near - lo).abs(), near)
        below = torch.where(high, hi - (near - hi).abs(), near)
        share = stream.named("box").uniform(shape)
        within = torch.where(low & high, lo * (1 - share) + hi * share, torch.where(low, above, below))
        return self.nearest(within)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        lo, hi = self.bounds(x)
        return torch.isfinite(x) & (x >= lo - atol) & (x <= hi + atol)

    def select(self, rows: Tensor, rank: int) -> Interval:
        return Interval(_pick_bound(self.lo, rows, rank), _pick_bound(self.hi, rows, rank))

    def to(self, dtype: torch.dtype, device: torch.device) -> Interval:
        return Interval(_move_bound(self.lo, dtype, device), _move_bound(self.hi, dtype, device))


def _range_text(bound: Bound) -> str:
    if isinstance(bound, float | int):
        return f"{bound:g}"
    if bound.numel() == 0:
        return "none"
    low, high = float(bound.min()), float(bound.max())
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"


def _pick_bound(bound: Bound, rows: Tensor, rank: int) -> Bound:
    return pick_rows(bound, rows, rank) if isinstance(bound, Tensor) else bound


def _move_bound(bound: Bound, dtype: torch.dtype, device: torch.device) -> Bound:
    return bound.to(device=device, dtype=dtype) if isinstance(bound, Tensor) else bound


@dataclass(frozen=True, slots=True)
class PositiveSemidefinite(ConvexDomain):
    """Symmetric matrices (last two dimensions) with eigenvalues >= 0."""

    @property
    def kind(self) -> Kind:
        return Kind.CONVEX

    @property
    def tied(self) -> int:
        return 2

    def check(self, shape: tuple[int, ...]) -> None:
        check_square(shape, "psd")

    def describe(self) -> str:
        return "psd"

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest matrix in Frobenius norm (Higham 1988): symmetric part, negative eigenvalues to 0."""
        broken = ~torch.isfinite(x).all(-1, keepdim=True).all(-2, keepdim=True)
        symmetric = torch.where(broken, 0.0, (x + x.mT) / 2)
        values, vectors = torch.linalg.eigh(symmetric)
        half = vectors * values.clamp(min=0.0).sqrt()[..., None, :]
        # A product of a matrix with its own transpose is symmetric to the bit and cannot turn indefinite.
        return torch.where(broken, torch.nan, half @ half.mT)

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self.nearest(x - gradient) - x

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return filled(len(stream.rows), shape, 0.0)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return _wishart(tuple(around.shape[1:]), stream)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return _eigenvalues_from(x, 0.0, atol)

    def select(self, rows: Tensor, rank: int) -> PositiveSemidefinite:
        return self

    def to(self, dtype: torch.dtype, device: torch.device) -> PositiveSemidefinite:
        return self


def _wishart(shape: tuple[int, ...], stream: Stream) -> Tensor:
    factor = stream.normal(shape)
    return factor @ factor.mT / shape[-1]


def _eigenvalues_from(x: Tensor, least: float, atol: float) -> Tensor:
    """Whether matrices are symmetric with eigenvalues >= least, up to atol and rounding."""
    finite = torch.isfinite(x).all(-1).all(-1)
    safe = torch.where(finite[..., None, None], x, 0.0)
    scale = safe.abs().amax((-2, -1)) if x.shape[-1] else safe.sum((-2, -1))
    slack = atol + 16 * torch.finfo(x.dtype).eps * x.shape[-1] * scale
    symmetric = ((safe - safe.mT).abs() <= slack[..., None, None]).all(-1).all(-1)
    lowest = torch.linalg.eigvalsh(safe).amin(-1) if x.shape[-1] else slack
    return finite & symmetric & (lowest >= least - slack)


@dataclass(frozen=True, slots=True)
class Positive(OpenDomain):
    """Entries > 0. The coordinates are the inverse softplus of the value."""

    @property
    def tied(self) -> int:
        return 0

    def check(self, shape: tuple[int, ...]) -> None:
        return

    def describe(self) -> str:
        return "positive"

    def value(self, coordinates: Tensor) -> Tensor:
        # The smallest normal number keeps the value positive where softplus underflows; elsewhere it is lost
        # in rounding.
        return _softplus(coordinates) + torch.finfo(coordinates.dtype).tiny

    def coordinates(self, value: Tensor) -> Tensor:
        return _inverse_softplus(value)

    def slope(self, coordinates: Tensor) -> Tensor:
        """The derivative of the value along its coordinate."""
        return torch.sigmoid(coordinates)

    def turn(self, coordinates: Tensor) -> Tensor:
        """The second derivative of the value over the first, which may underflow."""
        return torch.sigmoid(-coordinates)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return filled(len(stream.rows), shape, 1.0)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return around * torch.exp(stream.normal(tuple(around.shape[1:])))

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return torch.isfinite(x) & (x > 0.0)


def _softplus(u: Tensor) -> Tensor:
    """log(1 + exp(u)) without overflow and with full relative precision for u far below 0."""
    return torch.clamp(u, min=0.0) + torch.log1p(torch.exp(-u.abs()))


def _inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))


@dataclass(frozen=True, slots=True)
class PositiveDefinite(OpenDomain):
    """Symmetric matrices (last two dimensions) with eigenvalues > 0.

    The coordinates fill the lower triangle of a Cholesky factor, its diagonal through an inverse softplus;
    what lies above the diagonal is not used.
    """

    @property
    def tied(self) -> int:
        return 2

    def check(self, shape: tuple[int, ...]) -> None:
        check_square(shape, "positive_definite")

    def describe(self) -> str:
        return "positive_definite"

    def value(self, coordinates: Tensor) -> Tensor:
        diagonal = torch.diagonal(coordinates, dim1=-2, dim2=-1)
        factor = torch.tril(coordinates, -1) + torch.diag_embed(_softplus(diagonal))
        product = factor @ factor.mT
        # Far out the product is singular in this precision; a multiple of its rounding keeps it definite.
        trace = product.diagonal(dim1=-2, dim2=-1).sum(-1)
        lift = 4 * torch.finfo(product.dtype).eps * trace
        return product + lift[..., None, None] * torch.eye(
            product.shape[-1], dtype=product.dtype, device=product.device
        )

    def coordinates(self, value: Tensor) -> Tensor:
        factor = torch.linalg.cholesky_ex(value).L
        diagonal = torch.diagonal(factor, dim1=-2, dim2=-1)
        return torch.tril(factor, -1) + torch.diag_embed(_inverse_softplus(diagonal))

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return torch.eye(shape[-1], dtype=torch.float64).expand(len(stream.rows), *shape).clone()

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        shape = tuple(around.shape[1:])
        return _wishart(shape, stream) + 0.1 * torch.eye(shape[-1], dtype=torch.float64)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        finite = torch.isfinite(x).all(-1).all(-1)
        safe = torch.where(finite[..., None, None], x, 0.0)
        definite: Tensor = torch.linalg.cholesky_ex(safe).info == 0
        return _eigenvalues_from(safe, 0.0, atol) & finite & definite


# Names in the language. Interval takes its bounds; Simplex may take a mask; the others take nothing.
DOMAINS: Mapping[str, type[Domain]] = MappingProxyType(
    {
        "reals": Reals,
        "interval": Interval,
        "nonnegative": Nonnegative,
        "positive": Positive,
        "simplex": Simplex,
        "sparse_simplex": SparseSimplex,
        "open_simplex": OpenSimplex,
        "sphere": Sphere,
        "unit_columns": UnitColumns,
        "stiefel": Stiefel,
        "psd": PositiveSemidefinite,
        "positive_definite": PositiveDefinite,
        "SO3": SO3,
        "SE2": SE2,
    }
)
