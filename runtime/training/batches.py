"""Which rows a step looks at, and a bound model with those rows alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime import seeded
from ebmlang.runtime.bind import Bound, fill, net_specs
from ebmlang.runtime.seeded import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The rows of one step. `step` and `epoch` count from 1; `rows` are global numbers, int64 [b]."""

    step: int
    epoch: int
    rows: Rows


def order(count: int, seed: int, epoch: int) -> Rows:
    """The order of the rows 0..count-1 in an epoch, int64 [count].

    A row's place follows from (seed, epoch, row) alone: every row draws a number, and the numbers are sorted.
    """
    draws = seeded.uniform(seed, f"order of epoch {epoch}", np.arange(count, dtype=np.int64), ())
    return np.argsort(draws, kind="stable").astype(np.int64)


def batches(
    count: int, size: int | None, seed: int, epochs: int | None, steps: int | None
) -> Iterator[Batch]:
    """Batches of `size` rows, in a new order in every epoch; the last one of an epoch may be smaller.

    Without a size, or with one that holds all rows, each epoch is one step over all rows in their own order.
    Ends after `epochs` or `steps`, whichever is first.
    """
    step, epoch = 0, 0
    whole = size is None or size >= count
    while epochs is None or epoch < epochs:
        epoch += 1
        rows = np.arange(count, dtype=np.int64) if whole else order(count, seed, epoch)
        width = count if whole or size is None else size
        for first in range(0, count, width):
            if steps is not None and step >= steps:
                return
            step += 1
            yield Batch(step, epoch, rows[first : first + width])


def steps_of(count: int, size: int | None, epochs: int | None, steps: int | None) -> int | None:
    """How many steps `batches` makes; None where nothing ends it."""
    each = 1 if size is None or size >= count else -(-count // size)
    limits = [n for n in (steps, None if epochs is None else epochs * each) if n is not None]
    return min(limits, default=None)


def seed_of_step(seed: int, step: int) -> int:
    """The seed of what is random in one step: a step is a new question, and draws anew."""
    digest = hashlib.blake2b(f"{seed}/step/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def at_rows(bound: Bound, parameters: Mapping[str, Tensor], rows: Rows, seed: int) -> Bound:
    """The model with some of the rows that it was bound to, the parameters as they are now, and new draws.

    Values were checked when the whole was bound. Values computed from others, such as defaults and draws, are
    computed again, so that they follow the parameters.
    """
    settings = replace(bound.settings, seed=seed, rows=rows)
    whole = len(rows) == bound.batch and bool((rows == np.arange(bound.batch)).all())
    index = None if whole else torch.from_numpy(rows).to(settings.device)
    values: dict[str, Tensor] = {}
    for name, value in bound.values.items():
        spec = bound.specs[name]
        if name in parameters:
            values[name] = parameters[name].to(settings.device, settings.dtype)
        elif spec.role == "hyper" or name in bound.given:
            values[name] = _picked(value, index) if spec.per_example else value
    # Draws keep the rule of what is shared; a generated instance is a frozen dataclass.
    instance = cast(Any, bound.instance)
    draw = replace(instance.draw, seed=seed, rows=rows)
    instance = replace(instance, batch=len(rows), draw=draw)
    if net_specs(bound.module):
        instance = replace(instance, nets=instance.nets.thinned(seed, rows))
    fill(instance, bound.specs, bound.shapes, values, frozenset(bound.module.SOUGHT), settings)
    return replace(bound, instance=instance, values=values, batch=len(rows), settings=settings)


def _picked(value: Tensor, index: Tensor | None) -> Tensor:
    return value if index is None or value.shape[0] == 1 else value.index_select(0, index)


def picked_masks(masks: Mapping[str, Tensor], rows: Rows) -> dict[str, Tensor]:
    """Masks of what is given, for some of the rows."""
    index = torch.from_numpy(rows)
    return {n: _picked(m, index.to(m.device)) for n, m in masks.items()}
