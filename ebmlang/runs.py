"""The folder of a training run: parameters, history, the text of the model, settings.

RUN/params.safetensors   every parameter by its declared name
RUN/history.jsonl        one JSON object per step
RUN/model.ebm            the file that was trained
RUN/run.json             settings, versions, and how it ended
RUN/checkpoints          where it goes on from
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ebmlang.errors import DataError
from ebmlang.runtime.durable import sync

PARAMETERS, HISTORY, MODEL, FACTS = "params.safetensors", "history.jsonl", "model.ebm", "run.json"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
FILES = (PARAMETERS, HISTORY, MODEL, FACTS, CHECKPOINTS, TENSORBOARD)

RUNNING = "running"
"""How a run has ended that has not."""


def parameters_of(path: str) -> str:
    """The file with the parameters of a run, or the path itself where it is no folder. Raises DataError.

    A run that has not ended has those of its newest checkpoint.
    """
    folder = Path(path)
    if not folder.is_dir():
        return path
    found = folder / PARAMETERS
    kept = sorted((folder / CHECKPOINTS).glob(f"[0-9]*/{PARAMETERS}"))
    if kept and (_ended(folder) == RUNNING or not found.is_file()):
        from ebmlang.runtime.training.pieces import PIECES  # with torch, which is about to read the file

        if (kept[-1].parent / PIECES).is_dir():
            raise DataError(f"{path} holds its parameters in pieces until it ends", "let the run end first")
        return str(kept[-1])
    if not found.is_file():
        raise DataError(f"{path} is no run: it has no {PARAMETERS}", "the folder that `train -o` made")
    return str(found)


def _ended(folder: Path) -> str:
    """How a run has ended; empty where its facts cannot be read."""
    try:
        return str(json.loads((folder / FACTS).read_text(encoding="utf-8"))["ended"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_run(folder: Path) -> bool:
    """Whether there is a run, from the first moment on."""
    return folder.is_dir() and any(folder.iterdir())


def place_of_run(path: str) -> Path:
    """The folder of a run, links followed. Raises DataError when it could not be made.

    What is there already must be a run itself: a folder with anything else in it is never touched.
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
    # Hidden files are what a write left behind that was cut off.
    names = (entry.name for entry in run.iterdir() if not entry.name.startswith("."))
    others = sorted(name for name in names if name not in FILES)
    if others:
        raise DataError(f"{path} holds {others[0]}, which is no part of a run", "another name")
    return run


@contextmanager
def new_run(run: Path) -> Iterator[Path]:
    """A folder to fill, which then takes the place of the run: whole, or not at all. Raises DataError, for
    instance for a full disk; an old run is left as it was then."""
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{run.name}.", suffix=".tmp", dir=run.parent))
        yield folder
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)
        _into_place(folder, run)
    except OSError as error:
        raise DataError(
            f"{run} was not written: {error.strerror or error}", "free some space, or another folder"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Files of a run by name. Raises OSError."""
    for name, text in texts.items():
        _write(folder / name, text)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        sync(file)


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
