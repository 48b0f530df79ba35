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

    before = [(number, signal.signal(number, wait)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if late:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
