"""The folder of a training run: parameters, history, the text of the model, settings.

RUN/params.safetensors   every parameter by its declared name
RUN/history.jsonl        one JSON object per step
RUN/model.ebm            the file that was trained
RUN/run.json             settings, versions, and how it ended
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ebmlang.errors import DataError

PARAMETERS, HISTORY, MODEL, FACTS = "params.safetensors", "history.jsonl", "model.ebm", "run.json"
FILES = (PARAMETERS, HISTORY, MODEL, FACTS)


def parameters_of(path: str) -> str:
    """The file with the parameters of a run, or the path itself where it is no folder. Raises DataError."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    found = folder / PARAMETERS
    if not found.is_file():
        raise DataError(f"{path} is no run: it has no {PARAMETERS}", "the folder that `train -o` made")
    return str(found)


def require_free(path: str, force: bool) -> Path:
    """The folder of a new run, links followed. Raises DataError when it could not be made.

    What is replaced must be a run itself: a folder with anything else in it is never removed.
    """
    run = Path(os.path.realpath(path))
    if not run.parent.is_dir():
        raise DataError(f"there is no folder {run.parent} to make {run.name} in", f"mkdir -p {run.parent}")
    if not os.access(run.parent, os.W_OK | os.X_OK):
        raise DataError(f"nothing may be written to {run.parent}: permission denied", "another folder")
    if not os.path.lexists(run):
        return run
    if not run.is_dir():
        raise DataError(f"{path} is a file, and a run is a folder", "another name")
    others = sorted(entry.name for entry in run.iterdir() if entry.name not in FILES)
    if others:
        raise DataError(f"{path} holds {others[0]}, which is no part of a run", "another name")
    if any(run.iterdir()) and not force:
        raise DataError(f"{path} exists already and is not overwritten", "another name, or --force")
    return run


def write_run(
    path: str,
    force: bool,
    parameters: Mapping[str, NDArray[Any]],
    history: str,
    model: str,
    facts: Mapping[str, Any],
) -> None:
    """Write a run whole or not at all. Raises DataError as `require_free` does, or for a full disk."""
    from ebmlang.data import write

    run = require_free(path, force)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{run.name}.", suffix=".tmp", dir=run.parent))
    except OSError as error:
        raise DataError(f"{path} was not written: {error.strerror or error}", "another folder") from None
    try:
        write(folder / PARAMETERS, parameters)
        _write(folder / HISTORY, history)
        _write(folder / MODEL, model)
        _write(folder / FACTS, json.dumps(facts, indent=2) + "\n")
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)
        _into_place(folder, run)
    except OSError as error:
        raise DataError(
            f"{path} was not written: {error.strerror or error}", "free some space, or another folder"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _into_place(folder: Path, run: Path) -> None:
    """Rename the finished folder; an old run makes place first, and is put back if that fails."""
    if not run.exists():
        folder.rename(run)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{run.name}.", suffix=".old", dir=run.parent))
    try:
        os.replace(run, old)
        try:
            folder.rename(run)
        except BaseException:
            os.replace(old, run)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
