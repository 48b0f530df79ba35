"""Arrays that can only be read in large pieces, laid out on disk once, so that any row is at hand."""

from __future__ import annotations

import errno
import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ebmlang.data.dataset import DType, Numbers, Rows
from ebmlang.data.gather import RowMap
from ebmlang.data.memory import describe_memory
from ebmlang.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Spool:
    """The rows of an array in a temporary file that has no name: it is gone with the process, however that
    ends."""

    file: RowMap
    shape: tuple[int, ...]
    dtype: DType

    @staticmethod
    def of(source: str, pieces: Iterable[Numbers], shape: tuple[int, ...], dtype: DType) -> Spool:
        """Lay out pieces of consecutive rows. Raises DataError where the disk does not hold them."""
        try:
            with tempfile.TemporaryFile(prefix="ebmlang.") as file:
                for piece in pieces:
                    file.write(np.ascontiguousarray(piece, dtype).reshape(-1).view(np.uint8).data)
                file.flush()
                laid_out = RowMap(lambda: file)
                laid_out.open()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise DataError(
                f"{source} is laid out in {tempfile.gettempdir()} to be read by rows, which has no room for "
                f"{describe_memory(math.prod(shape) * dtype.itemsize)}",
                "another folder for temporary files: TMPDIR=..., or save the data as .npy",
            ) from error
        return Spool(laid_out, shape, dtype)

    def pick(self, rows: Rows) -> Numbers:
        """Some of the rows, [len(rows), ...]."""
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        found = self.file.pick(0, width, rows)
        return found.reshape(-1).view(self.dtype).reshape(len(rows), *self.shape[1:])
