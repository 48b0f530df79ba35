"""Subscripts: integers, slices, classes and index arrays, each proven to stay inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.catalogue.shapes import EmptyRange, OutOfRange, TooManySubscripts
from ebmlang.compiler.catalogue.types import IntegerExpected
from ebmlang.compiler.indexing import Room, affine, pick
from ebmlang.compiler.scope import Scope, origins
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.sizing import read_size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import INT
from ebmlang.compiler.windows import Part, Window, Windows

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(slots=True, eq=False)
class Subscripts:
    """Checks subscripts in one scope."""

    checker: Expressions
    scope: Scope

    @property
    def windows(self) -> Windows:
        return Windows(self.checker, self.scope)

    def index(self, node: ast.Index) -> Expr:
        return self.of(self.checker.check(node.base, self.scope), node)

    def of(self, base: Expr, node: ast.Index) -> Expr:
        """The subscripts of a node, at a value that stands for what it reads."""
        checker = self.checker
        subscripts = [self._subscript(s) for s in node.subscripts]
        if base.type.kind == "error" or None in subscripts:
            return checker.error(node.span)
        used = len(subscripts)
        if used > len(base.type.shape):
            used -= sum(isinstance(s, typed.NewAxis) for s in subscripts)
        if used > len(base.type.shape):
            places = origins(self.scope, base)
            checker.report.add(TooManySubscripts(node.span, used, str(base.type), places))
            return checker.error(node.span)
        final: list[Part] = []
        dims = iter(base.type.shape)
        for s, written in zip(subscripts, node.subscripts, strict=True):
            if isinstance(s, typed.NewAxis):
                final.append(s)
                continue
            size = next(dims)
            checked = (
                self.slice(s, size, base)
                if isinstance(s, ast.Slice)
                else self.entry(s, written.span, size, base)
            )
            if checked is None:
                return checker.error(node.span)
            final.append(checked)
        final.extend(typed.SliceOf(ZERO, size) for size in dims)
        checker.node_count += 1
        fixed = tuple(s for s in final if not isinstance(s, Window))
        if len(fixed) < len(final):
            return self.windows.of(base, final, node.span)
        return pick(base, fixed, node.span)

    def _subscript(self, node: ast.Expr | ast.Slice) -> typed.Subscript | ast.Slice | None:
        if isinstance(node, ast.Slice):
            return node
        if isinstance(node, ast.Name) and node.text == "None" and self.scope.find("None") is None:
            return typed.NewAxis()
        value = self.checker.check(node, self.scope)
        if value.type.kind == "error":
            return None
        if not value.type.integral:
            self.checker.report.add(IntegerExpected(node.span, str(value.type)))
            return None
        return value

    def entry(self, s: typed.Subscript | None, span: Span, size: Size, base: Expr) -> Expr | None:
        """An integer or a class with its bounds proven, or left as a requirement on sizes."""
        assert isinstance(s, Expr)
        if s.type.kind == "class":
            if s.type.classes != size:
                places = origins(self.scope, base, s)
                shown = (notation.text(s), str(s.type.classes), str(size))
                self.checker.report.add(OutOfRange(span, *shown, places, what="class"))
                return None
            return s
        form = affine(s)
        if form is not None and not form[0] and form[1].constant is not None and form[1].constant < 0:
            # A negative constant counts from the end, as in Python.
            room = self.checker.prover.room(size + form[1], form[1], below=True)
            s = typed.SizeOf(INT, (), Level.CONSTANT, False, s.span, size + form[1])
            rooms: tuple[Room, ...] | None = () if room.holds else (room,)
        else:
            rooms = self.checker.prover.inside(s, size, self.scope.facts)
        if rooms:
            return self._left_over(s, rooms, span, size, base)
        return s

    def _left_over(self, s: Expr, rooms: tuple[Room, ...], span: Span, size: Size, base: Expr) -> Expr | None:
        """What could not be proven: a mistake, or a requirement on sizes."""
        shown = self.checker.report.source.extract(span)
        for room in rooms:
            if room.holds is False:
                places = origins(self.scope, base)
                advice = self._advice(s, room, shown, size)
                self.checker.report.add(OutOfRange(span, shown, str(room.value), str(size), places, advice))
                return None
        for room in rooms:
            reason = f"the subscript {shown} reaches {room.value}, outside of 0..{size}"
            self.checker.requirements.append(typed.Requirement(room.size, reason, span))
        return s

    def _advice(self, s: Expr, room: Room, shown: str, size: Size) -> str:
        index = next((a.names[0] for a in s.axes), None)
        if index is None:
            return "entries count from 0; -1 is the last one"
        inside = f"{shown} >= 0" if room.below else f"{shown} < {size}"
        if self.scope.facts or self.scope.guard is not None:
            return f"the guard does not exclude it: add `and {inside}`"
        return f"shorten the range of `{index}`, or add a guard: if {inside}"

    # --- slices ---

    def slice(self, node: ast.Slice, size: Size, base: Expr) -> typed.SliceOf | Window | None:
        checker = self.checker
        if self.windows.moves(node):
            return self.windows.window(node, size, base)
        start = self._bound(node.start, ZERO, size)
        stop = self._bound(node.stop, size, size)
        if start is None or stop is None:
            return None
        length = stop - start
        shown = checker.report.source.extract(node.span)
        if length.constant == 0:
            checker.report.add(EmptyRange(node.span, shown))
            return None
        for room, reach in ((start, start), (size - stop, stop), (length, stop)):
            holds = checker.prover.room(room, reach).holds
            if holds is False:
                if room is length:
                    checker.report.add(EmptyRange(node.span, shown))
                else:
                    places = origins(self.scope, base)
                    checker.report.add(
                        OutOfRange(node.span, shown, str(reach), str(size), places, "", "slice")
                    )
                return None
            if holds is None:
                reason = f"the slice {shown} does not fit into 0..{size}"
                checker.requirements.append(typed.Requirement(room, reason, node.span))
        return typed.SliceOf(start, stop)

    def _bound(self, node: ast.Expr | None, default: Size, size: Size) -> Size | None:
        if node is None:
            return default
        found = read_size(node, self.scope, self.checker.report)
        if found is not None and found.constant is not None and found.constant < 0:
            return size + found
        return found
