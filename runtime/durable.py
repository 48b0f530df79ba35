"""Files that are safe once a call returns: what was written is on the disk, under its name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Any


def sync(file: IO[Any]) -> None:
    """Make sure that what was written is on the disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make new names in a folder safe; not every system can do that. Raises OSError."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_safely(path: Path, content: bytes) -> None:
    """A file whose content is on the disk when this returns. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        sync(file)


def replace_safely(path: Path, content: bytes) -> None:
    """The same for a file that may be there already: it has the old content or the new one, never a part."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        write_safely(Path(name), content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    sync_folder(path.parent)
