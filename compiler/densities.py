"""Functions that are written out in others when they are checked: `logp`, `straight_through`, `dropout`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import Builtin
from ebmlang.compiler.catalogue.names import UsedBeforeDefinition
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.dropout import Dropouts
from ebmlang.compiler.scope import Declared, Scope, declared_at
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import REAL

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


def written_out(checker: Expressions, scope: Scope, row: Builtin, values: list[ast.Expr], span: Span) -> Expr:
    """The checked call of a function of the form `written`."""
    if row.name == "dropout":
        return Dropouts(checker, scope).call(values[0], values[1], span)
    writing = _Writing(checker, scope, span)
    return writing.log_density(values[0]) if row.name == "logp" else writing.straight_through(*values)


class _Writing:
    """Arithmetic on checked values, all at one place."""

    def __init__(self, checker: Expressions, scope: Scope, span: Span) -> None:
        from ebmlang.compiler.calls import Calls  # it calls this file
        from ebmlang.compiler.operators import Operators
        from ebmlang.compiler.subscripts import Subscripts

        self.checker, self.scope, self.span = checker, scope, span
        self.operators, self.calls = Operators(checker, scope), Calls(checker, scope)
        self.subscripts = Subscripts(checker, scope)

    def call(self, name: str, *operands: Expr) -> Expr:
        return self.calls.builtin(name, operands, self.span)

    def of(self, op: str, left: Expr, right: Expr) -> Expr:
        return self.operators.operator(op, left, right, self.span)

    def number(self, value: float) -> Expr:
        return typed.Constant(REAL, (), Level.CONSTANT, False, self.span, value)

    # --- the functions ---

    def straight_through(self, hard: ast.Expr, soft: ast.Expr) -> Expr:
        """soft - stop(soft) + hard: to the bit the first value, with the slope of the second one
        (Bengio, Leonard and Courville 2013)."""
        value, way = (self.checker.check(node, self.scope) for node in (hard, soft))
        if "error" in (value.type.kind, way.type.kind):
            return self.checker.error(self.span)
        for operand in (value, way):
            if not self.checker.numeric(operand, "`straight_through`", self.scope):
                return self.checker.error(self.span)
        # The 0 comes first: sums are written from the left.
        return self.of("+", self.of("-", way, self.call("stop", way)), self.call("stop", value))

    def log_density(self, node: ast.Expr) -> Expr:
        """The sum of the logarithms of the densities of a random variable's entries, or of those that
        subscripts pick."""
        name = node.base if isinstance(node, ast.Index) else node
        entry = self.scope.find(name.text) if isinstance(name, ast.Name) else None
        if not isinstance(name, ast.Name) or not isinstance(entry, Declared) or entry.role != "random":
            found = f"`{self.checker.report.source.extract(node.span)}`"
            wanted = "the name of a random variable"
            self.checker.report.add(BadOption(node.span, "the argument of `logp`", found, wanted))
            return self.checker.error(self.span)
        drawn = self.checker.distributions.get(name.text)
        if drawn is None:
            places = declared_at(entry, f"`{name.text}` is declared here")
            self.checker.report.add(UsedBeforeDefinition(node.span, name.text, places))
            return self.checker.error(self.span)
        value = self.checker.check(name, self.scope)
        entries = getattr(self, f"_{drawn.function}")(value, *drawn.arguments)
        if entries.type.shape != value.type.shape:
            entries = self.checker.filled(entries, REAL.with_shape(value.type.shape))
        if isinstance(node, ast.Index):
            entries = self.subscripts.of(entries, node)
        return self.call("sum", entries) if entries.type.shape else entries

    def _normal(self, x: Expr, mean: Expr | None = None, deviation: Expr | None = None) -> Expr:
        mean, deviation = mean or self.number(0.0), deviation or self.number(1.0)
        score = self.of("/", self.of("-", x, mean), deviation)
        constant = self.of("+", self.call("log", deviation), self.number(0.5 * math.log(2 * math.pi)))
        return self.of("-", self.of("*", self.number(-0.5), self.call("square", score)), constant)

    def _uniform(self, x: Expr, low: Expr | None = None, high: Expr | None = None) -> Expr:
        low, high = low or self.number(0.0), high or self.number(1.0)
        inside = self.of("and", self.of(">=", x, low), self.of("<=", x, high))
        density = self.operators.negated(self.call("log", self.of("-", high, low)), self.span)
        return self.call("where", inside, density, self.number(-math.inf))

    def _bernoulli(self, x: Expr, probability: Expr) -> Expr:
        holds = x if x.type.kind == "bool" else self.of(">", x, self.number(0.5))
        other = self.call("log", self.of("-", self.number(1.0), probability))
        return self.call("where", holds, self.call("log", probability), other)

    def _categorical(self, x: Expr, weights: Expr) -> Expr:
        shares = self.of("/", weights, self.call("sum", weights))
        return self.call("log", self.call("gather", shares, x))
