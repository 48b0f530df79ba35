"""Comma-separated tables."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ebmlang.data.columns import group_columns, require_distinct
from ebmlang.data.dataset import DataSet, LazyArray, Loaded, Numbers
from ebmlang.errors import DataError

_TRUTH = {"true": 1.0, "false": 0.0}
_EXACT = 2.0**53


@dataclass
class _Table:
    """Cells of a table, row after row; a builder, used while one file is read."""

    path: Path
    names: list[str]
    cells: array[float] = field(default_factory=lambda: array("d"))
    truths: dict[int, int] = field(default_factory=dict)
    """Column -> how many of its cells say true or false."""
    refused: dict[int, DataError] = field(default_factory=dict)
    """Column -> what is wrong with its first bad cell; raised when the column is used."""

    def add(self, row: Sequence[str], line: int) -> None:
        if len(row) != len(self.names):
            raise DataError(
                f"{self.path}, line {line}: found {len(row)} cells, expected {len(self.names)} as in line 1",
                "put cells that contain commas into double quotes",
            )
        if "_" not in "".join(row):  # float() takes 1_000 for a number
            try:
                self.cells.extend(map(float, row))
                return
            except ValueError:
                del self.cells[len(self.cells) - len(self.cells) % len(self.names) :]
        self.cells.extend(self._careful(column, text, line) for column, text in enumerate(row))

    def _careful(self, column: int, text: str, line: int) -> float:
        text = text.strip()
        if not text:
            return float("nan")
        if text.lower() in _TRUTH:
            self.truths[column] = self.truths.get(column, 0) + 1
            return _TRUTH[text.lower()]
        try:
            if "_" not in text:
                return float(text)
        except ValueError:
            pass
        shown = text if len(text) <= 40 else text[:37] + "..."
        shown = shown if shown.isprintable() else repr(shown)
        self.refused.setdefault(
            column,
            DataError(
                f"{self.path}, line {line}, column {column + 1} (`{self.names[column]}`): "
                f"found `{shown}`, expected a number",
                "leave the cell empty where a value is missing, and number the classes 0, 1, 2, ...",
            ),
        )
        return float("nan")


def read_csv(path: Path, wanted: Collection[str]) -> DataSet:
    """The columns of a .csv file, [rows] or [rows, n]; see `columns.group_columns` for their names.

    The first line names the columns. Empty cells are NaN. Columns of whole numbers are int64, those of
    true and false bool, all others float64. Raises DataError with line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            table = _Table(path, _header(path, reader))
            for row in reader:
                if row:
                    table.add(row, reader.line_num)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not a text in UTF-8: {error.reason}", "save the table as UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}", "save it as comma-separated values"
        ) from error
    return _arrays(table, wanted)


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    names = [name.strip() for name in next((row for row in reader if row), [])]
    if not any(names):
        raise DataError(f"{path} has no header", "name the columns in its first line")
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise DataError(f"{path} is separated by something else than commas", "save it with commas")
    if all(_is_number(name) for name in names):
        raise DataError(
            f"{path} starts with numbers: its first line must name the columns",
            "add a first line, such as y0,y1,y2 for an array y",
        )
    require_distinct([name for name in names if name], str(path))
    return names


def _arrays(table: _Table, wanted: Collection[str]) -> DataSet:
    width = len(table.names)
    cells = np.frombuffer(table.cells, dtype=np.float64) if table.cells else np.empty(0)
    cells = cells.reshape(-1, width)
    source = str(table.path)
    index = {name: column for column, name in enumerate(table.names) if name}
    arrays: dict[str, LazyArray] = {}
    refused: dict[str, DataError] = {}
    for name, members in group_columns(list(index), wanted, source).items():
        columns = [index[member] for member in members]
        bad = [table.refused[column] for column in columns if column in table.refused]
        truths = {table.truths.get(column, 0) for column in columns}
        if bad:
            refused[name] = bad[0]
        elif truths not in ({0}, {len(cells)}):
            refused[name] = DataError(
                f"`{name}` in {source} mixes true and false with other cells", "use 0 and 1, or fill the gaps"
            )
        values = cells[:, columns] if members != (name,) else cells[:, columns[0]]
        arrays[name] = Loaded(_narrow(values, truth=truths == {len(cells)} and len(cells) > 0))
    unnamed = width - len(index)
    notes = (f"{unnamed} column(s) of {source} have no name and are left out",) if unnamed else ()
    return DataSet(source, arrays, "table", notes, refused)


def _narrow(values: Numbers, truth: bool) -> Numbers:
    if truth:
        return values.astype(np.bool_)
    whole = values.size and bool(np.all((np.abs(values) < _EXACT) & (np.floor(values) == values)))
    return values.astype(np.int64) if whole else np.ascontiguousarray(values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
