"""Terms, and what all statements of a plate share: subscripts and guards."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.model import PlateSubscripts
from ebmlang.compiler.catalogue.types import TermNotScalar
from ebmlang.compiler.catalogue.values import BatchTermPerExample, CoupledTerm
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.scope import Declared, LetEntry, Scope, TermEntry, broken, origins
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level


@dataclass(slots=True)
class TermStatements:
    """Checks the terms of one model."""

    expressions: Expressions
    scope: Scope

    @property
    def report(self) -> Report:
        return self.expressions.report

    def term(self, node: ast.Term, scope: Scope) -> None:
        """A term of the model, or of every cell of a plate."""
        self.subscripts(node.name, node.subscripts, scope)
        value = self.expressions.value(node.value, scope)
        name = node.name.text
        entry = self.scope.find(name)
        if not isinstance(entry, TermEntry) or entry.span != node.name.span:
            return
        if value.type.kind == "error" or not self._is_scalar(value, node):
            self.silence(node.name)
            return
        guard = self.guard(scope)
        self._reach(value, guard, node)
        term = typed.Term(name, node.kind, node.batch, scope.axes, guard, value, node.doc, node.span)
        self.scope.entries[name] = TermEntry(term, node.name.span)
        self.expressions.terms.append(term)

    def _is_scalar(self, value: Expr, node: ast.Term) -> bool:
        if value.type.scalar and value.type.numeric:
            return True
        self.report.add(
            TermNotScalar(node.value.span, node.name.text, str(value.type), origins(self.scope, value))
        )
        return False

    def _reach(self, value: Expr, guard: Expr | None, node: ast.Term) -> None:
        """A batch term is one number for the batch, any other term looks at its own example."""
        parts = (value,) if guard is None else (value, guard)
        level, coupled = max(p.level for p in parts), any(p.coupled for p in parts)
        if node.batch and level is Level.EXAMPLE:
            places = self._per_example(parts)
            self.report.add(BatchTermPerExample(node.value.span, node.name.text, places))
        elif not node.batch and coupled:
            names = sorted(n for p in parts for n in typed.reads(p))
            entries = [(n, self.scope.find(n)) for n in names]
            coupled_lets = [
                (n, e) for n, e in entries if isinstance(e, LetEntry) and e.value and e.value.coupled
            ]
            places = tuple(Label(e.span, f"`{n}` looks at all examples") for n, e in coupled_lets[:2])
            self.report.add(CoupledTerm(node.value.span, node.name.text, places))

    def _per_example(self, parts: tuple[Expr, ...]) -> tuple[Label, ...]:
        """Where the values that differ by example are declared: at most two."""
        places: list[Label] = []
        for part in parts:
            for name in sorted(typed.reads(part)):
                entry = self.scope.find(name)
                if isinstance(entry, Declared) and entry.level is Level.EXAMPLE:
                    places.append(Label(entry.span, f"`{name}` has one value per example"))
        return tuple(places[:2])

    def guard(self, scope: Scope | None) -> Expr | None:
        """The guards of all enclosing plates together."""
        guard: Expr | None = None
        while scope is not None:
            own = scope.guard
            if own is not None:
                guard = (
                    own if guard is None else self.expressions.apply("and", (own, guard), own.type, own.span)
                )
            scope = scope.parent
        return guard

    def subscripts(
        self, name: ast.Identifier, subscripts: tuple[ast.Expr | ast.Slice, ...], scope: Scope
    ) -> None:
        """What a statement of a plate writes behind its name is the plate's own indices."""
        if not subscripts:
            return
        wanted = [n for axis in scope.axes for n in axis.names]
        found = [
            s.text if isinstance(s, ast.Name) else self.report.source.extract(s.span) for s in subscripts
        ]
        if found != wanted:
            end = subscripts[-1].span
            span = name.span.to(Span(end.start, end.end + 1))
            self.report.add(PlateSubscripts(span, name.text, ", ".join(found), ", ".join(wanted)))

    def silence(self, name: ast.Identifier) -> None:
        """A name that could not be checked stays quiet wherever it is used."""
        entry = self.scope.entries.get(name.text)
        if isinstance(entry, TermEntry | LetEntry):
            self.scope.entries[name.text] = broken(entry.span)
