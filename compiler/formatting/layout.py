"""Parts to lines: on one line where that fits, else broken from the outside in.

All loops keep their own stacks, so the depth of an expression is not bounded by Python's, and
every step is linear in the number of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ebmlang.compiler import ast
from ebmlang.compiler.formatting.parts import CLOSE, TAB, Break, Mark, Open, Parts
from ebmlang.compiler.formatting.statements import parts_of

WIDTH = 100
CONTINUATION = 4
"""Columns that a continued line is indented by; blocks take two, so that the two look different."""


class Comments:
    """The comments of a module in order, with a place up to which they are printed."""

    def __init__(self, comments: Sequence[ast.Comment]) -> None:
        self._comments = comments
        self._at = 0
        self.next = comments[0].span.start if comments else -1

    def before(self, offset: int) -> list[ast.Comment]:
        """Takes the comments that begin before an offset."""
        taken: list[ast.Comment] = []
        while 0 <= self.next < offset:
            taken.append(self._comments[self._at])
            self._at += 1
            rest = self._at < len(self._comments)
            self.next = self._comments[self._at].span.start if rest else -1
        return taken


@dataclass(slots=True)
class Stream:
    """Words, breaks and groups of one statement, with the comments inside it by their break."""

    items: list[str | Break | Open | Mark] = field(default_factory=list)
    notes: dict[int, list[ast.Comment]] = field(default_factory=dict)
    after: list[ast.Comment] = field(default_factory=list)
    """Comments inside a statement that prints without a break, such as one in empty parentheses."""


def stream(parts: Parts, comments: Comments, end: int) -> Stream:
    """Expands nodes until only words are left; `end` is where the statement ends in the source."""
    result = Stream()
    items = result.items
    todo = parts[::-1]
    last_break = -1
    last = " "
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            if part[0] == last and last in "|.":
                items.append(" ")  # bars or dots that touch would be read as other tokens
            items.append(part)
            last = part[-1]
        elif isinstance(part, Break):
            last_break = len(items)
            items.append(part)
            if result.after:  # comments before the first break wait for it
                result.notes[last_break], result.after = result.after, []
        elif isinstance(part, Open | Mark):
            items.append(part)
        else:
            offset = part if isinstance(part, int) else part.span.start
            if 0 <= comments.next < offset:
                _note(result, last_break, comments.before(offset))
            if not isinstance(part, int):
                todo += reversed(parts_of(part))
    _note(result, last_break, comments.before(end))
    return result


def _note(result: Stream, at: int, comments: list[ast.Comment]) -> None:
    if at >= 0 and comments:
        result.notes.setdefault(at, []).extend(comments)
    else:
        result.after.extend(comments)


def flat(items: Sequence[str | Break | Open | Mark]) -> list[str]:
    """The statement on one line, cut where lines of a run are aligned."""
    cells: list[str] = []
    words: list[str] = []
    for item in items:
        if isinstance(item, str):
            words.append(item)
        elif isinstance(item, Break):
            words.append(item.flat)
        elif item is TAB:
            cells.append("".join(words))
            words = []
    return [*cells, "".join(words)]


# --- breaking -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Measure:
    """Flat widths, and for each break and group where what must fit with it ends."""

    before: list[int]
    """Flat width of all items before this one."""
    forced: list[int]
    """Number of breaks before this item that hold a comment."""
    reach: list[int]
    """For a group: the first break after it. For a break: the end of what follows it."""
    following: list[int]
    """For a break: the next one."""

    def fits(self, at: int, column: int) -> bool:
        end = self.reach[at]
        return column + self.before[end] - self.before[at] <= WIDTH and not self.comments(at, end)

    def comments(self, at: int, end: int) -> bool:
        return self.forced[end] > self.forced[at + 1]


def _measure(source: Stream) -> _Measure:
    items, count = source.items, len(source.items)
    before, forced = [0] * (count + 1), [0] * (count + 2)
    for at, item in enumerate(items):
        width = len(item) if isinstance(item, str) else len(item.flat) if isinstance(item, Break) else 0
        before[at + 1] = before[at] + width
        forced[at + 1] = forced[at] + (at in source.notes)
    forced[count + 1] = forced[count]
    reach, next_break = [count] * count, [count] * count
    following = count  # the first break at or after the current item
    inner = [count]  # per open group: the first break or the end of the group, after the current item
    tails: list[int] = []
    for at in range(count - 1, -1, -1):
        item = items[at]
        if item is CLOSE:
            tails.append(following)
            inner.append(following)
        elif isinstance(item, Open):
            reach[at] = tails.pop()
            inner.pop()
        elif isinstance(item, Break) and item.kind != "never":
            reach[at], next_break[at] = inner[-1], following
            following = inner[-1] = at
    return _Measure(before, forced, reach, next_break)


@dataclass(slots=True)
class _Group:
    broken: bool
    inner: int
    """Indentation of its continued lines."""
    outer: int
    """Indentation of the line that it began in."""


def broken(source: Stream, indent: int) -> list[str]:
    """The statement on several lines, without the indentation of the first."""
    writer = _Writer(source, indent)
    for at, item in enumerate(source.items):
        if isinstance(item, str):
            writer.word(item)
        elif isinstance(item, Break):
            writer.pause(at, item)
        elif isinstance(item, Open):
            writer.open(at, item)
        elif item is CLOSE:
            writer.groups.pop()
    return writer.finish()


class _Writer:
    def __init__(self, source: Stream, indent: int) -> None:
        self.source = source
        self.measure = _measure(source)
        self.lines: list[str] = []
        self.words: list[str] = []
        self.indent = self.column = indent
        self.groups = [_Group(True, indent + CONTINUATION, indent)]

    def word(self, text: str) -> None:
        self.words.append(text)
        self.column += len(text)

    def open(self, at: int, item: Open) -> None:
        fits = not self.groups[-1].broken or self.measure.fits(at, self.column)
        inner = self.indent if item.hang and not self.words else self.indent + CONTINUATION
        self.groups.append(_Group(not fits, inner, self.indent))

    def pause(self, at: int, item: Break) -> None:
        group = self.groups[-1]
        comments = self.source.notes.get(at)
        if comments:
            self._comments(comments, group.inner)
        elif not group.broken or item.kind == "never" or not self._breaks(at, item, group):
            self.word(item.flat)
            return
        self._newline(group.outer if item.dedent else group.inner)

    def _breaks(self, at: int, item: Break, group: _Group) -> bool:
        if item.kind == "all":
            return True
        if self.measure.fits(at, self.column):
            return False
        if item.prefer or self.measure.fits(at, group.inner - len(item.flat)):
            return True
        # What follows fits nowhere: it stays where it is if it can be broken inside.
        return self.measure.following[at] >= self.measure.reach[at]

    def _comments(self, comments: list[ast.Comment], indent: int) -> None:
        for at, comment in enumerate(comments):
            if self.words and (at > 0 or comment.own_line):
                self._newline(indent)
            self.words.append(f"  {comment.text}" if self.words else comment.text)

    def _newline(self, indent: int) -> None:
        if self.words:
            self.lines.append(" " * self.indent + "".join(self.words).rstrip())
        self.words = []
        self.indent = self.column = indent

    def finish(self) -> list[str]:
        self._newline(0)
        return self.lines
