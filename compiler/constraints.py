"""`subject to`: a relation of two sides, checked and brought to `value <= 0` or `value == 0`."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.model import NotARelation
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.operators import Operators
from ebmlang.compiler.scope import Scope
from ebmlang.compiler.typed import Expr
from ebmlang.compiler.types import Type


@dataclass(frozen=True, slots=True)
class Related:
    """The difference of the sides and what it has to be."""

    relation: typed.Relation
    value: Expr
    written: str


def relation(expressions: Expressions, node: ast.Subject, scope: Scope) -> Related | None:
    """What a constraint demands; None when the report has a mistake."""
    report = expressions.report
    written = " ".join(report.source.extract(node.relation.span).split())
    inner = node.relation
    while isinstance(inner, ast.Parenthesised):
        inner = inner.inner
    if not isinstance(inner, ast.Binary) or inner.op not in ("<=", ">=", "=="):
        found = inner.op if isinstance(inner, ast.Binary) else ""
        if isinstance(inner, ast.Binary) and found in ("<", ">", "!=", "~=", "and", "or"):
            report.add(NotARelation(inner.op_span, node.name.text, found))
        elif expressions.value(inner, scope).type.kind != "error":
            report.add(NotARelation(inner.span, node.name.text))
        return None
    left, right = expressions.value(inner.left, scope), expressions.value(inner.right, scope)
    if "error" in (left.type.kind, right.type.kind):
        return None
    if not (
        expressions.numeric(left, "a constraint", scope) and expressions.numeric(right, "a constraint", scope)
    ):
        return None
    compared = Operators(expressions, scope).operator(inner.op, left, right, inner.span)
    if compared.type.kind == "error":
        return None
    if inner.op == ">=":
        left, right = right, left
    type_ = Type("real", compared.type.shape)
    left, right = expressions.as_real(left), expressions.as_real(right)
    if constant_of(right) == 0 and left.type.shape == type_.shape:
        value = left
    elif constant_of(left) == 0 and right.type.shape == type_.shape:
        value = expressions.apply("neg", (right,), type_, inner.span)
    else:
        value = expressions.apply("sub", (left, right), type_, inner.span)
    return Related("==" if inner.op == "==" else "<=", value, written)
