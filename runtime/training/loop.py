"""The loop: one step after the other, each with a loss, a gradient, a move and a record.

It knows nothing of models: parameters by name and a function from a batch to a loss are all it gets, so that
networks and parameters of parts join without a change here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.training.batches import Batch
from ebmlang.runtime.training.history import Record
from ebmlang.runtime.training.loss import Evaluated
from ebmlang.runtime.training.moved import Moved, gradient_norm, settle, take_gradient

LossOf = Callable[[Batch], Evaluated]


class NotFinite(Exception):
    """The loss or its gradient is no number at a step; `what` says which, in words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of a run that could not go on; the parameters are those of the last step with a finite loss."""

    step: int
    what: str

    @property
    def sentence(self) -> str:
        return f"stopped at step {self.step:,}: {self.what}; the parameters are those before it"


_FUSED = ("Adam", "AdamW", "SGD", "Adagrad")
"""Optimisers that torch has in one pass over each parameter, the same up to rounding."""


def make_optimiser(implementation: str, options: Mapping[str, Any], leaves: Sequence[Tensor]) -> Any:
    """An optimiser of `torch.optim` by the name of its class."""
    kind = getattr(torch.optim, implementation)
    if implementation == "LBFGS":
        return kind(leaves, line_search_fn="strong_wolfe", **options)
    # The fused ones walk memory, so they need parameters and gradients that lie alike.
    plain = all(p.is_contiguous() and p.dtype in (torch.float32, torch.float64) for p in leaves)
    if implementation in _FUSED and plain and all(p.device.type in ("cpu", "cuda") for p in leaves):
        return kind(leaves, fused=True, **options)
    return kind(leaves, **options)


def run(
    parameters: Sequence[Moved],
    optimiser: Any,
    loss_of: LossOf,
    batches: Iterable[Batch],
    after_step: Callable[[], None],
) -> Iterator[Record | Stopped]:
    """Take a step for every batch, and yield its record. Ends with `Stopped` where a loss is not finite.

    Between two records the parameters are those of a finished step, each in its domain. An exception from the
    search inside, such as an interruption, leaves them so too.
    """
    begin = time.perf_counter()
    walk = _Walk(parameters, optimiser, loss_of, [m.leaf.detach().clone() for m in parameters])
    for batch in batches:
        try:
            found = walk.step(batch)
        except NotFinite as fault:
            walk.go_back()
            yield Stopped(batch.step, fault.what)
            return
        after_step()
        yield _record(batch, found, time.perf_counter() - begin)
    if walk.last and not walk.finite:
        walk.go_back()
        yield Stopped(walk.last, "the step leads to parameters that are not finite")


@dataclass(slots=True)
class _Seen:
    """What the first look at a batch finds, as plain numbers."""

    loss: float
    norm: float
    terms: dict[str, float]
    unconverged: int


@dataclass(slots=True)
class _Walk:
    """The parameters on their way. `good` are the leaves at the last finite loss."""

    parameters: Sequence[Moved]
    optimiser: Any
    loss_of: LossOf
    good: list[Tensor]
    last: int = 0

    @property
    def finite(self) -> bool:
        return all(bool(torch.isfinite(m.leaf).all()) for m in self.parameters)

    @torch.no_grad()
    def go_back(self) -> None:
        """The parameters of the last finite loss."""
        for one, kept in zip(self.parameters, self.good, strict=True):
            one.leaf.copy_(kept)
            if one.leaf is not one.parameter:
                settle(one, kept)

    def step(self, batch: Batch) -> _Seen:
        """Look, move, and bring every parameter back into its domain. Raises NotFinite."""
        seen: list[_Seen] = []

        def look() -> Tensor:
            found = self._gradient(batch)
            if not seen:
                seen.append(_checked(found, gradient_norm(self.parameters)))
                torch._foreach_copy_(self.good, [m.leaf.detach() for m in self.parameters])
            elif not bool(torch.isfinite(found.loss)):
                return self._wall(found.loss.detach())
            return found.loss.detach()

        try:
            self.optimiser.step(look)
            for one, before in zip(self.parameters, self.good, strict=True):
                settle(one, before)
        except BaseException:
            if seen:  # the parameters may be halfway
                self.go_back()
            raise
        self.last = batch.step
        return seen[0]

    def _wall(self, loss: Tensor) -> Tensor:
        """What a line search hears where it tried too much: an infinite loss without a slope, so that it
        halves its step instead of trusting a curve through numbers that are none."""
        for one in self.parameters:
            one.leaf.grad = torch.full_like(one.leaf, torch.nan)
        return torch.full_like(loss, torch.inf)

    def _gradient(self, batch: Batch) -> Evaluated:
        """The loss of a batch, and its gradient in the leaves."""
        for one in self.parameters:
            one.parameter.grad = one.leaf.grad = None
            if one.leaf is not one.parameter:
                settle(one, one.leaf)
        with torch.enable_grad():
            found = self.loss_of(batch)
            if not found.loss.requires_grad:
                raise DataError(
                    "the loss has no gradient in what is trained",
                    "everything that depends on it is summed over whole states, or stands in stop(...)",
                )
            found.loss.backward(inputs=[m.parameter for m in self.parameters])
        for one in self.parameters:
            take_gradient(one)
        return found


def _checked(found: Evaluated, norm: Tensor) -> _Seen:
    """The numbers of a first look, fetched at once. Raises NotFinite."""
    numbers = (found.loss.detach(), norm, *found.terms.values())
    loss, size, *terms = torch.stack([n.double().to(found.loss.device) for n in numbers]).tolist()
    named = dict(zip(found.terms, terms, strict=True))
    if not isfinite(loss):
        faulty = next((n for n, v in named.items() if not isfinite(v)), "")
        raise NotFinite(f"the loss is {loss:g}" + (f" in term '{faulty}'" if faulty else ""))
    if not isfinite(size):
        raise NotFinite("the gradient of the loss is not finite")
    return _Seen(loss, size, named, found.unconverged)


def _record(batch: Batch, seen: _Seen, seconds: float) -> Record:
    count = len(batch.rows)
    return Record(batch.step, batch.epoch, seen.loss, seen.terms, seen.norm, count, seen.unconverged, seconds)
