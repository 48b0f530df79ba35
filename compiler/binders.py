"""The indices of plates and reductions: ranges, rows of lists, guards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.names import DeclaredTwice, KeptName
from ebmlang.compiler.catalogue.shapes import EmptyRange, WrongRank
from ebmlang.compiler.catalogue.types import ConditionExpected
from ebmlang.compiler.catalogue.values import ReadsUnknown
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.scope import Declared, Entry, Index, NetEntry, Scope, broken, declared_at, origins
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.sizing import fits_memory, read_size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import BOOL, INT, Type

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

KEPT_NAMES = {"total": "the sum of all terms"}
"""`batch`, the examples, is a reserved word: the parser refuses it."""


def declare(name: ast.Identifier, entry: Entry, scope: Scope, report: Report) -> bool:
    """Make a name visible in a scope; a name that is already visible there is a mistake, reported once."""
    first = scope.find(name.text)
    if name.text in KEPT_NAMES:
        report.add(KeptName(name.span, name.text, KEPT_NAMES[name.text]))
    elif first is not None:
        if f"{name.text} twice" not in scope.unknown:
            report.add(DeclaredTwice(name.span, name.text, declared_at(first)))
        scope.unknown.add(f"{name.text} twice")
        if name.text in scope.entries:
            # Which of the two is meant is anybody's guess.
            scope.entries[name.text] = broken(first.span)
    else:
        scope.entries[name.text] = entry
        return True
    return False


@dataclass(frozen=True, slots=True)
class Binders:
    """Binds indices in a scope of their own."""

    checker: Expressions
    scope: Scope

    def bind(
        self, binders: tuple[ast.Binder, ...], guard_node: ast.Expr | None
    ) -> tuple[Scope, typed.Axes, Expr | None] | None:
        """The scope inside, the axes and the guard; None after a mistake."""
        scope = self.scope.child()
        axes: list[typed.Axis] = []
        failed = False
        for binder in binders:
            # Ranges are read outside: an index of the same list is no size.
            axis = self._axis(binder, scope)
            if axis is None:
                failed = True
            else:
                axes.append(axis)
        if failed:
            return None
        scope.axes = (*self.scope.axes, *axes)
        if guard_node is None:
            return scope, tuple(axes), None
        guard = self._guard(guard_node, scope)
        if guard is None:
            return None
        scope.facts = (*scope.facts, *self.checker.prover.facts(guard))
        scope.guard = guard
        return scope, tuple(axes), guard

    def _guard(self, node: ast.Expr, scope: Scope) -> Expr | None:
        guard = self.checker.value(node, scope)
        if guard.type.kind == "error":
            return None
        if guard.type != BOOL:
            self.checker.report.add(ConditionExpected(guard.span, str(guard.type), "a guard"))
            return None
        advice = "multiply by a weight, or use where(condition, a, b)"
        return guard if self.given(guard, "the guard", advice, node.span) else None

    def given(self, value: Expr, what: str, advice: str, span: Span) -> bool:
        """Whether a value is computed without unknowns; one that is not is reported."""
        if self.checker.defining:
            return True  # in a call the arguments are known
        root = self.scope.model()
        for name in sorted(self.checker.lets.sources_of(value)):
            entry = root.find(name)
            if isinstance(entry, Declared) and entry.role in ("latent", "param"):
                places = declared_at(entry, f"`{name}` is declared {entry.role}")
                self.checker.report.add(ReadsUnknown(span, what, name, advice, places))
                return False
            if isinstance(entry, NetEntry):
                places = declared_at(entry, f"`{name}` is a net, which training changes")
                self.checker.report.add(ReadsUnknown(span, what, name, advice, places))
                return False
        return True

    def _axis(self, binder: ast.Binder, scope: Scope) -> typed.Axis | None:
        names = tuple(n.text for n in binder.names)
        if binder.rows is not None:
            return self._rows(binder, binder.rows, names, scope)
        first, end = _ends(binder)
        report = self.checker.report
        start = read_size(first, scope, report)
        stop = read_size(end, scope, report)
        size = None if start is None or stop is None else self._range(start, stop, binder)
        if start is None or size is None:
            self._silence(binder, scope)
            return None
        axis = self.checker.new_axis(names, start, size)
        fresh = declare(binder.names[0], Index(axis, 0, INT, binder.names[0].span), scope, report)
        return axis if fresh else None

    def _range(self, start: Size, stop: Size, binder: ast.Binder) -> Size | None:
        first, end = _ends(binder)
        span = first.span.to(end.span)
        size = stop - start
        holds = self.checker.prover.room(size, stop).holds
        if holds is False or size == ZERO:
            self.checker.report.add(EmptyRange(span, f"{start}..{stop}"))
            return None
        if not fits_memory((size,), "this range", span, self.checker.report):
            return None
        if holds is None:
            reason = f"the range {start}..{stop} runs backwards"
            self.checker.requirements.append(typed.Requirement(size, reason, span))
        return size

    def _silence(self, binder: ast.Binder, scope: Scope) -> None:
        """Names of a broken range stay quiet wherever they are used."""
        for name in binder.names:
            scope.unknown.add(name.text)

    def _rows(
        self, binder: ast.Binder, node: ast.Expr, names: tuple[str, ...], scope: Scope
    ) -> typed.Axis | None:
        report = self.checker.report
        rows = self.checker.value(node, scope)
        if rows.type.kind == "error":
            self._silence(binder, scope)
            return None
        columns = rows.type.shape[1].constant if rows.type.rank == 2 else 1 if rows.type.rank == 1 else None
        if not rows.type.integral or columns != len(names):
            wanted = "a range, such as 0..n, or a list of indices, such as class[n][M]"
            if len(names) > 1:
                wanted = f"a list with {len(names)} indices in each row, such as class[n][M, {len(names)}]"
            report.add(WrongRank(node.span, "for", str(rows.type), wanted, origins(scope, rows)))
            self._silence(binder, scope)
            return None
        if rows.level is Level.EXAMPLE:
            report.add(
                NotBuilt(node.span, "a list of rows that differs by example", "declare it `shared observed`")
            )
            return None
        if not self.given(rows, "the list of rows", "declare it `shared observed`", node.span):
            return None
        axis = self.checker.new_axis(names, ZERO, rows.type.shape[0], rows)
        type_ = Type(rows.type.kind, (), rows.type.classes)
        fresh = [declare(n, Index(axis, c, type_, n.span), scope, report) for c, n in enumerate(binder.names)]
        return axis if all(fresh) else None


def _ends(binder: ast.Binder) -> tuple[ast.Expr, ast.Expr]:
    """Start and end of a range."""
    assert binder.start is not None
    assert binder.stop is not None
    return binder.start, binder.stop
