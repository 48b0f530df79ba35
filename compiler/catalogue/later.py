"""Constructs that are understood and not built yet: E09xx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic


@dataclass(frozen=True, eq=False, repr=False)
class NotBuilt(Diagnostic):
    """The construct is part of the language, and this version cannot run it yet.

    It is parsed and refused, so that nothing is silently ignored.
    """

    code: ClassVar[str] = "E0901"
    what: str = ""
    advice: str = ""

    def message(self) -> str:
        return f"{self.what} is not built yet"

    def label(self) -> str:
        return "part of the language, not of this version"

    def hint(self) -> str:
        return self.advice
