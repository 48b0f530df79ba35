"""Times as people write them: `5ms`, `30s`, `5min`, `1h`."""

from __future__ import annotations

import math
import re

from ebmlang.errors import DataError

UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
"""Unit -> seconds."""

_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h)")


def seconds_of(text: str) -> float | None:
    """The seconds of a positive time such as `5ms`; None where the text is no such time."""
    found = _TIME.fullmatch(text.strip())
    return float(found[1]) * UNITS[found[2]] or None if found is not None else None


def budget(within: float | str | None) -> float | None:
    """A time that somebody may spend, in seconds: a number of them, or a text. Raises DataError."""
    if within is None:
        return None
    seconds = seconds_of(within) if isinstance(within, str) else float(within)
    if seconds is None or not (seconds > 0 and math.isfinite(seconds)):
        raise DataError(f"within `{within}` is no time", "0.005, 5ms or 2s")
    return seconds
