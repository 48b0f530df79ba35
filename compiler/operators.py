"""Operators: arithmetic, comparisons, and the products that mean xlogy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.calls import Calls
from ebmlang.compiler.catalogue.model import ApproximateOutside
from ebmlang.compiler.catalogue.shapes import ShapesDiffer
from ebmlang.compiler.catalogue.types import ClassesDiffer, DivisionByZero, WrongKind
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.scope import Scope, origins
from ebmlang.compiler.sizes import Size, SizeError
from ebmlang.compiler.sizing import combine
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import INT, Kind, Type, join_kinds, stretched

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

_NAMES = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "@": "matmul", "^": "pow",
    "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "~=": "eq", "!=": "ne",
    "and": "and", "or": "or",
}  # fmt: skip

HIGHEST_POWER = 16
"""Whole powers of sizes up to this one are written out as products."""


@dataclass(slots=True, eq=False)
class Operators:
    """Checks operators in one scope."""

    checker: Expressions
    scope: Scope

    def unary(self, node: ast.Unary) -> Expr:
        operand = self.checker.check(node.operand, self.scope)
        if not self.checker.numeric(operand, f"`{node.op}`", self.scope):
            return self.checker.error(node.span)
        return operand if node.op == "+" else self.negated(operand, node.span)

    def negated(self, operand: Expr, span: Span) -> Expr:
        if isinstance(operand, typed.SizeOf):
            return typed.SizeOf(INT, (), Level.CONSTANT, False, span, -operand.size)
        if isinstance(operand, typed.Constant) and not isinstance(operand.value, bool):
            return typed.Constant(operand.type, (), Level.CONSTANT, False, span, -operand.value)
        kind: Kind = "int" if operand.type.kind == "bool" else operand.type.kind
        return self.checker.apply("neg", (operand,), Type(kind, operand.type.shape), span)

    def binary(self, node: ast.Binary) -> Expr:
        """Operators from left to right. Long sums lean to the left: a loop, not recursion."""
        spine = [node]
        while isinstance(spine[-1].left, ast.Binary):
            spine.append(spine[-1].left)
        check, scope = self.checker.check, self.scope
        value = check(spine[-1].left, scope)
        before: Expr | None = None
        inner: ast.Binary | None = None
        for outer in reversed(spine):
            right = check(outer.right, scope)
            lowered = self._x_log_x(outer, inner, before) if outer.op == "*" else None
            before, inner = value, outer
            value = lowered if lowered is not None else self._step(outer, value, right)
        return value

    def _step(self, node: ast.Binary, left: Expr, right: Expr) -> Expr:
        if left.type.kind == "error" or right.type.kind == "error":
            return self.checker.error(node.span)
        if node.op == "~=":
            self.checker.report.add(ApproximateOutside(node.op_span, self.checker.in_property))
            return self.checker.error(node.span)
        squared = node.op == "^" and isinstance(node.left, ast.Norm) and constant_of(right) == 2
        if squared and isinstance(left, typed.Apply) and left.option("order") == 2.0:
            # The square of a Euclidean norm is smooth; its root, taken first, is not.
            return Calls(self.checker, self.scope).builtin("norm_squared", left.arguments, node.span)
        return self.operator(node.op, left, right, node.span)

    def operator(self, op: str, left: Expr, right: Expr, span: Span) -> Expr:
        """An infix operator on checked operands."""
        if op == "@":
            if not self._numbers(op, left, right):
                return self.checker.error(span)
            return Calls(self.checker, self.scope).builtin("matmul", (left, right), span)
        name = _NAMES[op]
        if BUILTINS[name].form == "comparison":
            if not self._comparable(op, left, right, span):
                return self.checker.error(span)
            kind: Kind = "bool"
        else:
            if not self._numbers(op, left, right):
                return self.checker.error(span)
            if op in ("/", "//", "%") and constant_of(right) == 0:
                self.checker.report.add(DivisionByZero(span, op))
                return self.checker.error(span)
            if isinstance(left, typed.SizeOf) and isinstance(right, typed.SizeOf):
                size = _size_of(op, left.size, right.size)
                if size is not None:
                    return typed.SizeOf(INT, (), Level.CONSTANT, False, span, size)
            kind = _arithmetic_kind(op, left, right)
        a, b = left.type.shape, right.type.shape
        shape = a if a == b else stretched(a, b)
        if shape is None:
            places = origins(self.scope, left, right)
            advice = _shape_advice(op, left.type, right.type)
            self.checker.report.add(
                ShapesDiffer(span, str(left.type), str(right.type), f"`{op}`", advice, places)
            )
            return self.checker.error(span)
        return self.checker.apply(name, (left, right), Type(kind, shape), span)

    def _numbers(self, op: str, left: Expr, right: Expr) -> bool:
        if left.type.kind == "real" and right.type.kind == "real":
            return True
        numeric, what = self.checker.numeric, f"`{op}`"
        return numeric(left, what, self.scope) and numeric(right, what, self.scope)

    def _comparable(self, op: str, left: Expr, right: Expr, span: Span) -> bool:
        report = self.checker.report
        if op in ("and", "or"):
            for side in (left, right):
                if side.type.kind != "bool":
                    found = str(side.type)
                    report.add(WrongKind(side.span, found, "conditions", f"`{op}`", "compare: x > 0"))
                    return False
            return True
        kinds = {left.type.kind, right.type.kind}
        if kinds == {"class"}:
            if left.type.classes != right.type.classes:
                places = origins(self.scope, left, right)
                report.add(ClassesDiffer(span, str(left.type), str(right.type), f"`{op}`", places))
            return left.type.classes == right.type.classes
        if kinds == {"class", "int"}:
            is_case = self.checker.is_case
            return is_case(left, right.type, self.scope) and is_case(right, left.type, self.scope)
        if "class" in kinds:
            names = f"{left.type} and {right.type}"
            places = origins(self.scope, left, right)
            advice = "cases are whole numbers that count from 0" if "class" in kinds else ""
            report.add(WrongKind(span, names, "values of one kind", f"`{op}`", advice, places))
            return False
        return True

    # --- x log x ---

    def _x_log_x(self, node: ast.Binary, inner: ast.Binary | None, before: Expr | None) -> Expr | None:
        """`x * log(x)` means xlogy(x, x), which is 0 at 0; so do `a * x * log(x)` and `-x * log(x)`.

        `inner` is the operation on the left, and `before` the value of its left side.
        """
        if not (_may_hold_log(node.right) or _may_hold_log(node.left if inner is None else inner.right)):
            return None
        factor: Expr | None = None
        found = self._sides(node.left, node.right)
        if found is None and inner is not None and inner.op == "*":
            found, factor = self._sides(inner.right, node.right), before
        if found is None or (factor is not None and factor.type.kind == "error"):
            return None
        x, negative = found
        value = self.checker.check(x, self.scope)
        if value.type.kind == "error" or not value.type.numeric:
            return None
        result = self.checker.apply("xlogy", (value, value), Type("real", value.type.shape), node.span)
        if negative:
            result = self.negated(result, node.span)
        return result if factor is None else self.operator("*", factor, result, node.span)

    def _sides(self, left: ast.Expr, right: ast.Expr) -> tuple[ast.Expr, bool] | None:
        """The x of `x * log(x)`, `log(x) * x` or one of them with a minus, and whether it has the minus."""
        for log, other in ((_bare(right), left), (_bare(left), right)):
            if not _is_log(log) or "log" in self.checker.functions.declared:
                continue
            argument = log.arguments[0].value
            if not isinstance(argument, ast.Expr):
                continue
            x, negative = _bare(other), False
            while isinstance(x, ast.Unary):
                negative ^= x.op == "-"
                x = _bare(x.operand)
            if self._text(x) == self._text(_bare(argument)):
                return x, negative
        return None

    def _text(self, node: ast.Expr) -> str:
        return "".join(self.checker.report.source.extract(node.span).split())


def _is_log(node: ast.Expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and node.function.text == "log" and len(node.arguments) == 1


def _may_hold_log(node: ast.Expr) -> bool:
    return isinstance(node, ast.Call | ast.Parenthesised)


def _bare(node: ast.Expr) -> ast.Expr:
    while isinstance(node, ast.Parenthesised):
        node = node.inner
    return node


def _size_of(op: str, left: Size, right: Size) -> Size | None:
    """Integer arithmetic of sizes stays a size, so that subscripts can be proven inside."""
    if op == "/":
        return None
    if op == "^" and (right.constant is None or not 0 <= right.constant <= HIGHEST_POWER):
        return None
    try:
        return combine(op, left, right)
    except SizeError:
        # As a number it may still be fine: 10^12 * 10^12.
        return None


def _arithmetic_kind(op: str, left: Expr, right: Expr) -> Kind:
    if op == "/":
        return "real"
    kind = join_kinds(left.type.kind, right.type.kind)
    if op != "^" or kind == "real":
        return kind
    # A negative power of an integer is a fraction.
    exponent = constant_of(right)
    return kind if exponent is not None and exponent >= 0 else "real"


def _shape_advice(op: str, left: Type, right: Type) -> str:
    if op == "*" and left.rank == 2 and right.rank == 1 and left.shape[1] == right.shape[0]:
        return "a matrix times a vector is written A @ x"
    if left.rank == right.rank == 2 and left.shape == right.shape[::-1]:
        return "one of the two is transposed: write A.T"
    if left.rank and right.rank and left.rank != right.rank:
        return "add a dimension: b[None, ..] for a row, b[.., None] for a column"
    return ""
