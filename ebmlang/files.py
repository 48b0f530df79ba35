"""Reading `.ebm` files and writing small ones, with every way that can go wrong named."""

from __future__ import annotations

import os
import re
import stat
from difflib import get_close_matches
from pathlib import Path

from ebmlang.compiler.catalogue.syntax import FileTooLarge, WrongEncoding
from ebmlang.compiler.diagnostics import Located
from ebmlang.compiler.parse import LARGEST_FILE
from ebmlang.compiler.source import Source, Span
from ebmlang.errors import DataError, ModelError
from ebmlang.runtime.durable import replace_safely

_MOST_BYTES = 4 * LARGEST_FILE


def read_source(path: str | Path) -> Source:
    """The text of a model file, which may be a pipe: the caller names it.

    Raises DataError for a path that is no readable file, ModelError for a file that is too large
    or not UTF-8.
    """
    return _read(Path(path), os.O_RDONLY)


def read_imported(path: Path) -> Source:
    """The text of a file that another one imports: a file on disk, never a device or a pipe that may have no
    end. Raises as `read_source` does."""
    # Without waiting: whoever wrote the import may have put a pipe there that nobody ever writes to.
    return _read(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))


def _read(file: Path, flags: int) -> Source:
    path = str(file)
    try:
        if file.is_dir():
            raise DataError(f"{path} is a folder, not a model", "name the .ebm file in it")
        with os.fdopen(os.open(file, flags), "rb") as opened:
            if flags != os.O_RDONLY and not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise DataError(f"{path} is no ordinary file", "import a file on disk")
            # Not all at once: a device or a pipe tells no size and may never end.
            raw = opened.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            size = max(file.stat().st_size, len(raw))
            raise _located(file, FileTooLarge(Span(0, 0), size, LARGEST_FILE))
    except FileNotFoundError:
        beside = [p.name for p in file.parent.glob("*.ebm")] if file.parent.is_dir() else []
        near = get_close_matches(file.name, beside, n=1)
        hint = f"did you mean {file.parent / near[0]}?" if near else "check the path"
        raise DataError(f"there is no file {path}", hint) from None
    except PermissionError:
        raise DataError(
            f"{path} cannot be read: permission denied", "check the permissions of the file"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "check the path") from None
    try:
        # A lone carriage return ends a line too, as editors show it.
        return Source(str(path), re.sub(r"\r(?!\n)", "\n", raw.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise _located(file, WrongEncoding(Span(0, 0), byte, error.start)) from None


def _located(file: Path, diagnostic: FileTooLarge | WrongEncoding) -> ModelError:
    return ModelError((Located(Source(str(file), ""), diagnostic),))


def require_place(path: str | Path, force: bool) -> Path:
    """The path that a file can be written to, links followed. Raises DataError.

    Meant to be called before the work whose result is written.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise DataError(f"{path} is a folder", "name a file in it")
    if not path.parent.is_dir():
        raise DataError(f"there is no folder {path.parent}", f"mkdir -p {path.parent}")
    if path.exists() and not force:
        raise DataError(f"{path} exists already and is not overwritten", "another name, or --force")
    return path


def write_whole(path: Path, content: bytes, force: bool = False) -> None:
    """Write a file whole or not at all.

    Raises DataError when it exists and `force` is not given, or cannot be written.
    """
    path = require_place(path, force)
    try:
        replace_safely(path, content)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}", "another folder") from None
