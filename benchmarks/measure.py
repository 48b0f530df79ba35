"""Timing of two ways to do the same thing, in turns, so that both see the same weather."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, ours, the other side, and whether the bar is met.

    `met` is None where there is no bar.
    """

    what: str
    ours: str
    theirs: str
    ratio: str
    bar: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Median seconds of both sides, and the median over rounds of ours / theirs."""

    ours: float
    theirs: float
    ratio: float


def pin() -> None:
    """This process on one processor core."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def in_turns(ours: Callable[[], object], theirs: Callable[[], object], seconds: float = 2.0) -> Pair:
    """Time both sides in alternating rounds of equal length, for about `seconds` in all."""
    for _ in range(5):
        ours()
        theirs()
    once = min(_clock(ours, 3), _clock(theirs, 3))
    repeats = max(1, int(0.004 / once))
    rounds = max(9, min(400, int(seconds / (2 * repeats * once))))
    times: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            # Who goes first changes, because the second one finds warm caches.
            if number % 2:
                second = _clock(theirs, repeats)
                times.append((_clock(ours, repeats), second))
            else:
                first = _clock(ours, repeats)
                times.append((first, _clock(theirs, repeats)))
    finally:
        gc.enable()
    ratios = [a / b for a, b in times]
    return Pair(median(a for a, _ in times), median(b for _, b in times), median(ratios))


def processor_in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], seconds: float = 3.0
) -> Pair:
    """The same in processor time of the process, for sides of which each call may take seconds."""
    once = _processor(ours, 1), _processor(theirs, 1)
    repeats = [max(1, int(0.01 / max(o, 1e-6))) for o in once]
    rounds = max(3, min(51, int(seconds / sum(o * r for o, r in zip(once, repeats, strict=True)))))
    gc.collect()
    times = [(_processor(ours, repeats[0]), _processor(theirs, repeats[1])) for _ in range(rounds)]
    ratios = [a / b for a, b in times]
    return Pair(median(a for a, _ in times), median(b for _, b in times), median(ratios))


def _processor(function: Callable[[], object], repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - begin) / repeats


def _clock(function: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats


def processor_seconds(arguments: list[str]) -> float:
    """User and system time of a Python process from start to end. Raises RuntimeError when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_python(arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def run_python(arguments: list[str]) -> str:
    """What a Python process prints. Raises RuntimeError with its errors when it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # A user's second run finds byte code.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def shown(seconds: float) -> str:
    """Seconds with a fitting unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
