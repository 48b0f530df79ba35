"""Folders of pictures: the reference is Pillow's own decoding, and numpy."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ebmlang
from ebmlang.cli import main
from ebmlang.data import DataSet, Wanted, match, read, unused
from ebmlang.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 5, 6), dtype=np.uint8)
RGB = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
PLACES = ("b/1.png", "a/2.png", "a/10.png", "b/0.PNG")
SORTED = (2, 1, 3, 0)
"""The places in the order of their paths."""


def save(folder: Path, pictures: NDArray[Any], places: tuple[str, ...] = PLACES) -> Path:
    for picture, place in zip(pictures, places, strict=True):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, format="PNG")
    return folder


def wanted(kind: str = "real", *dims: int | None) -> Wanted:
    return Wanted("y", "observed", True, len(dims), False, kind, dims)


def taken(data: DataSet, *dims: int | None, kind: str = "real") -> NDArray[Any]:
    return data.array(match(data, {"y": wanted(kind, *dims)}, {})["y"])


def failure(path: Path | str, *dims: int | None, kind: str = "real") -> DataError:
    with pytest.raises(DataError) as caught:
        taken(read(str(path)), *dims, kind=kind)
    return caught.value


def test_the_declared_shape_decides_the_layout(tmp_path: Path) -> None:
    data = read(str(save(tmp_path / "c", RGB)))
    rgb = (RGB[list(SORTED)] / np.float32(255)).astype(np.float32)
    grey = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in RGB[list(SORTED)]]) / 255
    np.testing.assert_array_equal(taken(data, 3, 5, 6), np.moveaxis(rgb, -1, 1))
    np.testing.assert_array_equal(taken(data, None, None, None), np.moveaxis(rgb, -1, 1))
    np.testing.assert_array_equal(taken(data, 5, 6, 3), rgb)
    np.testing.assert_allclose(taken(data, 5, 6), grey, rtol=1e-6)
    np.testing.assert_allclose(taken(data, 1, 5, 6), grey[:, None], rtol=1e-6)
    np.testing.assert_allclose(taken(data, 30), grey.reshape(4, 30), rtol=1e-6)
    np.testing.assert_array_equal(taken(data, 5, 6, 3, kind="class"), RGB[list(SORTED)])
    assert taken(data, 5, 6).dtype == np.float32
    only = read(str(save(tmp_path / "g", GREY)))
    np.testing.assert_allclose(taken(only, None, None, None), GREY[list(SORTED)][:, None] / 255, rtol=1e-6)
    message = failure(tmp_path / "c", 7, 6).message
    assert "`y` is real [7, 6]" in message
    assert "[3, 5, 6], [5, 6, 3], [5, 6], [1, 5, 6], [30]" in message
    assert "is bool" in failure(tmp_path / "c", 5, 6, kind="bool").message


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    data = read(str(save(tmp_path, GREY)))
    np.testing.assert_array_equal(data.array("target"), [0, 0, 1, 1])
    assert data.notes == (f"classes of {tmp_path}: 0 = a, 1 = b",)
    both = {"x": Wanted("x", "observed", True, 2), "t": Wanted("t", "observed", True, 0, kind="class")}
    matching = match(data, both, {})
    assert matching == {"x": "image.grey", "t": "target"}
    assert unused(data, matching.values()) == ()
    assert unused(data, ["target"]) == ("image.grey",)
    assert match(data, {"y": wanted("real", 1, 5, 6)}, {"y": "image"}) == {"y": "image.grey_first"}
    assert match(data, {"y": wanted("real", 5, 6)}, {"y": "image.grey"}) == {"y": "image.grey"}
    flat = read(str(tmp_path / "a"))
    assert "target" not in flat
    np.testing.assert_array_equal(flat.rows("image.grey.levels", 0, 2), GREY[[2, 1]])
    np.testing.assert_array_equal(flat.pick("image.grey.levels", np.array([1, 0, 1])), GREY[[1, 2, 1]])


def test_palettes_sixteen_bits_and_transparency(tmp_path: Path) -> None:
    levels = RNG.integers(0, 65536, (5, 6)).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    np.testing.assert_allclose(taken(read(str(tmp_path)), 5, 6)[0], levels / 65535, rtol=1e-6)
    assert "has 65,536 levels" in failure(tmp_path, 5, 6, kind="class").message
    (tmp_path / "deep.png").unlink()
    few = (RGB[0] // 64) * 64
    palette = Image.fromarray(few).quantize(64)
    palette.save(tmp_path / "palette.png", transparency=0)
    np.testing.assert_allclose(
        taken(read(str(tmp_path)), 5, 6, 3)[0], np.asarray(palette.convert("RGB")) / 255, rtol=1e-6
    )


def test_sizes_must_agree(tmp_path: Path) -> None:
    save(tmp_path, GREY)
    Image.fromarray(GREY[0].T.copy()).save(tmp_path / "b" / "0.PNG")
    error = failure(tmp_path, 5, 6)
    assert f"{tmp_path}/a/10.png is 6 x 5, {tmp_path}/b/0.PNG is 5 x 6" in error.message
    assert "mogrify -resize 6x5!" in str(error.hint)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, with hardly any bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_damage_and_attacks(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(bomb(9_000, 9_000))
    assert "unpacks to 9,000 x 9,000 pixels" in failure(tmp_path, 5, 6).message
    (tmp_path / "x.png").write_bytes(bomb(300_000, 300_000))
    assert "decompression bomb" in failure(tmp_path, 5, 6).message
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    assert "damaged, or no picture" in failure(tmp_path, 5, 6).message
    Image.fromarray(RGB[0]).resize((80, 80)).save(tmp_path / "x.png")
    whole = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 2])
    error = failure(tmp_path, 80, 80)
    assert f"{tmp_path}/x.png is damaged, or no picture" in error.message
    Image.fromarray(RGB[0]).save(tmp_path / "x.png")
    data = read(str(tmp_path))
    Image.fromarray(RGB[0]).resize((80, 80)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="changed while it was read"):
        data.array("image.grey")


def test_what_a_folder_holds_besides(tmp_path: Path) -> None:
    save(tmp_path / "f", GREY)
    (tmp_path / "f" / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "f" / ".hidden").mkdir()
    (tmp_path / "f" / ".hidden" / "x.png").write_text("never opened")
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(GREY[0]).save(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "f" / "linked").symlink_to(tmp_path / "elsewhere")
    data = read(str(tmp_path / "f"))
    assert data.shape("image.grey")[0] == 4
    assert any("1 file(s)" in note and "a/notes.txt" in note for note in data.notes)
    (tmp_path / "f" / "b" / "link.png").symlink_to(tmp_path / "f" / "b" / "1.png")
    assert read(str(tmp_path / "f")).shape("image.grey")[0] == 5
    (tmp_path / "f" / "b" / "out.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    assert "is a link that leads out of" in failure(tmp_path / "f", 5, 6).message
    (tmp_path / "f" / "b" / "out.png").unlink()
    os.mkfifo(tmp_path / "f" / "b" / "pipe.png")
    assert "is not an ordinary file" in failure(tmp_path / "f", 5, 6).message
    (tmp_path / "f" / "b" / "pipe.png").unlink()
    Image.fromarray(GREY[0]).save(tmp_path / "f" / "x.png")
    assert "and sub-folders with pictures" in failure(tmp_path / "f", 5, 6).message
    assert "has no splits" in failure(f"{tmp_path / 'f'}:train", 5, 6).message
    (tmp_path / "empty").mkdir()
    assert "a folder without pictures" in failure(tmp_path / "empty", 5, 6).message


MODEL = """model shades(h: int, w: int, k: int = 2) {
  observed x : real[h, w]
  observed c : class[k]
  param m : real[k, h, w]
  energy e = sum((x - m[c])^2)
  train using sgd(lr = 0.1)
}
"""


def test_commands_take_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The gradient of the mean over all rows is written out by hand."""
    folder = save(tmp_path / "pictures", GREY)
    (tmp_path / "m.ebm").write_text(MODEL)
    words = ["train", str(tmp_path / "m.ebm"), "--data", str(folder), "--steps", "2", "--dtype", "float64"]
    assert main([*words, "-o", str(tmp_path / "held")]) == 0
    streamed = ["--batch-size", "3", "--max-memory", "100"]
    assert main([*words, "--steps", "1", *streamed, "-o", str(tmp_path / "read")]) == 0
    capsys.readouterr()
    x, classes = (GREY[list(SORTED)] / np.float32(255)).astype(float), np.array([0, 0, 1, 1])
    m = np.zeros((2, 5, 6))
    for _ in range(2):
        m = m + 0.1 * 2 * np.stack([(x - m[classes])[classes == k].sum(0) / 4 for k in range(2)])
    found = ebmlang.data.read(str(tmp_path / "held" / "params.safetensors")).array("m")
    np.testing.assert_allclose(found, m, atol=1e-7)
    assert np.isfinite(ebmlang.data.read(str(tmp_path / "read" / "params.safetensors")).array("m")).all()
    infer = ["infer", str(tmp_path / "m.ebm"), "--data", str(folder), "--params", str(tmp_path / "held")]
    assert main([*infer, "--find", "c", "-o", str(tmp_path / "c.npz"), "--no-progress"]) == 0
    distances = ((x[:, None] - m) ** 2).sum((2, 3))
    np.testing.assert_array_equal(np.load(tmp_path / "c.npz")["c"], distances.argmin(1))
