"""Typed expressions: the nodes, and the axes that they run over.

An expression knows its type, the plate axes that it runs over, whether its value differs by
example, and whether it looks across examples. Nodes are compared by identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import Type

if TYPE_CHECKING:
    from ebmlang.compiler.typed.model import Method, Model


class Level(IntEnum):
    """How far a value reaches: known when sizes are bound, one for all examples, one per example."""

    CONSTANT = 0
    SHARED = 1
    EXAMPLE = 2


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Axis:
    """What a plate or a reduction runs over, as one tensor dimension.

    A range runs from `start` for `size` values. An axis over the rows of an edge list has
    `rows` and one index name per column. A selection holds the index tuples of `parents` for
    which `guard` is true; its size is known only when values are bound.
    """

    label: str
    names: tuple[str, ...]
    order: int
    start: Size
    size: Size | None
    rows: Expr | None = None
    parents: tuple[Axis, ...] = ()
    guard: Expr | None = None

    def __str__(self) -> str:
        # Notation is about expressions, which are defined here.
        from ebmlang.compiler.notation import text

        if self.rows is not None:
            return f"({', '.join(self.names)}) in {text(self.rows)}"
        if self.guard is not None:
            return f"{', '.join(map(str, self.parents))} if {text(self.guard)}"
        assert self.size is not None
        return f"{self.names[0]} in {self.start}..{self.start + self.size}"


Axes = tuple[Axis, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expr:
    """Common part of all nodes. Final classes below; never instantiated itself."""

    type: Type
    axes: Axes
    level: Level
    coupled: bool
    span: Span

    def children(self) -> tuple[Expr, ...]:
        return ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constant(Expr):
    value: float | int | bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SizeOf(Expr):
    """An integer expression over sizes, as a value."""

    size: Size


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Position(Expr):
    """The value of a plate index: the integer that the axis holds in a column."""

    axis: Axis
    column: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Read(Expr):
    """The value of a hyperparameter, a variable or a let."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Apply(Expr):
    """A built-in function or operator; `static` holds what is known when compiling."""

    function: str
    arguments: tuple[Expr, ...]
    static: tuple[tuple[str, object], ...] = ()

    def children(self) -> tuple[Expr, ...]:
        return self.arguments

    def option(self, name: str) -> object:
        return next((value for key, value in self.static if key == name), None)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SliceOf:
    """`start..stop` in a subscript, and the size of what it selects."""

    start: Size
    stop: Size


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NewAxis:
    """`None` in a subscript."""


Subscript = Expr | SliceOf | NewAxis


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pick(Expr):
    """Indexing. `subscripts` covers every dimension of the base."""

    base: Expr
    subscripts: tuple[Subscript, ...]

    def children(self) -> tuple[Expr, ...]:
        return (self.base, *(s for s in self.subscripts if isinstance(s, Expr)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scatter(Expr):
    """The counterpart of indexing: zeros with `value` added at the subscripts, summed over the axes `over`.

    Only derivatives contain it.
    """

    value: Expr
    subscripts: tuple[Subscript, ...]
    over: Axes

    def children(self) -> tuple[Expr, ...]:
        return (self.value, *(s for s in self.subscripts if isinstance(s, Expr)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pack(Expr):
    """`[a, b, c]`: items of one shape stacked along a new first dimension."""

    items: tuple[Expr, ...]

    def children(self) -> tuple[Expr, ...]:
        return self.items


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fold(Expr):
    """A reduction of `body` over axes; where `guard` is false an entry does not count."""

    function: str
    body: Expr
    over: Axes
    guard: Expr | None

    def children(self) -> tuple[Expr, ...]:
        return (self.body,) if self.guard is None else (self.body, self.guard)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tabulate(Expr):
    """`body` for every position of the axes `over`, as an array with those axes in front."""

    body: Expr
    over: Axes

    def children(self) -> tuple[Expr, ...]:
        return (self.body,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Carry(Expr):
    """In the body of a Scan: the cell of a state at the index of its axis plus `offset`.

    `dim` is the dimension of the state's array that the index counts.
    """

    axis: Axis
    name: str
    offset: int
    dim: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class State:
    """One array that a Scan computes cell by cell.

    `body` is the cell at the index plus `offset`; `starts` are the cells that the body does not
    reach, in the order of the array: the first ones, or the last ones of a Scan that runs backward.
    """

    name: str
    dim: int
    offset: int
    starts: tuple[Expr, ...]
    body: Expr


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scan(Expr):
    """The array of `states[which]`: cells computed one after another along `axis`, all states in
    every step, in order.

    Subscripts in a `guarded` body may leave their arrays where a condition of it does not hold.
    """

    axis: Axis
    states: tuple[State, ...]
    which: int
    backward: bool
    guarded: bool

    @property
    def state(self) -> State:
        return self.states[self.which]

    def children(self) -> tuple[Expr, ...]:
        return tuple(part for state in self.states for part in (*state.starts, state.body))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OverExamples(Expr):
    """A reduction over the examples of the batch."""

    function: str
    body: Expr

    def children(self) -> tuple[Expr, ...]:
        return (self.body,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Nested:
    """A model that is solved inside another one, for values of `given`.

    `part` is its name there, `sizes` are its integer hyperparameters in sizes of the model around it,
    `using` the method that `solve` or the model's own `infer` line asks for, `nets` the nets that its
    energy calls.
    """

    part: str
    model: Model
    sought: tuple[str, ...]
    given: tuple[str, ...]
    sizes: tuple[tuple[str, Size], ...]
    using: Method | None
    nets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LentNet:
    """A net that a nested model is given; where plates stand around the net, `indices` choose one of them."""

    net: Read
    indices: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Solve(Expr):
    """The unknown `which` of a nested model where its energy is least, given `inputs`, one for each of
    `nested.given`, and `nets`, one for each of `nested.nets`. Solves that share these are one search."""

    nested: Nested
    inputs: tuple[Expr, ...]
    which: str
    nets: tuple[LentNet, ...] = ()

    def children(self) -> tuple[Expr, ...]:
        return (*self.inputs, *(part for lent in self.nets for part in (lent.net, *lent.indices)))
