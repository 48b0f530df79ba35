"""How many of torch's threads an answer takes: one where the numbers are few, all of them elsewhere.

Threads share out every single operation and wait for each other at its end. With few numbers that costs more
than it saves, and much more where another program wants the same cores: on a busy machine of two cores, two
threads took 8 times as long as one for ridge regression of 2,000 x 100 numbers, and 4 times for 20,000 x 100
(15 MiB in float64). Only what needs more than that is shared out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SHARED_FROM = 2**24
"""Bytes that a question goes through in each step, from which on its operations are shared out."""

CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment that say how many threads there shall be."""

_AT_FIRST = torch.get_num_threads()


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Within it, torch works with one thread where `size` bytes are few; afterwards as before.

    A number that was set, by the environment or by `torch.set_num_threads` since ebmlang was imported, stays.
    """
    count = torch.get_num_threads()
    chosen = count == 1 or count != _AT_FIRST
    if chosen or size >= SHARED_FROM or any(name in os.environ for name in CHOSEN_BY):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
