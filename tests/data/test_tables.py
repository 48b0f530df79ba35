"""Columns of .csv and .parquet files; the reference for values is what was written."""

import errno
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmlang.data import Wanted, read
from ebmlang.data.columns import group_columns
from ebmlang.data.parquet import _Columns
from ebmlang.errors import DataError


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def wanted(*names: str) -> dict[str, Wanted]:
    return {name: Wanted(name, "observed", True, 0) for name in names}


@pytest.mark.parametrize("form", ["y{}", "y[{}]", "y_{}", "y{:02d}"])
def test_numbered_columns_form_an_array_in_the_order_of_numbers(form: str) -> None:
    names = [form.format(i) for i in (2, 0, 1, *range(3, 12))]
    assert group_columns([*names, "w"], (), "t") == {
        "w": ("w",),
        "y": tuple(form.format(i) for i in range(12)),
    }


def test_groups_and_variables_of_their_own() -> None:
    assert group_columns(["x0", "x1"], {"x0", "x1"}, "t") == {"x0": ("x0",), "x1": ("x1",), "x": ("x0", "x1")}
    assert group_columns(["y0"], (), "t") == {"y0": ("y0",)}
    assert group_columns(["y0"], {"y"}, "t") == {"y": ("y0",)}
    assert group_columns(["y1", "y2"], (), "t") == {"y1": ("y1",), "y2": ("y2",)}
    assert group_columns(["y", "y0", "y1"], (), "t") == {"y": ("y",), "y0": ("y0",), "y1": ("y1",)}
    assert group_columns(["a1_0", "a1_1"], (), "t") == {"a1": ("a1_0", "a1_1")}
    for broken in (["y0", "y2"], ["y1", "y2"], ["y0", "y00"]):
        with pytest.raises(DataError, match="do not form `y`"):
            group_columns(broken, {"y"}, "t")


def test_csv_columns(tmp_path: Path) -> None:
    data = read(table(tmp_path, "y0,y1,label,keep,w\n1,2.5,3,true,\n-4e1,nan,0,False, 7 \n"))
    assert set(data.names) == {"label", "keep", "w", "y"}
    np.testing.assert_array_equal(data.array("y"), [[1, 2.5], [-40, np.nan]])
    np.testing.assert_array_equal(data.array("label"), [3, 0])
    assert data.dtype("label") == np.int64
    np.testing.assert_array_equal(data.array("keep"), [True, False])
    assert data.dtype("keep") == np.bool_
    np.testing.assert_array_equal(data.array("w"), [np.nan, 7])
    np.testing.assert_array_equal(data.rows("y", 1, 5), [[-40, np.nan]])


def test_csv_with_a_byte_order_mark_blank_lines_and_quotes(tmp_path: Path) -> None:
    data = read(table(tmp_path, '\ufeff"y"\r\n"1.5"\r\n\r\n2\r\n'))
    np.testing.assert_array_equal(data.array("y"), [1.5, 2])


def test_csv_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    assert read(table(tmp_path, "y0,y1\n")).shape("y") == (0, 2)


def test_csv_index_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    data = read(table(tmp_path, ",y\n0,1.5\n1,2.5\n"))
    assert data.names == ("y",)
    assert "no name" in data.notes[0]


def test_csv_round_trip_is_exact(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(50, 3)) * 10.0 ** np.arange(-150, 150, 100)
    lines = [",".join(map(repr, row)) for row in values.tolist()]
    np.testing.assert_array_equal(read(table(tmp_path, "\n".join(["y0,y1,y2", *lines]))).array("y"), values)


def test_large_whole_numbers_stay_floats(tmp_path: Path) -> None:
    assert read(table(tmp_path, "y\n9007199254740993\n")).dtype("y") == np.float64
    assert read(table(tmp_path, "y\ninf\n1\n")).dtype("y") == np.float64


@pytest.mark.parametrize("cell", ["hello", "1_000", "1,5", "0x10", "1.2.3"])
def test_a_bad_cell_has_line_and_column(tmp_path: Path, cell: str) -> None:
    data = read(table(tmp_path, f'a,b\n1,2\n\n3,"{cell}"\n5,six\n'))
    with pytest.raises(DataError, match=r"line 4, column 2 \(`b`\): found `" + cell.replace(".", r"\.")):
        data.array("b")
    np.testing.assert_array_equal(data.array("a"), [1, 3, 5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", "line 2: found 1 cells, expected 2"),
        ("a,b\n1,2,3\n", "line 2: found 3 cells, expected 2"),
        ("1,2\n3,4\n", "starts with numbers"),
        ("a;b\n1;2\n", "something else than commas"),
        ("a,a\n1,2\n", "two columns of .* are called `a`"),
        ("\n\n", "has no header"),
        ('a\n"1\n', "line 2"),
        ("a\nx\0y\n", "line 2"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(table(tmp_path, text)).array("a")


def test_truth_mixed_with_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mixes true and false"):
        read(table(tmp_path, "a\ntrue\n3\n")).array("a")


def test_wrong_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("y\n\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read(str(path))


def test_parquet_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(2)
    y = rng.normal(size=(10, 3))
    columns = {f"y{i}": y[:, i] for i in range(3)} | {
        "label": np.arange(10),
        "keep": np.arange(10) % 2 == 0,
        "gap": [None, *range(9)],
        "hole": [None, *[True] * 9],
        "list": [list(row) for row in y],
        "fixed": pyarrow.FixedSizeListArray.from_arrays(y.ravel(), 3),
        "nested": [[[float(i), 1.0], [2.0, 3.0]] for i in range(10)],
        "word": ["a"] * 10,
        "ragged": [[1.0] * (1 + i % 2) for i in range(10)],
    }
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=4)
    data = read(str(path))
    for start, stop in ((0, 10), (3, 5), (4, 8), (9, 30), (10, 10)):
        for name in ("y", "list", "fixed"):
            np.testing.assert_array_equal(data.rows(name, start, stop), y[start:stop])
        np.testing.assert_array_equal(data.rows("label", start, stop), np.arange(10)[start:stop])
    assert data.shape("nested") == (10, 2, 2)
    np.testing.assert_array_equal(data.array("nested")[:, 0, 0], np.arange(10.0))
    assert data.array("keep").dtype == np.bool_
    np.testing.assert_array_equal(data.array("gap"), [np.nan, *range(9)])
    np.testing.assert_array_equal(data.array("hole"), [np.nan, *[1.0] * 9])
    assert data.dtype("gap") == data.array("gap").dtype == data.rows("gap", 5, 6).dtype == np.float64
    with pytest.raises(DataError, match=r"`word` .* holds string"):
        data.array("word")
    with pytest.raises(DataError, match="differ in length"):
        data.array("ragged")


def test_small_chunks_read_a_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"y": np.arange(12.0)}), path, row_group_size=4)
    data = read(str(path))
    groups: list[int] = []
    decoded = _Columns._decoded

    def counted(self: _Columns, group: int) -> np.ndarray:
        groups.append(group)
        return decoded(self, group)

    monkeypatch.setattr(_Columns, "_decoded", counted)
    parts = [data.rows("y", start, start + 1) for start in range(12)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(12.0))
    assert groups == [0, 1, 2]


def test_damaged_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="not a parquet file"):
        read(str(tmp_path / "t.parquet"))


class FullDisk(io.BytesIO):
    """A file that nothing can be written to."""

    def write(self, content: Any, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_rows_of_a_parquet_file_are_laid_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = np.random.default_rng(0).normal(size=(1000, 3))
    columns = pyarrow.table({**{f"y{n}": values[:, n] for n in range(3)}, "lists": list(values)})
    path, rows = tmp_path / "d.parquet", np.array([999, 0, 64, 63, 0])
    parquet.write_table(columns, path, row_group_size=64)
    data = read(str(path))
    for name in ("y", "lists"):
        np.testing.assert_array_equal(data.pick(name, rows), values[rows])
    monkeypatch.setattr(_Columns, "_decoded", None)
    np.testing.assert_array_equal(data.pick("y", rows[:2]), values[rows[:2]])
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **named: FullDisk())
    with pytest.raises(DataError, match=r"which has no room for 23\.4 KiB") as caught:
        read(str(path)).pick("y", rows)
    assert "TMPDIR" in caught.value.hint
