"""What the names of a part are called outside of it."""

from __future__ import annotations


def inner_name(part: str, name: str) -> str:
    """The variable, let or term `name` of a part, as the model around it sees it."""
    return f"{part}.{name}"


def cell_name(part: str, name: str) -> str:
    """What a plate calls the value of a part's name at its own indices, `p[l].name`."""
    return f"{part}[].{name}"
