"""Sizes and types as written to sizes and types as used."""

from __future__ import annotations

from ebmlang.compiler import ast
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.names import UnknownName, UnknownType
from ebmlang.compiler.catalogue.shapes import NotASize
from ebmlang.compiler.catalogue.types import SizeExpected
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.scope import Declared, Scope
from ebmlang.compiler.sizes import ONE, Size, SizeError
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import ERROR, Kind, Type

_KINDS: dict[str, Kind] = {"real": "real", "int": "int", "bool": "bool", "class": "class", "permutation": "permutation"}
LARGEST_DIMENSION = 10**12


def read_size(node: ast.Expr, scope: Scope, report: Report) -> Size | None:
    """An integer expression as a size; None after a mistake has been reported."""
    try:
        return _size(node, scope, report)
    except SizeError as error:
        report.add(SizeExpected(node.span, str(error)))
        return None


def _size(node: ast.Expr, scope: Scope, report: Report) -> Size | None:
    match node:
        case ast.Number():
            digits = node.text.replace("_", "")
            if digits.isdigit():
                return Size.of(int(digits[:30]))
            report.add(SizeExpected(node.span, f"the number {node.text}", "sizes are whole numbers"))
            return None
        case ast.Name():
            return _named(node, scope, report)
        case ast.Parenthesised():
            return _size(node.inner, scope, report)
        case ast.Unary():
            inner = _size(node.operand, scope, report)
            return None if inner is None else -inner if node.op == "-" else inner
        case ast.Binary(op="+" | "-" | "*" | "//" | "%" | "^"):
            left, right = _size(node.left, scope, report), _size(node.right, scope, report)
            if left is None or right is None:
                return None
            return _combine(node.op, left, right)
    advice = "division of integers is written //" if isinstance(node, ast.Binary) and node.op == "/" else ""
    report.add(SizeExpected(node.span, f"`{report.source.extract(node.span)}`", advice))
    return None


def _combine(op: str, left: Size, right: Size) -> Size:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "//":
            return left // right
        case "%":
            return left % right
    power = right.constant
    if power is None:
        raise SizeError("a power with an exponent that is not a number")
    return left**power


def _named(node: ast.Name, scope: Scope, report: Report) -> Size | None:
    size = scope.find_size(node.text)
    if size is not None:
        return size
    entry = scope.find(node.text)
    if entry is None:
        integers = tuple(n for n in scope.names() if scope.find_size(n) is not None)
        report.add(
            UnknownName(node.span, node.text, integers, f"add it to the model: model m({node.text}: int)")
        )
    else:
        places = (Label(entry.span, f"`{node.text}` is declared here"),)
        what = f"`{node.text}`" + (f", which is {entry.type}" if isinstance(entry, Declared) else "")
        advice = "sizes come from integer hyperparameters: model m(n: int)"
        report.add(SizeExpected(node.span, what, advice, places))
    return None


def read_type(node: ast.TypeExpr, scope: Scope, report: Report, generic: bool = False) -> Type:
    """A type as written. With `generic`, an unknown name that is exactly a dimension binds it."""
    kind = _KINDS.get(node.name.text)
    if kind is None:
        report.add(UnknownType(node.name.span, node.name.text, tuple(_KINDS)))
        return ERROR
    groups = list(node.dims)
    classes: Size | None = None
    if kind in ("class", "permutation"):
        if not groups or len(groups[0]) != 1:
            report.add(SizeExpected(node.span, f"missing: `{kind}` needs its number", f"{kind}[K]"))
            return ERROR
        classes = _dimension(groups.pop(0)[0], scope, report, generic)
        if classes is None:
            return ERROR
    shape = [_dimension(dim, scope, report, generic) for group in groups for dim in group]
    if any(size is None for size in shape):
        return ERROR
    return Type(kind, tuple(size for size in shape if size is not None), classes)


def _dimension(node: ast.Expr, scope: Scope, report: Report, generic: bool) -> Size | None:
    if generic and isinstance(node, ast.Name) and scope.find_size(node.text) is None:
        scope.sizes[node.text] = Size.of(node.text)
    size = read_size(node, scope, report)
    if size is None:
        return None
    value = size.constant
    if value is not None and not 1 <= value <= LARGEST_DIMENSION:
        report.add(NotASize(node.span, str(size)))
        return None
    return size if value != 1 else ONE


def refuse_unbuilt_type(found: Type, span: Span, report: Report) -> None:
    """`permutation[n]` is declared and checked, but nothing computes with it yet."""
    if found.kind == "permutation":
        report.add(NotBuilt(span, "a permutation variable"))
