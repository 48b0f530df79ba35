"""Named arrays of one source, read only when and as far as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.errors import DataError

Numbers = NDArray[Any]
Rows = NDArray[np.int64]
DType = np.dtype[Any]
Kind = Literal["archive", "array", "table", "sklearn", "folder"]


class LazyArray(Protocol):
    """An array whose shape and dtype are known before its numbers are read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> DType: ...

    def read(self, start: int, stop: int) -> Numbers:
        """Entries start..stop of the first axis; 0 <= start <= stop <= shape[0]."""

    def pick(self, rows: Rows) -> Numbers:
        """Some entries of the first axis, each between 0 and shape[0], in any order."""

    def whole(self) -> Numbers:
        """All entries."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An array that is in memory already."""

    values: Numbers

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> DType:
        return self.values.dtype

    def read(self, start: int, stop: int) -> Numbers:
        return self.values[start:stop]

    def pick(self, rows: Rows) -> Numbers:
        return np.asarray(self.values[rows])

    def whole(self) -> Numbers:
        return self.values


@dataclass(frozen=True)
class DataSet:
    """The arrays of one source.

    `kind` says where names come from: an archive names its arrays, an `array` is a single one that goes
    by the name of its file, a table has columns, `sklearn` has `data`, `target` and perhaps `images`, and a
    `folder` of pictures has `image` and perhaps `target`. `refused` holds arrays that are there but cannot be
    used, with the reason that is raised on use. `views` names pictures, with the arrays that each may be
    taken for, one for every layout.
    """

    source: str
    arrays: Mapping[str, LazyArray]
    kind: Kind = "archive"
    notes: tuple[str, ...] = ()
    refused: Mapping[str, DataError] = field(default_factory=lambda: MappingProxyType({}))
    views: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    def __contains__(self, name: object) -> bool:
        return name in self.arrays or name in self.views

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, first axis included. Raises DataError when there is no such array."""
        return self._find(name).shape

    def dtype(self, name: str) -> DType:
        """What is stored; `rows` and `array` may widen it, see `usable`."""
        return self._find(name).dtype

    def finite(self, name: str) -> bool:
        """Whether an array cannot hold NaN: whole numbers, and pictures."""
        return self.dtype(name).kind in "biu" or any(name in arrays for arrays in self.views.values())

    def check(self, name: str) -> None:
        """Raises DataError unless the array is there and holds numbers or booleans."""
        array = self._find(name)
        error = self.refused.get(name) or refusal(self.source, name, array.dtype)
        if error is not None:
            raise error

    def rows(self, name: str, start: int, stop: int) -> Numbers:
        """Entries start..stop of the first axis, [min(stop, rows) - start, ...], as `usable` numbers.

        Raises DataError for an unknown array, one of words or objects, and one without a first axis.
        """
        array = self._of_rows(name)
        stop = min(stop, array.shape[0])
        with _read_errors(self.source):
            return usable(array.read(min(start, stop), stop))

    def pick(self, name: str, rows: Rows) -> Numbers:
        """Some entries of the first axis, [len(rows), ...], as `usable` numbers. Raises DataError as `rows`
        does."""
        array = self._of_rows(name)
        with _read_errors(self.source):
            return usable(array.pick(rows))

    def array(self, name: str) -> Numbers:
        """All entries as `usable` numbers. Raises DataError as `rows` does."""
        self.check(name)
        with _read_errors(self.source):
            return usable(self._find(name).whole())

    def describe(self) -> str:
        """`it holds y [1797, 64], label [1797]`: for messages, cut after ten."""
        if not self.arrays:
            return "it holds no arrays at all"
        views = {array for arrays in self.views.values() for array in arrays[1:]}
        plain = [name for name in self.arrays if name not in views]
        shown = [f"{name} {list(self.arrays[name].shape)}" for name in plain[:10]]
        more = len(plain) - len(shown)
        return "it holds " + ", ".join(shown) + (f" and {more} more" if more else "")

    def _of_rows(self, name: str) -> LazyArray:
        self.check(name)
        array = self._find(name)
        if not array.shape:
            raise DataError(
                f"`{name}` in {self.source} is a single number and has no rows",
                "store it with a leading axis",
            )
        return array

    def _find(self, name: str) -> LazyArray:
        if name not in self.arrays:
            guess = did_you_mean(name, self.arrays)
            raise DataError(f"there is no array `{name}` in {self.source}; {self.describe()}", guess)
        return self.arrays[name]


@contextmanager
def _read_errors(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{source} cannot be read any more: {error.strerror or error}",
            "leave it in place while it is read",
        ) from error


def refusal(source: str, name: str, dtype: DType) -> DataError | None:
    """Why an array of this dtype cannot be the value of a variable; None when it can."""
    reasons = {
        "O": (
            "holds Python objects, which only a pickle can carry, and a pickle may run code",
            f"save numbers: np.savez(path, {name}=np.asarray({name}, dtype=float))",
        ),
        "T": ("holds text", f"save numbers: np.unique({name}, return_inverse=True)[1] numbers the words"),
        "c": ("holds complex numbers", f"save {name}.real and {name}.imag as two arrays"),
        "M": ("holds dates", f"save numbers, such as {name}.astype('int64')"),
        "V": ("is structured: each entry has several fields", "save every field as an array of its own"),
    }
    alias = {"S": "T", "U": "T", "m": "M"}
    reason = reasons.get(alias.get(dtype.kind, dtype.kind))
    if reason is None:
        return None
    return DataError(f"array `{name}` in {source} {reason[0]} (dtype {dtype})", reason[1])


def usable(values: Numbers) -> Numbers:
    """The same numbers in this machine's byte order and in a dtype that torch computes with.

    Unsigned integers wider than eight bits become int64, and floats wider than 64 bits become float64.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        if values.dtype.itemsize == 8 and values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise DataError(
                f"an unsigned integer, {values.max()}, does not fit into 64 bits with a sign", "save floats"
            )
        return values.astype(np.int64)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return np.asarray(values, dtype=values.dtype.newbyteorder("="), order="C")
