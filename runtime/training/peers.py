"""The other processes of a run: each has some of the rows of every batch, and all take the same step.

Plain `torch.distributed` carries the messages; `torchrun` starts the processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from ebmlang.runtime.training.batches import Batch
from ebmlang.runtime.training.loss import Evaluated

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Peers:
    """Process `rank` of `count`; with one process nothing is sent. Where rows cannot be looked at apart,
    every process looks at all of them (`whole`), and the steps are those of the first."""

    rank: int = 0
    count: int = 1
    whole: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def sharing(self) -> int:
        """Processes that each have some of the rows."""
        return 1 if self.whole else self.count

    def parts(self, batch: Batch, count: int) -> int:
        """Parts in which a gradient is found: as many in every process."""
        return max(1, min(count, batch.total // self.sharing))

    def share(self, batch: Batch) -> Batch:
        """The rows of a batch that are those of this process: consecutive ones."""
        if self.sharing == 1:
            return batch
        return replace(batch, rows=np.array_split(batch.rows, self.count)[self.rank])

    def summed(self, found: Evaluated) -> Evaluated:
        """Losses that count as shares of the whole, added up over all processes; that of all rows is what the
        first process found."""
        if self.count == 1:
            return found
        names = list(found.terms)
        numbers = [found.loss.detach(), *(found.terms[n] for n in names)]
        unconverged = found.loss.new_tensor(float(found.unconverged))
        packed = torch.stack([n.double() for n in (*numbers, unconverged)])
        self._joined(packed)
        loss, *terms, unconverged = packed.unbind()
        named = dict(zip(names, terms, strict=True))
        return Evaluated(loss.to(found.loss.dtype), named, int(unconverged.item()))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gradients of shares of the loss, added up over all processes in one message per dtype. Those of all
        rows are the same but for rounding, and become those of the first process."""
        if self.count == 1:
            return
        for dtype in sorted({p.dtype for p in parameters}, key=str):
            some = [p for p in parameters if p.dtype == dtype]
            flat = torch.cat(
                [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in some]
            )
            self._joined(flat)
            for p, grad in zip(some, flat.split([p.numel() for p in some]), strict=True):
                p.grad = grad.view_as(p)

    def _joined(self, numbers: Tensor) -> None:
        """In place: the sum over processes of what each has of the whole, or what the first has."""
        if self.whole:
            distributed.broadcast(numbers, 0)
        else:
            distributed.all_reduce(numbers)

    def all(self, own: bool) -> bool:
        """Whether something is so in all processes."""
        if self.count == 1:
            return own
        found = torch.tensor(int(own), device="cuda" if distributed.get_backend() == "nccl" else "cpu")
        distributed.all_reduce(found, distributed.ReduceOp.MIN)
        return bool(found)

    def agree(self, values: Iterable[Tensor]) -> None:
        """Make values the same in all processes: those of the first one."""
        for value in values if self.count > 1 else ():
            distributed.broadcast(value.detach(), 0)

    def told(self, message: T | None) -> T | None:
        """What the first process says, in all of them."""
        if self.count == 1:
            return message
        box = [message]
        distributed.broadcast_object_list(box, 0)
        return box[0]


ALONE = Peers()
"""A run in one process."""


def peers_here() -> Peers:
    """The processes of the group that this one is in."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ALONE
    return Peers(distributed.get_rank(), distributed.get_world_size())
