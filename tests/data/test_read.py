"""Files that are not there, not readable, or not what their names say; and scikit-learn's sets."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from ebmlang.data import parse_memory, read
from ebmlang.data.bundled import NAMES
from ebmlang.errors import DataError


@pytest.mark.parametrize("name", NAMES)
def test_sklearn_sets_equal_the_originals(name: str) -> None:
    data, bunch = read(f"sklearn:{name}"), getattr(datasets, f"load_{name}")()
    np.testing.assert_array_equal(data.array("data"), bunch.data)
    np.testing.assert_array_equal(data.array("target"), bunch.target)
    assert data.dtype("data") == np.float64
    assert data.dtype("target") == (np.float64 if name == "diabetes" else np.int64)
    assert ("images" in data) == (name == "digits")


def test_unknown_sklearn_set() -> None:
    with pytest.raises(DataError) as caught:
        read("sklearn:digit")
    assert caught.value.hint == "did you mean `digits`?"
    with pytest.raises(DataError, match="no data set sklearn:california_housing"):
        read("sklearn:california_housing")


def failure(spec: Path | str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(str(spec))
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", np.zeros(3))
    assert failure(tmp_path / "digit.npy").hint == "did you mean `digits.npy`?"
    assert "there is no file" in failure(tmp_path / "other.csv").message
    assert "nor a folder" in failure(tmp_path / "no" / "a.npz").message
    assert "there is no file" in failure(tmp_path / "digits.npy" / "a.npz").message
    assert "a folder without pictures" in failure(tmp_path).message
    assert failure(tmp_path).hint.endswith("digits.npy")
    (tmp_path / "folder.npz").mkdir()
    assert "a folder without pictures" in failure(tmp_path / "folder.npz").message
    assert "sklearn:NAME" in failure("scikit:digits").hint
    failure("a" * 5000 + ".npz")
    failure("a\0b.npz")


def test_contents_that_are_not_what_the_ending_says(tmp_path: Path) -> None:
    for ending in (".npz", ".npy", ".csv", ".safetensors"):
        (tmp_path / f"empty{ending}").touch()
        assert "is empty" in failure(tmp_path / f"empty{ending}").message
    (tmp_path / "text.npz").write_text("this is no zip file")
    assert "is not an .npz file" in failure(tmp_path / "text.npz").message
    (tmp_path / "text.npy").write_text("this is no array")
    assert "is not a numpy array" in failure(tmp_path / "text.npy").message
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert failure(tmp_path / "single.npz").hint == "rename it to .npy"
    (tmp_path / "text.safetensors").write_text("this is no tensor file")
    assert "safetensors" in failure(tmp_path / "text.safetensors").message


def test_endings(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    assert "may run code" in failure(tmp_path / "a.pkl").message
    (tmp_path / "a.xlsx").write_bytes(b"x")
    assert ".npz, .npy, .csv, .parquet, .arrow or .safetensors" in failure(tmp_path / "a.xlsx").hint
    np.savez(tmp_path / "A.NPZ.npz", y=np.zeros(2))
    (tmp_path / "A.NPZ.npz").rename(tmp_path / "A.NPZ")
    assert read(str(tmp_path / "A.NPZ")).names == ("y",)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    assert "not an ordinary file" in failure(tmp_path / "a.npy").message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").chmod(0)
    assert "permission denied" in failure(tmp_path / "a.npy").message


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GiB", 2**31), ("500 MB", 5 * 10**8), ("1048576", 2**20), ("1.5kib", 1536), ("10b", 10)],
)
def test_amounts_of_memory(text: str, count: int) -> None:
    assert parse_memory(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "2 parsecs", "1e9", "nan"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(DataError, match="not an amount of memory"):
        parse_memory(text)
