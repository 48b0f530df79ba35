"""The small algebra that syntax is printed in: words, places where a line may break, and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal


@dataclass(frozen=True, slots=True, eq=False)
class Break:
    """A place where the language lets a line end.

    `all` breaks with its group; `soft` only where the next piece does not fit; `never` only for
    a comment that stands there. `prefer` breaks a soft one also when the next piece fits nowhere.
    `dedent` returns to the indentation of the line that opened the group.
    """

    flat: str
    kind: Literal["all", "soft", "never"]
    prefer: bool = False
    dedent: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Begins a group, which stands on one line, or its breaks decide.

    Its lines are indented more than the one it begins in; a group with `hang` that begins a line
    keeps the indentation of that line.
    """

    hang: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    name: str


CLOSE: Final = Mark("close")
TAB: Final = Mark("tab")
"""Where the lines of a run are aligned."""

GROUP: Final = Open()
CHAIN: Final = Open(hang=True)
SPACE: Final = Break(" ", "all")
CUT: Final = Break("", "all")
SPACE_SOFT: Final = Break(" ", "soft")
SPACE_PREFERRED: Final = Break(" ", "soft", prefer=True)
SPACE_BACK: Final = Break(" ", "all", dedent=True)
CUT_BACK: Final = Break("", "all", dedent=True)
GLUE: Final = Break("", "never")
GLUE_SPACE: Final = Break(" ", "never")

Part = str | int | Break | Open | Mark | Any
"""An int is an offset into the source: comments before it are placed before what follows.
Anything not named here is a node of the syntax tree."""

Parts = list[Part]


def listed(items: Sequence[Part], between: Break) -> Parts:
    """Items with commas between them."""
    parts: Parts = [CHAIN]
    for at, item in enumerate(items):
        parts += (",", between, item) if at else (item,)
    return [*parts, CLOSE]


def bracket(opener: str, items: Sequence[Part], closer: str, between: Break = SPACE) -> Parts:
    """Items in brackets; broken, the brackets stand on lines of their own."""
    return [GROUP, opener, CUT, *listed(items, between), CUT_BACK, closer, CLOSE]
