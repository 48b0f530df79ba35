"""`(e with x = a, f = g)`: the value of an expression with variables, lets or nets replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.cases import as_case
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.names import RepeatedName
from ebmlang.compiler.catalogue.shapes import ShapesDiffer
from ebmlang.compiler.catalogue.types import BadOption, WrongKind
from ebmlang.compiler.nets.calls import NetCalls
from ebmlang.compiler.scope import Declared, LetEntry, NetEntry, Scope, Unbuilt, origins
from ebmlang.compiler.source import Span
from ebmlang.compiler.substitution import substitute
from ebmlang.compiler.typed import Expr
from ebmlang.compiler.types import fits, stretched

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(frozen=True, slots=True)
class Replacements:
    """Replaces values, seen from one scope. Mistakes go to the report of the checker."""

    checker: Expressions
    scope: Scope

    def substitution(self, node: ast.Substitution) -> Expr:
        """The value with every replacement made at once; an error value after a mistake."""
        inner = self.checker.check(node.inner, self.scope)
        replaced: dict[str, Expr] = {}
        failed = inner.type.kind == "error"
        for binding in node.bindings:
            if binding.name.text in replaced:
                self.checker.report.add(
                    RepeatedName(binding.name.span, binding.name.text, "this substitution")
                )
                continue
            value = self._replacement(binding)
            failed = failed or value is None
            if value is not None:
                replaced[binding.name.text] = value
        if failed:
            return self.checker.error(node.span)
        lists = (a.rows for e in typed.walk(inner) for a in e.axes if a.rows is not None)
        if any(typed.reads(rows) & replaced.keys() for rows in lists):
            self.checker.report.add(NotBuilt(node.span, "replacing a list of rows"))
            return self.checker.error(node.span)
        result, visited = substitute(inner, replaced, self.checker.lets)
        self.checker.node_count += visited
        self.checker.expansions += 1
        return result

    def _replacement(self, binding: ast.Binding) -> Expr | None:
        """What replaces a variable or a let, with its declared type; None after a mistake."""
        name, span = binding.name.text, binding.name.span
        entry = self.scope.find(name)
        if isinstance(entry, Unbuilt):
            return None  # refused where it is declared
        if isinstance(entry, NetEntry):
            return NetCalls(self.checker, self.scope).replacement(binding, entry)
        value = self.checker.check(binding.value, self.scope)
        old = self.checker.check(_read(name, span), self.scope)
        if "error" in (old.type.kind, value.type.kind):
            return None
        if not isinstance(old, typed.Read) or not isinstance(entry, Declared | LetEntry):
            found = "a size" if isinstance(old, typed.SizeOf) else f"`{name}` here"
            wanted = "a variable, a real hyperparameter or a let"
            self.checker.report.add(BadOption(span, "what is replaced", found, wanted))
            return None
        if stretched(value.type.shape, old.type.shape) != old.type.shape:
            places = origins(self.scope, old, value)
            what = f"replacing `{name}`"
            self.checker.report.add(
                ShapesDiffer(binding.span, str(old.type), str(value.type), what, "", places)
            )
            return None
        if old.type.kind == "real" and value.type.numeric:
            return self.checker.filled(self.checker.as_real(value), old.type)
        value = as_case(value, old.type, self.checker.prover.floors)
        if not fits(value.type, old.type):
            places = origins(self.scope, old, value)
            what = f"replacing `{name}`"
            self.checker.report.add(
                WrongKind(binding.value.span, str(value.type), str(old.type), what, "", places)
            )
            return None
        return value


def _read(name: str, span: Span) -> ast.Expr:
    """The expression that reads a variable, or one of a part, `part.name`."""
    first, *rest = name.split(".")
    found: ast.Expr = ast.Name(first, span)
    for word in rest:
        found = ast.Attribute(found, ast.Identifier(word, span), span)
    return found
