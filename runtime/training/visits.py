"""What the last visit of every row left behind, in memory or in a file."""

from __future__ import annotations

import hashlib
import math
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.durable import sync
from ebmlang.runtime.seeded import Rows

_AT_ONCE = 2**24
"""Bytes of a file that are moved together."""


class Rowwise(Protocol):
    """A value for every row, on the CPU."""

    def pick(self, rows: Rows) -> Tensor:
        """Those of some rows, [len(rows), *shape]."""

    def put(self, rows: Rows, values: Tensor) -> None:
        """Replace those of some rows."""


@dataclass(frozen=True, slots=True, eq=False)
class RowTensor:
    """In memory, [rows, *shape]."""

    whole: Tensor

    def pick(self, rows: Rows) -> Tensor:
        return self.whole.index_select(0, torch.from_numpy(rows))

    def put(self, rows: Rows, values: Tensor) -> None:
        self.whole.index_copy_(0, torch.from_numpy(rows), values)


@dataclass(frozen=True, eq=False)
class RowFile:
    """In a file that holds nothing else: one row after the other, `shape` and `dtype` those of a row. The
    file is closed with this."""

    file: IO[bytes]
    rows: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        weakref.finalize(self, self.file.close)

    @staticmethod
    def temporary(rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> RowFile:
        """Zeros, in a file without a name: it is gone with the process. It takes room as rows are put.
        Raises DataError where there is none."""
        # Unbuffered: rows lie anywhere.
        file = tempfile.TemporaryFile(prefix="ebmlang.", buffering=0)  # noqa: SIM115 - open as long as the run
        made = RowFile(file, rows, shape, dtype)
        try:
            file.truncate(rows * made.width)
        except OSError as error:
            raise _no_room(error) from error
        return made

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * self.dtype.itemsize

    def pick(self, rows: Rows) -> Tensor:
        found = np.empty((len(rows), self.width), np.uint8)
        for k, row in enumerate(rows.tolist()):
            self.file.seek(row * self.width)
            found[k] = np.frombuffer(self.file.read(self.width), np.uint8)
        return torch.from_numpy(found).view(-1).view(self.dtype).reshape(len(rows), *self.shape)

    def put(self, rows: Rows, values: Tensor) -> None:
        """Raises DataError where the disk is full."""
        content = values.contiguous().view(-1).view(torch.uint8).reshape(len(rows), self.width).numpy()
        try:
            for k, row in enumerate(rows.tolist()):
                self.file.seek(row * self.width)
                self.file.write(content[k].data)
        except OSError as error:
            raise _no_room(error) from error

    def copy_to(self, path: Path) -> str:
        """The whole in a file of its own, safe on the disk; its digest. Raises OSError."""
        made = hashlib.blake2b(digest_size=16)
        self.file.seek(0)
        with path.open("wb") as file:
            while content := self.file.read(_AT_ONCE):
                made.update(content)
                file.write(content)
            sync(file)
        return made.hexdigest()


def _no_room(error: OSError) -> DataError:
    why = error.strerror or str(error)
    return DataError(
        f"the chains that persist are kept in {tempfile.gettempdir()}, which cannot be written: {why}",
        "another folder for temporary files: TMPDIR=..., or chains without persistent = true",
    )


@dataclass(slots=True, eq=False)
class Visits:
    """Values of `rows` by name, as the last visit of each row left them: in memory, or, where they are
    `filed`, in temporary files."""

    rows: int
    filed: bool = False
    _seen: Tensor = field(init=False)
    _kept: dict[str, Rowwise] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = torch.zeros(self.rows, dtype=torch.bool)

    def seen(self, rows: Rows) -> Tensor:
        """Which rows were visited, bool [len(rows)]."""
        return self._seen[torch.from_numpy(rows)]

    def pick(self, rows: Rows) -> dict[str, Tensor]:
        """What is kept of some rows, [len(rows), *shape] each; zeros for those that were not visited."""
        return {name: kept.pick(rows) for name, kept in self._kept.items()}

    def put(self, rows: Rows, values: Mapping[str, Tensor]) -> None:
        """Some rows are visited. Raises DataError where there is no room."""
        for name, value in values.items():
            self._room(name, value).put(rows, value)
        self._seen[torch.from_numpy(rows)] = True

    def _room(self, name: str, value: Tensor) -> Rowwise:
        """The place of a value, made when it is first there."""
        if name not in self._kept:
            shape = tuple(value.shape[1:])
            made: Rowwise = (
                RowFile.temporary(self.rows, shape, value.dtype)
                if self.filed
                else RowTensor(value.new_zeros(self.rows, *shape))
            )
            self._kept[name] = made
        return self._kept[name]

    # --- what a checkpoint holds ---

    def state(self) -> dict[str, Any]:
        """All of it: tensors, and files as they are."""
        kept = {n: v.whole if isinstance(v, RowTensor) else v for n, v in self._kept.items()}
        return {"seen": self._seen, "kept": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, there or here in a file or in memory. Raises DataError where there is
        no room."""
        self._seen.copy_(state["seen"])
        for name, value in state["kept"].items():
            stored: Rowwise = RowTensor(value) if isinstance(value, Tensor) else value
            for rows in self._pieces(stored):
                some = stored.pick(rows)
                self._room(name, some).put(rows, some)

    def _pieces(self, stored: Rowwise) -> Iterator[Rows]:
        """The rows that were visited, some at a time."""
        visited = torch.nonzero(self._seen)[:, 0].numpy()
        width = stored.pick(visited[:1]).nbytes
        yield from np.array_split(visited, max(1, -(-len(visited) * width // _AT_ONCE)))
