"""The data sets of a run: held in memory, or read step by step where they are larger than that."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.data.memory import describe_memory
from ebmlang.errors import DataError
from ebmlang.inference import Given, Inference, mask_of
from ebmlang.runtime.bind import Bound, Settings
from ebmlang.runtime.memory import rows_that_fit
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.training.batches import Examples, Held
from ebmlang.training.course import Course
from ebmlang.training.reader import Reader

_SAMPLED_ROWS = 256
"""Rows, spread over all of them, by which data is known again without reading the whole."""

_BYTES_PER_ENTRY = 16
"""While values are looked at: what is stored, a tensor of it, and what is asked of that."""

_MOST_AT_ONCE = 2**26
"""Bytes that are looked at together; more would not be faster."""


@dataclass(slots=True)
class Source:
    """A data set of a run, with the caller's masks of it. Where it is not held, `reader` reads its rows."""

    given: Given
    masks: Mapping[str, Any]
    reader: Reader | None = None
    first: int = 1
    """Rows that are bound before any others, to see what sizes and types there are."""

    @staticmethod
    def held(given: Given, masks: Mapping[str, Any]) -> Source:
        """In memory as a whole. Raises DataError for data without rows."""
        if given.rows == 0:
            raise DataError("the data holds no examples", "pass at least one row")
        return Source(given, masks)

    @staticmethod
    def of(given: Given, masks: Mapping[str, Any], settings: Settings, course: Course) -> Source:
        """Held where it fits into the memory that the caller grants, else into a part of what is free.

        Raises DataError for data without rows, and for data that the caller grants too little memory.
        """
        rows = given.rows
        needed = given.entries(rows) * settings.dtype.itemsize
        if needed <= (course.max_memory or settings.chunk_bytes):
            return Source.held(given, masks)
        if course.batch_size is not None and course.batch_size < rows:
            return Source(given, masks, Reader(given, settings, course.workers), course.batch_size)
        if course.max_memory is not None:
            kind = str(settings.dtype).removeprefix("torch.")
            raise DataError(
                f"every step looks at all {rows:,} rows, which take {describe_memory(needed)} as {kind}, "
                f"and {describe_memory(course.max_memory)} of memory are granted",
                "--batch-size 256, fit(..., batch_size=256): then each step reads its rows; or more memory",
            )
        return Source.held(given, masks)

    def bound(self, run: Inference) -> tuple[Bound, Examples]:
        """The model of a question with its sizes, checked, and the examples that it is asked about; of data
        that is read, only the first rows are checked here, see `check`."""
        rows = self.given.rows
        if self.reader is None:
            bound = run.bound_rows(0, rows)
            return bound, Held.of(bound, {n: run.mask(bound, n, 0, rows) for n in run.incomplete})
        head = run.bound_rows(0, self.first)
        own = {n for n, count in self.given.counts.items() if count is not None}
        bound = replace(head, batch=rows, values={n: v for n, v in head.values.items() if n not in own})
        self.reader.learn(bound, run.incomplete)
        fixed = {n: run.mask(head, n, 0, 1) for n in run.incomplete - own}
        return bound, Streamed(self.reader, run.incomplete & own, run.masks, fixed)

    def check(self) -> None:
        """Look at all rows of data that is read, once, piece by piece. Raises DataError that names the
        row."""
        reader, given = self.reader, self.given
        if reader is None or not reader.doubtful():
            return
        entries = sum(math.prod(s[1:]) for n, s in given.shapes.items() if given.counts[n] is not None)
        step = rows_that_fit(
            _BYTES_PER_ENTRY * max(entries, 1), min(reader.settings.chunk_bytes, _MOST_AT_ONCE)
        )
        for start in range(0, given.rows, step):
            reader.look_at(start, min(start + step, given.rows))


@dataclass(frozen=True, slots=True, eq=False)
class Streamed:
    """Examples that are read when they are asked for. `incomplete` names those that are given in part, by NaN
    or by the caller's `own_masks`; `fixed` are masks that all examples share."""

    reader: Reader
    incomplete: frozenset[str]
    own_masks: Mapping[str, Any]
    fixed: Mapping[str, Tensor]

    def values(self, rows: Rows) -> Mapping[str, Tensor]:
        return self.reader.rows(rows).values

    def masks(self, rows: Rows) -> Mapping[str, Tensor]:
        if not self.incomplete:
            return self.fixed
        read = self.reader.rows(rows)
        found = {
            n: mask_of(read.values[n], read.missing(n), self.own_masks.get(n), rows) for n in self.incomplete
        }
        return {**self.fixed, **found}


# --- by what data is known again ----------------------------------------------------------------


def digests_of(bound: Bound, examples: Examples) -> dict[str, str]:
    """What tells the data of a line from other data, by name: digests of rows spread over it, and of the
    whole where it is in memory. So a run may go on with or without the data in memory."""
    rows = np.unique(np.linspace(0, bound.batch - 1, _SAMPLED_ROWS).astype(np.int64))
    sampled = {**examples.values(rows), **{f"{n} observed": m for n, m in examples.masks(rows).items()}}
    whole: dict[str, Tensor] = {}
    if isinstance(examples, Held):
        whole = {**bound.values, **{f"{n} observed": m for n, m in examples.held_masks.items()}}
    found = {name: digest(bound.values[name]) for name in sorted(bound.given) if name not in sampled}
    for name, value in sampled.items():
        rest = f" {digest(whole[name])}" if whole else ""
        found[name] = f"{bound.batch} rows {digest(value)}{rest}"
    return found


def digest(value: Tensor) -> str:
    """A number that other values do not have."""
    content = value.detach().cpu().contiguous()
    made = hashlib.blake2b(f"{content.dtype} {list(content.shape)}".encode(), digest_size=16)
    made.update(content.flatten().view(torch.uint8).numpy().data if content.numel() else b"")
    return made.hexdigest()


def same_data(one: str, other: str) -> bool:
    """Whether two digests may be of the same data: the shorter one knows less of it."""
    return one.startswith(other) or other.startswith(one)
