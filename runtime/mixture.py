"""A convex quadratic minus log-sum-exps, in numbers: what a concave-convex step works from.

The energy is rest(x) - sum_j w_j logsumexp_k s_jk(x). Every score is of degree 2 and couples no two entries,
so that its values at 0 and at the unit vectors determine it. They are taken in float64, of one row where the
values that are read do not differ by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.space import Space
from ebmlang.runtime.stored_patterns import MOST, ROWS_PER_PATTERN, StoredPatterns, stored_patterns
from ebmlang.runtime.watched import Watched

Values = Mapping[str, Tensor]

LARGEST = 50_000_000
"""Numbers in the matrices of a form; what needs more is left to other methods."""

CHUNK = 1 << 22
"""Scores that one evaluation measures together."""

SAME = 1e-9
"""Second differences that differ by less than this share of the largest are the same."""


class MixtureFunctions(Protocol):
    """What generated code offers of a mixture."""

    def scores(self, unknown: Values, held: Values) -> list[tuple[Tensor, Tensor]]:
        """For each log-sum-exp its weight and scores, [B, plates...] and [B, plates..., scores...]."""

    def rest(self, unknown: Values, held: Values) -> Tensor:
        """The energy without the log-sum-exps, [B], or [1] or [] when all rows have the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """J log-sum-exps of m scores s = offset + slope x + bend x^2 / 2, each with a weight.

    offset [R, J, m], slope [R, J m, N], weight [R, J]; a first size of 1 stands for all rows. `bend`
    [R, J m, N] is None where all scores of a log-sum-exp bend alike: then that is part of the quadratic.
    """

    offset: Tensor
    slope: Tensor
    weight: Tensor
    bend: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class MixtureForm:
    """const + linear x + x' quadratic x / 2 minus the weighted log-sum-exps; const [R or 1], linear
    [R or 1, N].

    `quadratic` is a diagonal, [R or 1, N], or matrices [R or 1, N, N] with `factor` their Cholesky factor.
    It is the Hessian of the quadratic that lies above the energy, short of what the bends add. `reads` names
    the values that all of it is from. `patterns` tells of points next to the slopes of the scores, where that
    has been prepared.
    """

    scores: tuple[Scores, ...]
    constant: Tensor
    linear: Tensor
    quadratic: Tensor
    factor: Tensor | None
    reads: frozenset[str] = frozenset()
    patterns: StoredPatterns | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        factor = () if self.factor is None else (self.factor,)
        tensors = (*_tensors(self.scores), self.constant, self.linear, self.quadratic, *factor)
        size: int = sum(t.nbytes for t in tensors)
        return size if self.patterns is None else size + self.patterns.size

    @property
    def products(self) -> Scores | None:
        """The scores where they are those of one log-sum-exp, products with patterns that all rows share."""
        if len(self.scores) != 1:
            return None
        (part,) = self.scores
        plain = part.bend is None and part.slope.shape[0] == 1 and part.offset.shape[1] == 1
        return part if plain and not bool(part.offset.any()) else None

    def with_patterns(self, space: Space) -> MixtureForm:
        """The form with its patterns compared with each other, where the rows are many enough to pay."""
        part = self.products if self.patterns is None and self.factor is None else None
        if part is None or Kind.BOX in space.kinds or space.mask is not None:
            return self
        count = part.slope.shape[1]
        few = 2 <= count <= min(MOST, space.rows // ROWS_PER_PATTERN)
        if not few or any(t.shape[0] != 1 for t in (part.weight, self.linear, self.quadratic)):
            return self
        found = stored_patterns(part.slope[0], part.weight[0, 0], self.linear[0], self.quadratic[0])
        return replace(self, patterns=found)

    def select(self, rows: Tensor) -> MixtureForm:
        picked: MixtureForm = _mapped(self, lambda t: t if t.shape[0] == 1 else t.index_select(0, rows))
        return picked

    def to(self, dtype: torch.dtype) -> MixtureForm:
        moved: MixtureForm = _mapped(self, lambda t: t.to(dtype))
        return moved


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Every tensor of nested dataclasses and tuples, changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(item, change) for item in value)
    if value is None or isinstance(value, frozenset | StoredPatterns):
        return value
    return replace(value, **{f.name: _mapped(getattr(value, f.name), change) for f in fields(value)})


@dataclass(frozen=True, slots=True)
class Mixture:
    """The functions in float64, with what the compiler has proven of them (see `structure.finding`)."""

    functions: MixtureFunctions
    plates: tuple[int, ...]
    diagonal: bool
    shared: bool


def mixture_form(
    mixture: Mixture, space: Space, rowwise: frozenset[str], repeated: Callable[[Tensor], Values]
) -> MixtureForm | str:
    """The form of every row, or why there is none. `repeated` gives the held values of rows, of which those
    named in `rowwise` differ by row."""
    if space.rows == 0:
        return "there are no rows"
    double = torch.float64
    space = replace(space, dtype=double)
    measured = _Measured(mixture, space, rowwise, repeated)
    count = 1 if mixture.shared else space.rows
    zero = torch.zeros(count, space.size, dtype=double, device=space.device)
    at_zero = measured.scores(zero, torch.arange(count, device=space.device))
    size = sum(s.shape[1] * s.shape[2] for _, s in at_zero)
    if count * size * space.size > LARGEST:
        return "the matrix of its scores is too large"
    found = measured.slopes(at_zero, count)
    if not mixture.diagonal:
        if space.rows * space.size**2 > LARGEST:
            return "the matrix of its quadratic part is too large"
        low, high = (side.isfinite().any() for side in space.bounds())
        if bool(low | high) or space.mask is not None:
            return "its quadratic part couples entries, and some of them are bounded or given"
        if any(part.bend is not None for part in found[0]):
            return "its scores differ in curvature, and its quadratic part couples entries"
    constant, linear, quadratic = measured.rest()
    parts, bent = found
    quadratic = quadratic - (bent if mixture.diagonal else torch.diag_embed(bent))
    factor = None
    if not mixture.diagonal:
        factor, info = torch.linalg.cholesky_ex(quadratic)
        if bool((info != 0).any()):
            return "its quadratic part does not curve upwards in every direction"
    elif not bool((_least_curvature(parts, quadratic) > 0).all()):
        return "its quadratic part does not curve upwards in every direction"
    form = MixtureForm(parts, constant, linear, quadratic, factor, frozenset(measured.reads))
    finite = all(bool(torch.isfinite(t).all()) for t in (constant, linear, quadratic, *_tensors(parts)))
    return form if finite else "some of its values are not finite"


def _tensors(parts: tuple[Scores, ...]) -> list[Tensor]:
    return [t for p in parts for t in (p.offset, p.slope, p.weight, *(() if p.bend is None else (p.bend,)))]


def _least_curvature(parts: tuple[Scores, ...], diagonal: Tensor) -> Tensor:
    """The least curvature of any majorising quadratic, [R or 1, N]."""
    for part in parts:
        if part.bend is not None:
            groups = part.offset.shape[1]
            most = part.bend.unflatten(1, (groups, -1)).amax(2)
            diagonal = diagonal - (part.weight[..., None] * most).sum(1)
    return diagonal


@dataclass(frozen=True, slots=True)
class _Measured:
    """Evaluates a mixture at chosen coordinates of chosen rows, and notes which values that read."""

    mixture: Mixture
    space: Space
    rowwise: frozenset[str]
    repeated: Callable[[Tensor], Values]
    reads: set[str] = field(default_factory=set)

    def scores(self, x: Tensor, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights [P, J] and scores [P, J, m] at x [P, N] of the given rows."""
        with torch.no_grad():
            unknown = self.space.values(x)
            found = self.mixture.functions.scores(unknown, Watched(self.repeated(rows), True, self.reads))
        result = []
        for (weight, scores), plates in zip(found, self.mixture.plates, strict=True):
            flat = scores.flatten(1 + plates).flatten(1, plates) if plates else scores.flatten(1)[:, None]
            sized = weight.reshape(-1, flat.shape[1])
            result.append((sized.expand(x.shape[0], flat.shape[1]), flat))
        return result

    def slopes(self, at_zero: list[tuple[Tensor, Tensor]], count: int) -> tuple[tuple[Scores, ...], Tensor]:
        """The scores of `count` rows, and the weighted curvature [count, N] that they have in common."""
        size, device = self.space.size, self.space.device
        width = sum(s.shape[1] * s.shape[2] for _, s in at_zero)
        step = max(1, CHUNK // max(width * size * count, 1))
        slopes: list[list[Tensor]] = [[] for _ in at_zero]
        bends: list[list[Tensor]] = [[] for _ in at_zero]
        for first in range(0, size, step):
            chosen = torch.arange(first, min(first + step, size), device=device)
            unit = torch.zeros(count, len(chosen), size, dtype=torch.float64, device=device)
            unit[:, torch.arange(len(chosen)), chosen] = 1.0
            flat = unit.reshape(-1, size)
            rows = torch.arange(count, device=device).repeat_interleave(len(chosen))
            ahead, behind = self.scores(flat, rows), self.scores(-flat, rows)
            for k, (_, base) in enumerate(at_zero):
                up, down = (v[k][1].reshape(count, len(chosen), -1) for v in (ahead, behind))
                slopes[k].append((up - down) / 2)
                bends[k].append(up + down - 2 * base.reshape(count, 1, -1))
        parts = []
        common = torch.zeros(count, size, dtype=torch.float64, device=device)
        for k, (weight, base) in enumerate(at_zero):
            slope, bend = torch.cat(slopes[k], 1).mT.contiguous(), torch.cat(bends[k], 1).mT
            groups = bend.unflatten(1, base.shape[1:])
            scale = torch.maximum(bend.abs().amax(), 1e-3 * base.abs().amax())
            alike = bool((groups.amax(2) - groups.amin(2) <= SAME * scale).all())
            if alike:
                mean = groups.mean(2)
                mean = torch.where(mean.abs() <= SAME * scale, 0.0, mean)
                common = common + (weight[..., None] * mean).sum(1)
            parts.append(Scores(base, slope, weight, None if alike else bend.contiguous()))
        return tuple(parts), common

    def rest(self) -> tuple[Tensor, Tensor, Tensor]:
        """The quadratic part: its value and gradient at 0, and its Hessian (or the diagonal); of all rows, or
        of one that stands for all."""
        space = self.space
        rows = torch.arange(1, device=space.device)
        zero = torch.zeros(1, space.size, dtype=torch.float64, device=space.device)
        watched = Watched(self.repeated(rows), wide=True)
        constant, linear = self._slope(zero, watched)
        self.reads.update(watched.reads)
        if space.rows > 1 and watched.reads & self.rowwise:
            rows = torch.arange(space.rows, device=space.device)
            zero = zero.expand(space.rows, -1)
            watched = Watched(self.repeated(rows), wide=True)
            constant, linear = self._slope(zero, watched)
        if self.mixture.diagonal:
            return constant, linear, self._slope(torch.ones_like(zero), watched)[1] - linear
        columns = []
        for k in range(space.size):
            unit = torch.zeros_like(zero)
            unit[:, k] = 1.0
            columns.append(self._slope(unit, watched)[1] - linear)
        matrix = torch.stack(columns, 2)
        return constant, linear, (matrix + matrix.mT) / 2

    def _slope(self, x: Tensor, held: Values) -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_(True)
        with torch.enable_grad():
            value = self.mixture.functions.rest(self.space.values(leaf), held)
            total = value.expand(x.shape[0]) if value.ndim == 0 or value.numel() == 1 else value
            slope = torch.zeros_like(x)
            if total.requires_grad:
                (slope,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), slope
