"""Statements, models and modules, as they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ebmlang.compiler.ast.expressions import (
    Argument,
    Binder,
    Binding,
    DomainExpr,
    Expr,
    Identifier,
    Slice,
    TypeExpr,
    span_field,
)
from ebmlang.compiler.source import Span

# --- declarations -------------------------------------------------------------------------------

Role = Literal["observed", "latent", "param", "random"]
Per = Literal["batch", "episode"]


@dataclass(frozen=True, slots=True, repr=False)
class Hyper:
    name: Identifier
    type: TypeExpr
    domain: DomainExpr | None
    default: Expr | None
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Variable:
    """`init` is the default of an observed variable, the start of an unknown, the
    distribution of a random one."""

    role: Role
    name: Identifier
    type: TypeExpr
    domain: DomainExpr | None
    missing: bool
    shared: bool
    per: Per | None
    init: Expr | None
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Net:
    extern: bool
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    inputs: tuple[TypeExpr, ...]
    outputs: tuple[TypeExpr, ...]
    init: Expr | None
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Let:
    """`let h : T = value`; without a value it declares an array whose cells follow."""

    name: Identifier
    type: TypeExpr | None
    value: Expr | None
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class LetCell:
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class LetTuple:
    names: tuple[Identifier, ...]
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Parameter:
    name: Identifier
    type: TypeExpr
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Fn:
    name: Identifier
    parameters: tuple[Parameter, ...]
    result: TypeExpr | None
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class StateDecl:
    name: Identifier
    type: TypeExpr | None
    per: Per | None
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Update:
    name: Identifier
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Reference:
    """A model that is used: `std.attention(m = 10)`, `block[l]`."""

    path: tuple[Identifier, ...]
    subscripts: tuple[Expr | Slice, ...]
    arguments: tuple[Argument, ...]
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    reference: Reference
    bindings: tuple[Binding, ...]
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Compose:
    """`use ... as ...` (join) or `solve ... as ...` (nest)."""

    word: Literal["use", "solve"]
    reference: Reference
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    bindings: tuple[Binding, ...]
    using: Expr | None
    doc: str = ""
    span: Span = span_field()


# --- terms and plates ---------------------------------------------------------------------------

TermKind = Literal["energy", "regularizer", "cost"]


@dataclass(frozen=True, slots=True, repr=False)
class Term:
    kind: TermKind
    batch: bool
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    relation: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Plate:
    binders: tuple[Binder, ...]
    guard: Expr | None
    body: tuple[Statement, ...]
    doc: str = ""
    span: Span = span_field()


# --- questions ----------------------------------------------------------------------------------

Verb = Literal["infer", "marginalize", "sample", "train", "plan", "amortize"]


@dataclass(frozen=True, slots=True, repr=False)
class Dotted:
    parts: tuple[Identifier, ...]
    span: Span = span_field()

    @property
    def text(self) -> str:
        return ".".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True, repr=False)
class Clause:
    """`of`, `given`, `by`, `using`, `on`, `every`, `at` or `steps`, with what follows."""

    word: str
    value: Expr | None
    names: tuple[Dotted, ...]
    name: Identifier | None
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """`amortize` also has a relation (`=`, `~` or `with`) and a prediction."""

    verb: Verb
    label: Identifier | None
    targets: tuple[Dotted, ...]
    relation: str | None
    prediction: Expr | None
    clauses: tuple[Clause, ...]
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    name: Identifier
    value: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Stage:
    name: Identifier
    steps: Expr
    body: tuple[Statement, ...]
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Property:
    name: Identifier
    quantified: tuple[Quantified, ...]
    claim: Expr
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Quantified:
    name: Identifier
    type: TypeExpr
    domain: DomainExpr | None
    span: Span = span_field()


Statement = (
    Variable
    | Net
    | Let
    | LetCell
    | LetTuple
    | Fn
    | StateDecl
    | Update
    | Part
    | Compose
    | Term
    | Subject
    | Plate
    | Question
    | Schedule
    | Stage
    | Property
)


# --- modules ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Import:
    """`import std.spread` (path) or `import "parts/block.ebm" as block` (file)."""

    path: tuple[Identifier, ...]
    file: str | None
    alias: Identifier | None
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Model:
    name: Identifier
    hypers: tuple[Hyper, ...]
    body: tuple[Statement, ...]
    doc: str = ""
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Comment:
    """`text` includes the `#`; `own_line` tells a line of its own from one after code."""

    text: str
    own_line: bool
    span: Span = span_field()


@dataclass(frozen=True, slots=True, repr=False)
class Module:
    imports: tuple[Import, ...]
    models: tuple[Model, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False)
    span: Span = span_field()
