"""Squared distances between all pairs of two lists of vectors, without an array of all differences."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ebmlang.runtime.leads import joined

SMALL = 1 << 17
"""Up to so many differences the plain formula is faster than a function with a gradient of its own."""

_EXACT = "donot_use_mm_for_euclid_dist"
"""By differences: what torch chooses else, |a|^2 + |b|^2 - 2 a.b, loses the digits of close vectors."""


def square_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|^2 along the last dimension, of vectors whose other dimensions broadcast: [..., d] to [...].

    Where one has a size of 1 in the last of these and the other one in that before it, [..., P, 1, d] and
    [..., 1, R, d], all pairs are meant; then nothing of the size P * R * d is made.
    """
    dims = max(a.ndim, b.ndim, 3)
    a, b = (x.reshape([1] * (dims - x.ndim) + list(x.shape)) for x in (a, b))
    if a.shape[-3] == 1 and b.shape[-2] == 1:
        a, b = b, a
    pairs = a.shape[-2] == b.shape[-3] == 1 and a.shape[-1] == b.shape[-1] and a.is_floating_point()
    if not pairs or a.dtype != b.dtype or a.shape[-3] * b.shape[-2] * b.shape[-1] * _rows(a, b) <= SMALL:
        return (a - b).square().sum(-1)
    found: Tensor = _Distances.apply(a.squeeze(-2), b.squeeze(-3))[0]  # type: ignore[no-untyped-call]
    return found


def _rows(a: Tensor, b: Tensor) -> int:
    return math.prod(joined(a.shape[:-3], b.shape[:-3]))


class _Distances(torch.autograd.Function):
    """(|a_p - b_r|^2, |a_p - b_r|), [..., P, d] and [..., R, d] to [..., P, R]. Gradients come from the first
    alone; `torch.cdist` would have no second derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        lengths = torch.cdist(a, b, compute_mode=_EXACT)
        return lengths.square(), lengths

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])
        ctx.save_for_forward(*inputs)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b, lengths = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A derivative of this one is wanted: the formula, out of operations that have one.
            weighted = 2 * slope[..., None] * (a[..., :, None, :] - b[..., None, :, :])
            return _reduced(weighted.sum(-2), a), _reduced(-weighted.sum(-3), b)
        weights = 2 * slope * lengths
        wanted_a, wanted_b = ctx.needs_input_grad
        return (
            _reduced(_backward(weights, a, b, lengths), a) if wanted_a else None,
            _reduced(_backward(weights.mT, b, a, lengths.mT), b) if wanted_b else None,
        )

    @staticmethod
    def jvp(ctx: Any, da: Tensor, db: Tensor) -> tuple[Tensor, None]:
        a, b = ctx.saved_tensors
        moved = da[..., :, None, :] - db[..., None, :, :]
        return 2 * ((a[..., :, None, :] - b[..., None, :, :]) * moved).sum(-1), None


def _backward(weights: Tensor, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
    """sum over r of weights[p, r] * (a_p - b_r) / lengths[p, r], 0 where the length is."""
    lead = lengths.shape[:-2]
    a, b = (x.expand(*lead, *x.shape[-2:]).contiguous() for x in (a, b))
    found: Tensor = torch.ops.aten._cdist_backward(weights.contiguous(), a, b, 2.0, lengths.contiguous())
    return found


def _reduced(slope: Tensor, like: Tensor) -> Tensor:
    """A gradient summed over the dimensions along which its tensor was repeated."""
    return slope.sum_to_size(like.shape)
