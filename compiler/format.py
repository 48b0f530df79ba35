"""The one canonical layout of a program.

- Blocks are indented by two spaces, continued lines by four, lines end before column 100 where
  the text allows it.
- Binary operators stand between spaces, except `^`, `..`, a quotient of two numbers (`1/2`) and
  sums of names and numbers that are sizes, places or ends of ranges (`x[t+1]`, `0..T-1`).
- Statements that the author joined with `;` on one line, and plates on one line, stay so where
  they fit. A model always opens.
- One-line statements of one kind on consecutive lines form a run: names, colons and `=` are
  aligned unless that makes a line too long or a gap too wide. The same holds for comments after
  code on consecutive lines.
- Groups stay apart by one blank line; models always.
- Comments keep their order and their place: a line of its own, after a statement, or inside one,
  which is then broken there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ebmlang.compiler import ast
from ebmlang.compiler.formatting.layout import WIDTH, Comments, Stream, broken, flat, stream
from ebmlang.compiler.formatting.statements import family, parts_of

INDENT = 2
_WIDEST_GAP = 20
"""Columns. A run whose names differ more in length is not aligned."""

_WIDEST_NOTE_GAP = 40
_LONGEST_JOINED = 4 * WIDTH
"""Characters of source beyond which statements are not tried on one line, to stay linear."""

_HEAD_END = re.compile(r'"[^"\n]*"|#[^\n]*|\{')

_COMMENT = "comment"
"""The family of comments on lines of their own."""

_Block = ast.Model | ast.Plate | ast.Stage


def format_module(module: ast.Module, text: str) -> str:
    """The canonical text of a module that was parsed from `text` without a mistake.

    Parsing the result gives an equal module with the same comments, and formatting the result
    gives the result. Linear in the length of the text.
    """
    printer = _Printer(module, text)
    printer.module(module)
    return "".join(f"{line}\n" for line in _rendered(printer.lines))


@dataclass(slots=True)
class _Line:
    """One line of output, still cut into the cells that may be aligned."""

    indent: int
    cells: list[str]
    family: str = ""
    note: str = ""
    blank: bool = False
    """Whether an empty line stands above."""

    def code(self) -> str:
        return " " * self.indent + "".join(self.cells)


@dataclass(frozen=True, slots=True)
class _Flat:
    """A statement that stands on one line."""

    cells: list[str]
    family: str

    def width(self, indent: int) -> int:
        return indent + sum(map(len, self.cells))


class _Printer:
    def __init__(self, module: ast.Module, text: str) -> None:
        self.text = text
        self.comments = Comments(module.comments)
        self.lines: list[_Line] = []
        self.end = 0
        """Offset in the source where the last printed thing ends."""
        self.first = True
        """Whether nothing stands in the current block yet."""

    def module(self, module: ast.Module) -> None:
        items: list[ast.Import | ast.Model] = [*module.imports, *module.models]
        items.sort(key=lambda item: item.span.start)
        last: ast.Import | ast.Model | None = None
        for item in items:
            gap = len(self.lines)
            self.place_comments(item.span.start, 0)
            first = len(self.lines)
            if isinstance(item, ast.Model):
                self.block(item, 0)
            else:
                self.plain(item, 0, "")
            if last and (isinstance(last, ast.Model) or isinstance(item, ast.Model)):
                self.separate(gap, first)
            last = item
        gap = len(self.lines)
        self.place_comments(len(self.text) + 1, 0)
        if isinstance(last, ast.Model) and gap < len(self.lines):
            self.separate(gap, len(self.lines) - 1)

    def separate(self, gap: int, first: int) -> None:
        """Makes sure that an empty line stands somewhere in the lines from `gap` to `first`."""
        if not any(line.blank for line in self.lines[gap : first + 1]):
            self.lines[gap].blank = True

    # --- statements ---

    def block(self, node: _Block, indent: int) -> None:
        brace = self.brace(node)
        head = stream(parts_of(node), self.comments, brace)
        empty = not (node.body or head.after or 0 <= self.comments.next < node.span.end)
        self.emit(head, node.span.start, indent, "", " {}" if empty else " {")
        if not empty:
            self.first = True
            self.place_after(head, indent + INDENT)
            self.end = brace + 1
            self.statements(node.body, indent + INDENT)
            self.place_comments(node.span.end, indent + INDENT)
            self.lines.append(_Line(indent, ["}"]))
        self.end, self.first = node.span.end, False

    def brace(self, node: _Block) -> int:
        """Offset of the brace that opens a block."""
        if isinstance(node, ast.Model):
            at = (node.hypers[-1] if node.hypers else node.name).span.end
        elif isinstance(node, ast.Plate):
            at = (node.guard or node.binders[-1]).span.end
        else:
            at = node.steps.span.end
        return next(m.start() for m in _HEAD_END.finditer(self.text, at) if m[0] == "{")

    def statements(self, body: Sequence[ast.Statement], indent: int) -> None:
        at = 0
        while at < len(body):
            to = at + 1
            while to < len(body) and not self.newline(body[to - 1].span.end, body[to].span.start):
                to += 1
            self.place_comments(body[at].span.start, indent)
            together = self.joined(body[at:to], indent) if to > at + 1 else None
            if together:
                self.line(together, body[at].span.start, indent)
                self.end = body[to - 1].span.end
            else:
                for node in body[at:to]:
                    self.statement(node, indent)
            at = to

    def statement(self, node: ast.Statement, indent: int) -> None:
        self.place_comments(node.span.start, indent)
        if not isinstance(node, ast.Plate | ast.Stage):
            self.plain(node, indent, family(node))
            return
        one = self.one_line(node)
        if one and one.width(indent) <= WIDTH:
            self.line(one, node.span.start, indent)
            self.end = node.span.end
        else:
            self.block(node, indent)

    def plain(self, node: ast.Statement | ast.Import, indent: int, kind: str) -> None:
        parts = stream(parts_of(node), self.comments, node.span.end)
        self.emit(parts, node.span.start, indent, kind, "")
        self.place_after(parts, indent)
        self.end = node.span.end

    def emit(self, parts: Stream, start: int, indent: int, kind: str, ending: str) -> None:
        """A statement or the head of a block, on one line if it fits."""
        cells = flat(parts.items)
        cells[-1] += ending
        one = _Flat(cells, kind)
        if not parts.notes and one.width(indent) <= WIDTH:
            self.line(one, start, indent)
        else:
            first, *rest = broken(parts, indent)
            self.line(_Flat([first.lstrip()], ""), start, indent)
            self.lines += [_Line(0, [text]) for text in rest]
            self.lines[-1].cells[-1] += ending

    # --- statements that share a line ---

    def joined(self, body: Sequence[ast.Statement], indent: int) -> _Flat | None:
        """Statements with `;` between them, or None if they do not fit on one line."""
        flats: list[_Flat] = []
        if body[-1].span.end - body[0].span.start > _LONGEST_JOINED:
            return None
        for node in body:
            one = self.one_line(node)
            if one is None:
                return None
            flats.append(one)
        *cells, last = flats[0].cells
        text = ";  ".join([last, *("".join(one.cells) for one in flats[1:])])
        together = _Flat([*cells, text], flats[0].family)
        return together if together.width(indent) <= WIDTH else None

    def one_line(self, node: ast.Statement) -> _Flat | None:
        """A statement that stands on one line of the source, if it is short."""
        start, end = node.span
        if end - start > _LONGEST_JOINED or self.newline(start, end):
            return None
        cells = flat(stream(parts_of(node), self.comments, end).items)
        if not isinstance(node, ast.Plate | ast.Stage):
            return _Flat(cells, family(node))
        if not node.body:
            return _Flat(["".join(cells) + " {}"], "")
        inside = self.joined(node.body, 0)
        if inside is None:
            return None
        inner = [*inside.cells[:-1], inside.cells[-1] + " }"]
        inner[0] = " { " + inner[0]
        return _Flat(["".join(cells), *inner], f"plate of {inside.family}")

    def newline(self, start: int, end: int) -> bool:
        return self.text.find("\n", start, end) >= 0

    # --- lines ---

    def line(self, one: _Flat, start: int, indent: int) -> None:
        blank = not self.first and self.text.count("\n", self.end, start) >= 2
        self.lines.append(_Line(indent, one.cells, one.family, "", blank))
        self.first = False

    def place_comments(self, offset: int, indent: int) -> None:
        """Prints the comments before an offset: after code if they stand there, else on lines."""
        for comment in self.comments.before(offset):
            self.place(comment, indent)

    def place_after(self, parts: Stream, indent: int) -> None:
        for comment in parts.after:
            self.end = comment.span.start
            self.place(comment, indent)

    def place(self, comment: ast.Comment, indent: int) -> None:
        after_code = self.lines and not self.newline(self.end, comment.span.start)
        if after_code and not self.lines[-1].note and self.lines[-1].family != _COMMENT:
            self.lines[-1].note = comment.text
        else:
            text = comment.text
            if text.startswith("##") and (after_code or not comment.own_line):
                text = f"; {text}"  # on a line of its own it would document what stands below
            self.line(_Flat([text], _COMMENT), comment.span.start, indent)
        self.end = comment.span.end


# --- alignment ----------------------------------------------------------------------------------


def _rendered(lines: list[_Line]) -> Iterator[str]:
    for run in _runs(lines, lambda line: (line.indent, line.family) if line.family else None):
        _align_cells([lines[at] for at in run])
    codes = [line.code() for line in lines]
    for run in _runs(lines, lambda line: line.indent if line.note and line.cells[-1][-2:] != " {" else None):
        _align_notes(codes, lines, run)
    for line, code in zip(lines, codes, strict=True):
        if line.blank:
            yield ""
        yield f"{code}  {line.note}" if line.note else code


def _runs(lines: list[_Line], key: Callable[[_Line], object]) -> Iterator[range]:
    """Consecutive lines with the same key and no empty line between them; None: in no run."""
    start, current = 0, None
    for at, line in enumerate(lines):
        found = key(line)
        if found != current or line.blank:
            if current is not None:
                yield range(start, at)
            start, current = at, found
    if current is not None:
        yield range(start, len(lines))


def _align_cells(run: list[_Line]) -> None:
    if len({len(line.cells) for line in run}) > 1:
        return
    columns = [[len(line.cells[at]) for line in run] for at in range(len(run[0].cells) - 1)]
    widest = [max(column) for column in columns]
    gaps = [top - min(column) for top, column in zip(widest, columns, strict=True)]
    longest = run[0].indent + sum(widest) + max(len(line.cells[-1]) for line in run)
    if longest > WIDTH or any(gap > _WIDEST_GAP for gap in gaps):
        return
    for line in run:
        padded = [f"{cell:<{top}}" for cell, top in zip(line.cells, widest, strict=False)]
        line.cells = [*padded, line.cells[-1]]


def _align_notes(codes: list[str], lines: list[_Line], run: range) -> None:
    widths, notes = [len(codes[at]) for at in run], [len(lines[at].note) for at in run]
    widest = max(widths)
    alone = max(width + note for width, note in zip(widths, notes, strict=True))
    if widest - min(widths) <= _WIDEST_NOTE_GAP and widest + max(notes) <= max(WIDTH - 2, alone):
        for at in run:
            codes[at] = f"{codes[at]:<{widest}}"
