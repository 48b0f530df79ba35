"""Functions that generated code calls where PyTorch has no single one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.gathering import all_examples as all_examples  # generated code calls it
from ebmlang.runtime.gathering import gathered
from ebmlang.runtime.leads import joined


def huber(x: Tensor, delta: float | Tensor = 1.0, centre: Tensor | None = None) -> Tensor:
    """x^2/2 inside delta, delta * (|x| - delta/2) outside; entry by entry (Huber 1964).

    With `centre`, of x - centre.
    """
    if isinstance(delta, Tensor) or delta <= 0:
        x = x if centre is None else x - centre
        inside = clamp(x, -delta, delta) if isinstance(delta, Tensor) else x.clamp(-delta, delta)
        return inside * (x - 0.5 * inside)
    if centre is None:
        centre = x.new_zeros(()).expand_as(x)
    elif x.shape != centre.shape:
        x, centre = torch.broadcast_tensors(x, centre)
    return F.huber_loss(x, centre, reduction="none", delta=delta)


def clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x limited to [low, high], entry by entry.

    Brought to one shape first: the backward pass of `torch.clamp` fails where bounds are larger than x.
    """
    return torch.clamp(*torch.broadcast_tensors(x, low, high))


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


def limit_index(index: Tensor, size: int) -> Tensor:
    """The index kept inside 0..size; for entries that a guard leaves out."""
    return index.clamp(0, max(size - 1, 0))


def stack_cells(cells: dict[int, Tensor], dim: int) -> Tensor:
    """The cells of a recurrence by their index, 0 first, as one array; `dim` counts from its end."""
    ordered = [cells[index] for index in sorted(cells)]
    shape = ordered[-1].shape
    if any(cell.shape != shape for cell in ordered):
        # Where a cell is the same for all examples it has one row for all of them.
        ordered = list(torch.broadcast_tensors(*ordered))
    return torch.stack(ordered, dim)


def stack_entries(*entries: dict[int, Tensor]) -> Tensor:
    """The cells of a recurrence over vectors from those of its entries, [..., cells, entries]."""
    arrays = [stack_cells(cells, -1) for cells in entries]
    if any(array.shape != arrays[0].shape for array in arrays):
        arrays = list(torch.broadcast_tensors(*arrays))
    return torch.stack(arrays, -1)


def take(base: Tensor, lead: int, subscripts: tuple[Tensor | slice | int | None, ...]) -> Tensor:
    """Indexing with `lead` dimensions in front that every operand shares.

    `base` is [*lead, *dims] and an index tensor [*lead, *own], with sizes of 1 where they do not
    vary. The result is [*lead, ...] with the own dimensions of each index in place of the one it
    takes from: several index arrays select every combination.
    """
    front = joined(*(x.shape[:lead] for x in (base, *subscripts) if isinstance(x, Tensor)))
    first = subscripts[0]
    if isinstance(first, Tensor) and all(s == slice(None) for s in subscripts[1:]):
        return _rows_of(base, lead, first, front)
    extra = [
        s.ndim - lead if isinstance(s, Tensor) else 1 if s is None or isinstance(s, slice) else 0
        for s in subscripts
    ]
    # Every dimension of the result has its place; an index varies along the front and its own places.
    total = lead + sum(extra)
    arrays: list[Tensor] = [
        _along(torch.arange(size, device=base.device), axis, total)
        for axis, size in enumerate(base.shape[:lead])
    ]
    place, dim, sizes = lead, lead, list(front)
    for s, count in zip(subscripts, extra, strict=True):
        if s is None:
            sizes.append(1)
        elif isinstance(s, slice):
            index = torch.arange(*s.indices(base.shape[dim]), device=base.device)
            arrays.append(_along(index, place, total))
            sizes.append(len(index))
        elif isinstance(s, Tensor):
            shape = [1] * total
            shape[:lead], shape[place : place + count] = s.shape[:lead], s.shape[lead:]
            arrays.append(s.reshape(shape))
            sizes += s.shape[lead:]
        else:
            arrays.append(torch.full([1] * total, s, device=base.device))
        place += count
        dim += s is not None
    return base[tuple(arrays)].expand(sizes)


def _rows_of(base: Tensor, lead: int, index: Tensor, front: tuple[int, ...]) -> Tensor:
    """`take` for one index in front of whole dimensions: rows of one long list, whose gradient is cheap."""
    count, rest = base.shape[lead], base.shape[lead + 1 :]
    flat, stride = index, count
    for axis in reversed(range(lead)):
        if base.shape[axis] > 1:
            flat = flat + _along(
                torch.arange(base.shape[axis], device=base.device) * stride, axis, index.ndim
            )
        stride *= base.shape[axis]
    shape = joined(flat.shape, (*front, *index.shape[lead:]))
    found = base.reshape(stride, *rest).index_select(0, flat.reshape(-1))
    return found.reshape(*flat.shape, *rest).expand(*shape, *rest)


def _along(index: Tensor, place: int, total: int) -> Tensor:
    return index.reshape([-1 if i == place else 1 for i in range(total)])


def concat(parts: tuple[Tensor, ...], axis: int, rank: int) -> Tensor:
    """`torch.cat` along a declared axis, with the dimensions in front of the last `rank` stretched."""
    lead = joined(*(tuple(p.shape[: max(p.ndim - rank, 0)]) for p in parts))
    return torch.cat([p.expand(*lead, *p.shape[max(p.ndim - rank, 0) :]) for p in parts], axis)


def covariance(x: Tensor) -> Tensor:
    """Unbiased covariance of the columns of [..., observations, k]: [..., k, k]."""
    centred = x - x.mean(-2, keepdim=True)
    return centred.mT @ centred / (x.shape[-2] - 1 if x.shape[-2] > 1 else math.nan)


def solve(a: Tensor, b: Tensor) -> Tensor:
    """x with a @ x = b, [..., n, n] and [..., n, k]; not finite where a matrix is singular.

    `torch.linalg.solve` would raise, and one singular row would stop all others.
    """
    # With fewer dimensions than a, b would be taken for a batch of vectors.
    found: Tensor = torch.linalg.solve_ex(a, b.reshape([1] * (a.ndim - b.ndim) + list(b.shape))).result
    return found


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, scale: float
) -> Tensor:
    """softmax(query @ key^T * scale) @ value by the fused kernel of PyTorch.

    query [..., L, d], key [..., m, d], value [..., m, dv], mask [..., L, m] (True: seen), with leading
    dimensions that broadcast. The kernel is fused for four dimensions of equal sizes, so that queries of
    the same keys become one long list of queries, and other leading dimensions are joined.
    """
    lead = joined(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    own = query.shape[-2]
    if mask is None and key[..., 0, 0].numel() == value[..., 0, 0].numel() == 1:
        queries = query.expand(*lead, *query.shape[-2:]).reshape(1, 1, -1, query.shape[-1])
        keys, values = (x.reshape(1, 1, *x.shape[-2:]) for x in (key, value))
        found = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
        return found.reshape(*lead, own, value.shape[-1])
    if mask is not None:
        lead = joined(lead, mask.shape[:-2])
        mask = _mask(mask, lead)
    query, key, value = (_four(x, lead) for x in (query, key, value))
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return found.reshape(*lead, own, value.shape[-1])


def _mask(mask: Tensor, lead: tuple[int, ...]) -> Tensor:
    """As `_four`, with a size of 1 along dimensions where nothing differs: the kernel makes numbers of it."""
    for dim in range(mask.ndim - 2):
        if mask.stride(dim) == 0:
            mask = mask.narrow(dim, 0, 1)
    own = [1] * (len(lead) + 2 - mask.ndim) + list(mask.shape)
    if len(lead) < 2:
        return mask.reshape(1, -1, *own[-2:])
    if all(size == 1 for size in own[1:-2]):
        return mask.reshape(own[0], 1, *own[-2:])
    return mask.reshape(own) if len(lead) == 2 else _four(mask, lead)


def _four(x: Tensor, lead: tuple[int, ...]) -> Tensor:
    """[*lead, a, b] as [first, others together, a, b]."""
    x = x.expand(*lead, *x.shape[-2:])
    first = lead[0] if len(lead) > 1 else 1
    return x.reshape(first, -1, *x.shape[-2:])


_SHORT = 16
"""Entries along an axis below which torch walks a softmax over it one by one, several times slower."""


def shares(x: Tensor) -> Tensor:
    """The softmax along the last axis."""
    if x.shape[-1] >= _SHORT:
        return torch.softmax(x, -1)
    above = torch.exp(x - x.detach().amax(-1, keepdim=True))
    return above / above.sum(-1, keepdim=True)


def top_softmax(x: Tensor, count: int) -> Tensor:
    """softmax over the `count` largest entries of the last dimension, exactly 0 elsewhere.

    Of equal entries some are taken. Only the chosen entries get a gradient (Shazeer et al. 2017, equation 4).
    """
    values, places = x.topk(min(count, x.shape[-1]), dim=-1)
    return torch.zeros_like(x).scatter(-1, places, torch.softmax(values, -1))


def inverse(a: Tensor) -> Tensor:
    """The inverse of [..., n, n]; not finite where a matrix is singular."""
    found: Tensor = torch.linalg.inv_ex(a).inverse
    return found


def onehot(index: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """1 at the position of the index along a new last dimension, 0 elsewhere."""
    return (index[..., None] == torch.arange(size, device=index.device)).to(dtype)


def whole_floor_divide(a: Tensor, b: Tensor) -> Tensor:
    """Division of integers, rounded down. Raises DataError for a divisor of 0."""
    return torch.floor_divide(a, _divisor(b))


def whole_remainder(a: Tensor, b: Tensor) -> Tensor:
    """Remainder of integers with the sign of the divisor. Raises DataError for a divisor of 0."""
    return torch.remainder(a, _divisor(b))


def _divisor(b: Tensor) -> Tensor:
    if bool((b == 0).any()):
        raise DataError(
            "a whole number is divided by 0", "check the sizes and hyperparameters of the division"
        )
    return b


def masked_mean(x: Tensor, mask: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The mean of the entries where the mask holds; x is 0 elsewhere."""
    return x.sum(dim) / mask.expand_as(x).sum(dim)


def _folded(x: Tensor, dim: int | tuple[int, ...], function: str) -> Tensor:
    dims = sorted((d % x.ndim for d in ((dim,) if isinstance(dim, int) else dim)), reverse=True)
    return reduce(lambda value, d: getattr(value, function)(d), dims, x)


def fold_prod(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Product along dimensions."""
    return _folded(x, dim, "prod")


def fold_var(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Unbiased variance along dimensions; not a number for fewer than two entries."""
    dims = (dim,) if isinstance(dim, int) else dim
    count = math.prod(x.shape[d] for d in dims)
    if x.numel() == 0 or count < 2:
        # PyTorch warns here, and a row of one entry is no reason for a warning.
        return x.sum(dims) * math.nan
    if _apart(x, dims):
        return _centred(x, dims).square().sum(dims) / (count - 1)
    return x.var(dims)


def fold_std(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Unbiased standard deviation along dimensions; not a number for fewer than two entries."""
    dims = (dim,) if isinstance(dim, int) else dim
    count = math.prod(x.shape[d] for d in dims)
    if x.numel() == 0 or count < 2:
        return x.sum(dims) * math.nan
    if _apart(x, dims):
        # A length has the gradient 0 at 0, as `std` has; a square root has none.
        length: Tensor = torch.linalg.vector_norm(_centred(x, dims), dim=dims)
        return length / math.sqrt(count - 1)
    return x.std(dims)


def _apart(x: Tensor, dims: tuple[int, ...]) -> bool:
    """Whether entries that belong together lie apart in memory, many of them: torch's own reduction of these
    goes entry by entry, ten times slower than a mean and a sum of squares."""
    return x.numel() > 2048 and x.ndim - 1 not in {d % x.ndim for d in dims}


def _centred(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x - x.mean(dims, keepdim=True)


def fold_all(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Whether all entries along dimensions are true."""
    return _folded(x, dim, "all")


def fold_any(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Whether some entry along dimensions is true."""
    return _folded(x, dim, "any")


# --- reductions over the examples: a value that is the same for all of them counts as B copies -------


def _examples(x: Tensor, batch: int) -> Tensor:
    return gathered(x.expand(batch, *x.shape[1:]))


def over_examples_sum(x: Tensor, batch: int) -> Tensor:
    """Sum over the examples, [B, ...] -> [...]."""
    return _examples(x, batch).sum(0)


def over_examples_mean(x: Tensor, batch: int) -> Tensor:
    """Mean over the examples."""
    return _examples(x, batch).mean(0)


def over_examples_stack(x: Tensor, batch: int) -> Tensor:
    """The values of all examples side by side, [B, ...] for every one of them."""
    return _examples(x, batch)


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
    return fold_std(_examples(x, batch), 0)


def over_examples_var(x: Tensor, batch: int) -> Tensor:
    """Unbiased variance over the examples."""
    return fold_var(_examples(x, batch), 0)


def over_examples_logsumexp(x: Tensor, batch: int) -> Tensor:
    """Log of the sum of exponentials over the examples."""
    return torch.logsumexp(_examples(x, batch), 0)


def over_examples_cov(x: Tensor, batch: int) -> Tensor:
    """Unbiased covariance over the examples, [B, ..., k] -> [..., k, k]."""
    return covariance(_examples(x, batch).movedim(0, -2))


# --- the counterpart of indexing ---------------------------------------------------------------------


def place(value: Tensor, lead: int, shape: tuple[int, ...], index: tuple[int | slice, ...]) -> Tensor:
    """Zeros [*lead, *shape] with the value at the slices."""
    result = value.new_zeros(*value.shape[:lead], *shape)
    result[(slice(None),) * lead + index] = value
    return result


def scatter(value: Tensor, lead: int, shape: tuple[int, ...], index: tuple[int | Tensor, ...]) -> Tensor:
    """Zeros [*lead, *shape] with the entries of the value added at the indices.

    Indices broadcast to the dimensions of the value behind the leading ones; one that differs by example
    has a leading dimension itself.
    """
    flat = torch.zeros((), dtype=torch.long, device=value.device)
    for part, size in zip(index, shape, strict=True):
        flat = flat * size + part
    places = value.shape[lead:]
    rows = joined(value.shape[:lead], flat.shape[: max(flat.ndim - len(places), 0)])
    value = value.expand((*rows, *places)).reshape(*rows, -1)
    result = value.new_zeros(*rows, math.prod(shape))
    if flat.ndim > len(places):
        result.scatter_add_(-1, flat.expand((*rows, *places)).reshape(*rows, -1), value)
    else:
        result.index_add_(-1, flat.expand(places).reshape(-1), value)
    return result.reshape(*rows, *shape)


def along(start: int, stop: int, behind: int, device: torch.device) -> Tensor:
    """The indices of a slice, with `behind` dimensions after it."""
    return torch.arange(start, stop, device=device).reshape(-1, *[1] * behind)


# --- plain numbers: what Python's math would raise becomes inf or NaN, as in tensors -----------------


def divide(a: float, b: float) -> float:
    """a / b."""
    try:
        return a / b
    except (ZeroDivisionError, OverflowError):
        return float(_wide(a) / _wide(b))


def _wide(x: float) -> Tensor:
    return torch.tensor(float(x), dtype=torch.float64)


def _total(fast: Callable[..., float], exact: Callable[..., Tensor]) -> Callable[..., float]:
    """A function of plain numbers that never raises."""

    def function(*numbers: float) -> float:
        try:
            return fast(*numbers)
        except (ValueError, OverflowError):
            return float(exact(*map(_wide, numbers)))

    return function


power = _total(math.pow, torch.pow)
exp = _total(math.exp, torch.exp)
log = _total(math.log, torch.log)
log1p = _total(math.log1p, torch.log1p)
expm1 = _total(math.expm1, torch.expm1)
sqrt = _total(math.sqrt, torch.sqrt)
sin = _total(math.sin, torch.sin)
cos = _total(math.cos, torch.cos)
tan = _total(math.tan, torch.tan)
asin = _total(math.asin, torch.asin)
acos = _total(math.acos, torch.acos)
atan = _total(math.atan, torch.atan)
sinh = _total(math.sinh, torch.sinh)
cosh = _total(math.cosh, torch.cosh)
tanh = _total(math.tanh, torch.tanh)
erf = _total(math.erf, torch.erf)
lgamma = _total(math.lgamma, torch.lgamma)
atan2 = _total(math.atan2, torch.atan2)
