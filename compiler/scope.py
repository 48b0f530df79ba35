"""What a name stands for, and where it is visible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ebmlang.compiler import ast, typed
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.indexing import Affine
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import NOWHERE, Span
from ebmlang.compiler.types import ERROR, Type


@dataclass(frozen=True, slots=True, eq=False)
class SizeEntry:
    """An integer hyperparameter, or a size that a function takes from its arguments."""

    size: Size
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A hyperparameter or a variable; `position` is its place in the order of declarations."""

    type: Type
    level: typed.Level
    role: typed.Role
    position: int
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A name for an expression: a local `let`, or an argument of a function being expanded."""

    value: typed.Expr
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A plate index."""

    axis: typed.Axis
    column: int
    type: Type
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class LetEntry:
    """A `let` of the model; the value is None above the line that defines it."""

    value: typed.Expr | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class TermEntry:
    """A term; None above the line that defines it."""

    term: typed.Term | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class NetEntry:
    """A net; None after a mistake in its declaration."""

    net: Net | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Unbuilt:
    """A state, a part: declared, refused once, and silent wherever it is used."""

    what: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class PartEntry:
    """A part; what is in it stands in the scope of the model as `part.name`."""

    model: str
    span: Span


Entry = SizeEntry | Declared | Bound | Index | LetEntry | TermEntry | NetEntry | Unbuilt | PartEntry


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """Seen from inside a function: the function's name, and the scope that it does not see."""

    function: str
    scope: Scope


@dataclass(slots=True)
class Scope:
    """Names visible at one place.

    `facts` are forms of the plate indices that guards keep at least 0; `guard` is the guard of
    the plate that opened this scope. `unknown` collects the names that were reported as
    undeclared, so that each is reported once.
    """

    parent: Scope | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    axes: typed.Axes = ()
    facts: tuple[Affine, ...] = ()
    guard: typed.Expr | None = None
    outside: Outside | None = None
    unknown: set[str] = field(default_factory=set)

    def child(self) -> Scope:
        return Scope(self, {}, self.axes, self.facts, None, self.outside, self.unknown)

    def find(self, name: str) -> Entry | None:
        scope: Scope | None = self
        while scope is not None:
            entry = scope.entries.get(name)
            if entry is not None:
                return entry
            scope = scope.parent
        return None

    def find_size(self, name: str) -> Size | None:
        entry = self.find(name)
        return entry.size if isinstance(entry, SizeEntry) else None

    def names(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.entries
            scope = scope.parent

    def model(self) -> Scope:
        """The scope of the model's own declarations, also from inside a function."""
        scope = self if self.outside is None else self.outside.scope
        while scope.parent is not None:
            scope = scope.parent
        return scope


@dataclass(slots=True)
class Functions:
    """The functions of a model.

    `scope` holds what every function sees, `checked` whether a definition turned out right,
    `expanding` those being written out now, `spent` the operations gained by that so far, and
    `exhausted` whether they passed the limit.
    """

    scope: Scope
    declared: dict[str, ast.Fn] = field(default_factory=dict)
    checked: dict[str, bool] = field(default_factory=dict)
    expanding: list[str] = field(default_factory=list)
    spent: int = 0
    exhausted: bool = False


MOST_LABELS = 4


def broken(span: Span) -> Bound:
    """What a name stands for after a mistake in its declaration: it stays quiet wherever it is used."""
    return Bound(typed.Constant(ERROR, (), typed.Level.CONSTANT, False, span, 0.0), span)


def declared_at(entry: Entry | None, text: str = "first declared here") -> tuple[Label, ...]:
    """A label at the place where a name was declared."""
    return () if entry is None or entry.span == NOWHERE else (Label(entry.span, text),)


def origins(scope: Scope, *parts: typed.Expr) -> tuple[Label, ...]:
    """Labels at the declarations that the shapes of some values came from: at most four."""
    labels: dict[str, Label] = {}
    for part in parts:
        for node in typed.walk(part):
            if not isinstance(node, typed.Read) or node.name in labels:
                continue
            if node.type.scalar and node.type.classes is None:
                continue
            entry = scope.find(node.name)
            if entry is None and scope.outside is not None:
                entry = scope.outside.scope.find(node.name)
            if isinstance(entry, Declared | Bound):
                labels[node.name] = Label(entry.span, f"`{node.name}` is declared {node.type}")
            elif isinstance(entry, LetEntry):
                labels[node.name] = Label(entry.span, f"`{node.name}` is {node.type}")
            if len(labels) == MOST_LABELS:
                return tuple(labels.values())
    return tuple(labels.values())
