"""Lines of generated functions: what is not read is left out, what is long is broken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 100
INDENT = "    "

_WORD = re.compile(r"\w+")
_LEAD = re.compile(r'"[^"\\]*": |[-+*/@] ')
"""What stays outside of brackets around the rest: the key of an entry of a table, the operator before an
operand."""


@dataclass(frozen=True, slots=True)
class Line:
    """A statement, without its indentation: `targets = value`, or `return value` without targets.

    With a `place`, the value times the number `scale` is added there (or subtracted), in place: `+=` on a
    subscript would copy what stands there onto itself.
    """

    targets: tuple[str, ...]
    value: str
    remark: str = ""
    place: str = ""
    subtracts: bool = False
    scale: str = ""

    @property
    def text(self) -> str:
        """What stands behind the head."""
        if not self.place:
            return self.value
        scale = f", alpha={self.scale}" if self.scale else ""
        return f"{self.targets[0]}[{self.place}].{'sub' if self.subtracts else 'add'}_({self.value}{scale})"

    @property
    def head(self) -> str:
        if not self.targets:
            return "return "
        if self.place:
            return ""
        return f"{', '.join(self.targets)}{',' if len(self.targets) == 1 and self.unpacks else ''} = "

    def words(self) -> set[str]:
        """Every name that it may read."""
        return words(self.value) | words(self.place) | words(self.scale)

    @property
    def unpacks(self) -> bool:
        return self.value.endswith("as_tuple=True)")


@dataclass(frozen=True, slots=True)
class Loop:
    """A `for` with lines inside, which set the entries of the tables `targets`."""

    targets: tuple[str, ...]
    head: str
    lines: tuple[Statement, ...]

    def words(self) -> set[str]:
        """Every name that it may read."""
        inside = (words(line.head) | line.words() for line in self.lines)
        return words(self.head).union(*inside)


Statement = Line | Loop


def words(text: str) -> set[str]:
    """Everything in a text that may be a name."""
    return set(_WORD.findall(text))


def pruned(lines: Sequence[Statement]) -> list[Statement]:
    """The lines that the results are computed from."""
    kept: list[Statement] = []
    wanted: set[str] = set()
    for line in reversed(lines):
        if not line.targets or any(t in wanted for t in line.targets):
            kept.append(line)
            wanted |= line.words()
    return kept[::-1]


def layout(line: Statement, depth: int) -> str:
    """The text of a line at a depth of indentation, broken where it is too long."""
    if isinstance(line, Loop):
        inside = "\n".join(layout(inner, depth + 1) for inner in line.lines)
        return f"{INDENT * depth}{line.head}\n{inside}"
    room = WIDTH - len(INDENT) * depth
    remark = f"  # {line.remark}" if line.remark else ""
    whole = f"{line.head}{line.text}"
    parts = [whole] if len(whole) <= room else _broken(line.head, line.text, room, "")
    parts[-1] += remark
    return "\n".join(f"{INDENT * depth}{part}" for part in parts)


def _broken(head: str, value: str, room: int, tail: str) -> list[str]:
    """Lines for `head value tail`, broken at the outermost place."""
    if len(head) + len(value) + len(tail) <= room:
        return [f"{head}{value}{tail}"]
    lead = _LEAD.match(value)
    if lead is not None:
        head, value = head + lead.group(), value[lead.end() :]
    cuts = _operators(value)
    if cuts:
        pieces = [value[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(value)], strict=True)]
        return [f"{head}(", *_each(pieces, room, ""), f"){tail}"]
    group = _longest_group(value)
    if group is None:
        return [f"{head}{value}{tail}"]
    opening, closing = group
    inside = value[opening + 1 : closing]
    called = value[opening] != "(" or (
        opening > 0 and (value[opening - 1].isalnum() or value[opening - 1] in "_)]")
    )
    items = _commas(inside)
    # A comma after a single value in parentheses would make a tuple of it.
    listed = called or len(items) > 1
    cuts = _operators(inside)
    pieces = [inside[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(inside)], strict=True)]
    inner = _each(items, room, ",") if listed else _each(pieces, room, "")
    return [f"{head}{value[: opening + 1]}", *inner, f"{value[closing:]}{tail}"]


def _each(pieces: list[str], room: int, tail: str) -> list[str]:
    inner = room - len(INDENT)
    return [f"{INDENT}{part}" for piece in pieces for part in _broken("", piece, inner, tail)]


def _scan(text: str) -> list[tuple[int, str, int]]:
    """`(position, character, depth of brackets before it)` outside of strings."""
    found: list[tuple[int, str, int]] = []
    depth, quote, escaped = 0, "", False
    for at, c in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == quote:
                quote = ""
            continue
        if c in "\"'":
            quote = c
            continue
        if c in ")]}":
            depth -= 1
        found.append((at, c, depth))
        if c in "([{":
            depth += 1
    return found


def _operators(text: str) -> list[int]:
    """Where operators of the loosest binding stand outside of brackets; empty without any."""
    scanned = [(at, c) for at, c, depth in _scan(text) if depth == 0]
    for loose in ("+-", "*/@"):
        cuts = [
            at
            for at, c in scanned
            if c in loose and at > 0 and text[at - 1] == " " and text[at + 1 : at + 2] == " "
        ]
        if cuts:
            return cuts
    return []


def _commas(text: str) -> list[str]:
    cuts = [at for at, c, depth in _scan(text) if c == "," and depth == 0]
    pieces = [text[a:b].strip() for a, b in zip([0, *(c + 1 for c in cuts)], [*cuts, len(text)], strict=True)]
    return [p for p in pieces if p]


def _longest_group(text: str) -> tuple[int, int] | None:
    """The brackets with the most between them that are no subscript; None when there is little."""
    best: tuple[int, int] | None = None
    opening = 0
    for at, c, depth in _scan(text):
        if depth == 0 and c in "([{":
            opening = at
        elif depth == 0 and c in ")]}":
            subscript = c == "]" and opening > 0
            if not subscript and at - opening > 20 and (best is None or at - opening > best[1] - best[0]):
                best = opening, at
    return best
