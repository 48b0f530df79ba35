"""Rows that do not follow each other, from a file that need not fit into memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ebmlang.data.dataset import Rows

_AROUND = 2**16
"""Bytes that the system maps around one that is touched, where they are in its cache."""

_TOUCHED = 2**27
"""Bytes that are mapped before they are given back: they would pile up in the memory of the process."""


@dataclass(slots=True, eq=False)
class RowMap:
    """A file that rows are picked from, by any thread; `opened` opens it at the first time.

    It is mapped, not read: a read for each of many short rows takes five times as long, and so does mapping
    it for every call.
    """

    opened: Callable[[], IO[bytes]]
    _map: mmap.mmap | None = None
    _touched: int = 0
    _guard: Lock = field(default_factory=Lock)

    def pick(self, offset: int, width: int, rows: Rows) -> NDArray[np.uint8]:
        """Rows of `width` bytes each, the first of them at `offset`: uint8 [len(rows), width].

        Raises EOFError where the file is too short by now; touching what is gone would end the process.
        """
        if not len(rows) or not width:
            return np.empty((len(rows), width), np.uint8)
        mapped = self.open()
        end = offset + width * (int(rows.max()) + 1)
        if min(mapped.size(), len(mapped)) < end:
            raise EOFError
        table = np.frombuffer(mapped, np.uint8, end - offset, offset).reshape(-1, width)
        found: NDArray[np.uint8] = table[rows]
        self._touched += len(rows) * (width + _AROUND)
        if self._touched > _TOUCHED and hasattr(mmap, "MADV_DONTNEED"):
            self._touched = 0
            mapped.madvise(mmap.MADV_DONTNEED)
        return found

    def open(self) -> mmap.mmap:
        """Map the file, if it is not yet. Raises EOFError for an empty one."""
        with self._guard:
            if self._map is None:
                try:
                    with self.opened() as file:
                        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                except ValueError:  # an empty file
                    raise EOFError from None
                if hasattr(mmap, "MADV_RANDOM"):
                    self._map.madvise(mmap.MADV_RANDOM)  # the neighbours of a row are not asked for
            return self._map
