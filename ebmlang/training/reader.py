"""Rows of a data set as tensors, read when a step asks for them, or before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ebmlang.inference import Given, holes, holes_filled
from ebmlang.runtime.arrays import as_tensor
from ebmlang.runtime.bind import Bound, Settings, check_examples
from ebmlang.runtime.seeded import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Values of some rows, and where those of discrete variables are missing."""

    values: Mapping[str, Tensor]
    gaps: Mapping[str, Tensor]

    def missing(self, name: str) -> Tensor:
        """True where there is no value."""
        return self.gaps[name] if name in self.gaps else torch.isnan(self.values[name])


@dataclass(slots=True, eq=False)
class _Expected:
    """Rows that a step will ask for, which are being read or will be."""

    step: int
    future: Future[Read] | None = None
    found: Read | None = None


@dataclass(slots=True, eq=False)
class Reader:
    """Reads rows of `given`. With `workers` it reads the rows of so many further steps meanwhile: the numbers
    are the same, whoever reads them and when.

    What a step has asked for stays until the next one: several lines and turns look at the same rows.
    """

    given: Given
    settings: Settings
    workers: int
    incomplete: frozenset[str] = frozenset()
    _bound: Bound | None = None
    _expected: dict[bytes, _Expected] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None

    def learn(self, bound: Bound, incomplete: frozenset[str]) -> None:
        """What the variables are, from a model that is bound to the first rows. A loss may count a variable
        as missing that the data has: that of the first line holds."""
        if self._bound is None:
            self._bound, self.incomplete = bound, incomplete

    def rows(self, rows: Rows) -> Read:
        """Values of some rows, checked. Raises DataError that names the row."""
        expected = self._expected.get(rows.tobytes())
        if expected is None:
            return self._read(rows)
        if expected.found is None:
            found = expected.future.result() if expected.future is not None else self._read(rows)
            expected.found, expected.future = found, None
        return expected.found

    def follow(self, step: int, stride: int, rows_of: Callable[[int], Sequence[Rows]]) -> None:
        """A step begins: forget the rows of those before it, and begin to read those of the next ones, which
        are `stride` apart."""
        self._expected = {key: e for key, e in self._expected.items() if e.step >= step}
        for later in range(step, step + stride * self.workers + 1, stride):
            if any(e.step == later for e in self._expected.values()):
                continue
            for rows in rows_of(later):
                self._expected[rows.tobytes()] = _Expected(later, self._begun(rows))

    def close(self) -> None:
        """Stop reading ahead."""
        self._expected = {}
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def doubtful(self) -> bool:
        """Whether any value could be one that the model does not take."""
        bound = self._bound
        assert bound is not None
        return any(
            spec.kind != "real" or spec.domain != "reals" or spec.name not in self.given.finite
            for spec in (bound.specs[name] for name in self._names())
        )

    def look_at(self, start: int, stop: int) -> None:
        """Read consecutive rows for nothing but their mistakes. Raises DataError."""
        self._checked({name: self.given.take(name, start, stop) for name in self._names()}, start)

    # --- reading ---

    def _names(self) -> list[str]:
        return [name for name, count in self.given.counts.items() if count is not None]

    def _begun(self, rows: Rows) -> Future[Read] | None:
        if not self.workers:
            return None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, "ebmlang-reader")
        return self._pool.submit(self._read, rows)

    def _read(self, rows: Rows) -> Read:
        return self._checked({name: self.given.pick(name, rows) for name in self._names()}, rows)

    def _checked(self, arrays: Mapping[str, Any], rows: int | Rows) -> Read:
        bound = self._bound
        assert bound is not None
        values: dict[str, Tensor] = {}
        gaps: dict[str, Tensor] = {}
        for name, array in arrays.items():
            spec = bound.specs[name]
            if name in self.incomplete and spec.kind != "real":
                gaps[name], array = holes(array), holes_filled(array)
            values[name] = as_tensor(spec, array, self.settings.dtype, self.settings.device)
        check_examples(bound, values, self.incomplete, rows)
        return Read(values, gaps)
