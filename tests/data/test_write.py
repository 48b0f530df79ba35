"""Results on disk: whole or not at all. Read back with numpy's and safetensors' own readers."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from ebmlang.data import ResultWriter, read, require_writable, write
from ebmlang.errors import DataError


def load(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    return dict(safetensors.numpy.load_file(path))


ENDINGS = pytest.mark.parametrize("ending", [".npz", ".safetensors"])


@ENDINGS
def test_chunks_come_back_as_one_array(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    z, ok = rng.normal(size=(10, 3)).astype(np.float32), np.arange(10) % 3 == 0
    path = tmp_path / f"r{ending}"
    with ResultWriter(path) as writer:
        for start in (0, 4, 8):
            writer.append("z", z[start : start + 4])
            writer.append("converged", ok[start : start + 4])
            writer.append_words("status", [f"s{i % 2}" for i in range(start, min(start + 4, 10))])
        writer.put("batch", np.array(2.5))
        assert not path.exists()
    found = load(path)
    np.testing.assert_array_equal(found["z"], z)
    assert found["z"].dtype == np.float32
    np.testing.assert_array_equal(found["converged"], ok)
    assert found["batch"].shape == ()
    assert found["status"].tolist() == [0, 1] * 5
    if ending == ".npz":
        assert found["status_names"].tolist() == ["s0", "s1"]
    else:
        with safetensors.safe_open(path, framework="numpy") as file:
            assert json.loads(file.metadata()["status_names"]) == ["s0", "s1"]
    np.testing.assert_array_equal(read(str(path)).rows("z", 3, 7), z[3:7])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@ENDINGS
@given(
    arrays=st.dictionaries(
        st.text("abz_.01", min_size=1, max_size=4),
        npst.arrays(
            st.sampled_from(["f2", "f4", "f8", ">f8", "i1", "i4", "i8", "u1", "?"]),
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        ),
        max_size=4,
    )
)
def test_any_arrays_survive(
    tmp_path_factory: pytest.TempPathFactory, ending: str, arrays: dict[str, NDArray[Any]]
) -> None:
    path = tmp_path_factory.mktemp("any") / f"r{ending}"
    write(path, arrays)
    found = load(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


@ENDINGS
def test_tensors_are_aligned_and_packed(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"r{ending}"
    write(path, {"a": np.ones(3, np.bool_), "b": np.ones(3), "c": np.ones(1, np.float32)})
    np.testing.assert_array_equal(load(path)["b"], np.ones(3))


@ENDINGS
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(tmp_path: Path, ending: str, error: type[BaseException]) -> None:
    with pytest.raises(error), ResultWriter(tmp_path / f"r{ending}") as writer:
        writer.append("z", np.zeros(3))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    write(path, {"z": np.zeros(3)})
    with pytest.raises(RuntimeError), ResultWriter(path, force=True) as writer:
        writer.append("z", np.ones(3))
        raise RuntimeError
    assert load(path)["z"].tolist() == [0, 0, 0]
    write(path, {"z": np.ones(3)}, force=True)
    assert load(path)["z"].tolist() == [1, 1, 1]


def test_finish_keeps_what_was_appended_before_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ResultWriter(tmp_path / "r.npz") as writer:
        writer.append("z", np.zeros(3))
        try:
            raise KeyboardInterrupt
        finally:
            writer.finish()
    assert load(tmp_path / "r.npz")["z"].shape == (3,)


def test_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "r.npz").touch()
    for path, message in (
        (tmp_path / "r.npz", "exists already"),
        (tmp_path / "r.csv", "not written as 'r.csv'"),
        (tmp_path / "no" / "r.npz", "there is no folder"),
        (tmp_path / "r.npz" / "r.npz", "there is no folder"),
    ):
        with pytest.raises(DataError, match=message):
            require_writable(path, force=False)
        with pytest.raises(DataError, match=message):
            ResultWriter(path)
    assert require_writable(tmp_path / "r.npz", force=True) == Path(os.path.realpath(tmp_path / "r.npz"))
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        require_writable(tmp_path / "folder.npz", force=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_closed_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="permission denied"):
        require_writable(tmp_path / "r.npz", force=False)


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    with pytest.raises(DataError, match="exists already"), ResultWriter(path) as writer:
        writer.append("z", np.zeros(3))
        path.write_text("of somebody else")
    assert path.read_text() == "of somebody else"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "r.npz").symlink_to(tmp_path / "there" / "real.npz")
    write(tmp_path / "r.npz", {"z": np.zeros(2)})
    assert (tmp_path / "r.npz").is_symlink()
    assert load(tmp_path / "there" / "real.npz")["z"].shape == (2,)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "shutil.copyfileobj"])
@ENDINGS
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, ending: str
) -> None:
    with pytest.raises(DataError, match="No space left"), ResultWriter(tmp_path / f"r{ending}") as writer:
        writer.append("z", np.zeros(3))
        monkeypatch.setattr(place, full_disk)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_while_appending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *args: Any, **options: Any) -> Any:
        return open("/dev/full", *args, **options)

    with pytest.raises(DataError, match="No space left"), ResultWriter(tmp_path / "r.npz") as writer:
        monkeypatch.setattr(Path, "open", full)
        writer.append("z", np.zeros(3))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_misuse_is_told(tmp_path: Path) -> None:
    with ResultWriter(tmp_path / "r.npz") as writer:
        writer.append("z", np.zeros((3, 2)))
        with pytest.raises(ValueError, match="chunks differ"):
            writer.append("z", np.zeros((3, 4)))
        with pytest.raises(ValueError, match="chunks differ"):
            writer.append("z", np.zeros((3, 2), np.float32))
        with pytest.raises(ValueError, match="twice"):
            writer.put("z", np.zeros(1))
        with pytest.raises(ValueError, match="rows"):
            writer.append("a", np.array(1.0))
        with pytest.raises(DataError, match="Python objects"):
            writer.append("o", np.array([object()]))
    with pytest.raises(ValueError, match="not open"):
        writer.append("z", np.zeros((1, 2)))


def test_permissions_follow_the_mask(tmp_path: Path) -> None:
    write(tmp_path / "r.npz", {"z": np.zeros(2)})
    (tmp_path / "plain").touch()
    assert (tmp_path / "r.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode
