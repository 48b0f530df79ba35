"""One line of training in motion: some parameters, their loss, and the optimiser that moves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ebmlang.errors import DataError
from ebmlang.runtime.gathering import shared
from ebmlang.runtime.training.batches import Batch, Walk
from ebmlang.runtime.training.checkup import Checkup
from ebmlang.runtime.training.look import Look
from ebmlang.runtime.training.loss import Evaluated
from ebmlang.runtime.training.moved import Moved, gradient_norm, settle, take_gradient
from ebmlang.runtime.training.peers import ALONE, Peers
from ebmlang.runtime.training.shards import Shards
from ebmlang.runtime.training.visits import Visits

LossOf = Callable[[Batch, int, Look | None], Evaluated]
"""The loss of some rows, at a turn: the number of the optimiser's step within the minibatch. A look, if there
is one, hears what happens on the way."""


class NotFinite(Exception):
    """The loss or its gradient is no number at a step; `what` says which, in words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Pace:
    """How a line runs. It takes `repeats` steps in every minibatch that `every` divides. The gradient is
    cut to the norm `clip`, if that is set, and found in `accumulate` parts of the rows. `average` is the
    decay of a running mean of the parameters. `rates` gives options of the optimiser that follow a
    schedule."""

    repeats: int = 1
    every: int = 1
    clip: float | None = None
    accumulate: int = 1
    average: float | None = None
    rates: Callable[[int], Mapping[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first evaluation of a batch finds, as plain numbers; `health` where a look was due."""

    loss: float
    norm: float
    terms: dict[str, float]
    unconverged: int
    health: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Player:
    """The parameters of a line on their way. `good` are the leaves at the last finite loss, `averages` the
    running means where the line keeps them, `walk` is over rows of its own, and `visits` what the loss keeps
    of every row. Parameters may be pieces, `shards`. `checkup` looks at its health."""

    name: str
    parameters: Sequence[Moved]
    optimiser: Any
    loss_of: LossOf
    pace: Pace = Pace()
    peers: Peers = ALONE
    walk: Walk | None = None
    visits: Visits | None = None
    shards: Shards | None = None
    checkup: Checkup | None = None
    good: list[Tensor] = field(init=False)
    averages: list[Tensor] | None = field(init=False)

    def __post_init__(self) -> None:
        self.good = [m.leaf.detach().clone() for m in self.parameters]
        keeps = self.pace.average is not None
        self.averages = [m.parameter.detach().clone() for m in self.parameters] if keeps else None

    @property
    def finite(self) -> bool:
        """Whether all of its parameters are, in all processes."""
        own = all(bool(torch.isfinite(m.leaf).all()) for m in self.parameters)
        return own if self.shards is None else self.peers.all(own)

    @torch.no_grad()
    def go_back(self) -> None:
        """The parameters of the last finite loss."""
        for one, kept in zip(self.parameters, self.good, strict=True):
            one.leaf.copy_(kept)
            if one.leaf is not one.parameter:
                settle(one, kept)

    @torch.no_grad()
    def take_averages(self) -> None:
        """The running means in place of the parameters, where the line keeps them, each in its domain."""
        for one, mean in zip(self.parameters, self.averages or (), strict=bool(self.averages)):
            one.parameter.copy_(mean if one.domain is None else one.domain.nearest(mean[None])[0])

    def play(self, batch: Batch) -> Seen:
        """All steps of one minibatch; what the first of them saw. Raises NotFinite."""
        batch = self.peers.share(batch if self.walk is None else self.walk.at(batch.step))
        seen = self._step(batch, 0)
        for turn in range(1, self.pace.repeats):
            self._step(batch, turn)
        return seen

    def _step(self, batch: Batch, turn: int) -> Seen:
        """Look, move, and bring every parameter back into its domain."""
        seen: list[Seen] = []
        self._follow_schedules(batch)

        def evaluate() -> Tensor:
            look = self.checkup.look(batch.step) if self.checkup and not turn and not seen else None
            found = self._gradient(batch, turn, look)
            norm = self._norm()
            if not seen:
                seen.append(self._seen(found, norm, look))
                torch._foreach_copy_(self.good, [m.leaf.detach() for m in self.parameters])
            elif not bool(torch.isfinite(found.loss)):
                return self._wall(found.loss.detach())
            self._clip(norm)
            return found.loss.detach()

        try:
            self.optimiser.step(evaluate)
            for one, before in zip(self.parameters, self.good, strict=True):
                settle(one, before)
        except BaseException:
            if seen:  # the parameters may be halfway
                self.go_back()
            raise
        self._average()
        return seen[0]

    def _norm(self) -> Tensor:
        if self.shards is None:
            return gradient_norm(self.parameters)
        return self.shards.norm([m.leaf for m in self.parameters])

    def _seen(self, found: Evaluated, norm: Tensor, look: Look | None) -> Seen:
        """The numbers of a first evaluation. Raises NotFinite."""
        plain = _checked(found, norm)
        if look is None or self.checkup is None:
            return plain
        numbers = self.checkup.numbers(look, self.parameters, self.shards)
        # What they lead to has to be the same in all processes, to the last bit.
        return replace(plain, health=self.peers.told(numbers) or {})

    def _follow_schedules(self, batch: Batch) -> None:
        if self.pace.rates is not None:
            for group in self.optimiser.param_groups:
                group.update(self.pace.rates(batch.step - 1))

    def _clip(self, norm: Tensor) -> None:
        limit = self.pace.clip
        if limit is not None:
            grads = [m.leaf.grad for m in self.parameters if m.leaf.grad is not None]
            torch._foreach_mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0))

    @torch.no_grad()
    def _average(self) -> None:
        decay = self.pace.average
        if decay is not None and self.averages is not None:
            now = [m.parameter.detach() for m in self.parameters]
            torch._foreach_lerp_(self.averages, now, 1 - decay)

    def _wall(self, loss: Tensor) -> Tensor:
        """What a line search hears where it tried too much: an infinite loss without a slope, so that it
        halves its step instead of trusting a curve through numbers that are none."""
        for one in self.parameters:
            one.leaf.grad = torch.full_like(one.leaf, torch.nan)
        return torch.full_like(loss, torch.inf)

    def _gradient(self, batch: Batch, turn: int, look: Look | None) -> Evaluated:
        """The loss of a batch, and its gradient in the leaves."""
        if self.shards is not None:
            self.shards.clear()
        for one in self.parameters:
            one.parameter.grad = one.leaf.grad = None
            if one.leaf is not one.parameter:
                settle(one, one.leaf)
        parts = [
            self._part(part, turn, look)
            for part in batch.parts(self.peers.parts(batch, self.pace.accumulate))
        ]
        found = self.peers.summed(parts[0] if len(parts) == 1 else _together(parts))
        self.peers.sum_gradients([p for p in self._moved if self.shards is None or not self.shards.has(p)])
        if self.shards is not None:
            self.shards.collect()
        pace = float(self.optimiser.param_groups[0]["lr"])
        for one in self.parameters:
            take_gradient(one, pace)
        return found

    @property
    def _moved(self) -> list[nn.Parameter]:
        return [m.parameter for m in self.parameters]

    def _part(self, batch: Batch, turn: int, look: Look | None) -> Evaluated:
        """The loss of some of the rows as they count in the whole, its gradient added to those that are
        there."""
        with torch.enable_grad():
            with shared(self.peers.sharing):
                found = self.loss_of(batch, turn, look)
            if not found.loss.requires_grad:
                raise DataError(
                    "the loss has no gradient in what is trained",
                    "everything that depends on it is summed over whole states, or stands in stop(...), "
                    "argmin or rounding",
                )
            if len(batch.rows) != batch.total:
                found = found.times(len(batch.rows) / batch.total)
            inputs = self._moved if self.shards is None else self.shards.sources(self._moved)
            found.loss.backward(inputs=inputs)
        return found

    # --- what a checkpoint holds ---

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, beside the parameters: nested dictionaries and lists.
        What lies like a parameter that is in pieces is so too, a DTensor."""
        leaves = {m.name: m.leaf.detach() for m in self.parameters if m.leaf is not m.parameter}
        return {
            "optimiser": self._of_optimiser(),
            "leaves": leaves,
            "good": [self._divided(k, v) for k, v in enumerate(self.good)],
            "averages": self.averages and [self._divided(k, v) for k, v in enumerate(self.averages)],
            "visits": self.visits.state() if self.visits is not None else {},
            "checkup": self.checkup.state() if self.checkup is not None else {},
        }

    def _of_optimiser(self) -> dict[str, Any]:
        found: dict[str, Any] = self.optimiser.state_dict()
        return found if self.shards is None else {**found, "state": _changed(found["state"], self._divided)}

    def _divided(self, k: int, value: Tensor) -> Any:
        """What lies like parameter number k, as a checkpoint is to hold it."""
        leaf = self.parameters[k].leaf
        if self.shards is None or not self.shards.has(leaf) or value.shape != leaf.shape:
            return value
        return self.shards.divided(leaf, value)

    def _piece(self, k: int, value: Tensor) -> Tensor:
        """What lies like parameter number k, as this process is to hold it."""
        leaf = self.parameters[k].leaf
        if self.shards is None or not self.shards.has(leaf) or not value.ndim:
            return value
        return self.shards.piece(leaf, value)

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        stored = state["optimiser"]
        if self.shards is not None:
            stored = {**stored, "state": _changed(stored["state"], self._piece)}
        self.optimiser.load_state_dict(stored)
        for one in self.parameters:
            if one.leaf is not one.parameter:
                one.leaf.copy_(state["leaves"][one.name])
        torch._foreach_copy_(self.good, [self._piece(k, v) for k, v in enumerate(state["good"])])
        if self.averages is not None:
            averages = [self._piece(k, v) for k, v in enumerate(state["averages"])]
            torch._foreach_copy_(self.averages, averages)
        if self.visits is not None:
            self.visits.restore(state["visits"])
        if self.checkup is not None:
            self.checkup.restore(state["checkup"])


def _changed(
    states: Mapping[int, Mapping[str, Any]], change: Callable[[int, Tensor], Tensor]
) -> dict[int, dict[str, Any]]:
    """What an optimiser holds for every parameter by its number, with changed tensors."""
    return {
        k: {name: change(k, v) if isinstance(v, Tensor) else v for name, v in own.items()}
        for k, own in states.items()
    }


def _together(parts: Sequence[Evaluated]) -> Evaluated:
    """Parts of a batch, each as it counts, as one."""
    terms = {n: torch.stack([p.terms[n] for p in parts]).sum() for n in parts[0].terms}
    loss = torch.stack([p.loss.detach() for p in parts]).sum()
    return Evaluated(loss, terms, sum(p.unconverged for p in parts))


def _checked(found: Evaluated, norm: Tensor) -> Seen:
    """The numbers of an evaluation, fetched at once. Raises NotFinite."""
    numbers = (found.loss.detach(), norm, *found.terms.values())
    loss, size, *terms = torch.stack(numbers).tolist()
    named = dict(zip(found.terms, terms, strict=True))
    if not isfinite(loss):
        faulty = next((n for n, v in named.items() if not isfinite(v)), "")
        raise NotFinite(f"the loss is {loss:g}" + (f" in term '{faulty}'" if faulty else ""))
    if not isfinite(size):
        raise NotFinite("the gradient of the loss is not finite")
    return Seen(loss, size, named, found.unconverged)
