"""One step of a recurrence: which arrays advance together, and their cells from the cells before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.recurrences import ReadsAhead
from ebmlang.compiler.cells import Place, Start, cells_of
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.indexing import affine, pick
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Axis, Carry, Expr, Level, Pick, Position, Read, SliceOf
from ebmlang.compiler.types import INT, Shape, Type

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(slots=True, eq=False)
class Advance:
    """One array that a plate defines.

    `starts` are its other cells, in order; `type` is that of the whole array, once it is known.
    """

    place: Place
    time: Axis
    span: Span
    starts: tuple[Start, ...] = ()
    backward: bool = False
    type: Type | None = None
    declared: Type | None = None
    value: Expr | None = None

    @property
    def node(self) -> ast.LetCell:
        return self.place.node

    @property
    def name(self) -> str:
        return self.place.node.name.text

    @property
    def dim(self) -> int:
        return self.place.dim(self.time)

    @property
    def offset(self) -> int:
        return self.place.offsets[self.dim]

    @property
    def inner(self) -> typed.Axes:
        return self.place.inner(self.time)

    @property
    def cell(self) -> str:
        return notation.cell_text(self.name, self.time, self.offset, self.dim)

    def shape(self, cell: Shape) -> Shape:
        """The shape of the array whose cells have this one."""
        assert self.time.size is not None
        count = self.time.start + self.offset + self.time.size
        if self.backward:
            count = count + len(self.starts)
        own = [count if a is self.time else a.size for a in self.place.axes]
        return (*(s for s in own if s is not None), *cell)


def together(advances: list[Advance], direct: dict[str, frozenset[str]]) -> Iterator[list[Advance]]:
    """The arrays in groups that read each other, each group after those that it reads."""
    reach = {name: set(read) for name, read in direct.items()}
    for middle in reach:
        for read in reach.values():
            if middle in read:
                read |= reach[middle]
    left = list(advances)
    while left:
        own = {a.name for a in left}
        for first in left:
            mutual = {n for n in reach[first.name] if first.name in reach[n]}
            group = [a for a in left if a is first or a.name in mutual]
            outside = {n for a in group for n in reach[a.name]} - {a.name for a in group}
            if not outside & own:
                yield group
                left = [a for a in left if a not in group]
                break


@dataclass(slots=True)
class Steps:
    """Turns the cells of arrays that read each other into the states of one Scan.

    Its axis is a copy of the plate's: the plate's own index stays free in what reads the arrays.
    """

    expressions: Expressions
    group: list[Advance]
    copies: dict[Axis, Axis] = field(default_factory=dict)
    failed: bool = False

    @property
    def report(self) -> Report:
        return self.expressions.report

    @property
    def axis(self) -> Axis:
        return self._copy(self.group[0].time)

    def states(self, guard: Expr | None) -> tuple[typed.State, ...] | None:
        found = tuple(self._state(advance, guard) for advance in self.group)
        return None if self.failed else found

    def _state(self, advance: Advance, guard: Expr | None) -> typed.State:
        assert advance.value is not None
        body = self._moved(advance.value, advance)
        if guard is not None:
            body = self._kept(advance, self._moved(guard, advance), body)
        body = cells_of(body, tuple(self._copy(a) for a in advance.inner))
        starts = tuple(s.value for s in advance.starts)
        return typed.State(advance.name, advance.dim, advance.offset, starts, body)

    def _copy(self, axis: Axis) -> Axis:
        if axis not in self.copies:
            self.copies[axis] = self.expressions.copied_axis(axis)
        return self.copies[axis]

    def _kept(self, advance: Advance, guard: Expr, body: Expr) -> Expr:
        """The cell before where the guard is false."""
        carry = self._carry(advance, advance.offset + (1 if advance.backward else -1), advance.node.span)
        span = advance.node.span
        own: list[typed.Subscript] = [
            Position(INT, (axis,), Level.CONSTANT, False, span, axis, 0)
            for axis in map(self._copy, advance.inner)
        ]
        own += [SliceOf(ZERO, size) for size in body.type.shape]
        before = pick(carry, tuple(own), span) if advance.inner else carry
        parts = (guard, body, before)
        return typed.Apply(
            body.type, typed.merge_axes(parts), max(p.level for p in parts), any(p.coupled for p in parts),
            span, "where", parts,
        )  # fmt: skip

    def _moved(self, value: Expr, advance: Advance) -> Expr:
        """The value with the copied axes, and with carries for the cells of the group."""
        own = {a.name: a for a in self.group}
        memo: dict[int, Expr] = {}
        axes = {advance.time, *advance.inner}

        def change(node: Expr) -> Expr | None:
            match node:
                case Position() if node.axis in axes:
                    axis = self._copy(node.axis)
                    return replace(node, axis=axis, axes=(axis,))
                case Pick(base=Read(name=name)) if name in own:
                    return self._read_cell(advance, own[name], node, lambda e: typed.mapped(e, change, memo))
                case Read(name=name) if name in own:
                    self._refuse(advance, node.span, name, "which is not complete before the last step")
                    return node
            return None

        for node in typed.walk(value):
            over = node.over if isinstance(node, typed.Fold | typed.Tabulate) else ()
            lists = [a.rows for a in (*node.axes, *over) if a.rows is not None]
            if isinstance(node, typed.Fold) and node.guard is not None:
                lists.append(node.guard)
            for part in lists:
                if typed.reads(part) & own.keys():
                    self.failed = True
                    self.report.add(NotBuilt(part.span, "a reduction over what a recurrence selects"))
        return value if self.failed else typed.mapped(value, change, memo)

    def _read_cell(self, advance: Advance, read: Advance, node: Pick, moved: Callable[[Expr], Expr]) -> Expr:
        """The carry for `s[t + k]`, with the subscripts of other dimensions."""
        left: list[typed.Subscript] = []
        offset: int | None = None
        start: Start | None = None
        dim = 0
        for s in node.subscripts:
            if isinstance(s, typed.NewAxis):
                left.append(s)
                continue
            if dim == read.dim:
                form = affine(s) if isinstance(s, Expr) else None
                if form is not None and form[0] == ((advance.time, 1),):
                    offset = form[1].constant
                elif form is not None and not form[0]:
                    start = next((s for s in read.starts if s.index == form[1]), None)
            else:
                left.append(moved(s) if isinstance(s, Expr) else s)
            dim += 1
        if start is not None:
            return self._rest(start.value, left, node.span)
        if offset is None:
            why = "not at the index of the plate plus a fixed number"
            self._refuse(advance, node.span, self.report.source.extract(node.span), why)
            return node
        self._check_order(advance, read, offset, node.span)
        carry = self._carry(read, offset, node.span)
        return self._rest(carry, left, node.span)

    @staticmethod
    def _rest(row: Expr, left: list[typed.Subscript], span: Span) -> Expr:
        """What the other subscripts select of a row of the array."""
        sizes = iter(row.type.shape)
        whole = all(isinstance(s, SliceOf) and s.start == ZERO and s.stop == next(sizes) for s in left)
        return row if whole else pick(row, tuple(left), span)

    def _check_order(self, advance: Advance, read: Advance, offset: int, span: Span) -> None:
        """Cells of earlier steps are there, and those of this step that stand above."""
        ahead = offset - read.offset
        if read.backward:
            ahead = -ahead
        shown = notation.cell_text(read.name, read.time, offset, read.dim)
        if ahead > 0:
            self._refuse(advance, span, shown, "which is computed after it")
        elif ahead == 0 and read is advance:
            self._refuse(advance, span, shown, "which is the same cell")
        elif ahead == 0 and self.group.index(read) > self.group.index(advance):
            self._refuse(advance, span, shown, "which the same step computes after it")

    def _refuse(self, advance: Advance, span: Span, read: str, why: str) -> None:
        self.failed = True
        self.report.add(ReadsAhead(span, advance.cell, read, why))

    def _carry(self, read: Advance, offset: int, span: Span) -> Carry:
        assert read.type is not None
        shape = (*read.type.shape[: read.dim], *read.type.shape[read.dim + 1 :])
        row = read.type.with_shape(shape)
        return Carry(row, (), Level.CONSTANT, False, span, self.axis, read.name, offset, read.dim)
