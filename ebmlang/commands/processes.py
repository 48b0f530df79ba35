"""Several processes of one command: those that `--devices` starts, and those that `torchrun` does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ebmlang.runtime.training.peers import Peers

_LOOKED_AT = 0.05
"""Seconds between two looks at processes that run."""

_MEETING = "EBMLANG_MEETING"
"""The variable with the file in which processes of one machine find each other. A port that is free now may
be taken a moment later; a file of one's own is not."""

_FAREWELL = timedelta(minutes=2)
"""How long a process that is done waits for the others."""

_LAST_WORDS = 4
"""Lines that are shown of what a process said that failed."""


def among_others() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@dataclass(frozen=True, slots=True)
class _Started:
    """Process `rank` of several; the first one speaks for all, what others say on stderr goes to `said`."""

    rank: int
    process: subprocess.Popen[bytes]
    said: Path

    def how_it_ended(self, count: int) -> str:
        """In words, with the last lines that it said."""
        code = self.process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        lines = self.said.read_text(errors="replace").strip().splitlines()[-_LAST_WORDS:]
        return "\n  ".join([f"note: process {self.rank + 1} of {count} ended {how}", *lines])


def leave(code: int) -> NoReturn:
    """End this process, one of several, at once. Threads of the messages that are still at work while Python
    cleans up end it by SIGABRT, now and then."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def spawned(command: Sequence[str], count: int) -> int:
    """Run a command in `count` processes on this machine; the exit code of the first that fails, or 0.

    Only the first process speaks. When one ends badly, so do the others, and which it was is said on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="ebmlang.") as folder:
        running = [_start(command, rank, count, Path(folder)) for rank in range(count)]
        try:
            return _code_of(running)
        except KeyboardInterrupt:
            # The terminal tells every process; each ends as it would alone.
            for one in running:
                one.process.wait()
            return running[0].process.returncode
        finally:
            for one in running:
                if one.process.poll() is None:
                    one.process.terminate()
                one.process.wait()


def _start(command: Sequence[str], rank: int, count: int, folder: Path) -> _Started:
    where = {_MEETING: str(folder / "meeting"), "WORLD_SIZE": str(count)}
    env = {**os.environ, **where, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    said = folder / f"said.{rank}"
    with said.open("wb") as quiet:
        silent = rank > 0
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL if silent else None, stderr=quiet if silent else None
        )
    return _Started(rank, process, said)


def _code_of(running: Sequence[_Started]) -> int:
    first = running[0].process
    while True:
        codes = [one.process.poll() for one in running]
        if first.poll() is None and any(codes):
            # What went wrong may be on its way to the first one, which says it.
            time.sleep(1.0)
        failed = [code for code in (first.poll(), *codes) if code]
        if failed:
            if not first.poll():
                faulty = next(one for one in running if one.process.poll())
                print(faulty.how_it_ended(len(running)), file=sys.stderr)
            return failed[0]
        if all(code == 0 for code in codes):
            return 0
        time.sleep(_LOOKED_AT)


@contextmanager
def joined(device: str | None) -> Iterator[Peers]:
    """The group that this process was started in, or itself alone.

    All of its processes leave together: what one still sends to another that is gone would be an error.
    """
    from torch import distributed

    from ebmlang.runtime.training.peers import ALONE, peers_here

    if not among_others():
        yield ALONE
        return
    backend = "gloo"
    if (device or "").startswith("cuda"):
        import torch

        backend = "nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    meeting = os.environ.get(_MEETING)
    if meeting is None:
        distributed.init_process_group(backend)
    else:
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group(backend, f"file://{meeting}", rank=rank, world_size=count)
    try:
        yield peers_here()
        with suppress(RuntimeError):  # another one failed, and whoever started it says so
            farewell = distributed.barrier(async_op=True)
            farewell.wait(_FAREWELL)
    finally:
        distributed.destroy_process_group()
