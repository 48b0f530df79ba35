"""Expressions, types and domains, as they are written."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler.source import NOWHERE, Span


def span_field() -> Span:
    """A span that does not take part in comparison."""
    return field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Identifier:
    """A name where it is declared or used as a plain word."""

    text: str
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Number:
    text: str
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Name:
    text: str
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Unary:
    op: str
    operand: Expr
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Binary:
    op: str
    left: Expr
    right: Expr
    op_span: Span = span_field()
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    function: Identifier
    arguments: tuple[Argument, ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class CallEntry:
    """`f[l](x)`: a call of one of the nets of a plate."""

    entry: Index
    arguments: tuple[Argument, ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Argument:
    """`value`, or `name = value`; only `over` takes a Reduction or the examples of the batch."""

    name: Identifier | None
    value: Expr | Reduction | OverBatch | Text
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Reduction:
    """`i in 0..n, j in 0..m if i != j`: the indices that a reduction runs over."""

    binders: tuple[Binder, ...]
    guard: Expr | None
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class OverBatch:
    """`batch` after `over =`: the examples."""

    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """A quoted argument: the index specification of `einsum`."""

    value: str
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Index:
    base: Expr
    subscripts: tuple[Expr | Slice, ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Slice:
    start: Expr | None
    stop: Expr | None
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Attribute:
    base: Expr
    name: Identifier
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Parenthesised:
    """Parentheses are kept, so that the formatter prints what the author wrote."""

    inner: Expr
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Substitution:
    """`(inner with x = e, f = g)`."""

    inner: Expr
    bindings: tuple[Binding, ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class ListExpr:
    items: tuple[Expr, ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Absolute:
    inner: Expr
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Norm:
    """`||x||` (order "2") or `||x||_1`."""

    inner: Expr
    order: str
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Component:
    """One of the results of a net, for a `let` of several names; the parser makes none."""

    value: Expr
    number: int
    count: int
    span: Span = span_field()


Expr = (
    Number
    | Name
    | Unary
    | Binary
    | Call
    | CallEntry
    | Index
    | Attribute
    | Parenthesised
    | Substitution
    | ListExpr
    | Absolute
    | Norm
    | Component
)


@dataclass(frozen=True, slots=True, repr=False)
class Binding:
    name: Identifier
    value: Expr
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Binder:
    """`i in 0..n` (rows is None) or `(i, j) in edges` (start and stop are None)."""

    names: tuple[Identifier, ...]
    start: Expr | None
    stop: Expr | None
    rows: Expr | None
    span: Span = span_field()


# --- types --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class TypeExpr:
    """`real[n, k]`, `class[K][T]`: a word and groups of dimensions."""

    name: Identifier
    dims: tuple[tuple[Expr, ...], ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class DomainExpr:
    """`in simplex(k) where see`; an interval has the name `interval` and two arguments."""

    name: Identifier
    arguments: tuple[Argument, ...]
    where: Expr | None
    span: Span = span_field()
