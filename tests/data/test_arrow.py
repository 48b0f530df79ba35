"""Arrow files and saved data sets: the references are numpy, and `datasets` where it is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ebmlang.data import Wanted, match, read
from ebmlang.errors import DataError

RNG = np.random.default_rng(0)
Y = RNG.normal(size=(25, 3))
SQUARES = RNG.integers(0, 9, (25, 2, 4))
GREY = RNG.integers(0, 256, (25, 4, 5), dtype=np.uint8)
LABELS = RNG.integers(0, 2, 25)
ROWS = np.array([24, 0, 7, 8, 7, 19])


def png(picture: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, format="PNG")
    return out.getvalue()


def table() -> pa.Table:
    """What `datasets` makes of features, a fixed list, a list, an Array2D, a class and a picture."""
    features = {
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "picture": {"_type": "Image"},
        "y": {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "Sequence"},
    }
    columns = {
        "y": pa.FixedSizeListArray.from_arrays(pa.array(Y.reshape(-1)), 3),
        "loose": pa.array(Y.tolist()),
        "square": pa.array(SQUARES.tolist()),
        "label": pa.array(LABELS),
        "gaps": pa.array([None if n == 4 else n for n in range(25)]),
        "words": pa.array(["a"] * 25),
        "picture": pa.array([{"bytes": png(p), "path": None} for p in GREY]),
        "x0": pa.array(Y[:, 0]),
        "x1": pa.array(Y[:, 1]),
    }
    made = pa.table(columns)
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def stream(path: Path, rows: pa.Table) -> None:
    with pa.ipc.new_stream(str(path), rows.schema) as out:
        out.write_table(rows, max_chunksize=4)


def saved(folder: Path, files: int = 2, state: Mapping[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    rows = table()
    names = [f"data-{n:05d}-of-{files:05d}.arrow" for n in range(files)]
    edges = np.linspace(0, len(rows), files + 1).astype(int)
    for name, start, stop in zip(names, edges[:-1], edges[1:], strict=True):
        stream(folder / name, rows.slice(start, stop - start))
    told = {"_data_files": [{"filename": name} for name in names], **(state or {})}
    (folder / "state.json").write_text(json.dumps(told))
    return folder


def expect(data: Any) -> None:
    for name, values in {"y": Y, "loose": Y, "square": SQUARES, "label": LABELS, "x": Y[:, :2]}.items():
        np.testing.assert_array_equal(data.array(name), values, err_msg=name)
        np.testing.assert_array_equal(data.pick(name, ROWS), values[ROWS], err_msg=name)
        np.testing.assert_array_equal(data.rows(name, 3, 20), values[3:20], err_msg=name)
    gaps = np.where(np.arange(25) == 4, np.nan, np.arange(25))
    np.testing.assert_array_equal(data.array("gaps"), gaps)
    wanted = {"picture": Wanted("picture", "observed", True, 2, dims=(4, 5))}
    taken = match(data, wanted, {})["picture"]
    np.testing.assert_allclose(data.pick(taken, ROWS), GREY[ROWS] / 255, rtol=1e-6)
    assert "classes of `label`: 0 = cat, 1 = dog" in data.notes
    with pytest.raises(DataError, match=r"column `words` in .* holds string, not numbers"):
        data.check("words")


def test_a_saved_set(tmp_path: Path) -> None:
    expect(read(str(saved(tmp_path / "d"))))


def test_arrow_files_of_both_formats(tmp_path: Path) -> None:
    stream(tmp_path / "s.arrow", table())
    expect(read(str(tmp_path / "s.arrow")))
    with pa.ipc.new_file(str(tmp_path / "f.arrow"), table().schema) as out:
        out.write_table(table())
    expect(read(str(tmp_path / "f.arrow")))


def test_splits(tmp_path: Path) -> None:
    saved(tmp_path / "d" / "train")
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    expect(read(str(tmp_path / "d")))
    saved(tmp_path / "d" / "test", files=1)
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    expect(read(f"{tmp_path}/d:test"))
    for spec, words, hint in (
        ("d", "holds several splits: train and test", "d:train"),
        ("d:tset", "has no split `tset`: train and test", "did you mean `test`"),
        ("d/train:test", "has no splits", "d/train"),
    ):
        with pytest.raises(DataError) as caught:
            read(f"{tmp_path}/{spec}")
        assert words in caught.value.message
        assert hint in str(caught.value.hint)


def test_damaged_and_strange_sets(tmp_path: Path) -> None:
    def failure(spec: Path) -> str:
        with pytest.raises(DataError) as caught:
            read(str(spec)).array("ragged")
        return caught.value.message

    assert "was saved with an order of its own" in failure(
        saved(tmp_path / "a", state={"_indices_files": [{"filename": "i.arrow"}]})
    )
    outside = saved(tmp_path / "b", state={"_data_files": [{"filename": "../a/data-00000-of-00002.arrow"}]})
    assert "names a file `../a/data-00000-of-00002.arrow` that is not in it" in failure(outside)
    (tmp_path / "b" / "state.json").write_text("{")
    assert "state.json is damaged" in failure(tmp_path / "b")
    (tmp_path / "x.arrow").write_bytes(b"no arrow at all")
    assert "is no arrow file, or it is damaged" in failure(tmp_path / "x.arrow")
    whole = saved(tmp_path / "c", files=1) / "data-00000-of-00001.arrow"
    whole.write_bytes(whole.read_bytes()[:2000])
    assert "is no arrow file, or it is damaged" in failure(tmp_path / "c")
    stream(tmp_path / "r.arrow", pa.table({"ragged": pa.array([[1.0], [1.0, 2.0], [3.0]])}))
    assert "the lists in column `ragged` of" in failure(tmp_path / "r.arrow")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "state.json").write_text('{"_data_files": []}')
    assert "holds no rows" in failure(tmp_path / "e")
    (tmp_path / "c" / "state.json").write_text('{"_data_files": [{"filename": "gone.arrow"}]}')
    assert "cannot be read" in failure(tmp_path / "c")


def test_what_the_package_saves(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "y": datasets.Sequence(datasets.Value("float64"), length=3),
            "loose": datasets.Sequence(datasets.Value("float64")),
            "square": datasets.Array2D((2, 4), "int64"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "gaps": datasets.Value("float64"),
            "words": datasets.Value("string"),
            "picture": datasets.Image(),
            "x0": datasets.Value("float64"),
            "x1": datasets.Value("float64"),
        }
    )
    columns = {
        "y": Y.tolist(), "loose": Y.tolist(), "square": SQUARES.tolist(), "label": LABELS.tolist(),
        "gaps": [None if n == 4 else float(n) for n in range(25)], "words": ["a"] * 25,
        "picture": [Image.fromarray(p) for p in GREY], "x0": Y[:, 0].tolist(), "x1": Y[:, 1].tolist(),
    }  # fmt: skip
    made = datasets.Dataset.from_dict(columns, features=features)
    made.save_to_disk(str(tmp_path / "plain"), num_shards=3)
    expect(read(str(tmp_path / "plain")))
    turned = made.select(list(range(24, -1, -1)))
    turned.select(list(range(24, -1, -1))).save_to_disk(str(tmp_path / "turned"))
    expect(read(str(tmp_path / "turned")))
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "both"))
    expect(read(f"{tmp_path / 'both'}:test"))
