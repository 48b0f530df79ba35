"""From what a person writes after `--data` to a data set."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.data.arrow import is_saved, read_arrow, read_saved
from ebmlang.data.bundled import read_sklearn
from ebmlang.data.dataset import DataSet
from ebmlang.data.folder import holds_pictures, read_folder
from ebmlang.data.generated import read_generated
from ebmlang.data.match import Wanted
from ebmlang.data.parquet import read_parquet
from ebmlang.data.stored import read_npy, read_npz, read_safetensors
from ebmlang.data.tables import read_csv
from ebmlang.errors import DataError

READERS: tuple[tuple[str, Callable[[Path, Mapping[str, Wanted]], DataSet]], ...] = (
    (".npz", lambda path, wanted: read_npz(path)),
    (".npy", lambda path, wanted: read_npy(path)),
    (".csv", read_csv),
    (".parquet", read_parquet),
    (".arrow", read_arrow),
    (".safetensors", lambda path, wanted: read_safetensors(path)),
)
"""File name ending -> reader."""

_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt"})


def read(spec: str, wanted: Mapping[str, Wanted] | None = None) -> DataSet:
    """Open `sklearn:NAME`, `generated:NAME`, a file by its ending, which is read as far as needed, or a
    folder: of pictures, or saved by Hugging Face datasets, of which `FOLDER:SPLIT` is one split.

    `wanted` decides between `y0` as a column of `y` and as a variable of its own. Nothing that could run
    code is ever unpacked: arrays of objects are refused. Raises DataError.
    """
    if spec.startswith("sklearn:"):
        return read_sklearn(spec.removeprefix("sklearn:"))
    if spec.startswith("generated:"):
        return read_generated(spec.removeprefix("generated:"))
    path, split = _split_of(spec)
    try:
        if path.is_dir():
            return _read_directory(path, split, wanted or {})
        reader = _reader(path)
        _require_readable(path)
        return reader(path, wanted or {})
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", "copy it and try again"
        ) from error


def _split_of(spec: str) -> tuple[Path, str]:
    """A path, and the split of a folder that follows it after a colon."""
    before, colon, split = spec.rpartition(":")
    if colon and Path(before).is_dir() and not Path(spec).exists():
        return Path(before), split
    return Path(spec), ""


def _read_directory(path: Path, split: str, wanted: Mapping[str, Wanted]) -> DataSet:
    if not os.access(path, os.R_OK | os.X_OK):
        raise DataError(f"{path} may not be read: permission denied", f"chmod u+rx {path}")
    if is_saved(path):
        return read_saved(path, split, wanted)
    if split:
        raise DataError(
            f"{path} has no splits: Hugging Face datasets did not save it",
            f"a folder of pictures is {path / split}",
        )
    if holds_pictures(path):
        return read_folder(path)
    raise _directory(path)


def _reader(path: Path) -> Callable[[Path, Mapping[str, Wanted]], DataSet]:
    ending = path.suffix.lower()
    for known, reader in READERS:
        if ending == known:
            return reader
    if not path.exists():
        raise _unknown(path)
    known_endings = listing([known for known, _ in READERS])
    if ending in _PICKLES:
        raise DataError(
            f"{path} is a pickle, and a pickle may run code; it is not opened", f"save it as {known_endings}"
        )
    raise DataError(f"{path} is no kind of data file that is known", f"save it as {known_endings}")


def _require_readable(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _unknown(path) from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read: permission denied", f"ls -ld {path.parent}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is not the name of a file: {error}", "a file name") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not an ordinary file", "copy it into a file first")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} may not be read: permission denied", f"chmod u+r {path}")
    if status.st_size == 0:
        raise DataError(f"{path} is empty", "write it again")


def _directory(path: Path) -> DataError:
    endings = {ending for ending, _ in READERS}
    inside = sorted(entry.name for entry in _entries(path) if Path(entry.name).suffix.lower() in endings)
    hint = f"a file of it, such as {path / inside[0]}" if inside else "a file, or a folder of pictures"
    return DataError(f"{path} is a folder without pictures", hint)


def _unknown(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(
            f"there is no file {path}, nor a folder {folder}", "look at the spelling of the path"
        )
    guess = did_you_mean(path.name, [entry.name for entry in _entries(folder)])
    if not guess and ":" in str(path):
        return DataError(
            f"there is no file {path}", "a data set that ships with scikit-learn is sklearn:NAME"
        )
    return DataError(f"there is no file {path}", guess or "look at the spelling of the path")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
