"""Arrays in .npy, .npz and .safetensors: the references are numpy's and safetensors' own readers."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from ebmlang.data import DataSet, memory, read
from ebmlang.data.stored import Packed, Stored
from ebmlang.errors import DataError

Y = np.random.default_rng(0).normal(size=(10, 3, 2))


def save(path: Path, kind: str, array: NDArray[Any]) -> DataSet:
    """Write an array called y with the reference writer, and open it."""
    if kind == "npy":
        np.save(path / "y.npy", array)
    elif kind == "npz":
        np.savez(path / "y.npz", y=array)
    elif kind == "packed":
        np.savez_compressed(path / "y.npz", y=array)
    else:
        safetensors.numpy.save_file({"y": np.ascontiguousarray(array)}, path / "y.safetensors")
    ending = {"packed": "npz"}.get(kind, kind)
    return read(str(path / f"y.{ending}"))


KINDS = ("npy", "npz", "packed", "safetensors")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_slices(tmp_path: Path, kind: str, order: str) -> None:
    data = save(tmp_path, kind, np.asarray(Y, order=order))  # type: ignore[call-overload]
    assert data.names == ("y",)
    assert data.shape("y") == Y.shape
    assert data.dtype("y") == Y.dtype
    for start, stop in ((0, 10), (0, 1), (3, 7), (8, 100), (10, 12), (5, 5)):
        np.testing.assert_array_equal(data.rows("y", start, stop), Y[start:stop])
    np.testing.assert_array_equal(data.array("y"), Y)


ROWS = {
    "far apart": np.array([1999, 0, 1000]),
    "close": np.arange(1200, 100, -3),
    "again": np.array([7, 7, 8, 1500, 7]),
    "none": np.array([], dtype=np.int64),
    "all": np.arange(2000),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_picked_rows(tmp_path: Path, kind: str, order: str, rows: NDArray[np.int64]) -> None:
    values = np.random.default_rng(1).normal(size=(2000, 30, 7))
    data = save(tmp_path, kind, np.asarray(values, order=order))  # type: ignore[call-overload]
    np.testing.assert_array_equal(data.pick("y", rows), values[rows])


def test_picking_from_a_file_that_became_shorter(tmp_path: Path) -> None:
    data = save(tmp_path, "npy", Y)
    whole = (tmp_path / "y.npy").read_bytes()
    (tmp_path / "y.npy").write_bytes(whole[:-8])
    np.testing.assert_array_equal(data.pick("y", np.array([3, 1])), Y[[3, 1]])
    with pytest.raises(DataError, match="became shorter"):
        data.pick("y", np.array([0, 9]))
    (tmp_path / "y.npy").unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        data.pick("y", np.array([0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", ">f8", "i1", "u1", "u2", "i4", "u4", "i8", "u8", "?", ">i2"]
)
def test_dtypes_become_ones_that_torch_computes_with(tmp_path: Path, kind: str, dtype: str) -> None:
    if kind == "safetensors" and dtype.startswith(">"):
        pytest.skip("the format has one byte order")
    values = (np.arange(12).reshape(4, 3) % 7).astype(dtype)
    found = save(tmp_path, kind, values).array("y")
    np.testing.assert_array_equal(found, values)
    assert found.dtype.isnative
    assert found.dtype.name in {
        "float16",
        "float32",
        "float64",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "bool",
    }


def test_too_large_unsigned_is_refused(tmp_path: Path) -> None:
    data = save(tmp_path, "npy", np.array([2**64 - 1], dtype=np.uint64))
    with pytest.raises(DataError, match="18446744073709551615"):
        data.array("y")


@given(
    values=npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
    ),
    cut=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    kind=st.sampled_from(KINDS),
)
def test_any_array_survives(
    tmp_path_factory: pytest.TempPathFactory, values: NDArray[Any], cut: tuple[int, int], kind: str
) -> None:
    data = save(tmp_path_factory.mktemp("any"), kind, values)
    start, stop = sorted(cut)
    np.testing.assert_array_equal(data.rows("y", start, stop), values[start:stop])


def test_uncompressed_members_are_read_in_place_and_compressed_ones_once(tmp_path: Path) -> None:
    assert isinstance(save(tmp_path, "npz", Y).arrays["y"], Stored)
    packed = save(tmp_path, "packed", Y).arrays["y"]
    assert isinstance(packed, Packed)
    assert packed.read(0, 2).base is packed.read(3, 4).base


def test_a_huge_file_is_opened_without_reading_it(tmp_path: Path) -> None:
    # 800 GB as a sparse file: only rows that are asked for are touched.
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 100)}
        )
        try:
            file.truncate(file.tell() + 8 * 10**11)
        except OSError:
            pytest.skip("this file system has no large sparse files")
    data = read(str(path))
    assert data.shape("huge") == (10**9, 100)
    np.testing.assert_array_equal(data.rows("huge", 10**9 - 2, 10**9), np.zeros((2, 100)))
    if memory.physical_memory() is not None:
        with pytest.raises(DataError, match=r"takes 745 GiB, but this machine has"):
            data.array("huge")


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    values = np.array([1.5, -2.0, 0.0, 3.140625], dtype=np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = json.dumps({"y": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "y.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw)
    assert read(str(path)).dtype("y") == np.float32
    np.testing.assert_array_equal(read(str(path)).array("y"), values)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_noticed(tmp_path: Path, kind: str) -> None:
    save(tmp_path, kind, Y)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for size in (1, 5, 9, 50, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut short|damaged|not a numpy array"):
            read(str(path)).array("y")


@pytest.mark.parametrize("kind", ["npz", "packed", "safetensors"])
def test_flipped_bytes_never_escape_as_other_errors(tmp_path: Path, kind: str) -> None:
    save(tmp_path, kind, Y)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            data = read(str(path))
            for name in data.names:
                data.array(name)
        except DataError:
            pass


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.array([{}, 1], dtype=object), "Python objects"),
        (np.array(["a", "bc"]), r"text \(dtype <U2\)"),
        (np.array([b"a"]), "text"),
        (np.array([1j]), "complex"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "dates"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]), "structured"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "packed"])
def test_what_is_not_numbers_is_refused_on_use(
    tmp_path: Path, kind: str, values: NDArray[Any], word: str
) -> None:
    data = save(tmp_path, kind, values)
    with pytest.raises(DataError, match=word) as caught:
        data.array("y")
    assert "`y`" in caught.value.message
    assert caught.value.hint


def test_a_pickle_inside_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    for kind in ("npy", "npz", "packed"):
        data = save(tmp_path, kind, np.array([Trap()], dtype=object))
        with pytest.raises(DataError):
            data.array("y")
    assert not (tmp_path / "sprung").exists()


def test_members_that_are_no_arrays_are_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", y=Y)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("readme.txt", "hello")
    data = read(str(tmp_path / "a.npz"))
    assert data.names == ("y",)
    assert "readme.txt" in data.notes[0]


def test_a_single_number_has_no_rows(tmp_path: Path) -> None:
    data = save(tmp_path, "npz", np.array(2.5))
    assert float(data.array("y")) == 2.5
    with pytest.raises(DataError, match="has no rows"):
        data.rows("y", 0, 1)


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("y.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        )
        member.write(b"\0" * 1000)
    with pytest.raises(DataError, match="cut short: its header promises 8,000,000,000,"):
        read(str(path))


def test_a_file_that_goes_away_is_told(tmp_path: Path) -> None:
    data = save(tmp_path, "npy", Y)
    (tmp_path / "y.npy").unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        data.rows("y", 0, 1)


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    data = save(tmp_path, "npy", Y)
    with (tmp_path / "y.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(DataError, match="became shorter"):
        data.rows("y", 0, 10)
