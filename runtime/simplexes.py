"""The simplex: closed, met exactly by projection, and its inside, in coordinates without bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import (
    ConvexDomain,
    DomainError,
    Kind,
    OpenDomain,
    check_vectors,
    filled,
    pick_rows,
)
from ebmlang.runtime.seeded import Stream


@dataclass(frozen=True, slots=True, eq=False)
class Simplex(ConvexDomain):
    """Vectors (last dimension) of entries >= 0 that sum to 1.

    Entries where `where` is False are exactly 0.
    """

    where: Tensor | None = None

    @property
    def kind(self) -> Kind:
        return Kind.CONVEX

    @property
    def tied(self) -> int:
        return 1

    def check(self, shape: tuple[int, ...]) -> None:
        check_vectors(shape, "a simplex")
        if self.where is None:
            return
        if self.where.ndim == 0 or self.where.dtype != torch.bool:
            raise DomainError("the mask of a simplex must be bool with at least one dimension")
        empty = ~self.where.any(-1)
        if bool(empty.any()):
            at = [int(i) for i in empty.nonzero()[0]]
            place = f" at {at}" if at else ""
            found = f"{int(empty.sum())} of {empty.numel()}"
            raise DomainError(f"a simplex with no entry allowed{place} ({found})")

    def describe(self) -> str:
        return "in simplex" if self.where is None else "in simplex where a mask allows"

    def nearest(self, x: Tensor) -> Tensor:
        """Euclidean projection by sorting (Held, Wolfe and Crowder 1974; Duchi et al. 2008, figure 1)."""
        # Only differences matter. With the largest entry at 0 the threshold lies in [-1, 0], where it is
        # exact.
        x = _finite_range(x)
        allowed = x if self.where is None else x.masked_fill(~self.where, -torch.inf)
        shifted = allowed - allowed.amax(-1, keepdim=True)
        # Entries below -1 are 0 in the answer; lifting them keeps the partial sums finite.
        lifted = shifted.clamp(min=-2.0)
        ordered = lifted.sort(dim=-1, descending=True).values
        counts = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
        thresholds = (ordered.cumsum(-1) - 1.0) / counts
        support = (ordered > thresholds).sum(-1, keepdim=True).clamp(min=1)
        weights = (shifted - thresholds.gather(-1, support - 1)).clamp(min=0.0)
        # Dividing removes the rounding of the threshold: the sum is 1 to the last digits.
        return weights / weights.sum(-1, keepdim=True)

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self.nearest(x - gradient) - x

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.nearest(filled(len(stream.rows), shape, 0.0))

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        # Normalised exponentials are uniform on the simplex.
        parts = -torch.log(stream.uniform(tuple(around.shape[1:])))
        allowed = parts if self.where is None else parts.masked_fill(~self.where.cpu(), 0.0)
        return allowed / allowed.sum(-1, keepdim=True)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        summed = (x.sum(-1) - 1.0).abs() <= atol + 8 * torch.finfo(x.dtype).eps * x.shape[-1]
        good = summed & (x >= -atol).all(-1) & torch.isfinite(x).all(-1)
        return good if self.where is None else good & ((x.abs() <= atol) | self.where).all(-1)

    def select(self, rows: Tensor, rank: int) -> Simplex:
        return self if self.where is None else Simplex(pick_rows(self.where, rows, rank))

    def to(self, dtype: torch.dtype, device: torch.device) -> Simplex:
        return self if self.where is None else Simplex(self.where.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class SparseSimplex(ConvexDomain):
    """Points of a simplex with at most `most` entries above 0.

    Not a convex set, but a union of faces of one: points are brought to it by `nearest`, which is exact, and
    only methods that ask for no more are given it.
    """

    most: Tensor | float
    where: Tensor | None = None

    @property
    def kind(self) -> Kind:
        return Kind.CONVEX

    @property
    def tied(self) -> int:
        return 1

    def check(self, shape: tuple[int, ...]) -> None:
        Simplex(self.where).check(shape)
        if int(self.most) < 1:
            raise DomainError(f"simplex({int(self.most)}) has no point: it takes at least 1 entry")

    def describe(self) -> str:
        where = "" if self.where is None else " where a mask allows"
        return f"in simplex({int(self.most)}){where}"

    def nearest(self, x: Tensor) -> Tensor:
        """The largest entries, projected onto their simplex (Kyrillidis, Becker, Cevher & Koch 2013)."""
        allowed = _finite_range(x)
        if self.where is not None:
            allowed = allowed.masked_fill(~self.where, -torch.inf)
        kept = largest(allowed, int(self.most))
        return Simplex(kept if self.where is None else kept & self.where).nearest(x)

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self.nearest(x - gradient) - x

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.nearest(filled(len(stream.rows), shape, 0.0))

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return self.nearest(Simplex(self.where).draw(around, stream).to(around.device))

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return Simplex(self.where).inside(x, atol) & ((x > atol).sum(-1) <= int(self.most))

    def select(self, rows: Tensor, rank: int) -> SparseSimplex:
        return self if self.where is None else replace(self, where=pick_rows(self.where, rows, rank))

    def to(self, dtype: torch.dtype, device: torch.device) -> SparseSimplex:
        return self if self.where is None else replace(self, where=self.where.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class OpenSimplex(OpenDomain):
    """The inside of the simplex, where an entropy keeps the minimiser away from the boundary.

    Coordinates are logits, value = softmax(logits); entries where `where` is False are exactly 0.
    Only differences of logits matter, so the Hessian has one flat direction per vector, along which
    no gradient points.
    """

    where: Tensor | None = None

    @property
    def tied(self) -> int:
        return 1

    def check(self, shape: tuple[int, ...]) -> None:
        Simplex(self.where).check(shape)

    def describe(self) -> str:
        return Simplex(self.where).describe()

    def value(self, coordinates: Tensor) -> Tensor:
        # Underflow to 0 would make the slope of an entropy infinite, and 0 times that is not a number.
        tiny = torch.finfo(coordinates.dtype).tiny
        if self.where is None:
            return torch.softmax(coordinates, -1).clamp(min=tiny)
        value = torch.softmax(coordinates.masked_fill(~self.where, -torch.inf), -1).clamp(min=tiny)
        return torch.where(self.where, value, 0.0)

    def coordinates(self, value: Tensor) -> Tensor:
        logits = value.clamp(min=torch.finfo(value.dtype).tiny).log()
        return logits if self.where is None else torch.where(self.where, logits, 0.0)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return Simplex(self.where).start(shape, stream)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return Simplex(self.where).draw(around, stream)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return Simplex(self.where).inside(x, atol)

    def select(self, rows: Tensor, rank: int) -> OpenSimplex:
        return self if self.where is None else OpenSimplex(pick_rows(self.where, rows, rank))

    def to(self, dtype: torch.dtype, device: torch.device) -> OpenSimplex:
        return self if self.where is None else OpenSimplex(self.where.to(device))


def largest(x: Tensor, count: int) -> Tensor:
    """Truth at the `count` largest entries of the last dimension; of equal ones some are taken."""
    found = x.topk(min(count, x.shape[-1]), dim=-1).indices
    return torch.zeros(x.shape, dtype=torch.bool, device=x.device).scatter(-1, found, True)


def _finite_range(x: Tensor) -> Tensor:
    """Infinities become the largest numbers whose differences are still finite; NaN stays NaN."""
    limit = torch.finfo(x.dtype).max / 4
    return x.clamp(min=-limit, max=limit)
