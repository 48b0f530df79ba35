"""What a name stands for, and where it is visible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ebmlang.compiler import ast, typed
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import Type


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
    """A term; the value is None above the line that defines it."""

    term: typed.Term | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Unbuilt:
    """A net, a state, a part: declared, refused once, and silent wherever it is used."""

    what: str
    span: Span


Entry = Declared | Bound | Index | LetEntry | TermEntry | Unbuilt


@dataclass(slots=True)
class Scope:
    """Names visible at one place. `guarded` tells that a guard may exclude plate indices."""

    parent: Scope | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    guarded: bool = False
    axes: typed.Axes = ()
    guard: typed.Expr | None = None

    def child(self, *, axes: typed.Axes = (), guarded: bool = False) -> Scope:
        return Scope(self, {}, {}, self.guarded or guarded, (*self.axes, *axes))

    def find(self, name: str) -> Entry | None:
        scope: Scope | None = self
        while scope is not None:
            entry = scope.entries.get(name)
            if entry is not None:
                return entry
            scope = scope.parent
        return None

    def find_size(self, name: str) -> Size | None:
        scope: Scope | None = self
        while scope is not None:
            size = scope.sizes.get(name)
            if size is not None:
                return size
            scope = scope.parent
        return None

    def names(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.entries
            yield from scope.sizes
            scope = scope.parent


@dataclass(slots=True)
class Functions:
    """The functions of a model and the stack of those being expanded."""

    declared: dict[str, ast.Fn] = field(default_factory=dict)
    expanding: list[str] = field(default_factory=list)


def origins(scope: Scope, *parts: typed.Expr) -> tuple[Label, ...]:
    """Labels at the declarations that the shapes of some values came from: at most four."""
    labels: dict[str, Label] = {}
    for part in parts:
        for node in typed.walk(part):
            if isinstance(node, typed.Read) and node.name not in labels:
                entry = scope.find(node.name)
                if isinstance(entry, Declared) and not entry.type.scalar:
                    labels[node.name] = Label(entry.span, f"`{node.name}` is declared {entry.type}")
                elif isinstance(entry, LetEntry) and not node.type.scalar:
                    labels[node.name] = Label(entry.span, f"`{node.name}` is {node.type}")
            if len(labels) == 4:
                return tuple(labels.values())
    return tuple(labels.values())
