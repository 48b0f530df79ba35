"""Factors as tables over discrete unknowns: what `elimination` works on.

A term is taken apart into summands over plate axes, by distributing sums, products, inner and matrix
products. In each summand every distinct read of a discrete unknown (`c`, `s[i, j]`, `c[t + 1]`) is
replaced by the position of an axis of its own, which runs over the cases. So one expression gives
the table of all positions of a plate at once, and the subscripts say which entries it joins.

`bool` values multiply like numbers: `s @ W @ s` becomes one table per pair of entries. What cannot be
taken apart (`exp(sum(s))`, `s[c]` with both unknown) stays whole and is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ebmlang.compiler import notation, typed
from ebmlang.compiler.entries import Entries, NotLifted, apply, conjunction, factor_of_count
from ebmlang.compiler.facts import Dependence, number
from ebmlang.compiler.graph import Limit
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.typed import Apply, Axes, Axis, Expr, Fold, Level, Pick, Position, Read
from ebmlang.compiler.types import INT, Type

MOST_PIECES = 64
"""A product of sums with more summands than this is not multiplied out."""

MOST_READS = 6
"""A summand with more distinct reads than this is not tabulated."""

_FIRST_CASE = 6 * 10**8
"""Axes of cases come after every other axis."""


@dataclass(frozen=True, slots=True, eq=False)
class CaseRead:
    """One read of a discrete unknown in a summand, and the axis that runs over its cases."""

    variable: str
    subscripts: tuple[Expr, ...]
    shape: tuple[Size, ...]
    axis: Axis


@dataclass(frozen=True, slots=True, eq=False)
class FactorTable:
    """A summand of a term: `value` is a number for every position of `axes` and every case of the
    `reads`; where `mask` is false it is 0. `per_example`: the term counts once for every example."""

    term: str
    value: Expr
    axes: Axes
    mask: Expr | None
    reads: tuple[CaseRead, ...]
    per_example: bool

    @property
    def text(self) -> str:
        return ", ".join(
            f"{r.variable}[{', '.join(map(notation.text, r.subscripts))}]" if r.subscripts else r.variable
            for r in self.reads
        )


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A term that cannot be taken apart, and why."""

    term: str
    because: str


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The energy as tables. Complete only when nothing is left `whole`."""

    variables: tuple[str, ...]
    factors: tuple[FactorTable, ...]
    whole: tuple[Whole, ...]

    @property
    def widest(self) -> FactorTable | None:
        """The table that joins the most entries."""
        return max(self.factors, key=lambda f: len(f.reads), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A summand on the way: scalar over its axes, counted where the mask holds."""

    axes: Axes
    mask: Expr | None
    value: Expr


def tables_of(block: Block) -> Tables:
    """The tables of the energy that a block asks for, over its discrete unknowns.

    Continuous unknowns of the block stay reads: the tables depend on their values.
    """
    names = tuple(v.name for v in block.sought if v.type.kind in ("bool", "class"))
    splitter = _Splitter(Dependence(block.graph, frozenset(names)))
    factors: list[FactorTable] = []
    whole: list[Whole] = []
    for summand in block.summands:
        try:
            found = splitter.summand(summand.value, summand.axes, summand.mask)
            rows = summand.value.level is Level.EXAMPLE or (
                summand.mask is not None and summand.mask.level is Level.EXAMPLE
            )
            factors += [splitter.tabulated(summand.name, piece, rows) for piece in found]
        except NotLifted as stuck:
            whole.append(Whole(summand.name, stuck.because))
    for limit in block.limits:
        try:
            if not limit.value.type.scalar:
                raise NotLifted(f"`{limit.name}` constrains an array; write it in a plate, entry by entry")
            found = splitter.summand(forbidden(limit), limit.axes, limit.mask)
            factors += [splitter.tabulated(limit.name, piece, limit.per_example) for piece in found]
        except NotLifted as stuck:
            whole.append(Whole(limit.name, stuck.because))
    return Tables(names, tuple(factors), tuple(whole))


SLACK = 1e-6
"""By how much a hard constraint on countable unknowns may be off: rounding of the numbers it is made of."""


def forbidden(limit: Limit) -> Expr:
    """A hard constraint as an energy: inf where it does not hold."""
    span = limit.value.span
    zero, slack, infinite = (
        typed.Constant(Type("real"), (), Level.CONSTANT, False, span, x) for x in (0.0, SLACK, math.inf)
    )
    value = limit.value if limit.relation == "<=" else apply("abs", (limit.value,), "real")
    return apply("where", (apply("le", (value, slack), "bool"), zero, infinite), "real")


@dataclass(slots=True)
class _Splitter:
    depends: Dependence
    entries: Entries = field(init=False)
    cases: int = 0

    def __post_init__(self) -> None:
        self.entries = Entries(self.depends)

    # --- sums ---

    def summand(self, value: Expr, axes: Axes, mask: Expr | None) -> list[Piece]:
        if any(self.depends.moves(a) for a in axes):
            raise NotLifted("its plate depends on the unknowns")
        if mask is not None and self.depends(mask):
            zero = typed.Constant(Type("real"), (), Level.CONSTANT, False, mask.span, 0.0)
            value = apply("where", (mask, value, zero), "real")
            mask = None
        return [Piece((*axes, *p.axes), conjunction(mask, p.mask), p.value) for p in self.pieces(value)]

    def pieces(self, node: Expr) -> list[Piece]:
        """A scalar as a sum of pieces; raises NotLifted where that is not possible."""
        if not self.depends(node):
            return [Piece((), None, node)]
        try:
            return self.opened_pieces(node)
        except NotLifted:
            plain = self.entries.by_single_reads(node)
            if plain is None:
                raise
            return [Piece((), None, plain)]

    def opened_pieces(self, node: Expr) -> list[Piece]:
        opened = self.entries.opened(node)
        if opened is not node:
            return self.pieces(opened)
        match node:
            case Apply(function="add", arguments=(a, b)):
                return [*self.pieces(a), *self.pieces(b)]
            case Apply(function="sub", arguments=(a, b)):
                return [*self.pieces(a), *(_negated(p) for p in self.pieces(b))]
            case Apply(function="neg", arguments=(a,)):
                return [_negated(p) for p in self.pieces(a)]
            case Apply(function="mul", arguments=(a, b)):
                return self.product(node, a, b)
            case Apply(function="div", arguments=(a, b)) if not self.depends(b):
                return [replace(p, value=apply("div", (p.value, b), "real")) for p in self.pieces(a)]
            case Apply(function="square", arguments=(a,)):
                return self.product(node, a, a)
            case Apply(function="pow", arguments=(a, b)) if number(b) in (2.0, 3.0, 4.0):
                rest: Expr = a
                for _ in range(int(number(b) or 0) - 2):
                    rest = apply("mul", (rest, a), a.type.kind)
                return self.product(node, a, rest)
            case Apply(function="where", arguments=(c, a, b)) if not self.depends(c):
                yes = [replace(p, mask=conjunction(c, p.mask)) for p in self.pieces(a)]
                no = apply("not", (c,), "bool")
                return [*yes, *(replace(p, mask=conjunction(no, p.mask)) for p in self.pieces(b))]
            case Fold(function="sum" | "mean") if not any(self.depends.moves(a) for a in node.over):
                return self.fold(node)
        return [Piece((), None, self.entries.entry(node, ()))]

    def fold(self, node: Fold) -> list[Piece]:
        node = self.entries.fresh_fold(node)
        body: Expr = node.body
        if node.function == "mean":
            if node.guard is not None:
                raise NotLifted(f"`{notation.text(node)}` divides by a count")
            body = apply("div", (body, factor_of_count(node)), "real")
        return self.summand(body, node.over, node.guard)

    def product(self, node: Expr, a: Expr, b: Expr) -> list[Piece]:
        """Multiplied out, where a side is a sum over an axis; kept as it is otherwise."""
        left, right = self.pieces(a), self.pieces(b)
        if len(left) * len(right) > MOST_PIECES:
            raise NotLifted(f"`{notation.text(node)}` has too many summands")
        if not any(p.axes or p.mask is not None for p in (*left, *right)):
            # Without an axis inside, the product is one number per position of the plate.
            return [Piece((), None, self.entries.entry(node, ()))]
        kind = "real" if "real" in (a.type.kind, b.type.kind) else "int"
        return [
            Piece((*x.axes, *y.axes), conjunction(x.mask, y.mask), apply("mul", (x.value, y.value), kind))
            for x in left
            for y in right
        ]

    # --- reads to axes ---

    def tabulated(self, term: str, piece: Piece, rows: bool) -> FactorTable:
        """The piece with every read of an unknown replaced by the position of an axis of cases."""
        reads: list[CaseRead] = []
        known: dict[tuple[object, ...], CaseRead] = {}
        memo: dict[int, Expr] = {}
        bound = {a for n in typed.walk(piece.value) if isinstance(n, Fold | typed.Tabulate) for a in n.over}

        def visit(node: Expr) -> Expr:
            done = memo.get(id(node))
            if done is None:
                memo[id(node)] = done = self._visited(node, visit, reads, known, bound)
            return done

        value = visit(piece.value)
        if len(reads) > MOST_READS:
            raise NotLifted(f"a summand reads {len(reads)} entries at once")
        axes = tuple(sorted(piece.axes, key=lambda a: a.order))
        return FactorTable(term, value, axes, piece.mask, tuple(reads), rows)

    def _visited(
        self,
        node: Expr,
        visit: object,
        reads: list[CaseRead],
        known: dict[tuple[object, ...], CaseRead],
        bound: set[Axis],
    ) -> Expr:
        if not self.depends(node):
            return node
        variable, subscripts = _read_of(node, self.depends.sought)
        if variable is None:
            assert callable(visit)
            return typed.rebuilt(node, tuple(visit(c) for c in node.children()))
        if any(self.depends(s) for s in subscripts):
            raise NotLifted(f"`{notation.text(node)}` has an unknown subscript")
        if bound.intersection(typed.merge_axes(subscripts)):
            raise NotLifted(f"`{notation.text(node)}` is read along a whole dimension")
        key = (variable, *(notation.text(s) for s in subscripts), *_orders(subscripts))
        read = known.get(key)
        if read is None:
            declared = self.depends.graph.model.variable(variable)
            assert declared is not None
            count = declared.type.classes if declared.type.classes is not None else Size.of(2)
            own = variable.replace(".", "__")  # of a part: `p.h` is no name in Python
            label = f"{own}_{len(reads)}"
            axis = Axis(label, (label,), _FIRST_CASE + self.cases, ZERO, count)
            self.cases += 1
            read = known[key] = CaseRead(variable, subscripts, declared.type.shape, axis)
            reads.append(read)
        return _case(node, read.axis)


def _read_of(node: Expr, sought: frozenset[str]) -> tuple[str | None, tuple[Expr, ...]]:
    """The unknown and the subscripts of a read of one entry."""
    match node:
        case Read(name=name) if name in sought:
            return name, ()
        case Pick(base=Read(name=name), subscripts=subscripts) if name in sought:
            return name, tuple(s for s in subscripts if isinstance(s, Expr))
    return None, ()


def _case(node: Expr, axis: Axis) -> Expr:
    """The value that an entry has in a case."""
    kind = node.type.with_shape(())
    if kind.kind == "class":
        return Position(kind, (axis,), Level.CONSTANT, False, node.span, axis, 0)
    at = Position(INT, (axis,), Level.CONSTANT, False, node.span, axis, 0)
    one = typed.Constant(INT, (), Level.CONSTANT, False, node.span, 1)
    return apply("eq", (at, one), "bool")


def _orders(subscripts: tuple[Expr, ...]) -> tuple[int, ...]:
    return tuple(a.order for a in typed.merge_axes(subscripts))


def _negated(piece: Piece) -> Piece:
    kind = "int" if piece.value.type.kind == "bool" else piece.value.type.kind
    return replace(piece, value=apply("neg", (piece.value,), kind))
