"""`dropout(x, p)`: x times a mask that is drawn in steps of training, and 1 everywhere else.

The mask is a random variable of its own, `dropout.1`, `dropout.2`, ..., in the order of the text: one for
each example, in the declared shape of x, keyed like other draws by seed, step and row. A hidden
hyperparameter, which training sets to 1, turns it on. So what is known of products with given values holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.domains import REALS
from ebmlang.compiler.schedules import TRAINING
from ebmlang.compiler.scope import Declared, Scope
from ebmlang.compiler.source import NOWHERE, Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import REAL

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(frozen=True, slots=True)
class Dropouts:
    """Writes out calls of `dropout` in one scope."""

    checker: Expressions
    scope: Scope

    def call(self, operand: ast.Expr, rate: ast.Expr, span: Span) -> Expr:
        """x * mask / (1 - on * p), the mask 1 with probability 1 - on * p (Srivastava et al. 2014)."""
        checker = self.checker
        value, p = checker.check(operand, self.scope), checker.check(rate, self.scope)
        if "error" in (value.type.kind, p.type.kind) or not checker.numeric(value, "`dropout`", self.scope):
            return checker.error(span)
        known = constant_of(p)
        fixed = p.type.scalar and p.type.numeric and p.level is Level.CONSTANT and not p.axes
        if not fixed or (known is not None and not 0 <= known < 1):
            shown = f"`{checker.report.source.extract(rate.span)}`"
            wanted = "a number from 0 to below 1, or a hyperparameter"
            checker.report.add(BadOption(rate.span, "the rate of `dropout`", shown, wanted))
            return checker.error(span)
        value = checker.as_real(value)
        if checker.defining:
            return value  # a function gets its masks where it is called
        one = typed.Constant(REAL, (), Level.CONSTANT, False, span, 1.0)
        kept = self._of("-", one, self._of("*", training(checker, span), checker.as_real(p), span), span)
        mask = self._mask(value, kept, span)
        return self._of("*", value, self._of("/", mask, kept, span), span)

    def _of(self, op: str, left: Expr, right: Expr, span: Span) -> Expr:
        from ebmlang.compiler.operators import Operators  # it leads back here

        return Operators(self.checker, self.scope).operator(op, left, right, span)

    def _mask(self, value: Expr, kept: Expr, span: Span) -> Expr:
        """Positions of a plate share a mask: it has the declared shape of what it multiplies."""
        checker = self.checker
        level = Level.EXAMPLE if value.level is Level.EXAMPLE else Level.SHARED
        number = 1 + sum(v.role == "random" for v in checker.hidden)
        name, type_ = f"dropout.{number}", value.type
        drawn = checker.apply("bernoulli", (kept,), type_, span)
        checker.hidden.append(typed.Variable(name, "random", type_, REALS, level, False, drawn, "", span))
        self.scope.model().entries[name] = Declared(type_, level, "random", -1, span)
        return typed.Read(type_, (), level, False, span, name)


def training(checker: Expressions, span: Span) -> Expr:
    """1 in a step of training, 0 otherwise; the model knows it from now on."""
    if all(v.name != TRAINING for v in checker.hidden):
        off = typed.Constant(REAL, (), Level.CONSTANT, False, NOWHERE, 0.0)
        hyper = typed.Variable(TRAINING, "hyper", REAL, REALS, Level.CONSTANT, False, off, "", NOWHERE)
        checker.hidden.append(hyper)
    return typed.Read(REAL, (), Level.CONSTANT, False, span, TRAINING)
