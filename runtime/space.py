"""The sought block as flat vectors: which unknowns there are, where they live, and how to move in them.

A solver sees x [R, N]: R independent rows, N numbers each. In a *joint* space the whole batch is one row: N
counts the entries of all B examples, and R counts restarts only.

Some entries may be given (missing data turned around: what is not missing is held). They keep their place in
x, so that layouts do not depend on the data; every operation here returns them unchanged and every residual
is 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Domain, DomainError, Kind, all_per_row, pick_rows, row_norm
from ebmlang.runtime.domains import Interval, Nonnegative, OpenSimplex, Positive, Simplex
from ebmlang.runtime.seeded import Rows, Stream

VectorOperation = Callable[..., Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Unknown:
    """One sought variable.

    `shape` is the shape of one example. `start`, `free` and `fixed` are [B or 1, *shape]: the declared start
    (None: the rule of the domain), the entries that are sought (None: all), and the values of the others.
    `per_batch` marks a variable that all examples of a joint space share; its tensors have a leading 1.
    """

    name: str
    shape: tuple[int, ...]
    domain: Domain
    start: Tensor | None = None
    free: Tensor | None = None
    fixed: Tensor | None = None
    per_batch: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where a search begins: coordinates x [R, N], and which rows were declared outside an open domain."""

    x: Tensor
    outside: Tensor


@dataclass(frozen=True, eq=False)
class Space:
    """All unknowns of one question. Make it with `space_of`.

    `rows` is R, `batch` is B (equal to R unless joint). `mask` and `held` are [R or 1, N] or None: the sought
    entries and the coordinates of the others. `sizes` says how many of the N numbers belong to each unknown,
    `row_shapes` in which shape.
    """

    unknowns: tuple[Unknown, ...]
    rows: int
    batch: int
    joint: bool
    dtype: torch.dtype
    device: torch.device
    mask: Tensor | None
    held: Tensor | None
    sizes: list[int]
    row_shapes: list[tuple[int, ...]]

    @property
    def size(self) -> int:
        return sum(self.sizes)

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(unknown.domain.kind for unknown in self.unknowns)

    @property
    def linear(self) -> bool:
        """Whether every vector is feasible, so that projections change nothing."""
        return self.mask is None and self.kinds <= {Kind.LINEAR, Kind.OPEN}

    @property
    def entrywise(self) -> bool:
        """Whether every value is a function of one coordinate alone."""
        return all(
            u.domain.kind in (Kind.LINEAR, Kind.BOX) or isinstance(u.domain, Positive) for u in self.unknowns
        )

    @property
    def curved(self) -> bool:
        """Whether some coordinates are not the values themselves."""
        return Kind.OPEN in self.kinds

    @property
    def bare(self) -> str | None:
        """The name of the only unknown where x [R, N] are its values, every entry sought; else None."""
        if len(self.unknowns) != 1 or self.joint or self.mask is not None or len(self.row_shapes[0]) != 1:
            return None
        (unknown,) = self.unknowns
        return None if unknown.domain.kind is Kind.OPEN else unknown.name

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of the values along their coordinates x [R, N], and the second derivatives over the
        first, [R, N] each; of an `entrywise` space."""
        pairs = [
            (u.domain.slope(part), u.domain.turn(part))
            if isinstance(u.domain, Positive)
            else (torch.ones_like(part), torch.zeros_like(part))
            for u, part in zip(self.unknowns, self.split(x), strict=True)
        ]
        return self.join([first for first, _ in pairs]), self.join([second for _, second in pairs])

    def row_shape(self, unknown: Unknown) -> tuple[int, ...]:
        """Shape of an unknown within one row of x."""
        return _row_shape(unknown, self.batch, self.joint)

    def split(self, x: Tensor) -> list[Tensor]:
        """Coordinates of each unknown, [R, *row_shape]; views of x."""
        rows = x.shape[0]
        if not self.unknowns:
            return []
        # One unknown needs no split, whose backward pass would copy.
        parts = [x] if len(self.unknowns) == 1 else x.split_with_sizes(self.sizes, 1)
        pairs = zip(parts, self.row_shapes, strict=True)
        return [part if len(shape) == 1 else part.reshape(rows, *shape) for part, shape in pairs]

    def join(self, parts: list[Tensor]) -> Tensor:
        """Inverse of `split`."""
        pairs = zip(parts, self.sizes, strict=True)
        flat = [part if part.ndim == 2 else part.reshape(part.shape[0], size) for part, size in pairs]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """What the user sees, name -> [R, *row_shape]; differentiable in x."""
        return self.values_of(self.split(x))

    def values_of(self, parts: list[Tensor]) -> dict[str, Tensor]:
        """The same for coordinates that are split already."""
        result = {}
        for unknown, part in zip(self.unknowns, parts, strict=True):
            value = part
            if unknown.domain.kind is Kind.OPEN:
                value = unknown.domain.value(part)
                if unknown.free is not None and unknown.fixed is not None:
                    # Coordinates cannot carry given values exactly through the transform.
                    value = torch.where(unknown.free, value, unknown.fixed)
            result[unknown.name] = value
        return result

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """Coordinates [R, N] of values given by name as [R, *row_shape], given entries put in their place."""
        parts = [unknown.domain.coordinates(values[unknown.name]) for unknown in self.unknowns]
        return self._keep_held(self.join(parts) if parts else self._empty())

    def project(self, x: Tensor) -> Tensor:
        """The feasible point nearest to x."""
        if self.linear:
            return x
        return self._keep_held(self._each(lambda domain, part: domain.project(part), x))

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """The part of the direction v along which x can move; 0 at given entries."""
        if self.linear:
            return v
        return self.sought(self._each(lambda domain, at, along: domain.tangent(at, along), x, v))

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        """The feasible point reached from x by `step`."""
        if self.linear:
            return x + step
        return self._keep_held(self._each(lambda domain, at, along: domain.retract(at, along), x, step))

    def residual(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Zero exactly where x is stationary, [R, N]."""
        if self.linear:
            return gradient
        return self.sought(self._each(lambda domain, at, along: domain.residual(at, along), x, gradient))

    def optimality(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Norm of the residual, [R]."""
        return row_norm(self.residual(x, gradient))

    def sought(self, vector: Tensor) -> Tensor:
        """The vector with zeros at given entries."""
        return vector if self.mask is None else torch.where(self.mask, vector, 0.0)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds of all coordinates, [R or 1, N] each; given entries are pinned.

        Raises ValueError when a domain is more than bounds.
        """
        return self._sides

    @cached_property
    def _sides(self) -> tuple[Tensor, Tensor]:
        if not self.kinds <= {Kind.LINEAR, Kind.OPEN, Kind.BOX}:
            raise ValueError("only numbers with bounds have bounds")
        pairs = [self._bounds_of(unknown) for unknown in self.unknowns]
        lo, hi = (self._stack([pair[side] for pair in pairs]) for side in (0, 1))
        if self.mask is None or self.held is None:
            return lo, hi
        return torch.where(self.mask, lo, self.held), torch.where(self.mask, hi, self.held)

    def select(self, rows: Tensor) -> Space:
        """The space of the given rows (int64 [R']); rows may repeat."""
        count = int(rows.shape[0])
        mask = None if self.mask is None else pick_rows(self.mask, rows, 1)
        held = None if self.held is None else pick_rows(self.held, rows, 1)
        if self.joint:
            return replace(self, rows=count, mask=mask, held=held)
        unknowns = tuple(_select_unknown(unknown, rows) for unknown in self.unknowns)
        return replace(self, unknowns=unknowns, rows=count, batch=count, mask=mask, held=held)

    def start(self, seed: int, row_numbers: Rows) -> Start:
        """The declared start, projected; absent ones by the rule of the domain.

        `row_numbers` [B] are global.
        """
        outside = self._nowhere()
        parts = []
        for unknown in self.unknowns:
            part, bad = self._start_of(unknown, seed, row_numbers)
            parts.append(part)
            outside |= bad
        x = self.join(parts) if parts else self._empty()
        return Start(self.project(x), outside)

    def draw(self, x: Tensor, seed: int, row_numbers: Rows, number: int) -> Tensor:
        """A random feasible point per row for restart `number`, around the start x [R, N]."""
        values = self.values(x)
        parts = []
        for unknown in self.unknowns:
            around = values[unknown.name].detach().double().cpu()
            domain = unknown.domain.to(torch.float64, torch.device("cpu"))
            stream = self._stream(unknown, seed, row_numbers, f"restart/{number}")
            drawn = domain.draw(around[0] if self.joint else around, stream)
            value = drawn.to(self.device, self.dtype)
            parts.append(unknown.domain.coordinates(value[None] if self.joint else value))
        return self.project(self._keep_held(self.join(parts) if parts else self._empty()))

    def inside(self, x: Tensor, atol: float = 0.0) -> Tensor:
        """Whether each row is feasible up to `atol`, bool [R]. Given entries of a domain do not count."""
        result = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
        values = self.values(x)
        for unknown in self.unknowns:
            good = unknown.domain.inside(values[unknown.name], atol)
            if unknown.free is not None:
                free = unknown.free[None] if self.joint else unknown.free
                good = good | ~_per_point(free, unknown.domain.tied)
            result &= all_per_row(good)
        return result

    def _each(self, operation: VectorOperation, *vectors: Tensor) -> Tensor:
        columns = zip(self.unknowns, *(self.split(vector) for vector in vectors), strict=True)
        return self.join([operation(unknown.domain, *parts) for unknown, *parts in columns])

    def _keep_held(self, x: Tensor) -> Tensor:
        if self.mask is None or self.held is None:
            return x
        return torch.where(self.mask, x, self.held)

    def _nowhere(self) -> Tensor:
        return torch.zeros(self.rows, dtype=torch.bool, device=self.device)

    def _empty(self) -> Tensor:
        return torch.zeros(self.rows, 0, dtype=self.dtype, device=self.device)

    def _stream(self, unknown: Unknown, seed: int, row_numbers: Rows, purpose: str) -> Stream:
        rows = np.zeros(1, dtype=np.int64) if unknown.per_batch else row_numbers
        return Stream(seed, f"{unknown.name}/{purpose}", rows)

    def _start_of(self, unknown: Unknown, seed: int, row_numbers: Rows) -> tuple[Tensor, Tensor]:
        """Coordinates [R, *row_shape] of one start, and the rows [R] that are outside."""
        if unknown.start is not None and unknown.domain.kind is Kind.LINEAR and not self.joint:
            return unknown.start.expand(self.rows, *unknown.shape), self._nowhere()
        stream = self._stream(unknown, seed, row_numbers, "start")
        domain = unknown.domain.to(torch.float64, torch.device("cpu"))
        default = domain.start(unknown.shape, stream).to(self.device, self.dtype)
        outside = torch.zeros(default.shape[0], dtype=torch.bool, device=self.device)
        value = default
        if unknown.start is not None:
            value = unknown.start.expand_as(default)
            if domain.kind is Kind.OPEN:
                good = unknown.domain.inside(value, 0.0)
                if unknown.free is not None:
                    good = good | ~_per_point(unknown.free, domain.tied)
                good = all_per_row(good)
                outside = ~good
                value = torch.where(good.reshape(-1, *[1] * unknown.rank), value, default)
        coordinates = unknown.domain.coordinates(unknown.domain.nearest(value))
        if self.joint:
            return coordinates[None].expand(self.rows, *coordinates.shape), outside.any().expand(self.rows)
        return coordinates, outside

    def _bounds_of(self, unknown: Unknown) -> tuple[Tensor, Tensor]:
        shape = self.row_shape(unknown)
        like = torch.zeros((), dtype=self.dtype, device=self.device)
        lo, hi = torch.full_like(like, -torch.inf), torch.full_like(like, torch.inf)
        if isinstance(unknown.domain, Nonnegative):
            lo = like
        elif isinstance(unknown.domain, Interval):
            lo, hi = unknown.domain.bounds(like)
        return _leading(lo, shape), _leading(hi, shape)

    def _stack(self, parts: list[Tensor]) -> Tensor:
        """Flat vectors [R or 1, N] from parts [R or 1, *row_shape]."""
        if not parts:
            return self._empty()
        rows = max(part.shape[0] for part in parts)
        return self.join([part.expand(rows, *part.shape[1:]) for part in parts])


def _per_point(free: Tensor, tied: int) -> Tensor:
    """One entry per point of a domain; along tied dimensions all entries are free or none is."""
    return free.flatten(free.ndim - tied)[..., 0] if tied else free


def _row_shape(unknown: Unknown, batch: int, joint: bool) -> tuple[int, ...]:
    if not joint:
        return unknown.shape
    return (1 if unknown.per_batch else batch, *unknown.shape)


def _leading(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Expand to [R or 1, *shape]."""
    rows = tensor.shape[0] if tensor.ndim == len(shape) + 1 else 1
    return tensor.expand(rows, *shape)


def _select_unknown(unknown: Unknown, rows: Tensor) -> Unknown:
    def pick(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else pick_rows(tensor, rows, unknown.rank)

    return replace(
        unknown,
        domain=unknown.domain.select(rows, unknown.rank),
        start=pick(unknown.start),
        free=pick(unknown.free),
        fixed=pick(unknown.fixed),
    )


def space_of(
    unknowns: tuple[Unknown, ...],
    batch: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    joint: bool = False,
) -> Space:
    """The space of a question about `batch` examples.

    Raises DomainError, its text beginning with the name of the variable, when a domain is empty, or when part
    of a point of a domain is given whose entries are tied to each other (part of a rotation, say).
    """
    target = device or torch.device("cpu")
    moved = tuple(_prepare(unknown, dtype, target, joint) for unknown in unknowns)
    rows = 1 if joint else batch
    shapes = [_row_shape(unknown, batch, joint) for unknown in moved]
    sizes = [math.prod(shape) for shape in shapes]
    space = Space(moved, rows, batch, joint, dtype, target, None, None, sizes, shapes)
    if all(unknown.free is None and _support(unknown.domain) is None for unknown in moved):
        return space
    masks, helds = [], []
    for unknown in moved:
        shape = space.row_shape(unknown)
        free = _support(unknown.domain)
        free = torch.ones((), dtype=torch.bool, device=target) if free is None else free.to(target)
        held = torch.zeros((), dtype=dtype, device=target)
        if unknown.free is not None and unknown.fixed is not None:
            free = unknown.free & free
            if unknown.domain.kind is not Kind.OPEN:
                held = torch.where(free, held, unknown.fixed)
        masks.append(_leading(free[None] if joint and free.ndim else free, shape))
        helds.append(_leading(held[None] if joint and held.ndim else held, shape))
    mask = space._stack(masks)
    return space if bool(mask.all()) else replace(space, mask=mask, held=space._stack(helds))


def _support(domain: Domain) -> Tensor | None:
    """Entries that may differ from 0; None: all of them. The others have no gradient to speak of."""
    return domain.where if isinstance(domain, Simplex | OpenSimplex) else None


def _prepare(unknown: Unknown, dtype: torch.dtype, device: torch.device, joint: bool) -> Unknown:
    if unknown.per_batch and not joint:
        raise DomainError(f"`{unknown.name}`: one value for the whole batch needs a joint space")
    if (unknown.free is None) != (unknown.fixed is None):
        raise DomainError(f"`{unknown.name}`: a mask of sought entries and the given values come together")
    try:
        unknown.domain.check(unknown.shape)
    except DomainError as error:
        raise DomainError(f"`{unknown.name}`: {error}") from None
    free = unknown.free
    if free is not None:
        free = free.to(device)
        tied = unknown.domain.tied
        if tied:
            groups = free.flatten(free.ndim - tied)
            if bool((groups.any(-1) & ~groups.all(-1)).any()):
                words = unknown.domain.describe()
                raise DomainError(
                    f"`{unknown.name}`: part of a value {words} is given, which is not supported"
                )

    def move(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().to(device=device, dtype=dtype)

    domain = unknown.domain.to(dtype, device)
    return replace(unknown, domain=domain, start=move(unknown.start), free=free, fixed=move(unknown.fixed))
