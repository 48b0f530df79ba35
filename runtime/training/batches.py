"""Which rows a step looks at, and a bound model with those rows alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.codegen.names import field_name
from ebmlang.compiler.schedules import STEP, TRAINING
from ebmlang.runtime import seeded
from ebmlang.runtime.bind import Bound, fill, net_specs
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.training.curriculum import EasyFirst

_DRAWN = 2**20
"""Rows whose places in an epoch are drawn together."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The rows of one step. `step` and `epoch` count from 1; `rows` are global numbers, int64 [b], out of the
    `total` rows that the step looks at in all processes together."""

    step: int
    epoch: int
    rows: Rows
    total: int

    def parts(self, count: int) -> Iterator[Batch]:
        """The same step in at most `count` parts of consecutive rows, none of them empty."""
        if count == 1:
            yield self
            return
        for rows in np.array_split(self.rows, min(count, len(self.rows))):
            yield replace(self, rows=rows)


def order(rows: Rows, seed: int, epoch: int, name: str = "") -> Rows:
    """The rows in the order of an epoch, int64 [count]; `name` is that of the data set, if it is no main one.

    A row's place follows from (seed, epoch, row) alone: every row draws a number, and the numbers are sorted.
    """
    of = f" of {name}" if name else ""
    draws = np.empty(len(rows))
    for start in range(0, len(rows), _DRAWN):  # drawing takes several times the memory of what is drawn
        piece = slice(start, start + _DRAWN)
        draws[piece] = seeded.uniform(seed, f"order of epoch {epoch}{of}", rows[piece], ())
    places = np.argsort(draws, kind="stable")
    del draws
    return np.take(rows, places, out=places, mode="clip")  # in place: there may be very many rows


@dataclass(slots=True, eq=False)
class Walk:
    """The rows of every step: batches of `size`, in a new order in every epoch, the last one of an epoch
    maybe smaller. Without a size, or with one that holds all rows, each step sees all of them in their own
    order.

    Any step can be asked for, so that a run may begin in the middle. While a `curriculum` lasts, steps draw
    from its rows instead.
    """

    rows: Rows
    size: int | None
    seed: int
    name: str = ""
    curriculum: EasyFirst | None = None
    _orders: dict[int, Rows] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return self.size is None or self.size >= len(self.rows)

    @property
    def smallest(self) -> int:
        """Rows of the smallest batch."""
        if self.curriculum is not None and self.whole:
            return self.curriculum.count(1, self.size)
        if self.size is None or self.whole:
            return len(self.rows)
        return len(self.rows) % self.size or self.size

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return 1 if self.size is None or self.whole else -(-len(self.rows) // self.size)

    def at(self, step: int) -> Batch:
        """The batch of a step, which counts from 1."""
        epoch, place = divmod(step - 1, self.per_epoch)
        if self.curriculum is not None and step <= self.curriculum.steps:
            some = self.curriculum.at(step, self.size)
            return Batch(step, epoch + 1, some, len(some))
        if self.size is None or self.whole:
            return Batch(step, epoch + 1, self.rows, len(self.rows))
        rows = self._order_of(epoch + 1)[place * self.size : (place + 1) * self.size]
        return Batch(step, epoch + 1, rows, len(rows))

    def _order_of(self, epoch: int) -> Rows:
        """Kept for two epochs: at the end of one, somebody may look ahead into the next."""
        if epoch not in self._orders:
            self._orders = {n: o for n, o in self._orders.items() if abs(n - epoch) == 1}
            self._orders[epoch] = order(self.rows, self.seed, epoch, self.name)
        return self._orders[epoch]

    def steps(self, epochs: int | None, steps: int | None) -> int | None:
        """How many there are until `epochs` or `steps` end it, whichever is first; None where neither
        does."""
        limits = [n for n in (steps, None if epochs is None else epochs * self.per_epoch) if n is not None]
        return min(limits, default=None)


def walk(count: int, size: int | None, seed: int, name: str = "") -> Walk:
    """The walk over the rows 0..count-1."""
    return Walk(np.arange(count, dtype=np.int64), size, seed, name)


def held_out(count: int, share: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train with, and rows to validate with: a share of them, at least one, chosen by (seed, row)."""
    rows = order(np.arange(count, dtype=np.int64), seed, 0, "validation")
    kept = max(1, round(share * count))
    return np.sort(rows[kept:]), np.sort(rows[:kept])


def seed_of_step(seed: int, step: int, turn: int = 0) -> int:
    """The seed of what is random in one step: a step is a new question, and draws anew. `turn` counts the
    steps of an optimiser in one minibatch."""
    at = f"{step}.{turn}" if turn else f"{step}"
    digest = hashlib.blake2b(f"{seed}/step/{at}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Examples(Protocol):
    """What the data says of each row, held in memory or read from a file."""

    def values(self, rows: Rows) -> Mapping[str, Tensor]:
        """What differs by example, [len(rows), *shape] each."""

    def masks(self, rows: Rows) -> Mapping[str, Tensor]:
        """True where a value is given, [len(rows) or 1, *shape], of those that are given in part."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Examples that are in memory: those of a bound model, and masks of all its rows."""

    bound: Bound
    held_masks: Mapping[str, Tensor]
    own: Mapping[str, Tensor]
    """Values that differ by example."""

    @staticmethod
    def of(bound: Bound, held_masks: Mapping[str, Tensor]) -> Held:
        """Of a bound model with all its rows."""
        given = {n: bound.values[n] for n in bound.given if bound.specs[n].per_example}
        own = {n: v for n, v in given.items() if v.shape[0] == bound.batch}
        return Held(bound, held_masks, own)

    def values(self, rows: Rows) -> Mapping[str, Tensor]:
        index = self._index(rows)
        return {n: _picked(v, index) for n, v in self.own.items()}

    def masks(self, rows: Rows) -> Mapping[str, Tensor]:
        index = self._index(rows) if self.held_masks else None
        return {n: _picked(m, index) for n, m in self.held_masks.items()}

    def _index(self, rows: Rows) -> Tensor | None:
        """None for all rows in their own order."""
        count = self.bound.batch
        whole = len(rows) == count and bool((rows == np.arange(count)).all())
        return None if whole else torch.from_numpy(rows).to(self.bound.settings.device)


def at_rows(
    bound: Bound,
    examples: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    rows: Rows,
    seed: int,
    done: int | None = None,
    lent: Mapping[int, Tensor] | None = None,
) -> Bound:
    """A bound model with some rows of its data, whose values are `examples`, the parameters as they are now,
    and new draws.

    Values were checked when they were bound, or read. Values computed from others, such as defaults and
    draws, are computed again, so that they follow the parameters, and schedules the steps that are `done`.
    `lent` stands for parameters of nets, by their ids.
    """
    settings = replace(bound.settings, seed=seed, rows=rows)
    values: dict[str, Tensor] = {}
    for name, value in {**bound.values, **examples}.items():
        if name in parameters:
            values[name] = parameters[name].to(settings.device, settings.dtype)
        elif name in examples:
            values[name] = examples[name]
        elif bound.specs[name].role == "hyper" or name in bound.given:
            values[name] = value
    # Draws keep the rule of what is shared; a generated instance is a frozen dataclass.
    instance = cast(Any, bound.instance)
    draw = replace(instance.draw, seed=seed, rows=rows)
    instance = replace(instance, batch=len(rows), draw=draw, **_at_step(bound, done))
    if net_specs(bound.module):
        nets = instance.nets.over(lent) if lent else instance.nets
        instance = replace(instance, nets=nets.thinned(seed, rows))
    fill(instance, bound.specs, bound.shapes, values, frozenset(bound.module.SOUGHT), settings)
    return replace(bound, instance=instance, values=values, batch=len(rows), settings=settings)


def _at_step(bound: Bound, done: int | None) -> dict[str, float]:
    """The hidden hyperparameters of schedules and `dropout`; without `done` schedules stay at the end."""
    found = {field_name(STEP): float(done)} if done is not None and STEP in bound.specs else {}
    return found | ({field_name(TRAINING): 1.0} if TRAINING in bound.specs else {})


def scheduled(bound: Bound, names: Iterable[str], done: int) -> dict[str, float]:
    """The values of schedules when some steps are done."""
    instance = cast(Any, replace(cast(Any, bound.instance), **_at_step(bound, done)))
    return {n: float(bound.values[n] if n in bound.given else instance.start(n, bound.values)) for n in names}


def _picked(value: Tensor, index: Tensor | None) -> Tensor:
    return value if index is None or value.shape[0] == 1 else value.index_select(0, index)
