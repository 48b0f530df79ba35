"""Several processes of one command: those that `--devices` starts, and those that `torchrun` does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebmlang.runtime.training.peers import Peers

_LOOKED_AT = 0.05
"""Seconds between two looks at processes that run."""


def among_others() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def spawned(words: Sequence[str], count: int) -> int:
    """Run a command in `count` processes on this machine; the exit code of the first that fails, or 0.

    Only the first process speaks. When one ends badly, so do the others.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "ebmlang", *words],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=None if rank == 0 else subprocess.DEVNULL,
        )
        for rank in range(count)
    ]
    try:
        return _code_of(running)
    except KeyboardInterrupt:
        # The terminal tells every process; each ends as it would alone.
        for process in running:
            process.wait()
        return running[0].returncode
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
            process.wait()


def _code_of(running: Sequence[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in running]
        if running[0].poll() is None and any(codes):
            # What went wrong may be on its way to the first one, which says it.
            time.sleep(1.0)
        failed = [code for code in (running[0].poll(), *codes) if code]
        if failed:
            return failed[0]
        if all(code == 0 for code in codes):
            return 0
        time.sleep(_LOOKED_AT)


@contextmanager
def joined(device: str | None) -> Iterator[Peers]:
    """The group that this process was started in, or itself alone."""
    from torch import distributed

    from ebmlang.runtime.training.peers import ALONE, peers_here

    if not among_others():
        yield ALONE
        return
    distributed.init_process_group("nccl" if (device or "").startswith("cuda") else "gloo")
    try:
        yield peers_here()
    finally:
        distributed.destroy_process_group()
