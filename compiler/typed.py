"""Typed expressions and the checked model: what every later pass works on.

An expression knows its type, the plate axes that it runs over, whether its value differs by
example, and whether it looks across examples. Nodes are compared by identity; `key()` gives a
structural key for finding common parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

from ebmlang.compiler import ast
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Source, Span
from ebmlang.compiler.types import Type


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
    `using` the method that `solve` or the model's own `infer` line asks for.
    """

    part: str
    model: Model
    sought: tuple[str, ...]
    given: tuple[str, ...]
    sizes: tuple[tuple[str, Size], ...]
    using: Method | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Solve(Expr):
    """The unknown `which` of a nested model where its energy is least, given `inputs`, one for each of
    `nested.given`. Solves that share both are one search."""

    nested: Nested
    inputs: tuple[Expr, ...]
    which: str

    def children(self) -> tuple[Expr, ...]:
        return self.inputs


def merge_axes(parts: Iterator[Expr] | tuple[Expr, ...]) -> Axes:
    """The axes of several expressions together, outermost first."""
    found: dict[int, Axis] = {}
    for part in parts:
        for axis in part.axes:
            found[axis.order] = axis
    return tuple(found[order] for order in sorted(found)) if len(found) > 1 else tuple(found.values())


def rebuilt(node: Expr, children: tuple[Expr, ...]) -> Expr:
    """The same node over other children, with axes, level and coupling worked out again."""
    if not children or all(a is b for a, b in zip(children, node.children(), strict=True)):
        return node
    axes = merge_axes(children)
    level = max(c.level for c in children)
    coupled = any(c.coupled for c in children)
    match node:
        case Apply():
            return replace(node, arguments=children, axes=axes, level=level, coupled=coupled)
        case Pack():
            return replace(node, items=children, axes=axes, level=level, coupled=coupled)
        case Pick():
            rest = iter(children[1:])
            subscripts = tuple(next(rest) if isinstance(s, Expr) else s for s in node.subscripts)
            return replace(
                node, base=children[0], subscripts=subscripts, axes=axes, level=level, coupled=coupled
            )
        case Scatter():
            rest = iter(children[1:])
            subscripts = tuple(next(rest) if isinstance(s, Expr) else s for s in node.subscripts)
            kept = tuple(a for a in axes if a not in node.over)
            return replace(
                node, value=children[0], subscripts=subscripts, axes=kept, level=level, coupled=coupled
            )
        case Fold():
            guard = children[1] if node.guard is not None else None
            kept = tuple(a for a in axes if a not in node.over)
            return replace(node, body=children[0], guard=guard, axes=kept, level=level, coupled=coupled)
        case Tabulate():
            kept = tuple(a for a in axes if a not in node.over)
            return replace(node, body=children[0], axes=kept, level=level, coupled=coupled)
        case OverExamples():
            return replace(node, body=children[0], axes=axes)
        case Solve():
            return replace(node, inputs=children, axes=axes, level=level, coupled=coupled)
        case Scan():
            return settled(_with_parts(node, children))
    raise AssertionError(f"{type(node).__name__} has no children")


def _with_parts(scan: Scan, children: tuple[Expr, ...]) -> Scan:
    """The Scan over other children, in the order of `children()`."""
    rest = iter(children)
    states = []
    for state in scan.states:
        starts = tuple(next(rest) for _ in state.starts)
        states.append(replace(state, starts=starts, body=next(rest)))
    return replace(scan, states=tuple(states))


def settled(scan: Scan) -> Scan:
    """The Scan with its axes, level and coupling, and those of its carries, as its parts have them."""
    plain = _recarried(scan, (), Level.CONSTANT, False)
    parts = plain.children()
    axes = tuple(a for a in merge_axes(parts) if a is not scan.axis)
    level = max(p.level for p in parts)
    coupled = any(p.coupled for p in parts)
    known = (n for part in scan.children() for n in walk(part) if isinstance(n, Carry))
    if any((c.axes, c.level, c.coupled) != (axes, level, coupled) for c in known if c.axis is scan.axis):
        scan = _recarried(plain, axes, level, coupled)
    return replace(scan, axes=axes, level=level, coupled=coupled)


def _recarried(scan: Scan, axes: Axes, level: Level, coupled: bool) -> Scan:
    def moved(node: Expr) -> Expr | None:
        if not isinstance(node, Carry) or node.axis is not scan.axis:
            return None
        same = (node.axes, node.level, node.coupled) == (axes, level, coupled)
        return node if same else replace(node, axes=axes, level=level, coupled=coupled)

    memo: dict[int, Expr] = {}
    states = tuple(replace(s, body=mapped(s.body, moved, memo)) for s in scan.states)
    return replace(scan, states=states)


def mapped(root: Expr, change: Callable[[Expr], Expr | None], memo: dict[int, Expr] | None = None) -> Expr:
    """`root` with every node for which `change` gives another one replaced, from the top down;
    what is put in is not looked at again."""
    done: dict[int, Expr] = {} if memo is None else memo
    stack = [root]
    while stack:
        node = stack[-1]
        if id(node) in done:
            stack.pop()
            continue
        changed = change(node)
        if changed is not None:
            done[id(node)] = changed
            continue
        children = node.children()
        missing = [c for c in children if id(c) not in done]
        if missing:
            stack.extend(missing)
        else:
            done[id(node)] = rebuilt(node, tuple(done[id(c)] for c in children))
    return done[id(root)]


def walk(root: Expr) -> Iterator[Expr]:
    """Every distinct node, parents before children."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            stack.extend(reversed(node.children()))
            stack.extend(a.rows for a in node.axes if a.rows is not None)


def reads(root: Expr) -> frozenset[str]:
    """Names of the hyperparameters, variables and lets that a value is computed from."""
    return frozenset(n.name for n in walk(root) if isinstance(n, Read))


# --- the checked model --------------------------------------------------------------------------

Role = Literal["hyper", "observed", "latent", "param", "random"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Variable:
    """A declared value. `init` is its default, its start or its distribution."""

    name: str
    role: Role
    type: Type
    domain: Domain
    level: Level
    missing: bool
    init: Expr | None
    doc: str
    span: Span

    @property
    def unknown(self) -> bool:
        """Whether the file's questions may seek it."""
        return self.role in ("latent", "param")

    @property
    def per_example(self) -> bool:
        return self.level is Level.EXAMPLE

    @property
    def arranged(self) -> bool:
        """Whether its values are the arrangements of a fixed stock: an order, or a subset of fixed size."""
        return self.domain.rule.geometry == "discrete"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Let:
    """A named value. Cells that are defined in a plate form one array (a `Tabulate`)."""

    name: str
    value: Expr
    doc: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Term:
    """One summand of the energy; `value` is a scalar over the axes of its plates."""

    name: str
    kind: ast.TermKind
    batch: bool
    axes: Axes
    guard: Expr | None
    value: Expr
    doc: str
    span: Span


Relation = Literal["<=", "=="]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constraint:
    """`value <= 0` or `value == 0`, entry by entry, at every position of its plates.

    `value` is the difference of the two sides: left - right, and right - left for `>=`. `written` is the
    relation as the file words it.
    """

    name: str
    axes: Axes
    guard: Expr | None
    relation: Relation
    value: Expr
    written: str
    doc: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Method:
    """What follows `using`: a name and its options."""

    name: str
    options: tuple[tuple[str, float | int | bool | str], ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Optimiser:
    """What follows `using` in a `train` line: what moves the parameters, with the options that are set."""

    name: str
    options: tuple[tuple[str, float | int | bool | tuple[float, ...]], ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Question:
    """An objective line. A `train` line has an `optimiser` in place of `using`. `later` are the clauses that
    are understood and not built, as (word, place)."""

    verb: ast.Verb
    label: str | None
    targets: tuple[str, ...]
    of: Expr | None
    given: tuple[str, ...]
    using: Method | None
    text: str
    doc: str
    span: Span
    beta: Expr | None = None
    optimiser: Optimiser | None = None
    later: tuple[tuple[str, Span], ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Property:
    """A claim about the energy for all values of the quantified variables.

    `relation` compares `left` with `right`; a bare condition has no relation.
    """

    name: str
    quantified: tuple[Variable, ...]
    relation: str | None
    left: Expr
    right: Expr | None
    doc: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Requirement:
    """A size that must be at least 0 once sizes are known, for instance so that a subscript fits.

    `reason` says in words what would go wrong.
    """

    size: Size
    reason: str
    span: Span


@dataclass(frozen=True, slots=True)
class Placed:
    """A part of a model: what the statement `word` calls it, the model that it is a copy of, and how many
    plates stand around it."""

    name: str
    model: str
    word: str
    plates: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Solved:
    """One `solve ... as part`: the minimum of `model` as values of the model around it.

    `formula` holds the unknowns in closed form, in the names of `model`; else `search` is one of the
    nodes that stand for the answer of a search. Both are empty where the part has no unknowns.
    """

    part: str
    model: Model
    formula: tuple[tuple[str, Expr], ...]
    search: Solve | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Model:
    name: str
    source: Source
    variables: tuple[Variable, ...]
    lets: tuple[Let, ...]
    terms: tuple[Term, ...]
    constraints: tuple[Constraint, ...]
    questions: tuple[Question, ...]
    properties: tuple[Property, ...]
    requirements: tuple[Requirement, ...]
    doc: str
    span: Span
    nets: tuple[Net, ...] = ()
    solved: tuple[Solved, ...] = ()
    parts: tuple[Placed, ...] = ()

    def variable(self, name: str) -> Variable | None:
        return next((v for v in self.variables if v.name == name), None)

    def net(self, name: str) -> Net | None:
        return next((n for n in self.nets if n.name == name), None)

    @property
    def hypers(self) -> tuple[Variable, ...]:
        return tuple(v for v in self.variables if v.role == "hyper")
