"""A run from its first record to its last, in memory or kept on disk."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ebmlang import __version__
from ebmlang.errors import DataError
from ebmlang.report import training_progress
from ebmlang.runtime.training.history import HealthWarning, History, Record
from ebmlang.runtime.training.loop import Stopped
from ebmlang.training.fitting import Fitting
from ebmlang.training.keeping import Every, Keeper

Progress = Callable[[Record, int | None], None]
"""Called with the record of each step, and the number of steps."""


def warn(message: str) -> None:
    """Say something that a person should know, on stderr."""
    print(f"note: {message}", file=sys.stderr)


def alarm(warning: HealthWarning) -> None:
    """Say what a rule of health has to say, on stderr."""
    print(warning, file=sys.stderr)


def silent(message: object) -> None:
    """Say nothing: another process does."""


@dataclass(slots=True)
class Session:
    """What is known of a run so far; `history` may be asked at any time."""

    fitting: Fitting
    keeper: Keeper | None = None
    found: list[Record] = field(default_factory=list)
    stopped: str = ""
    failed_on: str = ""
    tell: Callable[[HealthWarning], None] = lambda warning: None

    def __post_init__(self) -> None:
        if self.keeper is not None:
            self.found = list(self.keeper.before)

    def go(self, progress: Progress | None = None) -> History:
        """The whole run, or the rest of it; the parameters are its result then."""
        try:
            return self._all(progress)
        finally:
            self.fitting.close()

    def _all(self, progress: Progress | None) -> History:
        if self.keeper is None:
            self.fitting.check()
        for item in self._records():
            if isinstance(item, Stopped):
                self.stopped, self.failed_on = item.sentence, item.rule
                continue
            self.found.append(item)
            for warning in item.warnings:
                self.tell(warning)
            if progress is not None:
                progress(item, self.fitting.steps)
        self.fitting.finish()
        return self.history()

    def _records(self) -> Iterator[Record | Stopped]:
        return self.fitting.records() if self.keeper is None else self.keeper.records()

    def history(self) -> History:
        """The records, with those of earlier calls that this one goes on from."""
        names = tuple(dict.fromkeys(n for r in self.found for n in r.terms))
        return History(tuple(self.found), self.stopped, names, self.failed_on)


def fitted(
    fitting: Fitting,
    checkpoint: str | Path | None,
    every: int | str | None,
    progress: bool | Progress,
) -> History:
    """A whole run as Python asks for it. Raises DataError where its folder holds another one."""
    keeper = None
    if checkpoint is not None:
        say = warn if fitting.peers.first else silent
        keeper = Keeper.of(checkpoint, fitting, every=Every.of(every), extra={}, say=say)
    elif every is not None:
        raise DataError("checkpoints are to be written, and no place for them is given", 'checkpoint="run"')
    session = Session(fitting, keeper, tell=alarm if fitting.peers.first else silent)
    if progress is True:
        with training_progress(fitting.steps) as update:
            history = session.go(update)
    else:
        history = session.go(progress or None)
    if keeper is not None:
        keeper.finish(facts_of(session, interrupted=False))
    return history


def facts_of(session: Session, interrupted: bool) -> dict[str, Any]:
    """What `run.json` says of a run that has ended."""
    fitting, history = session.fitting, session.history()
    course, first = fitting.course, fitting.lines[0]
    return {
        "model": fitting.model.name,
        "settings": dict(fitting.model.hypers),
        "sizes": dict(fitting.bound.sizes),
        "trained": list(fitting.trained),
        "optimiser": {"name": first.row.name, **first.options},
        "epochs": course.epochs,
        "most_steps": course.steps,
        "batch_size": course.batch_size,
        "seed": course.seed,
        "dtype": str(fitting.bound.settings.dtype).removeprefix("torch."),
        "rows": fitting.bound.batch,
        "steps": len(history),
        "loss": {"first": _ends(history, 0), "last": _ends(history, -1)},
        "warnings": [w.name for w in history.warnings if not w.over],
        "ended": "interrupted" if interrupted else history.stopped or "finished",
        "versions": {"ebmlang": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _ends(history: History, at: int) -> float | None:
    return history.records[at].to_json()["loss"] if history.records else None
