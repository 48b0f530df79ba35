"""What a mistake is, how mistakes are collected, and how they are shown.

A mistake is a frozen dataclass of the catalogue: its fields are the facts, its methods the
words, and its docstring what `ebmlang explain CODE` prints.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from ebmlang.compiler.source import Source, Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that explains a mistake. `source` is None for the file of the mistake."""

    span: Span
    text: str
    source: Source | None = None


@dataclass(frozen=True)
class Diagnostic(ABC):
    """One mistake at one place. Subclasses live in the catalogue, one per code."""

    span: Span

    code: ClassVar[str]
    severity: ClassVar[Severity] = "error"

    @abstractmethod
    def message(self) -> str:
        """What is wrong, in one sentence without a full stop."""

    def label(self) -> str:
        """What stands at the carets: usually what was found."""
        return ""

    def expected(self) -> str:
        """What would have been right."""
        return ""

    def hint(self) -> str:
        """One thing to try."""
        return ""

    def related(self) -> Sequence[Label]:
        """Other places that explain the mistake, such as the declaration of a size."""
        return ()

    @classmethod
    def explanation(cls) -> str:
        """The text of `ebmlang explain CODE`."""
        return inspect.cleandoc(cls.__doc__ or "")


@dataclass(frozen=True)
class Located:
    """A diagnostic together with the source that its spans point into."""

    source: Source
    diagnostic: Diagnostic

    def header(self) -> str:
        line, column = self.source.position(self.diagnostic.span.start)
        d = self.diagnostic
        return f"{self.source.name}:{line}:{column}: {d.severity}[{d.code}]: {d.message()}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object; lines and columns count from 1, `end` is exclusive."""
        d = self.diagnostic
        return {
            "file": self.source.name,
            "code": d.code,
            "severity": d.severity,
            "message": d.message(),
            "range": _range(self.source, d.span),
            "found": d.label(),
            "expected": d.expected(),
            "hint": d.hint(),
            "related": [
                {
                    "file": (label.source or self.source).name,
                    "range": _range(label.source or self.source, label.span),
                    "message": label.text,
                }
                for label in d.related()
            ],
        }


def _range(source: Source, span: Span) -> dict[str, dict[str, int]]:
    (line, column), (end_line, end_column) = source.position(span.start), source.position(span.end)
    return {
        "start": {"line": line, "column": column},
        "end": {"line": end_line, "column": end_column},
    }


class Report:
    """Collects the diagnostics of one run; passes add to it and return."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._seen: set[tuple[str, Span]] = set()
        self._found: list[Located] = []

    def add(self, diagnostic: Diagnostic) -> None:
        """Record a mistake; a second one with the same code at the same place is dropped."""
        key = (diagnostic.code, diagnostic.span)
        if key not in self._seen:
            self._seen.add(key)
            self._found.append(Located(self.source, diagnostic))

    @property
    def diagnostics(self) -> tuple[Located, ...]:
        """All of them in the order of the text."""
        return tuple(sorted(self._found, key=lambda x: (x.diagnostic.span.start, x.diagnostic.code)))

    @property
    def errors(self) -> tuple[Located, ...]:
        return tuple(x for x in self.diagnostics if x.diagnostic.severity == "error")

    @property
    def failed(self) -> bool:
        return any(x.diagnostic.severity == "error" for x in self._found)


# --- rendering ----------------------------------------------------------------------------------

_RED, _YELLOW, _BLUE, _BOLD, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"
_WIDEST_LINE = 160
"""Longer source lines are cut around the carets, so that one-line files stay readable."""


def render(found: Located, color: bool = False) -> str:
    """The diagnostic as text: a header, the line with carets, related places, what to try."""
    d = found.diagnostic
    tone = _RED if d.severity == "error" else _YELLOW
    header = found.header()
    if color:
        header = f"{_BOLD}{header}{_RESET}"
    parts = [header, _snippet(found.source, d.span, d.label(), "^", tone if color else "")]
    for label in d.related():
        source = label.source or found.source
        line, column = source.position(label.span.start)
        parts.append(f"  {source.name}:{line}:{column}: {label.text}")
        parts.append(_snippet(source, label.span, "", "-", _BLUE if color else ""))
    if d.expected():
        parts.append(f"  expected: {d.expected()}")
    if d.hint():
        parts.append(f"  try: {d.hint()}")
    return "\n".join(parts)


def render_all(found: Iterable[Located], color: bool = False) -> str:
    return "\n\n".join(render(x, color) for x in found)


def _snippet(source: Source, span: Span, text: str, mark: str, tone: str) -> str:
    line, column = source.position(span.start)
    shown = source.line(line).replace("\t", " ")
    width = max(1, min(span.end - span.start, len(shown) - column + 1))
    if len(shown) > _WIDEST_LINE:
        cut = max(0, column - 1 - _WIDEST_LINE // 3)
        shown = ("..." if cut else "") + shown[cut : cut + _WIDEST_LINE] + "..."
        column -= cut - (3 if cut else 0)
        width = min(width, _WIDEST_LINE)
    gutter = f"{line:>4} | "
    carets = " " * (len(gutter) - 2) + "| " + " " * (column - 1)
    marks = mark * width + (f" {text}" if text else "")
    return f"{gutter}{shown}\n{carets}{tone}{marks}{_RESET if tone else ''}"


# --- helpers for wording ------------------------------------------------------------------------


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the closest known word, or an empty string. Words that differ only in case are closest."""
    words = sorted(set(known))
    matches = [w for w in words if w != word and w.casefold() == word.casefold()]
    matches = matches or get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean `{matches[0]}`?" if matches else ""


def listing(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"
