"""The drawing of a small factor graph in full: one node per entry, cell and summand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, NoReturn

from ebmlang.compiler import typed
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Axis, Expr, Scan, SliceOf, Tabulate
from ebmlang.compiler.types import Shape
from ebmlang.draw.evaluate import At, NotKnown, Number, Values
from ebmlang.draw.lifted import body_of, dims, formula, signature, uses_of_term
from ebmlang.draw.picture import ConstraintNode, Edge, FactorNode, LetNode, Node, Picture, VariableNode
from ebmlang.draw.uses import Use, dimensions, picked_text, uses
from ebmlang.errors import DataError

MOST_NODES = 400
"""More than this cannot be read in a picture."""

Cell = tuple[int, ...]


def unrolled(
    graph: FactorGraph, settings: Mapping[str, Number] | None = None, arrays: Mapping[str, Any] | None = None
) -> Picture:
    """The picture of a model with every plate written out.

    `settings` are sizes and hyperparameters, `arrays` the values of shared variables that plates
    and guards read. Raises DataError for a size without a value, for data that is needed and not
    given, and for more than 400 nodes.
    """
    values = _values(graph.model, settings or {}, arrays or {})
    _check_requirements(graph.model, values)
    return _Unrolling(graph, values).picture()


def _values(model: typed.Model, settings: Mapping[str, Number], arrays: Mapping[str, Any]) -> Values:
    """Sizes as they are set, else as arrays have them, else as defaults say."""
    known = {v.name: v for v in model.hypers}
    sizes: dict[str, int] = {}
    numbers: dict[str, Number] = {}
    for name, value in settings.items():
        if name not in known:
            hint = did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}"
            raise DataError(f"the model has no hyperparameter `{name}`", hint)
        if known[name].type.kind == "int":
            if isinstance(value, bool) or int(value) != value or value < 0:
                raise DataError(f"the size `{name}` is a whole number, not {value}", f"--set {name}=6")
            sizes[name] = int(value)
        numbers[name] = value
    _sizes_from_arrays(model, sizes, arrays)
    for name, hyper in known.items():
        if hyper.init is None or name in sizes or name in numbers:
            continue
        try:
            value = Values(sizes, numbers, {}).number(hyper.init, {})
        except (NotKnown, DataError):
            continue  # a default that reads what has no value
        numbers[name] = value
        if hyper.type.kind == "int":
            sizes[name] = int(value)
    return Values(sizes, {**numbers, **sizes}, arrays)


def _sizes_from_arrays(model: typed.Model, sizes: dict[str, int], arrays: Mapping[str, Any]) -> None:
    for name, array in arrays.items():
        variable = model.variable(name)
        if variable is None:
            raise DataError(f"the model has no variable `{name}`", "arrays by the names of the model")
        if len(array.shape) != variable.type.rank:
            raise DataError(
                f"`{name}` has the shape {list(array.shape)}, not {variable.type}", "an array of that shape"
            )
        for size, found in zip(variable.type.shape, array.shape, strict=True):
            if size.name is not None and sizes.setdefault(size.name, int(found)) != found:
                raise DataError(
                    f"`{name}` has the shape {list(array.shape)}, but {size} is {sizes[size.name]}",
                    "sizes that agree",
                )


def _check_requirements(model: typed.Model, values: Values) -> None:
    for requirement in model.requirements:
        if requirement.size.names() <= values.sizes.keys() and values.size(requirement.size) < 0:
            raise DataError(f"with these sizes {requirement.reason}", "other values of --set")


@dataclass
class _Unrolling:
    """Collects nodes and edges. `depths` says how many leading subscripts name a node."""

    graph: FactorGraph
    values: Values
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def picture(self) -> Picture:
        model = self.graph.model
        marks: tuple[typed.Term | typed.Constraint, ...] = (*model.terms, *model.constraints)
        readers = [(let.name, uses(part.value)) for let in model.lets for part in parts_of(let)]
        readers += [(mark.name, uses_of_term(mark)) for mark in marks]
        every = [use for _, found in readers for use in found]
        self.measure(every)
        listed = {u.name for u in every if u.rows} - {u.name for u in every if not u.rows}
        for variable in model.variables:
            if variable.role != "hyper" and variable.name not in listed:
                self.variable(variable)
        for let in model.lets:
            self.let_cells(let)
        for term in model.terms:
            self.summands(term)
        for constraint in model.constraints:
            self.demands(constraint)
        for let in model.lets:
            for part in parts_of(let):
                self.connect(let.name, part.value, None, part.axes, self.namer(part))
        for mark in marks:
            self.connect(mark.name, mark.value, mark.guard, mark.axes, _summand_name)
        sizes = tuple((n, self.values.sizes[n]) for n in sorted(self.values.sizes))
        return Picture(
            model.name, signature(model, self.values.numbers), model.doc, "unrolled", sizes, (),
            tuple(self.nodes.values()), tuple(self.edges),
        )  # fmt: skip

    def measure(self, found: list[Use]) -> None:
        """How finely each name is drawn: as finely as the subscripts of any reader go."""
        for variable in self.graph.variables:
            if variable.role != "hyper":
                self.shapes[variable.name] = variable.type.shape
        for let in self.graph.model.lets:
            self.shapes[let.name] = let.value.type.shape
        for name in self.shapes:
            deepest = max((_depth(u) for u in found if u.name == name and u.pick is not None), default=0)
            own = self.graph.lets.get(name)
            if own is not None:
                deepest = len(own.value.over) if isinstance(own.value, Tabulate) else 0
                if isinstance(own.value, Scan) and own.value.state.dim == 0:
                    deepest = 1
            self.depths[name] = deepest

    def add(self, node: Node) -> None:
        if len(self.nodes) >= MOST_NODES:
            _refuse()
        self.nodes[node.id] = node

    # --- nodes ---

    def cells(self, name: str) -> Iterator[Cell]:
        sizes = [self.values.size(s) for s in self.shapes[name][: self.depths[name]]]
        if prod(sizes) > MOST_NODES:
            _refuse()
        return product(*(range(size) for size in sizes))

    def namer(self, part: Part) -> Callable[[str, Cell], str]:
        """How the cells that a part of a let computes are called."""
        shift = None if part.shift is None else self.values.size(part.shift)

        def named(name: str, cell: Cell) -> str:
            if shift is None:
                return self.cell_name(name, cell)
            return self.cell_name(name, (cell[0] + shift if cell else shift,))

        return named

    def cell_name(self, name: str, cell: Cell) -> str:
        return picked_text(name, tuple(map(str, cell[: self.depths.get(name, len(cell))])))

    def variable(self, v: typed.Variable) -> None:
        for cell in self.cells(v.name):
            label = self.cell_name(v.name, cell)
            self.add(
                VariableNode(
                    label, label, dims(v.type.shape[len(cell) :]), None, v.role, str(v.type), v.domain.name,
                    v.per_example, v.missing, v.doc,
                )
            )  # fmt: skip

    def let_cells(self, let: typed.Let) -> None:
        parts = parts_of(let)
        formulas = {
            self.namer(part)(let.name, ()): formula(part.value)
            for part in parts
            if part.shift is not None and not part.axes
        }
        body = parts[-1].value
        shape = let.value.type.shape[self.depths[let.name] :]
        for cell in self.cells(let.name):
            label = self.cell_name(let.name, cell)
            text = formulas.get(label, formula(body))
            self.add(LetNode(label, label, dims(shape), None, let.doc, text))

    def summands(self, term: typed.Term) -> None:
        for at in self.values.positions(term.axes, term.guard, {}):
            label = _summand_name(term.name, _cell(at, term.axes))
            self.add(FactorNode(label, label, None, term.kind, term.batch, formula(term.value), term.doc))

    def demands(self, constraint: typed.Constraint) -> None:
        for at in self.values.positions(constraint.axes, constraint.guard, {}):
            label = _summand_name(constraint.name, _cell(at, constraint.axes))
            self.add(
                ConstraintNode(label, label, None, constraint.relation, constraint.written, constraint.doc)
            )

    # --- edges ---

    def connect(
        self, name: str, value: Expr, guard: Expr | None, axes: typed.Axes, named: Callable[[str, Cell], str]
    ) -> None:
        masked = [c for c in (guard,) if c is not None]
        found = [u for u in uses(value, *masked) if not u.rows and u.name in self.shapes]
        for at in self.values.positions(axes, guard, {}):
            reader = named(name, _cell(at, axes))
            for use in found:
                for cell in self.read_cells(use, at):
                    read = self.cell_name(use.name, cell)
                    if read in self.nodes:
                        self.edges[Edge(read, reader)] = None

    def read_cells(self, use: Use, at: At) -> Iterator[Cell]:
        """The nodes that a use touches at one position; reductions around it run over all of theirs."""
        depth = self.depths[use.name]
        if use.pick is None or not depth:
            yield from self.cells(use.name)
            return
        for inside in self._inside(use.folds, at):
            parts = dimensions(use.pick)[:depth]
            choices = [self._candidates(s, use.name, d, inside) for d, s in enumerate(parts)]
            yield from product(*choices)

    def _inside(self, folds: tuple[typed.Fold | typed.Tabulate, ...], at: At) -> Iterator[At]:
        if not folds:
            yield at
            return
        first, *rest = folds
        guard = first.guard if isinstance(first, typed.Fold) else None
        for inner in self.values.positions(first.over, guard, at):
            yield from self._inside(tuple(rest), inner)

    def _candidates(self, s: Expr | SliceOf, name: str, dim: int, at: At) -> range | tuple[int, ...]:
        size = self.values.size(self.shapes[name][dim])
        if isinstance(s, SliceOf):
            return range(self.values.size(s.start), self.values.size(s.stop))
        try:
            found = int(self.values.number(s, at))
        except NotKnown:
            return range(size)  # chosen by data: it may be any of them
        return (found,) if 0 <= found < size else ()


@dataclass(frozen=True, slots=True)
class Part:
    """What some cells of a let are computed from: those at every position of the axes.

    `shift` is what the number of a cell is ahead of that position, or the number of the only cell.
    """

    value: Expr
    axes: typed.Axes
    shift: Size | None = None


def parts_of(let: typed.Let) -> tuple[Part, ...]:
    """A let as parts: a recurrence has one for each start, and one for its steps."""
    body, where = body_of(let)
    if not isinstance(let.value, Scan) or let.value.state.dim:
        whole = Part(body, where.axes, ZERO if isinstance(let.value, Scan) else None)
        return (whole,)
    scan, state = let.value, let.value.state
    assert scan.axis.size is not None
    first = scan.axis.start + scan.axis.size + state.offset if scan.backward else ZERO
    starts = (Part(start, (), first + k) for k, start in enumerate(state.starts))
    return (*starts, Part(body, where.axes, Size.of(state.offset)))


def _refuse() -> NoReturn:
    raise DataError(
        f"the graph has more than {MOST_NODES} nodes, too many for a picture",
        "smaller sizes, such as --set T=6, or leave out --unroll",
    )


def _summand_name(name: str, cell: Cell) -> str:
    return picked_text(name, tuple(map(str, cell)))


def _cell(at: At, axes: tuple[Axis, ...]) -> Cell:
    return tuple(value for axis in axes for value in at[axis])


def _depth(use: Use) -> int:
    """How many leading subscripts pick one entry each, by indices of plates and numbers alone."""
    assert use.pick is not None
    folded = {axis for fold in use.folds for axis in fold.over}
    count = 0
    for s in dimensions(use.pick):
        if (
            isinstance(s, SliceOf)
            or not s.type.scalar
            or typed.reads(s) - _row_names(s)
            or folded & set(s.axes)
        ):
            return count
        count += 1
    return count


def _row_names(s: Expr) -> frozenset[str]:
    """Lists that the plates around run over: reading their index is not reading a variable."""
    return frozenset(n for a in s.axes if a.rows is not None for n in typed.reads(a.rows))
