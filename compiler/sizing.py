"""Sizes and types as written to sizes and types as used."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.compiler import ast
from ebmlang.compiler.catalogue.names import HiddenName, UnknownName, UnknownType
from ebmlang.compiler.catalogue.shapes import NotASize, SizeArithmetic, TooLarge
from ebmlang.compiler.catalogue.types import SizeExpected
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.scope import (
    Bound,
    Declared,
    Entry,
    Index,
    LetEntry,
    Scope,
    SizeEntry,
    Unbuilt,
    declared_at,
)
from ebmlang.compiler.sizes import Size, SizeError
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import ERROR, Kind, Shape, Type

_KINDS: dict[str, Kind] = {
    "real": "real",
    "int": "int",
    "bool": "bool",
    "class": "class",
    "permutation": "class",
}

LARGEST_ARRAY = 10**11
"""Entries. More than this is a slip of the pen: 400 GB in single precision."""

DEEPEST_SIZE = 50
"""Operations inside one another in one size."""

_SIZE_OPERATORS = ("+", "-", "*", "//", "%", "^")


def read_size(node: ast.Expr, scope: Scope, report: Report) -> Size | None:
    """An integer expression as a size; None after a mistake has been reported."""
    try:
        return _size(node, scope, report, DEEPEST_SIZE)
    except SizeError as error:
        report.add(SizeArithmetic(node.span, str(error)))
        return None


def _size(node: ast.Expr, scope: Scope, report: Report, depth: int) -> Size | None:
    if not depth:
        raise SizeError(f"more than {DEEPEST_SIZE} operations inside one another")
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
            return _size(node.inner, scope, report, depth - 1)
        case ast.Unary():
            inner = _size(node.operand, scope, report, depth - 1)
            return None if inner is None else -inner if node.op == "-" else inner
        case ast.Binary() if node.op in _SIZE_OPERATORS:
            left, right = (
                _size(node.left, scope, report, depth - 1),
                _size(node.right, scope, report, depth - 1),
            )
            if left is None or right is None:
                return None
            return combine(node.op, left, right)
    advice = "division of integers is written //" if isinstance(node, ast.Binary) and node.op == "/" else ""
    report.add(SizeExpected(node.span, f"`{report.source.extract(node.span)}`", advice))
    return None


def combine(op: str, left: Size, right: Size) -> Size:
    """Arithmetic on sizes. Raises SizeError where no size comes out."""
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
        raise SizeError("a power whose exponent is not a number")
    return left**power


def _named(node: ast.Name, scope: Scope, report: Report) -> Size | None:
    entry = scope.find(node.text)
    if isinstance(entry, SizeEntry):
        return entry.size
    if entry is None:
        unknown_size(node, scope, report)
        return None
    if isinstance(entry, Unbuilt) or (isinstance(entry, Bound) and entry.value.type == ERROR):
        return None
    if f"{node.text} as a size" in scope.unknown:
        return None
    scope.unknown.add(f"{node.text} as a size")
    what = f"`{node.text}`" + _described(entry)
    advice = "sizes come from integer hyperparameters: model m(n: int)"
    if isinstance(entry, Declared) and entry.role == "hyper" and entry.type.scalar:
        advice = f"declare it {node.text}: int"
    if isinstance(entry, Index):
        advice = "ranges do not depend on indices; a guard leaves some out: for i in 0..n, j in 0..n if j < i"
    report.add(SizeExpected(node.span, what, advice, declared_at(entry, f"`{node.text}` is declared here")))
    return None


def _described(entry: Entry) -> str:
    match entry:
        case Declared():
            return f", which is {entry.type}"
        case Index():
            return ", a plate index"
        case LetEntry(value=value) if value is not None:
            return f", a let of type {value.type}"
    return ""


def unknown_size(node: ast.Name, scope: Scope, report: Report) -> None:
    """Report a size that nothing declares, once for each name."""
    if node.text in scope.unknown:
        return
    scope.unknown.add(node.text)
    if scope.outside is not None:
        hidden = scope.outside.scope.find(node.text)
        if hidden is not None:
            places = declared_at(hidden, f"`{node.text}` is declared here")
            report.add(HiddenName(node.span, node.text, scope.outside.function, places))
            return
    integers = tuple(n for n in scope.names() if scope.find_size(n) is not None)
    note = f"add it to the model: model m({node.text}: int)"
    report.add(UnknownName(node.span, node.text, integers, note))


def read_type(node: ast.TypeExpr, scope: Scope, report: Report, generic: bool = False) -> Type:
    """A type as written. With `generic`, unknown names in dimensions become sizes of their own."""
    kind = _KINDS.get(node.name.text)
    if kind is None:
        report.add(UnknownType(node.name.span, node.name.text, tuple(_KINDS)))
        return ERROR
    groups = list(node.dims)
    classes: Size | None = None
    permuted = node.name.text == "permutation"
    if kind == "class":
        if not groups or len(groups[0]) != 1:
            found = "left out here" if not groups else "a list"
            example = "its length stands alone in brackets: permutation[n]"
            if not permuted:
                example = "the number of cases stands alone in brackets: class[K][n]"
            report.add(SizeExpected(node.span, found, example))
            return ERROR
        classes = _dimension(groups.pop(0)[0], scope, report, generic)
        if classes is None:
            return ERROR
    shape = [_dimension(dim, scope, report, generic) for group in groups for dim in group]
    if any(size is None for size in shape):
        return ERROR
    last = (classes,) if permuted and classes is not None else ()
    found_type = Type(kind, (*(size for size in shape if size is not None), *last), classes, permuted)
    return found_type if fits_memory(found_type.shape, f"{found_type}", node.span, report) else ERROR


def _dimension(node: ast.Expr, scope: Scope, report: Report, generic: bool) -> Size | None:
    if generic:
        for name in names_in(node):
            if scope.find(name.text) is None:
                scope.entries[name.text] = SizeEntry(Size.of(name.text), name.span)
    size = read_size(node, scope, report)
    return size if size is None or is_dimension(size, node.span, report) else None


def is_dimension(size: Size, span: Span, report: Report) -> bool:
    """Whether a size can be a dimension; what is certain to be below 1 or too large is reported."""
    if size.known_positive(1) is False:
        report.add(NotASize(span, str(size)))
        return False
    return fits_memory((size,), "this dimension", span, report)


def fits_memory(shape: Shape, what: str, span: Span, report: Report) -> bool:
    """Whether the known part of a shape stays below the largest array."""
    count = 1
    for size in shape:
        count *= size.constant or 1
    if count > LARGEST_ARRAY:
        report.add(TooLarge(span, what, f"{count:,}", LARGEST_ARRAY))
        return False
    return True


def names_in(node: ast.Expr) -> Iterator[ast.Name]:
    """The names in the arithmetic of a size."""
    stack = [node]
    while stack:
        found = stack.pop()
        match found:
            case ast.Name():
                yield found
            case ast.Parenthesised():
                stack.append(found.inner)
            case ast.Unary():
                stack.append(found.operand)
            case ast.Binary():
                stack.extend((found.right, found.left))
