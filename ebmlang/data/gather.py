"""Rows that do not follow each other, from a file that need not fit into memory."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ebmlang.data.dataset import Rows

_GAP = 4096
"""Bytes between two rows that are read with them: a page costs less than another call of the system."""

_STRETCH = 1 << 20
"""Bytes that are read at once, where rows lie close together."""


def read_rows(file: IO[bytes], offset: int, width: int, rows: Rows) -> NDArray[np.uint8]:
    """Rows of `width` bytes each, the first of them at `offset` of an open file: uint8 [len(rows), width].

    The rows are read, not mapped. Where the system keeps a file in large pages, touching one row of a map
    adds a megabyte to the memory of the process, and giving these pages back takes longer than reading the
    rows; and a file that shrinks under a map ends the process. Raises EOFError where the file ends too early.
    """
    found = np.empty((len(rows), width), np.uint8)
    if not found.size:
        return found
    order = np.argsort(rows, kind="stable")
    sorted_rows = rows[order]
    edges = np.flatnonzero(np.diff(sorted_rows) > max(1, _GAP // width)) + 1
    bounds = [0, *edges.tolist(), len(rows)]
    flat = found.data.cast("B")
    for begin, end in pairwise(bounds):
        if end - begin == 1:
            place = int(order[begin]) * width
            _fill(file, offset + int(sorted_rows[begin]) * width, flat[place : place + width])
        else:
            _read_close(file, offset, sorted_rows[begin:end], order[begin:end], found)
    return found


def _read_close(
    file: IO[bytes], offset: int, rows: Rows, places: NDArray[np.intp], found: NDArray[np.uint8]
) -> None:
    """Sorted rows that lie close together, to their places."""
    width = found.shape[1]
    most = max(1, _STRETCH // width)
    begin = 0
    while begin < len(rows):
        first = int(rows[begin])
        end = int(np.searchsorted(rows, first + most))
        stretch = np.empty((int(rows[end - 1]) - first + 1, width), np.uint8)
        _fill(file, offset + first * width, stretch.data.cast("B"))
        found[places[begin:end]] = stretch[rows[begin:end] - first]
        begin = end


def _fill(file: IO[bytes], offset: int, into: memoryview) -> None:
    while into:
        if hasattr(os, "preadv"):
            count = os.preadv(file.fileno(), [into], offset)
        else:  # two calls, between which nobody else may move the file
            file.seek(offset)
            count = cast(Any, file).readinto(into)
        if not count:
            raise EOFError
        into, offset = into[count:], offset + count
