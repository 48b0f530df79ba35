"""Arrow tables on disk, mapped into memory: .arrow files, and what Hugging Face datasets save.

`datasets.save_to_disk` makes a folder with `state.json`, which lists its .arrow files, and with what its
columns mean in the metadata of their schema; a set of splits is a folder of such folders with
`dataset_dict.json`. The package itself is not needed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.data.cells import dtype_of, numbers, shape_of
from ebmlang.data.columns import group_columns, require_distinct
from ebmlang.data.dataset import DataSet, DType, LazyArray, Loaded, Numbers, Rows
from ebmlang.data.pictures import Pictures, class_note, picture_arrays, require_pillow
from ebmlang.errors import DataError

_STATE, _SPLITS = "state.json", "dataset_dict.json"


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One array: a column of numbers or of lists, or several columns side by side."""

    table: Any
    """pyarrow.Table; pyarrow ships no types"""
    source: str
    name: str
    members: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: DType

    def read(self, start: int, stop: int) -> Numbers:
        return self._joined([self.table.slice(start, stop - start)])

    def pick(self, rows: Rows) -> Numbers:
        # pyarrow's own `take` of a column in chunks may join all of them first.
        order = np.argsort(rows, kind="stable")
        starts = np.cumsum([0, *(len(c) for c in self.table.column(self.members[0]).chunks)])
        homes = np.searchsorted(starts, rows[order], side="right") - 1
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for home in np.unique(homes).tolist():
            places = order[homes == home]
            found[places] = self._taken(home, rows[places] - starts[home])
        return found

    def whole(self) -> Numbers:
        return self.read(0, self.shape[0])

    def _taken(self, chunk: int, rows: Rows) -> Numbers:
        import pyarrow

        index = pyarrow.array(rows)
        return self._side_by_side([self.table.column(m).chunk(chunk).take(index) for m in self.members])

    def _joined(self, tables: Sequence[Any]) -> Numbers:
        return np.concatenate([self._side_by_side([t.column(m) for m in self.members]) for t in tables])

    def _side_by_side(self, columns: Sequence[Any]) -> Numbers:
        single = self.members == (self.name,)
        inner = self.shape[1:] if single else self.shape[2:]
        found = [numbers(c, self.name, self.source, inner, self.dtype) for c in columns]
        return found[0] if single else np.stack(found, axis=1)


# --- files --------------------------------------------------------------------------------------


def read_arrow(path: Path, wanted: Collection[str]) -> DataSet:
    """The columns of an .arrow file, of either format of Arrow. Raises DataError."""
    return _data_set(str(path), _table([path], str(path)), {}, wanted)


def is_saved(folder: Path) -> bool:
    """Whether Hugging Face datasets saved a folder."""
    return (folder / _STATE).is_file() or (folder / _SPLITS).is_file()


def read_saved(folder: Path, split: str, wanted: Collection[str]) -> DataSet:
    """The columns of a folder that `save_to_disk` made, or of one of its splits, which may be left out where
    there is one. Raises DataError."""
    source = f"{folder}:{split}" if split else str(folder)
    if (folder / _SPLITS).is_file():
        splits = [str(name) for name in _json(folder / _SPLITS).get("splits", [])]
        if not split and len(splits) == 1:
            split = splits[0]
        if split not in splits:
            what = f"has no split `{split}`" if split else "holds several splits"
            raise DataError(
                f"{folder} {what}: {listing(splits, 'and')}",
                did_you_mean(split, splits) or f"one of them: {folder}:{splits[0] if splits else 'train'}",
            )
        folder = _below(folder, split)
    elif split:
        raise DataError(f"{folder} has no splits", f"the folder itself: {folder}")
    state = _json(folder / _STATE)
    if state.get("_indices_files"):
        raise DataError(f"{source} was saved with an order of its own", "save data.flatten_indices()")
    names = [str(entry["filename"]) for entry in state.get("_data_files", [])]
    return _data_set(source, _table([_below(folder, name) for name in names], source), state, wanted)


def _below(folder: Path, name: str) -> Path:
    """A file of a folder that its own description names: a plain name, no way out."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise DataError(f"{folder} names a file `{name}` that is not in it", "save the data again")
    return folder / name


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", "save the data again") from error
    return found if isinstance(found, dict) else {}


def _table(paths: Sequence[Path], source: str) -> Any:
    """The rows of some files, mapped. Raises DataError."""
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(f"reading {source} needs pyarrow", "pip install 'ebmlang[data]'") from error
    tables = []
    for path in paths:
        mapped = pyarrow.memory_map(str(path))
        try:
            try:
                tables.append(pyarrow.ipc.open_stream(mapped).read_all())
            except pyarrow.ArrowInvalid:  # the other format, whose beginning is no message
                mapped.seek(0)
                tables.append(pyarrow.ipc.open_file(mapped).read_all())
        except (pyarrow.ArrowException, OSError) as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{path} is no arrow file, or it is damaged: {first}", "write it anew") from error
    if not tables:
        raise DataError(f"{source} holds no rows", "save the data again")
    return pyarrow.concat_tables(tables)


# --- columns ------------------------------------------------------------------------------------


def _data_set(source: str, table: Any, state: Mapping[str, Any], wanted: Collection[str]) -> DataSet:
    names = list(table.column_names)
    require_distinct(names, source)
    features = _features(table)
    pictures = [name for name in names if features.get(name, {}).get("_type") == "Image"]
    arrays: dict[str, LazyArray] = {}
    refused: dict[str, DataError] = {}
    views: dict[str, tuple[str, ...]] = {}
    for name in pictures:
        found = picture_arrays(name, _pictures(table.column(name), name, source))
        arrays |= found
        views[name] = tuple(found)
    plain = [name for name in names if name not in pictures]
    for name, members in group_columns(plain, wanted, source).items():
        try:
            arrays[name] = _column(table, source, name, members)
        except DataError as error:
            refused[name] = error
            arrays[name] = Loaded(np.empty(table.num_rows, dtype=object))
    labels = {n: f["names"] for n, f in features.items() if f.get("_type") == "ClassLabel" and f.get("names")}
    notes = tuple(class_note(f"`{name}`", classes) for name, classes in labels.items())
    return DataSet(source, arrays, "table", notes, refused, views)


def _features(table: Any) -> dict[str, dict[str, Any]]:
    """What the columns mean, as Hugging Face datasets note it."""
    try:
        found = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {n: f for n, f in found.items() if isinstance(f, dict)} if isinstance(found, dict) else {}


def _column(table: Any, source: str, name: str, members: tuple[str, ...]) -> _Column:
    columns = [table.column(member) for member in members]
    dtypes = [dtype_of(c.type, m, source, c.null_count > 0) for c, m in zip(columns, members, strict=True)]
    inner = {shape_of(column) for column in columns}
    if len(inner) > 1:
        raise DataError(f"the columns of `{name}` in {source} have lists of different lengths", "pad them")
    width = () if members == (name,) else (len(members),)
    return _Column(
        table, source, name, members, (table.num_rows, *width, *inner.pop()), np.result_type(*dtypes)
    )


def _pictures(column: Any, name: str, source: str) -> Pictures:
    """A column of pictures: each a struct with its `bytes`, and the `path` it came from."""
    require_pillow(f"the pictures of {source}")

    def called(row: int) -> str:
        return f"row {row:,} of `{name}` in {source}"

    def opened(row: int) -> IO[bytes]:
        cell = column[row].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if content is None:
            raise DataError(f"{called(row)} holds no picture, only the path of one", "save it with its bytes")
        return io.BytesIO(content)

    return Pictures.of(len(column), opened, called, f"`{name}` in {source}")
