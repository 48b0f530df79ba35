"""A run on disk: begun whole, kept by checkpoints, continued where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors

from ebmlang import runs
from ebmlang.durations import seconds_of
from ebmlang.errors import DataError
from ebmlang.runtime.durable import replace_safely, sync
from ebmlang.runtime.training.history import Record
from ebmlang.runtime.training.loop import Stopped
from ebmlang.runtime.training.peers import ALONE, Peers
from ebmlang.runtime.training.stored import (
    Checkpoint,
    forget_newer,
    forget_older,
    newest_checkpoint,
    write_checkpoint,
)
from ebmlang.training.fitting import Fitting
from ebmlang.training.identity import differences, identity_of
from ebmlang.training.stored import checkpoint_of, restore

SECONDS = 60.0
"""Between two checkpoints where nobody says."""

KEPT = 2
"""Checkpoints that stay: the one before the last is there in case that the last one is damaged."""

_QUIET = 1.0
"""Seconds between two writes of the history."""


@dataclass(frozen=True, slots=True)
class Every:
    """When a checkpoint is due: after a number of steps, or of seconds."""

    steps: int | None = None
    seconds: float | None = SECONDS

    @staticmethod
    def of(given: int | str | None) -> Every:
        """`100` steps, or `"30s"`, `"5min"`, `"1h"`. Raises DataError."""
        if given is None:
            return Every()
        text = str(given)
        if text.isdigit() and int(text):
            return Every(int(text), None)
        seconds = seconds_of(text)
        if seconds is not None:
            return Every(None, seconds)
        raise DataError(
            f"a checkpoint every `{given}`: that is no number of steps, and no time", "100, 30s, 5min or 1h"
        )


@dataclass(slots=True)
class Keeper:
    """Keeps one run in its folder. `before` are the records of the steps that were done in earlier calls.

    A disk that is full stops nothing: what could not be written is tried again, and `trouble` says so.
    """

    folder: Path
    fitting: Fitting
    identity: Mapping[str, Any]
    every: Every
    keep: int
    say: Callable[[str], None]
    before: list[Record] = field(default_factory=list)
    trouble: str = ""
    _lines: list[str] = field(default_factory=list)
    _safe: int = 0
    _noted: float = 0.0
    _kept: float = field(default_factory=time.monotonic)
    _at: int = -1

    @staticmethod
    def of(
        path: str | Path,
        fitting: Fitting,
        *,
        every: Every,
        keep: int = KEPT,
        force: bool = False,
        extra: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> Keeper:
        """Begin a run in a folder, or go on with the one that is there. Raises DataError where that is
        another run, and `force` does not replace it."""
        folder = runs.place_of_run(str(path))
        if fitting.peers.told(force or not runs.is_run(folder)):
            fitting.check()  # a run that goes on has seen its data
        keeper = Keeper(folder, fitting, identity_of(fitting, extra), every, keep, say)
        keeper._open(force)
        return keeper

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        steps = self.fitting.steps
        return steps is not None and self.fitting.run.done >= steps

    # --- the beginning ---

    @property
    def _writers(self) -> Peers:
        """The processes that write together: where each has a piece of what is written, all of them."""
        return ALONE if self.fitting.shards is None else self.fitting.peers

    def _open(self, force: bool) -> None:
        """The first process looks at the disk, and tells the others what it found."""
        peers, found, mistake = self.fitting.peers, None, None
        alone = self._writers.count == 1
        if peers.first:
            try:
                if runs.is_run(self.folder) and not force:
                    found = self._found()
                elif alone:
                    self._begin()
            except DataError as error:
                mistake = error
        mistake, found = peers.told(mistake), peers.told(found)
        if mistake is not None:
            raise mistake
        if found is not None:
            self._continue(found)
        elif not alone:
            self._begin()

    def _begin(self) -> None:
        """The folder of the run with its first checkpoint, by all processes that write."""
        peers, made, mistake = self._writers, None, None
        with ExitStack() as stack:
            if peers.first:
                try:
                    made = stack.enter_context(runs.new_run(self.folder))
                    self._describe(made)
                except DataError as error:
                    mistake = error
            mistake, made = peers.told(mistake), peers.told(made)
            if made is None:
                raise mistake or DataError(f"{self.folder} could not be made", "another name")
            write_checkpoint(made / runs.CHECKPOINTS, checkpoint_of(self.fitting, self.identity), peers)
        self._at = 0

    def _describe(self, made: Path) -> None:
        text = self.fitting.model.checked.source.text
        facts = {"ended": runs.RUNNING, **{k: v for k, v in self.identity.items() if k != "text"}}
        runs.write_texts(made, {runs.MODEL: text, runs.FACTS: _json(facts), runs.HISTORY: ""})
        (made / runs.CHECKPOINTS).mkdir()

    def _found(self) -> Checkpoint:
        """The checkpoint to go on from. Raises DataError where it is of another run, or there is none."""
        found = newest_checkpoint(self.folder / runs.CHECKPOINTS, self.say)
        taken = f"{self.folder} exists already and is not overwritten"
        if found is None:
            raise DataError(f"{taken}: it has no checkpoint to go on from", "another name, or --force")
        wrong = differences(found.facts["identity"], self.identity)
        if wrong:
            shown = "\n  ".join(wrong)
            raise DataError(f"{taken}: the run in it is another one\n  {shown}", "another name, or --force")
        forget_newer(self.folder / runs.CHECKPOINTS, found.step)
        return found

    def _continue(self, found: Checkpoint) -> None:
        peers = self.fitting.peers
        self.before = peers.told(self._history(found.step) if peers.first else None) or []
        self.fitting.judged(self.before)
        restore(self.fitting, found)
        self._at = found.step
        if self.finished:
            self.say(f"{self.folder}: finished already, after step {found.step:,}")
        elif found.step:
            self.say(f"{self.folder}: going on after step {found.step:,}")

    def _history(self, step: int) -> list[Record]:
        """The records up to a step; what was written after it is cut off."""
        path = self.folder / runs.HISTORY
        found: list[Record] = []
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            try:
                record = Record.of_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                break
            if record.step > step or not line.endswith(b"\n"):
                break
            found.append(record)
            self._safe += len(line)
        if len(found) < step:
            self.say(f"{path} holds {len(found):,} of {step:,} steps; the run goes on without the others")
        return found

    # --- the run ---

    def records(self) -> Iterator[Record | Stopped]:
        """Those of the fitting, each written down, with checkpoints when they are due."""
        for item in self.fitting.records():
            if isinstance(item, Record):
                if self.fitting.peers.first:
                    self._lines.append(f"{json.dumps(item.to_json())}\n")
                    if time.monotonic() - self._noted > _QUIET:
                        self._tried(self._write_history)
                if self._agreed(self._due()):
                    self.checkpoint()
            yield item
        self.checkpoint()

    def _agreed(self, own: bool) -> bool:
        """What the first process decides: for all of them, where each has a piece of what is written."""
        return bool(self._writers.told(own)) and (self._writers.count > 1 or self.fitting.peers.first)

    def _due(self) -> bool:
        if self.every.steps is not None:
            return self.fitting.run.done % self.every.steps == 0
        return time.monotonic() - self._kept >= (self.every.seconds or SECONDS)

    def checkpoint(self) -> None:
        """Keep what there is now, where that is the state after a whole step."""
        run = self.fitting.run
        if self._agreed(run.between and run.done != self._at) and self._tried(self._write_checkpoint):
            self._at = run.done
        self._kept = time.monotonic()

    def _write_checkpoint(self) -> None:
        peers, folder = self._writers, self.folder / runs.CHECKPOINTS
        if peers.first:
            self._write_history()
        write_checkpoint(folder, checkpoint_of(self.fitting, self.identity), peers)
        if peers.first:
            forget_older(folder, self.keep)

    def _write_history(self) -> None:
        """Add the records that are new. What an earlier try left behind its last whole line is cut off."""
        content = "".join(self._lines).encode()
        path = self.folder / runs.HISTORY
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(self._safe)
            file.seek(self._safe)
            file.write(content)
            sync(file)
        self._safe += len(content)
        self._lines, self._noted = [], time.monotonic()

    def _tried(self, write: Callable[[], None]) -> bool:
        """Whether it could be written; if not, it is told once, and tried again later."""
        try:
            write()
        except OSError as error:
            why = error.strerror or str(error)
            if not self.trouble:
                self.say(
                    f"{self.folder}: nothing can be written ({why}); the run goes on, and it is tried again"
                )
            self.trouble = why
            return False
        self.trouble = ""
        return True

    # --- the end ---

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the parameters and what there is to say. Raises DataError where the disk refuses: the last
        checkpoint is there."""
        if not self.fitting.peers.first:
            return
        tensors = {n: v.detach().cpu().contiguous() for n, v in self.fitting.tensors.items()}
        try:
            self._write_history()
            replace_safely(self.folder / runs.PARAMETERS, save_tensors(tensors))
            replace_safely(self.folder / runs.FACTS, _json(facts).encode())
        except OSError as error:
            why = error.strerror or str(error)
            raise DataError(
                f"the end of {self.folder} was not written: {why}",
                f"free some space and give the same command again: it goes on after step {self._at:,}",
            ) from error


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2) + "\n"
