"""How much memory there is, and how many rows of a question fit into it."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_FALLBACK = 4 * 2**30
_SHARE = 0.5
"""Of the memory that is free; the rest is left to the allocator, the data and other programs."""

_LARGEST_LEARNT = 2**25 - 2**12
"""Just below what glibc takes for the size of a block that comes once."""


def available_memory() -> int:
    """Bytes of main memory that a question may take: half of what was free when the second began."""
    return _available(int(time.monotonic()))


@lru_cache(maxsize=1)
def _available(second: int) -> int:
    """Read once in every second: small questions take less time than the reading."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(int(line.split()[1]) * 1024 * _SHARE)
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return int(pages * size * _SHARE)
    except (OSError, ValueError, AttributeError):
        return _FALLBACK


def device_memory(device: torch.device) -> int:
    """The same for the device that values live on."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * _SHARE)
    return available_memory()


@lru_cache(maxsize=1)
def keep_freed() -> None:
    """Let the C library keep memory that is freed, some 64 MiB of it, for the next tensors.

    glibc gives blocks back to the system above a size that it learns from the largest block it has seen freed
    (mallopt(3), M_MMAP_THRESHOLD). Until then the pages of every temporary tensor of a megabyte are asked for
    anew, which takes as long as to fill them. Other libraries are not impressed.
    """
    torch.empty(_LARGEST_LEARNT, dtype=torch.uint8)


def rows_that_fit(bytes_per_row: int, limit: int) -> int:
    """At least one row, whatever the limit: a single row cannot be taken in parts."""
    return max(1, limit // max(bytes_per_row, 1))


class AllocatedBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make inside a `with` block; views are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {
            x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in inputs:
                self.total += x.nbytes
        return result
