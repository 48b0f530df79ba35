"""The syntax tree: what the grammar says, before any meaning.

Nodes are frozen; spans are offsets into the module's source and do not take part in comparison,
so `parse(format(m)) == m` is a statement about structure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal

from ebmlang.compiler.source import NOWHERE, Span


def _span() -> Span:
    return field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Identifier:
    """A name where it is declared or used as a plain word."""

    text: str
    span: Span = _span()


# --- expressions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Number:
    text: str
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Name:
    text: str
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Unary:
    op: str
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Binary:
    op: str
    left: Expr
    right: Expr
    op_span: Span = _span()
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    function: Identifier
    arguments: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class CallEntry:
    """`f[l](x)`: a call of one of the nets of a plate."""

    entry: Index
    arguments: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Argument:
    """`value`, or `name = value`; only `over` takes a Reduction or the examples of the batch."""

    name: Identifier | None
    value: Expr | Reduction | OverBatch | Text
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Reduction:
    """`i in 0..n, j in 0..m if i != j`: the indices that a reduction runs over."""

    binders: tuple[Binder, ...]
    guard: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class OverBatch:
    """`batch` after `over =`: the examples."""

    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """A quoted argument: the index specification of `einsum`."""

    value: str
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Index:
    base: Expr
    subscripts: tuple[Expr | Slice, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Slice:
    start: Expr | None
    stop: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Attribute:
    base: Expr
    name: Identifier
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Parenthesised:
    """Parentheses are kept, so that the formatter prints what the author wrote."""

    inner: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Substitution:
    """`(inner with x = e, f = g)`."""

    inner: Expr
    bindings: tuple[Binding, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class ListExpr:
    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Absolute:
    inner: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Norm:
    """`||x||` (order "2") or `||x||_1`."""

    inner: Expr
    order: str
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Component:
    """One of the results of a net, for a `let` of several names; the parser makes none."""

    value: Expr
    number: int
    count: int
    span: Span = _span()


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
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Binder:
    """`i in 0..n` (rows is None) or `(i, j) in edges` (start and stop are None)."""

    names: tuple[Identifier, ...]
    start: Expr | None
    stop: Expr | None
    rows: Expr | None
    span: Span = _span()


# --- types --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class TypeExpr:
    """`real[n, k]`, `class[K][T]`: a word and groups of dimensions."""

    name: Identifier
    dims: tuple[tuple[Expr, ...], ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class DomainExpr:
    """`in simplex(k) where see`; an interval has the name `interval` and two arguments."""

    name: Identifier
    arguments: tuple[Argument, ...]
    where: Expr | None
    span: Span = _span()


# --- declarations -------------------------------------------------------------------------------

Role = Literal["observed", "latent", "param", "random"]
Per = Literal["batch", "episode"]


@dataclass(frozen=True, slots=True, repr=False)
class Hyper:
    name: Identifier
    type: TypeExpr
    domain: DomainExpr | None
    default: Expr | None
    span: Span = _span()


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
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Net:
    extern: bool
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    inputs: tuple[TypeExpr, ...]
    outputs: tuple[TypeExpr, ...]
    init: Expr | None
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Let:
    """`let h : T = value`; without a value it declares an array whose cells follow."""

    name: Identifier
    type: TypeExpr | None
    value: Expr | None
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class LetCell:
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    value: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class LetTuple:
    names: tuple[Identifier, ...]
    value: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Parameter:
    name: Identifier
    type: TypeExpr
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Fn:
    name: Identifier
    parameters: tuple[Parameter, ...]
    result: TypeExpr | None
    value: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class StateDecl:
    name: Identifier
    type: TypeExpr | None
    per: Per | None
    value: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Update:
    name: Identifier
    value: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Reference:
    """A model that is used: `std.attention(m = 10)`, `block[l]`."""

    path: tuple[Identifier, ...]
    subscripts: tuple[Expr | Slice, ...]
    arguments: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    reference: Reference
    bindings: tuple[Binding, ...]
    doc: str = ""
    span: Span = _span()


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
    span: Span = _span()


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
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    name: Identifier
    subscripts: tuple[Expr | Slice, ...]
    relation: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Plate:
    binders: tuple[Binder, ...]
    guard: Expr | None
    body: tuple[Statement, ...]
    doc: str = ""
    span: Span = _span()


# --- questions ----------------------------------------------------------------------------------

Verb = Literal["infer", "marginalize", "sample", "train", "plan", "amortize"]


@dataclass(frozen=True, slots=True, repr=False)
class Dotted:
    parts: tuple[Identifier, ...]
    span: Span = _span()

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
    span: Span = _span()


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
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    name: Identifier
    value: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Stage:
    name: Identifier
    steps: Expr
    body: tuple[Statement, ...]
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Property:
    name: Identifier
    quantified: tuple[Quantified, ...]
    claim: Expr
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Quantified:
    name: Identifier
    type: TypeExpr
    domain: DomainExpr | None
    span: Span = _span()


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
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Model:
    name: Identifier
    hypers: tuple[Hyper, ...]
    body: tuple[Statement, ...]
    doc: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Comment:
    """`text` includes the `#`; `own_line` tells a line of its own from one after code."""

    text: str
    own_line: bool
    span: Span = _span()


@dataclass(frozen=True, slots=True, repr=False)
class Module:
    imports: tuple[Import, ...]
    models: tuple[Model, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False)
    span: Span = _span()


def names_read(node: object) -> Iterator[str]:
    """The names that are read anywhere in a node; of a dotted name the first part."""
    stack = [node]
    while stack:
        found = stack.pop()
        if isinstance(found, Name):
            yield found.text
        elif isinstance(found, Dotted):
            yield found.parts[0].text
        elif isinstance(found, tuple):
            stack.extend(found)
        elif is_dataclass(found):
            stack.extend(getattr(found, item.name) for item in fields(found))


def dump(node: object, indent: int = 0) -> str:
    """Stable text of a tree, for `ebmlang show ast` and golden tests: one node per line."""
    pad = "  " * indent
    if isinstance(node, Identifier | Name | Number):
        return f"{pad}{type(node).__name__} {node.text}"
    if isinstance(node, tuple):
        return "\n".join(dump(x, indent) for x in node) if node else f"{pad}()"
    if not hasattr(type(node), "__dataclass_fields__"):
        return f"{pad}{node!r}"
    lines = [f"{pad}{type(node).__name__}"]
    for item in fields(node):  # type: ignore[arg-type]
        value = getattr(node, item.name)
        if item.name.endswith("span") or item.name == "comments" or value in (None, (), ""):
            continue
        if isinstance(value, str | bool):
            lines.append(f"{pad}  {item.name}: {value!r}")
        else:
            lines.append(f"{pad}  {item.name}:\n{dump(value, indent + 2)}")
    return "\n".join(lines)
