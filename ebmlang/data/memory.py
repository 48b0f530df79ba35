"""Amounts of memory: how much there is, and how people write it."""

import os
import re

from ebmlang.errors import DataError

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def parse_memory(text: str) -> int:
    """Bytes in `2GiB`, `500 MB` or `1048576`. Raises DataError for anything else, zero included."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    scale = _UNITS.get(found[2].lower()) if found else None
    amount = int(float(found[1]) * scale) if found and scale else 0
    if amount <= 0:
        raise DataError(f"`{text}` is not an amount of memory", "a number with a unit, such as 2GiB or 500MB")
    return amount


def describe_memory(count: int) -> str:
    """Bytes for people: `1.5 GiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(count: int, what: str, hint: str) -> None:
    """Raises DataError when `count` bytes cannot be held by this machine."""
    there = physical_memory()
    if there is not None and count > there:
        raise DataError(
            f"{what} takes {describe_memory(count)}, but this machine has {describe_memory(there)} of memory",
            hint,
        )
