"""Arrays that lie uncompressed in a file: .npy, members of .npz, tensors of .safetensors."""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from ebmlang.data.dataset import DataSet, DType, LazyArray, Numbers, Rows
from ebmlang.data.gather import read_rows
from ebmlang.data.memory import require_memory
from ebmlang.errors import DataError

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_LOCAL_HEADER = 30
_LONGEST_HEADER = 100_000_000

SAFETENSORS_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""Element types of the safetensors format that numpy has too; BF16 is widened to float32 when read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Numbers at a known place of a file, read piece by piece.

    Plain reads rather than a memory map where rows are contiguous: a file that shrinks under a map
    kills the process, a short read is an error that can be told.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    stored: DType
    fortran: bool = False
    bfloat16: bool = False

    @property
    def dtype(self) -> DType:
        return np.dtype(np.float32) if self.bfloat16 else self.stored

    def read(self, start: int, stop: int) -> Numbers:
        if self._by_columns:
            return np.array(self._columns()[start:stop], order="C")
        width = math.prod(self.shape[1:])
        return self._numbers(start * width, (stop - start) * width).reshape(stop - start, *self.shape[1:])

    def pick(self, rows: Rows) -> Numbers:
        if self._by_columns:
            return np.array(self._columns()[rows], order="C")
        width = math.prod(self.shape[1:]) * self.stored.itemsize
        with self.path.open("rb", buffering=0) as file:
            try:
                found = read_rows(file, self.offset, width, rows)
            except EOFError:
                raise _cut_short(self.path) from None
        return self._widened(found.reshape(-1).view(self.stored)).reshape(len(rows), *self.shape[1:])

    def whole(self) -> Numbers:
        if not self.shape:
            return self._numbers(0, 1).reshape(())
        return self.read(0, self.shape[0])

    @property
    def _by_columns(self) -> bool:
        return self.fortran and len(self.shape) > 1

    def _columns(self) -> Numbers:
        return np.memmap(
            self.path, dtype=self.stored, mode="r", offset=self.offset, shape=self.shape, order="F"
        )

    def _numbers(self, first: int, count: int) -> Numbers:
        require_memory(
            count * self.stored.itemsize, f"one piece of {self.path}", "smaller chunks: --max-memory 1GiB"
        )
        values = np.empty(count, dtype=self.stored)
        with self.path.open("rb") as file:
            file.seek(self.offset + first * self.stored.itemsize)
            # np.fromfile would hand out a shorter array for a shorter file
            if file.readinto(values.view(np.uint8).data) != values.nbytes:
                raise _cut_short(self.path)
        return self._widened(values)

    def _widened(self, values: Numbers) -> Numbers:
        return (values.astype(np.uint32) << 16).view(np.float32) if self.bfloat16 else values


@dataclass(frozen=True)
class Packed:
    """A compressed member of an .npz: unpacked whole on first use, because it cannot be entered midway."""

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: DType

    @cached_property
    def _values(self) -> Numbers:
        require_memory(
            math.prod(self.shape) * self.dtype.itemsize,
            f"the compressed array `{self.member.removesuffix('.npy')}` of {self.path}",
            "save it with np.savez instead of np.savez_compressed: then it is read piece by piece",
        )
        with zip_errors(self.path), zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
            return np.asarray(npy_format.read_array(file, allow_pickle=False))

    def read(self, start: int, stop: int) -> Numbers:
        return self._values[start:stop]

    def pick(self, rows: Rows) -> Numbers:
        return np.asarray(self._values[rows])

    def whole(self) -> Numbers:
        return self._values


# --- .npy and .npz ------------------------------------------------------------------------------


def read_npy(path: Path) -> DataSet:
    """The one array of an .npy file, under the name of the file. Raises DataError."""
    with path.open("rb") as file:
        shape, fortran, dtype = _npy_header(file, str(path))
        offset = file.tell()
    array = Stored(path, offset, shape, dtype, fortran)
    if not dtype.hasobject:
        _require_size(path, offset + math.prod(shape) * dtype.itemsize, os.path.getsize(path))
    return DataSet(str(path), {path.stem: array}, "array")


def read_npz(path: Path) -> DataSet:
    """The arrays of an .npz file; members that are no arrays are noted. Raises DataError."""
    arrays: dict[str, LazyArray] = {}
    foreign: list[str] = []
    with zip_errors(path):
        with path.open("rb") as file:
            if file.read(len(_NPY_MAGIC)) == _NPY_MAGIC:
                raise DataError(f"{path} is a single array, not an archive of arrays", "rename it to .npy")
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    arrays[member.filename.removesuffix(".npy")] = _npz_member(path, archive, member)
                elif not member.is_dir():
                    foreign.append(member.filename)
    notes = (f"{path} also holds {', '.join(foreign)}, which is no array",) if foreign else ()
    return DataSet(str(path), arrays, "archive", notes)


def _npz_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> LazyArray:
    where = f"`{member.filename}` of {path}"
    with archive.open(member) as file:
        shape, fortran, dtype = _npy_header(file, where)
        header = file.tell()
    if not dtype.hasobject:
        _require_size(path, header + math.prod(shape) * dtype.itemsize, member.file_size)
    if member.compress_type != zipfile.ZIP_STORED:
        return Packed(path, member.filename, shape, dtype)
    with path.open("rb") as raw:
        # The local header repeats the name and has extra fields of its own length.
        raw.seek(member.header_offset)
        local = raw.read(_ZIP_LOCAL_HEADER)
    data = member.header_offset + _ZIP_LOCAL_HEADER
    data += int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    _require_size(path, data + member.file_size, os.path.getsize(path))
    return Stored(path, data + header, shape, dtype, fortran)


def _npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, DType]:
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(file)
        else:
            raise DataError(
                f"{where} has an array format, {version}, for structured data", "save plain numbers"
            )
    except ValueError as error:
        raise DataError(
            f"{where} is not a numpy array: {_first_line(error)}", "write it with np.save"
        ) from error
    if any(size < 0 for size in shape):
        raise DataError(f"{where} has an impossible shape, {shape}", "write it anew with np.save")
    return shape, fortran, dtype


# --- .safetensors -------------------------------------------------------------------------------


def read_safetensors(path: Path) -> DataSet:
    """The tensors of a .safetensors file. Raises DataError.

    Layout (the format's own description): eight bytes with the length of a JSON header, the header with
    dtype, shape and byte range of every tensor, then the bytes.
    """
    size = os.path.getsize(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise DataError(f"{path} is not a safetensors file, or it is cut short", "write it anew")
        try:
            header = json.loads(file.read(length).decode("utf-8"))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            arrays = {name: _tensor(path, 8 + length, size, name, entries[name]) for name in entries}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path} has a damaged safetensors header", "write it anew") from error
    return DataSet(str(path), arrays)


def _tensor(path: Path, base: int, size: int, name: str, entry: dict[str, Any]) -> LazyArray:
    shape = tuple(int(n) for n in entry["shape"])
    begin, end = (int(n) for n in entry["data_offsets"])
    bfloat16 = entry["dtype"] == "BF16"
    if not bfloat16 and entry["dtype"] not in SAFETENSORS_DTYPES:
        raise DataError(
            f"tensor `{name}` in {path} has the dtype {entry['dtype']}, which is not read", "save it as F32"
        )
    stored = np.dtype("<u2") if bfloat16 else np.dtype(SAFETENSORS_DTYPES[entry["dtype"]])
    if min((0, *shape)) < 0 or begin < 0 or end - begin != math.prod(shape) * stored.itemsize:
        raise ValueError(name)
    _require_size(path, base + end, size)
    return Stored(path, base + begin, shape, stored, bfloat16=bfloat16)


# --- errors -------------------------------------------------------------------------------------


@contextmanager
def zip_errors(path: Path) -> Iterator[None]:
    """Turns what `zipfile` raises for damaged files into DataError."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"{path} is not an .npz file, or it is damaged or cut short: {_first_line(error)}",
            "write it anew with np.savez",
        ) from error
    except RuntimeError as error:
        # zipfile has no class of its own for an archive with a password
        raise DataError(
            f"{path} cannot be unpacked: {_first_line(error)}", "write it with np.savez"
        ) from error


def _require_size(path: Path, needed: int, there: int) -> None:
    if needed > there:
        raise DataError(
            f"{path} is cut short: its header promises {needed:,} bytes, but there are {there:,}",
            "copy or write it again",
        )


def _cut_short(path: Path) -> DataError:
    return DataError(f"{path} became shorter while it was read", "wait until it is written, then try again")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
