"""The text of a loss as part of a model: parsed and checked at the place of the line that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ebmlang.compiler import ast
from ebmlang.compiler.ast.walking import placed
from ebmlang.compiler.declarations import Declarations
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.parse import parse
from ebmlang.compiler.source import Source, Span
from ebmlang.compiler.typed import Expr


@dataclass(slots=True)
class Writing:
    """Mistakes of what the text is made of go to the report, at `span`."""

    declarations: Declarations
    span: Span

    def free(self, name: str) -> str:
        """A name that the model has no other use for, like the given one."""
        found, count = name, 1
        taken = self.declarations.expressions.local_lets
        while self.declarations.scope.find(found) is not None or found in taken:
            count += 1
            found = f"{name}_{count}"
        return found

    def value(self, text: str, draws: Mapping[str, str], *, costs: bool) -> Expr | None:
        """The checked value of an expression; None after a mistake.

        `draws` are random variables that it reads, by what follows their names in a declaration. `costs`:
        whether the total counts them.
        """
        lines = [f"random {name} {rest}" for name, rest in draws.items()]
        *declared, term = self._parsed([*lines, f"energy objective = {text}"])
        for node in declared:
            assert isinstance(node, ast.Variable)
            self.declarations.declare_variable(node, -1)
            self.declarations.variable(node)
        assert isinstance(term, ast.Term)
        expressions = self.declarations.expressions
        expressions.costs_count = costs
        value = expressions.value(term.value, self.declarations.scope)
        expressions.costs_count = True
        return None if value.type.kind == "error" else value

    def _parsed(self, lines: list[str]) -> tuple[ast.Statement, ...]:
        report = Report(Source("<loss>", "model loss() {\n" + "\n".join(lines) + "\n}\n"))
        module = parse(report)
        assert module is not None
        assert not report.failed, (lines, [str(e) for e in report.errors])
        return tuple(placed(s, self.span) for s in module.models[0].body)
