"""Parquet tables, read by row groups. Needs pyarrow, which comes with `ebmlang[data]`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ebmlang.data.cells import dtype_of, element, numbers, shape_of, stored
from ebmlang.data.columns import group_columns, require_distinct
from ebmlang.data.dataset import DataSet, DType, LazyArray, Numbers, Rows
from ebmlang.data.spool import Spool
from ebmlang.errors import DataError


@dataclass(frozen=True)
class _File:
    """An open file."""

    path: Path
    handle: Any
    """pyarrow.parquet.ParquetFile; pyarrow ships no types"""

    @cached_property
    def starts(self) -> list[int]:
        """First row of each row group, and the number of rows at the end."""
        meta = self.handle.metadata
        counts = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        return [0, *np.cumsum(counts, dtype=np.int64).tolist()]

    @property
    def rows(self) -> int:
        return self.starts[-1]


@dataclass(frozen=True)
class _Columns:
    """One array: a column of numbers or of lists, or several columns side by side.

    `last` keeps the row group that was read last: chunks are often smaller than row groups, and follow
    one another.
    """

    file: _File
    name: str
    members: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: DType
    last: dict[int, Numbers] = field(default_factory=dict, compare=False, repr=False)
    guard: Lock = field(default_factory=Lock, compare=False, repr=False)
    """Rows may be asked for by several threads."""

    def read(self, start: int, stop: int) -> Numbers:
        starts = self.file.starts
        parts = [np.empty((0, *self.shape[1:]), self.dtype)]
        for group in range(len(starts) - 1):
            first, last = max(start, starts[group]), min(stop, starts[group + 1])
            if first < last:
                parts.append(self._group(group)[first - starts[group] : last - starts[group]])
        return np.concatenate(parts)

    def pick(self, rows: Rows) -> Numbers:
        """By way of a temporary file: one row of a row group costs as much as the whole group."""
        with self.guard:
            spool = self._spool
        return spool.pick(rows)

    def whole(self) -> Numbers:
        return self.read(0, self.file.rows)

    @cached_property
    def _spool(self) -> Spool:
        groups = range(len(self.file.starts) - 1)
        return Spool.of(str(self.file.path), map(self._decoded, groups), self.shape, self.dtype)

    def _group(self, group: int) -> Numbers:
        if group not in self.last:
            self.last.clear()
            self.last[group] = self._decoded(group)
        return self.last[group]

    def _decoded(self, group: int) -> Numbers:
        table = self.file.handle.read_row_group(group, columns=list(self.members), use_threads=False)
        inner = self.shape[1:] if self.members == (self.name,) else self.shape[2:]
        columns = [
            numbers(table.column(member), self.name, str(self.file.path), inner, self.dtype)
            for member in self.members
        ]
        return columns[0] if self.members == (self.name,) else np.stack(columns, axis=1)


def read_parquet(path: Path, wanted: Collection[str]) -> DataSet:
    """The columns of a .parquet file, [rows], [rows, n] for columns grouped by name or holding lists.

    Empty cells are NaN, which makes an integer column float64. Raises DataError.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"reading {path} needs pyarrow", "pip install 'ebmlang[data]'") from error
    try:
        file = _File(path, pyarrow.parquet.ParquetFile(path))
        names = list(file.handle.schema_arrow.names)
        require_distinct(names, str(path))
        arrays: dict[str, LazyArray] = {}
        refused: dict[str, DataError] = {}
        for name, members in group_columns(names, wanted, str(path)).items():
            try:
                arrays[name] = _array(file, name, members)
            except DataError as error:
                refused[name] = error
                arrays[name] = _Columns(file, name, members, (file.rows,), np.dtype(object))
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"{path} is not a parquet file, or it is damaged: {first}", "write it anew"
        ) from error
    return DataSet(str(path), arrays, "table", refused=refused)


def _array(file: _File, name: str, members: tuple[str, ...]) -> _Columns:
    schema = file.handle.schema_arrow
    inner: set[tuple[int, ...]] = set()
    dtypes: list[DType] = []
    for member in members:
        shape, dtype = _cell(file, schema.field(member), member)
        inner.add(shape)
        dtypes.append(dtype)
    if len(inner) > 1:
        raise DataError(f"the columns of `{name}` in {file.path} have lists of different lengths", "pad them")
    width = () if members == (name,) else (len(members),)
    return _Columns(file, name, members, (file.rows, *width, *inner.pop()), np.result_type(*dtypes))


def _cell(file: _File, column: Any, member: str) -> tuple[tuple[int, ...], DType]:
    """Shape and dtype of one cell of a column."""
    kind = column.type
    shape: tuple[int, ...] = ()
    dtype_of(kind, member, str(file.path), gaps=False)
    plain = element(kind) == stored(kind)
    if not plain and file.rows:
        head = next(file.handle.iter_batches(1, columns=[member], use_threads=False))
        shape = shape_of(head.column(0))
    return shape, dtype_of(kind, member, str(file.path), gaps=plain and _has_gaps(file, member))


def _has_gaps(file: _File, member: str) -> bool:
    """Whether a plain column has empty cells, by the counts that the writer left, else by looking."""
    meta = file.handle.metadata
    index = file.handle.schema.names.index(member) if member in file.handle.schema.names else -1
    for group in range(meta.num_row_groups):
        statistics = meta.row_group(group).column(index).statistics if index >= 0 else None
        if statistics is not None and statistics.has_null_count:
            if statistics.null_count:
                return True
        elif file.handle.read_row_group(group, columns=[member]).column(0).null_count:
            return True
    return False
