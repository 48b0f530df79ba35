"""Writing results: whole or not at all, piece by piece, never over an existing file unasked."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ebmlang.compiler.diagnostics import listing
from ebmlang.data.dataset import DType, Numbers, refusal
from ebmlang.data.stored import SAFETENSORS_DTYPES
from ebmlang.errors import DataError
from ebmlang.files import require_place
from ebmlang.runtime.durable import sync, sync_folder

ENDINGS = (".npz", ".safetensors")

_SAFETENSORS_NAMES = {np.dtype(spelled): name for name, spelled in SAFETENSORS_DTYPES.items()}
_BLOCK = 1 << 20


def require_writable(path: str | Path, force: bool) -> Path:
    """The path to write to, links followed. Raises DataError when writing there could not work.

    Meant to be called before the work whose result is written: the ending is unknown, the folder is
    missing or closed, the file is there and `force` is not given.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise DataError(f"results are not written as {path.name!r}", f"a name ending in {listing(ENDINGS)}")
    path = require_place(path, force)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DataError(f"nothing may be written to {path.parent}: permission denied", "another folder")
    return path


@dataclass
class _Spool:
    """The rows of one array that have been appended so far, as raw bytes."""

    file: IO[bytes]
    dtype: DType
    inner: tuple[int, ...]
    rows: int | None = 0
    """None for an array that was put whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner if self.rows is None else (self.rows, *self.inner)


@dataclass
class _Words:
    """Sentences seen so far, numbered in the order of appearance."""

    codes: dict[str, int] = field(default_factory=dict)


class ResultWriter:
    """Writes arrays to an .npz or .safetensors file, chunk by chunk, larger than memory if need be.

    A context manager. Chunks wait in a hidden folder beside the output; `finish`, or leaving the block
    without an exception, puts them together and moves the result into place in one step. After an
    exception nothing is left, unless `finish` was called.

    Layout, for a result with B rows: every variable by its name, [B, ...], without the first dimension if
    it is the same for all rows (`value.NAME` if that is the name of another entry); `energy` [B];
    `term.NAME` [B] for each term; `batch_term.NAME` [1]; `converged` [B] bool; `iterations` [B];
    `status` [B], numbers of sentences. The sentences are `status_names`, an array of fixed-width text in
    .npz, which `np.load(..., allow_pickle=False)` reads; .safetensors holds no text, there they are the
    entry `status_names` of the metadata, a JSON list.
    """

    def __init__(self, path: str | Path, force: bool = False) -> None:
        self.path = require_writable(path, force)
        self._force = force
        self._folder: Path | None = None
        self._spools: dict[str, _Spool] = {}
        self._words: dict[str, _Words] = {}

    def __enter__(self) -> Self:
        with self._disk_errors():
            name = tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".tmp", dir=self.path.parent)
        self._folder = Path(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._clean()

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows, [r, ...], to the array `name`. dtype and the shape of a row must stay the same."""
        rows = np.asarray(rows)
        if not rows.shape:
            raise ValueError(f"{name}: append takes rows, got a single number")
        self._write(name, rows, rows.shape[1:], len(rows))

    def append_words(self, name: str, words: Sequence[str]) -> None:
        """Add one sentence per row: numbers go to `name`, the sentences to `NAME_names`."""
        codes = self._words.setdefault(name, _Words()).codes
        numbers = [codes.setdefault(word, len(codes)) for word in words]
        self.append(name, np.array(numbers, dtype=np.int32))

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Add a whole array, which is not cut into rows: of any shape, once per name."""
        array = np.asarray(array)
        if name in self._spools:
            raise ValueError(f"{name} is written twice")
        self._write(name, array, array.shape, None)

    def finish(self) -> None:
        """Put the file into place with what was appended so far. Later calls do nothing."""
        if self._folder is None:
            return
        try:
            with self._disk_errors():
                target = self._folder / "result"
                for spool in self._spools.values():
                    spool.file.close()
                if self.path.suffix.lower() == ".npz":
                    self._pack_npz(target)
                else:
                    self._pack_safetensors(target)
                # Somebody else may have written there while this was computed.
                require_writable(self.path, self._force)
                os.replace(target, self.path)
                sync_folder(self.path.parent)
        finally:
            self._clean()

    def _write(self, name: str, array: Numbers, inner: tuple[int, ...], rows: int | None) -> None:
        if self._folder is None:
            raise ValueError("this writer is not open")
        error = refusal(str(self.path), name, array.dtype)
        if error is not None:
            raise error
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        with self._disk_errors():
            spool = self._spools.get(name)
            if spool is None:
                # Spools are numbered: names of variables need not be names of files.
                file = (self._folder / f"{len(self._spools)}.raw").open("wb", buffering=0)
                spool = self._spools[name] = _Spool(file, array.dtype, inner, None if rows is None else 0)
            if spool.dtype != array.dtype or spool.inner != inner or (spool.rows is None) != (rows is None):
                raise ValueError(
                    f"{name}: chunks differ: {spool.dtype} {spool.inner}, then {array.dtype} {inner}"
                )
            _write_all(spool.file, array)
            if spool.rows is not None and rows is not None:
                spool.rows += rows

    def _pack_npz(self, target: Path) -> None:
        with target.open("wb") as out:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for name, spool in self._spools.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        _npy_header(member, spool.shape, spool.dtype)
                        _move(spool.file.name, member)
                for name, words in self._words.items():
                    with archive.open(f"{name}_names.npy", "w") as member:
                        npy_format.write_array(
                            member, np.array(list(words.codes), np.str_), allow_pickle=False
                        )
            sync(out)

    def _pack_safetensors(self, target: Path) -> None:
        # Wide elements first keeps every tensor aligned, as the format asks for.
        order = sorted(self._spools.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
        header: dict[str, Any] = {}
        if self._words:
            header["__metadata__"] = {
                f"{name}_names": json.dumps(list(words.codes)) for name, words in self._words.items()
            }
        end = 0
        for name, spool in order:
            if spool.dtype not in _SAFETENSORS_NAMES:
                raise DataError(
                    f"`{name}` is {spool.dtype}, which .safetensors does not hold", "write an .npz"
                )
            begin, end = end, end + math.prod(spool.shape) * spool.dtype.itemsize
            header[name] = {
                "dtype": _SAFETENSORS_NAMES[spool.dtype],
                "shape": list(spool.shape),
                "data_offsets": [begin, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with target.open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for _, spool in order:
                _move(spool.file.name, out)
            sync(out)

    def _clean(self) -> None:
        if self._folder is not None:
            for spool in self._spools.values():
                spool.file.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DataError(
                    f"{self.path} was not written: {error.strerror}", "free some space, or another folder"
                ) from error
            raise DataError(
                f"{self.path} was not written: {error.strerror or error}", "another folder"
            ) from error


def write(path: str | Path, arrays: Mapping[str, NDArray[Any]], force: bool = False) -> None:
    """Write arrays that are in memory. Raises DataError as `ResultWriter` does."""
    with ResultWriter(path, force) as writer:
        for name, array in arrays.items():
            writer.put(name, array)


def _write_all(file: IO[bytes], array: Numbers) -> None:
    # An unbuffered write may write less than it was given.
    left = memoryview(array.reshape(-1).view(np.uint8).data)
    while left:
        left = left[file.write(left) :]


def _npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: DType) -> None:
    entries = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, entries)


def _move(source: str, out: IO[bytes]) -> None:
    """Append a spooled file and delete it, so that disk holds an array twice only while it is copied."""
    with open(source, "rb") as file:
        shutil.copyfileobj(file, out, _BLOCK)
    os.unlink(source)
