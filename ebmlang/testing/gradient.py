"""Gradients against finite differences, entry by entry, where the energy has a slope at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.api import Model
from ebmlang.testing.case import CheckFailed
from ebmlang.testing.checks import Remarks
from ebmlang.testing.evaluate import Values, bound_to, energies, evaluation_module

STEP = 2e-4
"""Relative to the larger of 1 and the entry. With extrapolation the error is of order STEP^4, and
rounding of an energy near 1 costs about 1e-12."""

TOLERANCE = 1e-6
"""Between gradient and difference, relative to 1 + their size; what the difference itself is uncertain by
comes on top."""

UNCERTAIN = 1e-5
"""A difference that is less certain than this, relative in the same way, is not compared with."""

MOST_ENTRIES = 32
"""Entries of one variable that are compared, evenly spread; the gradient of the others is not looked at."""

_EPS = torch.finfo(torch.float64).eps


def check_gradient(model: Model, values: Values) -> Remarks:
    """The gradient of the total energy in every real variable equals finite differences.

    Left out and counted are entries next to a kink (the slopes of both sides differ however small the step)
    and at an edge (the energy is not finite on one side). Rows whose energy is not finite are left out.
    """
    bound = bound_to(model, evaluation_module(model), values)
    real = [s.name for s in bound.specs.values() if s.kind == "real" and s.role != "hyper"]
    names = [name for name in real if name in bound.values]
    leaves = {name: bound.values[name].detach().clone().requires_grad_(True) for name in names}
    found = energies(bound, leaves)
    coupled = bool(bound.module.JOINT) or any(term.batch for term in bound.module.TERMS)
    finite = torch.isfinite(found.total.detach())
    remarks: Remarks = Counter()
    if not bool(finite.all()) and (coupled or not bool(finite.any())):
        remarks["examples without a finite energy"] += 1
        return remarks
    # Rows are independent: one backward pass through their sum gives the slopes of all of them.
    kept = found.total.masked_fill(~finite, 0.0).sum()
    slopes: list[Tensor | None] = [None] * len(names)
    if kept.requires_grad and names:
        slopes = list(torch.autograd.grad(kept, list(leaves.values()), allow_unused=True))
    for name, slope in zip(names, slopes, strict=True):
        at = leaves[name].detach()
        gradient = torch.zeros_like(at) if slope is None else slope

        def energy_of(x: Tensor, which: str = name) -> Tensor:
            with torch.no_grad():
                return energies(bound, {which: x}).total

        separate = bound.specs[name].per_example and not coupled
        remarks += _compare(name, at, gradient, energy_of, finite if separate else None)
    return remarks


def _compare(
    name: str, at: Tensor, gradient: Tensor, energy: Callable[[Tensor], Tensor], rows: Tensor | None
) -> Remarks:
    """One variable. `rows` [B] tells which rows count, when each row's energy is its own; None when the
    entries act on the sum of all energies."""
    remarks: Remarks = Counter()
    count = at[0].numel() if rows is not None else at.numel()
    here = energy(at) if rows is not None else energy(at).sum()
    for entry in _spread(count):
        index = (slice(None), entry) if rows is not None else (entry,)
        samples = _sampled(at, index, energy, here, rows is not None)
        slope = gradient.reshape(at.shape[0], -1)[index] if rows is not None else gradient.reshape(-1)[index]
        judged = _judge(samples, slope)
        use = judged.usable if rows is None else judged.usable & rows
        wrong = use & ~judged.equal
        if bool(wrong.any()):
            _fail(name, at, entry, judged, slope, wrong, rows is not None)
        counts: Mapping[str, Tensor] = {
            "entries compared": use,
            "entries at a kink": judged.kink & (rows if rows is not None else True),
            "entries at an edge": judged.edge & (rows if rows is not None else True),
        }
        remarks += Counter({words: int(mask.sum()) for words, mask in counts.items() if bool(mask.any())})
    return remarks


def _sampled(
    at: Tensor,
    index: tuple[slice | int, ...],
    energy: Callable[[Tensor], Tensor],
    here: Tensor,
    per_row: bool,
) -> _Samples:
    """Energies around `at` along one entry; of all rows at once where each energy is its own."""
    flat = at.reshape(at.shape[0], -1) if per_row else at.reshape(-1)
    step = STEP * torch.clamp(flat[index].abs(), min=1.0)

    def sample(offset: float) -> Tensor:
        moved = flat.clone()
        moved[index] = moved[index] + offset * step
        total = energy(moved.reshape(at.shape))
        return total if per_row else total.sum()

    return _Samples(here, sample(1.0), sample(-1.0), sample(0.5), sample(-0.5), step)


def _spread(count: int) -> list[int]:
    if count <= MOST_ENTRIES:
        return list(range(count))
    return sorted({i * count // MOST_ENTRIES for i in range(MOST_ENTRIES)})


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Energies around a point, [B] or []."""

    here: Tensor
    right: Tensor
    left: Tensor
    half_right: Tensor
    half_left: Tensor
    step: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    difference: Tensor
    usable: Tensor
    equal: Tensor
    kink: Tensor
    edge: Tensor


def _judge(s: _Samples, slope: Tensor) -> _Judged:
    """Richardson's extrapolation of central differences, and how far it can be trusted."""
    h = s.step
    wide, narrow = (s.right - s.left) / (2 * h), (s.half_right - s.half_left) / h
    difference = (4 * narrow - wide) / 3
    size = torch.stack([e.abs() for e in (s.here, s.right, s.left)]).amax(0)
    noise = 64 * _EPS * size / h
    # The scale must not come from the slope that is judged: a huge wrong one would excuse everything.
    scale = 1 + torch.nan_to_num(difference.abs(), posinf=0.0)
    everything = torch.stack([s.here, s.right, s.left, s.half_right, s.half_left])
    edge = ~torch.isfinite(everything).all(0)
    # Both slopes approach each other in proportion to the step where the energy is smooth, and not at a kink.
    jump = ((s.right - s.here) - (s.here - s.left)).abs() / h
    half_jump = 2 * ((s.half_right - s.here) - (s.here - s.half_left)).abs() / h
    broken = (half_jump > 0.75 * jump) & (half_jump > 1e-7 * scale + 8 * noise)
    uncertain = (wide - narrow).abs() / 3 + noise
    kink = ~edge & (broken | (uncertain > UNCERTAIN * scale))
    equal = (slope - difference).abs() <= TOLERANCE * scale + 4 * uncertain
    return _Judged(difference, ~edge & ~kink, equal, kink, edge)


def _fail(
    name: str, at: Tensor, entry: int, judged: _Judged, slope: Tensor, wrong: Tensor, per_row: bool
) -> None:
    row = int(wrong.nonzero()[0]) if per_row else 0
    inner = at.shape[1:] if per_row else at.shape
    place = [int(i) for i in torch.unravel_index(torch.tensor(entry), inner)] if inner else []
    index = [row, *place] if per_row else place
    a, b = (float(x.reshape(-1)[row]) for x in (slope, judged.difference))
    where = f"`{name}`[{', '.join(map(str, index))}]" if index else f"`{name}`"
    raise CheckFailed(f"the gradient in {where} is {a:.10g}, finite differences give {b:.10g}")
