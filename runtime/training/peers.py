"""The other processes of a run: each has some of the rows of every batch, and all take the same step.

Plain `torch.distributed` carries the messages; `torchrun` starts the processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ebmlang.runtime.training.batches import Batch
from ebmlang.runtime.training.loss import Evaluated


@dataclass(frozen=True, slots=True)
class Peers:
    """Process `rank` of `count`; with one process nothing is sent."""

    rank: int = 0
    count: int = 1

    def share(self, batch: Batch) -> Batch:
        """The rows of a batch that are those of this process: consecutive ones."""
        if self.count == 1:
            return batch
        return replace(batch, rows=np.array_split(batch.rows, self.count)[self.rank])

    def summed(self, found: Evaluated) -> Evaluated:
        """Losses that count as shares of the whole, added up over all processes."""
        if self.count == 1:
            return found
        names = list(found.terms)
        numbers = [found.loss.detach(), *(found.terms[n] for n in names)]
        packed = torch.stack(
            [n.double() for n in numbers] + [torch.tensor(float(found.unconverged)).double()]
        )
        torch.distributed.all_reduce(packed)
        loss, *terms, unconverged = packed.unbind()
        named = dict(zip(names, terms, strict=True))
        return Evaluated(loss.to(found.loss.dtype), named, int(unconverged.item()))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gradients of shares of the loss, added up over all processes in one message per dtype."""
        if self.count == 1:
            return
        for dtype in sorted({p.dtype for p in parameters}, key=str):
            some = [p for p in parameters if p.dtype == dtype]
            flat = torch.cat(
                [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in some]
            )
            torch.distributed.all_reduce(flat)
            for p, grad in zip(some, flat.split([p.numel() for p in some]), strict=True):
                p.grad = grad.view_as(p)


ALONE = Peers()
"""A run in one process."""


def broadcast(values: Sequence[Tensor], peers: Peers) -> None:
    """Make values the same in all processes: those of the first one."""
    if peers.count > 1:
        for value in values:
            torch.distributed.broadcast(value, 0)
