"""From what a person writes after `--data` to a data set."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.data.bundled import read_sklearn
from ebmlang.data.dataset import DataSet
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
    (".safetensors", lambda path, wanted: read_safetensors(path)),
)
"""File name ending -> reader."""

_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt"})


def read(spec: str, wanted: Mapping[str, Wanted] | None = None) -> DataSet:
    """Open `sklearn:NAME`, `generated:NAME` or a file by its ending, which is read as far as needed.

    `wanted` decides between `y0` as a column of `y` and as a variable of its own. Nothing that could run
    code is ever unpacked: arrays of objects are refused. Raises DataError.
    """
    if spec.startswith("sklearn:"):
        return read_sklearn(spec.removeprefix("sklearn:"))
    if spec.startswith("generated:"):
        return read_generated(spec.removeprefix("generated:"))
    path = Path(spec)
    reader = _reader(path)
    _require_readable(path)
    try:
        return reader(path, wanted or {})
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", "copy it and try again"
        ) from error


def _reader(path: Path) -> Callable[[Path, Mapping[str, Wanted]], DataSet]:
    ending = path.suffix.lower()
    for known, reader in READERS:
        if ending == known:
            return reader
    if path.is_dir():
        raise _directory(path)
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
    if stat.S_ISDIR(status.st_mode):
        raise _directory(path)
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not an ordinary file", "copy it into a file first")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} may not be read: permission denied", f"chmod u+r {path}")
    if status.st_size == 0:
        raise DataError(f"{path} is empty", "write it again")


def _directory(path: Path) -> DataError:
    endings = {ending for ending, _ in READERS}
    inside = sorted(entry.name for entry in _entries(path) if Path(entry.name).suffix.lower() in endings)
    hint = f"a file of it, such as {path / inside[0]}" if inside else "a file of it"
    return DataError(f"{path} is a folder, not a file", hint)


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
