"""Rows that do not follow each other, from a file that need not fit into memory."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from ebmlang.data.dataset import Rows


def read_rows(descriptor: int, offset: int, width: int, rows: Rows) -> NDArray[np.uint8]:
    """Rows of `width` bytes each, the first of them at `offset` of an open file: uint8 [len(rows), width].

    The file is mapped, not read: a read for each of many short rows takes twenty times as long. It is mapped
    for this one call, so that pages which were touched do not pile up in the memory of the process, and that
    a file which became shorter is seen before it is touched. Raises EOFError for that.
    """
    if not len(rows) or not width:
        return np.empty((len(rows), width), np.uint8)
    end = offset + width * (int(rows.max()) + 1)
    try:
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file
        raise EOFError from None
    with mapped:
        if len(mapped) < end:
            raise EOFError
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)  # the neighbours of a row are not asked for
        table = np.frombuffer(mapped, np.uint8, end - offset, offset).reshape(-1, width)
        found = table[rows]
        del table  # a map that is looked at cannot be closed
    return found
