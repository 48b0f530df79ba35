"""What reductions over the examples see: all of a batch, also where several processes share it.

Between `shared` and its end a process gathers the values of the others before it reduces them, in the order
of the ranks, and gradients flow back to where the values came from. Elsewhere nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, distributed

_PROCESSES: ContextVar[int] = ContextVar("processes", default=1)


@contextmanager
def shared(processes: int) -> Iterator[None]:
    """The examples are spread over so many processes, all of which evaluate the same."""
    before = _PROCESSES.set(processes)
    try:
        yield
    finally:
        _PROCESSES.reset(before)


def gathered(own: Tensor) -> Tensor:
    """The rows of all processes, [B of all, ...]; those of this one, [B, ...], where nothing is shared."""
    if _PROCESSES.get() == 1:
        return own
    found: Tensor = _Gather.apply(own)  # type: ignore[no-untyped-call]
    return found


def all_examples(own: int) -> int:
    """The number of examples of all processes."""
    if _PROCESSES.get() == 1:
        return own
    return sum(_counts(own))


def _counts(own: int) -> list[int]:
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    found = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(_PROCESSES.get())]
    distributed.all_gather(found, torch.tensor([own], device=device))
    return [int(n) for n in found]


class _Gather(torch.autograd.Function):
    """Concatenation over processes; the gradient of a row is the sum of what all processes made of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        counts = _counts(len(own))
        # Messages have one shape: shorter parts are filled up.
        filled = own.new_zeros(max(counts), *own.shape[1:])
        filled[: len(own)] = own
        sent = filled.to(torch.uint8) if own.dtype == torch.bool else filled
        parts = [torch.empty_like(sent) for _ in counts]
        distributed.all_gather(parts, sent.contiguous())
        ctx.first, ctx.own = sum(counts[: distributed.get_rank()]), len(own)
        whole = torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])
        return whole.to(own.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        distributed.all_reduce(summed)
        return summed[ctx.first : ctx.first + ctx.own]
