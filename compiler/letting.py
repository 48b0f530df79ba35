"""Lets: named values, and arrays that plates define cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import declare
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import CellsMissing
from ebmlang.compiler.catalogue.recurrences import CellIndex, CellTwice
from ebmlang.compiler.catalogue.types import DeclaredOtherwise
from ebmlang.compiler.cells import Start, constant_subscripts, covers, read_place
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.recurrences import Recurrences
from ebmlang.compiler.scope import Bound, Index, LetEntry, Scope, broken, origins
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.sizing import read_type
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import ERROR, Type, fits


@dataclass(slots=True)
class LetStatements:
    """Checks the lets of one model.

    `nested` places a part between the cells of a recurrence.
    `arrays` are names whose cells plates define; `pending` those of them that are declared with a
    type, and have no cells yet.
    """

    expressions: Expressions
    scope: Scope
    arrays: set[str] = field(default_factory=set)
    pending: dict[str, ast.Let] = field(default_factory=dict)
    nested: Callable[[ast.Compose, Scope], None] = field(init=False)
    recurrences: Recurrences = field(init=False)

    def __post_init__(self) -> None:
        self.recurrences = Recurrences(self)

    @property
    def report(self) -> Report:
        return self.expressions.report

    def declare_array(self, node: ast.Let) -> None:
        """`let s : real[T]`: the cells follow, and the name belongs to the array."""
        if declare(node.name, LetEntry(None, node.name.span), self.scope, self.report):
            self.pending[node.name.text] = node
            self.arrays.add(node.name.text)

    def declare_cell(self, node: ast.LetCell) -> None:
        """The first cell declares the array, where no `let` with a type did."""
        name = node.name
        if name.text in self.arrays:
            return
        if declare(name, LetEntry(None, name.span), self.scope, self.report):
            self.arrays.add(name.text)

    def finish(self) -> None:
        """Report arrays without cells."""
        for name, let in self.pending.items():
            self.report.add(CellsMissing(let.span, name, bool(let.type and let.type.dims)))
        for name, starts in self.recurrences.starts.items():
            if name not in self.pending:
                self.report.add(CellsMissing(starts[0].span, name))

    def array(self, name: str) -> LetEntry | None:
        """The entry of an array that cells define; None where the name stands for something else."""
        entry = self.scope.find(name) if name in self.arrays else None
        return entry if isinstance(entry, LetEntry) else None

    def give_up(self, name: str) -> None:
        """An array with a mistake in it stays quiet wherever it is used."""
        self.pending.pop(name, None)
        self.recurrences.starts.pop(name, None)
        entry = self.array(name)
        if entry is not None:
            self.scope.entries[name] = broken(entry.span)

    def define_cells(self, node: ast.LetCell, value: Expr) -> None:
        """Give an array its value."""
        entry = self.array(node.name.text)
        if entry is not None:
            self._define(ast.Identifier(node.name.text, entry.span), value, node.doc, node.span)

    def let(self, node: ast.Let, scope: Scope) -> None:
        if node.value is None:
            if node.type is not None:
                read_type(node.type, scope, self.report)
            return
        self.expressions.defined_now = node.name.text
        value = self.expressions.value(node.value, scope)
        self.expressions.defined_now = ""
        if node.type is not None:
            declared = read_type(node.type, scope, self.report)
            value = self._as_declared(value, declared, node.name, node.value.span)
        if scope is self.scope:
            self._define(node.name, value, node.doc, node.span)
            return
        entry = scope.entries.pop(node.name.text, None)
        if isinstance(entry, LetEntry) and entry.span == node.name.span:
            self.expressions.measure.keep(value)
            declare(node.name, Bound(value, node.name.span), scope, self.report)
        elif entry is not None:
            scope.entries[node.name.text] = entry

    def _as_declared(self, value: Expr, declared: Type, name: ast.Identifier, span: Span) -> Expr:
        if value.type.kind == "error" or declared == ERROR:
            return self.expressions.error(span)
        if not fits(value.type, declared):
            places = origins(self.scope, value)
            self.report.add(DeclaredOtherwise(span, name.text, str(value.type), str(declared), "", places))
            return self.expressions.error(span)
        return self.expressions.as_real(value) if declared.kind == "real" else value

    def _define(self, name: ast.Identifier, value: Expr, doc: str, span: Span) -> None:
        entry = self.scope.find(name.text)
        if not isinstance(entry, LetEntry) or entry.span != name.span:
            return
        if value.type.kind == "error":
            self.scope.entries[name.text] = Bound(value, entry.span)
            return
        found = LetEntry(value, entry.span)
        self.scope.entries[name.text] = found
        if value.level is Level.CONSTANT:
            self.expressions.functions.scope.entries[name.text] = found
        self.expressions.lets.define(typed.Let(name.text, value, doc, span))

    def is_start(self, node: ast.LetCell, scope: Scope) -> bool:
        """Whether it defines a cell at a fixed number, that a recurrence may start from."""
        return bool(constant_subscripts(node, scope))

    def cell(self, node: ast.LetCell, scope: Scope) -> None:
        """`let d[t] = ...` in the plate of t defines the array d; `let s[0] = ...` one cell."""
        name = node.name.text
        # A name that belongs to something else was reported when it was declared.
        entry = self.array(name)
        if entry is not None and entry.value is not None:
            places = (Label(entry.span, "first defined here"),)
            self.report.add(CellTwice(node.span, f"{name}[...]", "", places))
            self.expressions.value(node.value, scope)
            return
        if self.is_start(node, scope):
            self._start(node, scope, entry)
            return
        unlike = self._not_an_array(node, scope) if entry is not None else ""
        if unlike:
            self.report.add(NotBuilt(node.span, unlike))
            self.give_up(name)
            entry = None
        pending = self.pending.pop(name, None)
        value = self.expressions.value(node.value, scope)
        if entry is None:
            return
        if value.type.kind != "error":
            value = self._array(value, scope.axes, node, pending)
        self._define(ast.Identifier(name, entry.span), value, node.doc, node.span)

    def _start(self, node: ast.LetCell, scope: Scope, entry: LetEntry | None) -> None:
        value = self.expressions.value(node.value, scope)
        if entry is None:
            return
        start = self._read_start(node, scope, value)
        if start is None:
            self.give_up(node.name.text)
            return
        known = self.recurrences.starts.setdefault(node.name.text, [])
        first = next((s for s in known if (s.index, s.dim) == (start.index, start.dim)), None)
        if first is None:
            known.append(start)
            return
        places = (Label(first.span, "first defined here"),)
        shown = f"{node.name.text}[{'.., ' * start.dim}{start.index}]"
        self.report.add(CellTwice(node.span, shown, "", places))

    def _read_start(self, node: ast.LetCell, scope: Scope, value: Expr) -> Start | None:
        constant = constant_subscripts(node, scope)
        if len(constant) > 1:
            self.report.add(NotBuilt(node.span, "a `let` of one cell with several numbers"))
            return None
        if self._guarded(scope):
            self.report.add(NotBuilt(node.span, "a `let` of cells under a guard"))
            return None
        number = node.subscripts[constant[0]]
        assert not isinstance(number, ast.Slice)  # a slice is no constant subscript
        index = self.expressions.check(number, scope)
        form = affine(index)
        if form is None or value.type.kind == "error":
            if index.type.kind != "error" and value.type.kind != "error":
                shown = self.report.source.extract(index.span)
                self.report.add(CellIndex(index.span, shown, "a start stands at a number: let s[0] = ..."))
            return None
        rest = tuple(s for i, s in enumerate(node.subscripts) if i != constant[0])
        place = read_place(replace(node, subscripts=rest), scope, self.expressions) if rest else None
        if rest and place is None:
            return None
        inner = place.axes if place is not None else ()
        shifted = place is not None and (any(place.offsets) or any(a.start != ZERO for a in inner))
        if shifted:
            self.report.add(NotBuilt(node.span, "a `let` of cells that does not start at 0"))
            return None
        if not rest and not covers(node, (), scope, self.expressions):
            return None
        return Start(form[1], constant[0], inner, value, node.span)

    def _not_an_array(self, node: ast.LetCell, scope: Scope) -> str:
        """Why cells do not define an array at once; empty when they do."""
        name, axes = node.name.text, scope.axes
        found = [scope.find(s.text) if isinstance(s, ast.Name) else None for s in node.subscripts]
        own = [i.axis for i in found if isinstance(i, Index)]
        if not axes or len(own) < len(found):
            return f"`let {name}[...]` with other subscripts than numbers and indices of plates"
        if any(a.rows is not None for a in axes):
            return "a `let` of cells over the rows of a list"
        if self._guarded(scope):
            return "a `let` of cells under a guard"
        if len(own) != len(axes) or any(a is not b for a, b in zip(own, axes, strict=True)):
            return f"`let {name}[...]` with other indices than those of its plates, in order,"
        return ""

    def _guarded(self, scope: Scope | None) -> bool:
        while scope is not None:
            if scope.guard is not None:
                return True
            scope = scope.parent
        return False

    def _array(self, value: Expr, axes: typed.Axes, node: ast.LetCell, pending: ast.Let | None) -> Expr:
        """The cells of all indices as one array."""
        shape = tuple(a.size for a in axes if a.size is not None) + value.type.shape
        free = tuple(a for a in value.axes if a not in axes)
        type_ = value.type.with_shape(shape)
        if pending is not None and pending.type is not None:
            # A mistake in the type itself was reported where the array is declared.
            declared = read_type(pending.type, self.scope, Report(self.report.source))
            if declared == ERROR:
                return self.expressions.error(node.span)
            if not fits(type_, declared):
                places = (Label(pending.name.span, "declared here"),)
                advice = "the plate defines the first sizes, the value the others"
                name, found = node.name.text, str(type_)
                self.report.add(DeclaredOtherwise(node.span, name, found, str(declared), advice, places))
                return self.expressions.error(node.span)
            if declared.kind == "real":
                value = self.expressions.as_real(value)
                type_ = declared
        return typed.Tabulate(type_, free, value.level, value.coupled, node.span, value, axes)
