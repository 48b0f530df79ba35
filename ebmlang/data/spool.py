"""Arrays that can only be read in large pieces, laid out on disk once, so that any row is at hand."""

from __future__ import annotations

import errno
import math
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import IO

import numpy as np

from ebmlang.data.dataset import DType, Numbers, Rows
from ebmlang.data.gather import read_rows
from ebmlang.data.memory import describe_memory
from ebmlang.errors import DataError


@dataclass(frozen=True, eq=False)
class Spool:
    """The rows of an array in a temporary file that has no name: it is gone with the process, however that
    ends."""

    file: IO[bytes]
    shape: tuple[int, ...]
    dtype: DType
    guard: Lock = field(default_factory=Lock)
    """Rows may be asked for by several threads."""

    @staticmethod
    def of(source: str, pieces: Iterable[Numbers], shape: tuple[int, ...], dtype: DType) -> Spool:
        """Lay out pieces of consecutive rows. Raises DataError where the disk does not hold them."""
        file = tempfile.TemporaryFile(prefix="ebmlang.")  # noqa: SIM115 - open as long as rows are asked for
        try:
            for piece in pieces:
                file.write(np.ascontiguousarray(piece, dtype).reshape(-1).view(np.uint8).data)
            file.flush()
        except OSError as error:
            file.close()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise DataError(
                f"{source} is laid out in {tempfile.gettempdir()} to be read by rows, which has no room for "
                f"{describe_memory(math.prod(shape) * dtype.itemsize)}",
                "another folder for temporary files: TMPDIR=..., or save the data as .npy",
            ) from error
        weakref.finalize(found := Spool(file, shape, dtype), file.close)
        return found

    def pick(self, rows: Rows) -> Numbers:
        """Some of the rows, [len(rows), ...]."""
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.guard:
            found = read_rows(self.file, 0, width, rows)
        return found.reshape(-1).view(self.dtype).reshape(len(rows), *self.shape[1:])
