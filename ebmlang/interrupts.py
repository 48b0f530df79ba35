"""Ctrl-C and requests to end: heard everywhere, except where half a step would leave a mess."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def termination() -> Iterator[None]:
    """A request to end is treated as Ctrl-C, so that temporary files are cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and requests to end wait until the block is done, and then raise KeyboardInterrupt.

    For short blocks whose halves do not make sense, such as adding one chunk to several arrays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        late.append(number)

    # A job in the background ignores Ctrl-C, and a handler that is not Python's cannot be put back.
    fixed = (signal.SIG_IGN, None)
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in fixed]
    before = [(number, signal.signal(number, wait)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if late:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
