"""Mistakes in recurrences, `let s[t+1] = ...`: E053x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label


@dataclass(frozen=True, eq=False, repr=False)
class StartMissing(Diagnostic):
    """A recurrence needs a value for every cell that its plate does not define.

    `let s[t+2] = ...` for t in 0..T defines s[2] and all that follow: s[0] and s[1] are defined
    above the plate, one by one.
    """

    code: ClassVar[str] = "E0531"
    cell: str = ""
    defined: str = ""

    def message(self) -> str:
        return f"`{self.cell}` has no value: the plate defines `{self.defined}`"

    def hint(self) -> str:
        return f"define it above the plate: let {self.cell} = ..."


@dataclass(frozen=True, eq=False, repr=False)
class CellTwice(Diagnostic):
    """Each cell of an array is defined once."""

    code: ClassVar[str] = "E0532"
    cell: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.cell}` is defined more than once"

    def hint(self) -> str:
        return self.advice or "remove one of the definitions"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class CellIndex(Diagnostic):
    """A plate defines cells at its own indices, one of them plus a fixed number: `let s[t+1]`."""

    code: ClassVar[str] = "E0533"
    found: str = ""
    advice: str = ""

    def message(self) -> str:
        return f"`{self.found}` is not an index of the plate plus a fixed number"

    def expected(self) -> str:
        return "an index such as t, t + 1 or t - 1"

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class ReadsAhead(Diagnostic):
    """A cell of a recurrence is computed from cells that are there before it.

    These are the cells of earlier steps, and those that the same step has defined above.
    """

    code: ClassVar[str] = "E0534"
    cell: str = ""
    read: str = ""
    why: str = ""

    def message(self) -> str:
        return f"`{self.cell}` is computed from `{self.read}`, {self.why}"

    def expected(self) -> str:
        return "cells of earlier steps, at an index of the plate plus a fixed number"


@dataclass(frozen=True, eq=False, repr=False)
class CellsDiffer(Diagnostic):
    """All cells of an array have one type."""

    code: ClassVar[str] = "E0535"
    name: str = ""
    found: str = ""
    wanted: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"this cell of `{self.name}` is {self.found}, another one {self.wanted}"

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return f"cells of one type, or declare it: let {self.name} : real[...]"

    def related(self) -> Sequence[Label]:
        return self.places
