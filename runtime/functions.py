"""Functions that generated code calls where PyTorch has no single one."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ebmlang.errors import DataError


def huber(x: Tensor, delta: float | Tensor = 1.0) -> Tensor:
    """x^2/2 inside delta, delta * (|x| - delta/2) outside; entry by entry (Huber 1964)."""
    if isinstance(delta, Tensor):
        inside = x.clamp(-delta, delta)
        return inside * (x - 0.5 * inside)
    return F.huber_loss(x, x.new_zeros(()).expand_as(x), reduction="none", delta=delta)


def check_index(index: Tensor, size: int, shown: str) -> Tensor:
    """The index tensor itself, once every entry is known to lie in 0..size.

    Raises DataError with the first entry that does not.
    """
    wrong = (index < 0) | (index >= size)
    if bool(wrong.any()):
        first = int(index[wrong].flatten()[0])
        raise DataError(
            f"the subscript {shown} reaches {first}, outside of 0..{size}",
            "shorten the range of the plate, or correct the index list",
        )
    return index


def take(base: Tensor, lead: int, subscripts: tuple[Tensor | slice | int | None, ...]) -> Tensor:
    """Indexing with `lead` dimensions in front that every operand shares.

    `base` is [*lead, *dims] with sizes of 1 where it does not vary; an index tensor is
    [*lead, *own]. The result is [*lead, *(own dimensions in place of the indexed one)].
    """
    dims = iter(range(lead, base.ndim))
    indexed: list[int] = []
    sliced: list[int] = []
    for s in subscripts:
        if s is not None:
            dim = next(dims)
            (sliced if isinstance(s, slice) else indexed).append(dim)
    for dim, s in zip(sliced, (s for s in subscripts if isinstance(s, slice)), strict=True):
        base = base.narrow(dim, *_narrow(s, base.shape[dim]))
    indices = [i if isinstance(i, Tensor) else torch.tensor(i, device=base.device) for i in subscripts if not (i is None or isinstance(i, slice))]
    own = max((i.ndim - lead for i in indices), default=0)
    own = max(own, 0)
    sizes = torch.broadcast_shapes(
        tuple(base.shape[:lead]), *(tuple(i.shape[:lead]) for i in indices if i.ndim >= lead)
    )
    full = [i.reshape(*i.shape, *[1] * (lead + own - i.ndim)) if i.ndim >= lead else i for i in indices]
    positions = []
    for axis in range(lead):
        size = base.shape[axis]
        at = torch.arange(size, device=base.device) if size > 1 else torch.zeros(1, dtype=torch.long, device=base.device)
        positions.append(at.reshape([-1 if k == axis else 1 for k in range(lead + own)]))
    arranged = base.permute(*range(lead), *indexed, *sliced)
    result = arranged[(*positions, *(i.expand(*sizes, *i.shape[lead:]) if i.ndim >= lead else i for i in full))]
    result = result.expand(*sizes, *result.shape[lead:])
    return _in_place(result, lead, own, subscripts, indices)


def _narrow(s: slice, size: int) -> tuple[int, int]:
    start, stop, _ = s.indices(size)
    return start, max(stop - start, 0)


def _in_place(
    result: Tensor, lead: int, own: int, subscripts: tuple[Tensor | slice | int | None, ...], indices: list[Tensor]
) -> Tensor:
    """Put the dimensions of an index array and new axes where their subscripts stand."""
    slices = iter(range(lead + own, result.ndim))
    order: list[int] = []
    places: list[int] = []
    for s in subscripts:
        if s is None:
            places.append(len(order) + len(places))
        elif isinstance(s, slice):
            order.append(next(slices))
        elif isinstance(s, Tensor) and s.ndim > lead:
            order.extend(range(lead, lead + own))
    result = result.permute(*range(lead), *order)
    for place in places:
        result = result.unsqueeze(lead + place)
    return result


def concat(parts: tuple[Tensor, ...], axis: int, rank: int) -> Tensor:
    """`torch.cat` along a declared axis, with the dimensions in front of the last `rank` stretched."""
    lead = torch.broadcast_shapes(*(tuple(p.shape[: max(p.ndim - rank, 0)]) for p in parts))
    return torch.cat([p.expand(*lead, *p.shape[max(p.ndim - rank, 0) :]) for p in parts], axis)


def covariance(x: Tensor) -> Tensor:
    """Unbiased covariance of the columns of [..., observations, k]: [..., k, k]."""
    centred = x - x.mean(-2, keepdim=True)
    return centred.mT @ centred / (x.shape[-2] - 1)


def masked_mean(x: Tensor, mask: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The mean of the entries where the mask holds; x is 0 elsewhere."""
    return x.sum(dim) / mask.expand_as(x).sum(dim)


def _folded(x: Tensor, dim: int | tuple[int, ...], function: str) -> Tensor:
    dims = sorted((d % x.ndim for d in ((dim,) if isinstance(dim, int) else dim)), reverse=True)
    return reduce(lambda value, d: getattr(value, function)(d), dims, x)


def fold_prod(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Product along dimensions."""
    return _folded(x, dim, "prod")


def fold_all(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Whether all entries along dimensions are true."""
    return _folded(x, dim, "all")


def fold_any(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Whether some entry along dimensions is true."""
    return _folded(x, dim, "any")


# --- reductions over the examples: a value that is the same for all of them counts as B copies -------


def _examples(x: Tensor, batch: int) -> Tensor:
    return x.expand(batch, *x.shape[1:])


def over_examples_sum(x: Tensor, batch: int) -> Tensor:
    """Sum over the examples, [B, ...] -> [...]."""
    return _examples(x, batch).sum(0)


def over_examples_mean(x: Tensor, batch: int) -> Tensor:
    """Mean over the examples."""
    return _examples(x, batch).mean(0)


def over_examples_prod(x: Tensor, batch: int) -> Tensor:
    """Product over the examples."""
    return _examples(x, batch).prod(0)


def over_examples_max(x: Tensor, batch: int) -> Tensor:
    """Largest value over the examples."""
    return _examples(x, batch).amax(0)


def over_examples_min(x: Tensor, batch: int) -> Tensor:
    """Smallest value over the examples."""
    return _examples(x, batch).amin(0)


def over_examples_std(x: Tensor, batch: int) -> Tensor:
    """Unbiased standard deviation over the examples."""
    return _examples(x, batch).std(0)


def over_examples_var(x: Tensor, batch: int) -> Tensor:
    """Unbiased variance over the examples."""
    return _examples(x, batch).var(0)


def over_examples_logsumexp(x: Tensor, batch: int) -> Tensor:
    """Log of the sum of exponentials over the examples."""
    return torch.logsumexp(_examples(x, batch), 0)


def over_examples_cov(x: Tensor, batch: int) -> Tensor:
    """Unbiased covariance over the examples, [B, k] -> [k, k]."""
    return covariance(_examples(x, batch))
