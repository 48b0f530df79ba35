"""Columns of Arrow - in memory, in .arrow and in .parquet files - as arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebmlang.data.dataset import DType, Numbers
from ebmlang.errors import DataError


def element(kind: Any) -> Any:
    """The type of what lists, of lists, hold; the type itself if it is no list."""
    import pyarrow

    kind = stored(kind)
    while isinstance(kind, (pyarrow.ListType, pyarrow.LargeListType, pyarrow.FixedSizeListType)):
        kind = stored(kind.value_type)
    return kind


def stored(kind: Any) -> Any:
    """What an extension type is kept as."""
    import pyarrow

    return kind.storage_type if isinstance(kind, pyarrow.BaseExtensionType) else kind


def dtype_of(kind: Any, name: str, source: str, gaps: bool) -> DType:
    """The dtype of a column of numbers, or of lists of them. Plain columns with gaps are float64: gaps are
    NaN.

    Raises DataError for anything else.
    """
    import pyarrow

    inner, types = element(kind), pyarrow.types
    if not (types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)):
        raise DataError(
            f"column `{name}` in {source} holds {kind}, not numbers", "save numbers: classes as 0, 1, 2, ..."
        )
    dtype = np.dtype(inner.to_pandas_dtype())
    return np.dtype(np.float64) if gaps and inner == stored(kind) and dtype.kind in "iub" else dtype


def shape_of(column: Any) -> tuple[int, ...]:
    """The shape of the cells, by the first one; () where there is none."""
    head = column.slice(0, 1).to_pylist()
    return np.shape(head[0]) if head and element(column.type) != stored(column.type) else ()


def numbers(column: Any, name: str, source: str, inner: tuple[int, ...], dtype: DType) -> Numbers:
    """A column, chunked or not, as [rows, *inner]. Raises DataError where its lists have other lengths."""
    import pyarrow

    plain = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    sizes: list[int] = []
    while True:
        plain = plain.storage if isinstance(plain, pyarrow.ExtensionArray) else plain
        kind = plain.type
        if not isinstance(kind, (pyarrow.ListType, pyarrow.LargeListType, pyarrow.FixedSizeListType)):
            break
        count = len(plain)
        flat = plain.flatten()
        lengths = np.asarray(plain.value_lengths().fill_null(-1))
        if plain.null_count or (count and np.any(lengths != lengths[0])):
            raise DataError(f"the lists in column `{name}` of {source} differ in length", "pad them to one")
        sizes.append(int(lengths[0]) if count else 0)
        plain = flat
    if plain.null_count and dtype.kind != "f":
        raise DataError(
            f"column `{name}` of {source} has whole numbers with gaps inside its lists",
            "save the lists as floats",
        )
    if plain.null_count:
        plain = plain.cast(pyarrow.float64()).fill_null(float("nan"))
    values = np.asarray(plain.to_numpy(zero_copy_only=False))
    if len(column) and tuple(sizes) != inner[len(inner) - len(sizes) :]:
        raise DataError(
            f"the lists in column `{name}` of {source} differ in length: "
            f"found {sizes}, expected {list(inner)} as in the first row",
            "pad them to one length",
        )
    return values.astype(dtype, copy=False).reshape(len(column), *inner[len(inner) - len(sizes) :])
