"""Slices that move with plate indices: `x[t..t+3]` is the array of `x[t + k]` for k in 0..3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.shapes import EmptyRange, MovingLength, OutOfRange
from ebmlang.compiler.catalogue.types import IntegerExpected
from ebmlang.compiler.cells import cells_of
from ebmlang.compiler.indexing import affine, pick
from ebmlang.compiler.scope import Index, LetEntry, Scope, origins
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.sizing import names_in
from ebmlang.compiler.source import NOWHERE, Span
from ebmlang.compiler.typed import Expr, Level, NewAxis, SliceOf
from ebmlang.compiler.types import INT

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

_INDICES = "kijlmnpqr"
"""Names for the index inside of a window, of which the first free one is taken: reports show it."""


MOST_CELLS = 64
"""Cells of a recurrence that one window reads at most: each is an expression of its own."""


@dataclass(frozen=True, slots=True)
class Window:
    """`size` entries from `start` on, an integer that moves with the indices of plates."""

    start: Expr
    size: Size


Part = typed.Subscript | Window


@dataclass(slots=True, eq=False)
class Windows:
    """Checks the moving slices of one scope."""

    checker: Expressions
    scope: Scope

    def moves(self, node: ast.Slice) -> bool:
        """Whether a bound of a slice names the index of a plate."""
        return any(isinstance(self.scope.find(n.text), Index) for b in _bounds(node) for n in names_in(b))

    def window(self, node: ast.Slice, size: Size, base: Expr) -> Window | None:
        """The slice of a dimension; None after a mistake."""
        start, stop = self._bound(node.start, ZERO), self._bound(node.stop, size)
        if start is None or stop is None:
            return None
        first, after = affine(start), affine(stop)
        shown = self.checker.report.source.extract(node.span)
        if first is None or after is None:
            self.checker.report.add(NotBuilt(node.span, "a slice with bounds that are not affine in indices"))
            return None
        if dict(first[0]) != dict(after[0]):
            self.checker.report.add(MovingLength(node.span, shown, self._index(node)))
            return None
        length = after[1] - first[1]
        holds = self.checker.prover.room(length - 1, length).holds
        if holds is False:
            self.checker.report.add(EmptyRange(node.span, shown))
            return None
        if holds is None:
            self._require(length - 1, f"the slice {shown} is empty", node.span)
        return Window(start, length) if self._inside(node, start, stop, size, base) else None

    def of(self, base: Expr, parts: Sequence[Part], span: Span) -> Expr:
        """What the subscripts select, where one of them at least is a window."""
        last = max(k for k, part in enumerate(parts) if isinstance(part, Window))
        if self._growing(base) and all(isinstance(part, Expr) for part in parts[:last]):
            window = parts[last]
            assert isinstance(window, Window)
            if (window.size.constant or MOST_CELLS + 1) <= MOST_CELLS:
                return self._cells(base, parts, last, span)
        over: list[typed.Axis] = []
        inside: list[typed.Subscript] = []
        for k, part in enumerate(parts):
            if k <= last and isinstance(part, NewAxis):
                over.append(self._axis(ONE, over))
            elif k <= last and isinstance(part, SliceOf | Window):
                size = part.size if isinstance(part, Window) else part.stop - part.start
                over.append(self._axis(size, over))
                inside.append(self._entry(part, over[-1], span))
            elif isinstance(part, Expr) and part.type.rank:
                self.checker.report.add(NotBuilt(span, "an array of indices beside a slice that moves"))
                return self.checker.error(span)
            else:
                assert not isinstance(part, Window)
                inside.append(part)
        return cells_of(pick(base, tuple(inside), span), tuple(over))

    def _growing(self, base: Expr) -> bool:
        """Whether a recurrence is just defining the cells of an array."""
        entry = self.scope.find(base.name) if isinstance(base, typed.Read) else None
        return isinstance(entry, LetEntry) and isinstance(entry.value, typed.Constant) and base.type.rank > 0

    def _cells(self, base: Expr, parts: Sequence[Part], at: int, span: Span) -> Expr:
        """The window as a list: a recurrence reads cells one by one."""
        window = parts[at]
        assert isinstance(window, Window)
        assert window.size.constant is not None
        items: list[Expr] = []
        for k in range(window.size.constant):
            ahead = typed.SizeOf(INT, (), Level.CONSTANT, False, span, Size.of(k))
            cell = self.checker.apply("add", (window.start, ahead), INT, span)
            own = tuple(cell if part is window else part for part in parts)
            items.append(pick(base, tuple(p for p in own if not isinstance(p, Window)), span))
        return self.checker.packed(tuple(items), "a window", span, self.scope)

    def _bound(self, node: ast.Expr | None, default: Size) -> Expr | None:
        if node is None:
            return typed.SizeOf(INT, (), Level.CONSTANT, False, NOWHERE, default)
        value = self.checker.check(node, self.scope)
        if value.type.kind == "error":
            return None
        if value.type.kind != "int" or value.type.rank:
            self.checker.report.add(IntegerExpected(node.span, str(value.type)))
            return None
        return value

    def _inside(self, node: ast.Slice, start: Expr, stop: Expr, size: Size, base: Expr) -> bool:
        """Whether all entries are there, as far as sizes tell: what they leave open becomes a requirement."""
        one = typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, ONE)
        last = self.checker.apply("sub", (stop, one), INT, node.span)
        shown = self.checker.report.source.extract(node.span)
        for end in (start, last):
            for room in self.checker.prover.inside(end, size, self.scope.facts) or ():
                reach = room.value if end is start else room.value + 1
                if room.holds is False:
                    advice = f"shorten the range of `{self._index(node)}`, or add a guard"
                    places = origins(self.scope, base)
                    self.checker.report.add(
                        OutOfRange(node.span, shown, str(reach), str(size), places, advice, "slice")
                    )
                    return False
                self._require(
                    room.size, f"the slice {shown} reaches {reach}, outside of 0..{size}", node.span
                )
        return True

    def _require(self, size: Size, reason: str, span: Span) -> None:
        self.checker.requirements.append(typed.Requirement(size, reason, span))

    def _index(self, node: ast.Slice) -> str:
        """The first index that a bound names."""
        names = (n.text for b in _bounds(node) for n in names_in(b))
        return next(n for n in names if isinstance(self.scope.find(n), Index))

    def _axis(self, size: Size, others: Sequence[typed.Axis]) -> typed.Axis:
        taken = {name for axis in others for name in axis.names}
        free = (n for n in _INDICES if n not in taken and self.scope.find(n) is None)
        return self.checker.new_axis((next(free, "k"),), ZERO, size)

    def _entry(self, part: SliceOf | Window, axis: typed.Axis, span: Span) -> Expr:
        """The entry of a dimension at a position of the slice."""
        position = typed.Position(INT, (axis,), Level.CONSTANT, False, span, axis, 0)
        if isinstance(part, Window):
            return self.checker.apply("add", (part.start, position), INT, span)
        if part.start.constant == 0:
            return position
        start = typed.SizeOf(INT, (), Level.CONSTANT, False, span, part.start)
        return self.checker.apply("add", (start, position), INT, span)


def _bounds(node: ast.Slice) -> list[ast.Expr]:
    return [b for b in (node.start, node.stop) if b is not None]
