"""Which cells of an array a `let s[...] = ...` defines: one number, or an index of its plate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.recurrences import CellIndex, CellTwice
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.scope import Index, Scope
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.sizing import names_in
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Axis, Expr

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """One cell, or one row of cells over the axes `inner`, at the number `index` of dimension `dim`."""

    index: Size
    dim: int
    inner: typed.Axes
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The subscripts of a cell in a plate: each an axis plus a number. `node` is the statement."""

    node: ast.LetCell
    axes: typed.Axes
    offsets: tuple[int, ...]

    def dim(self, axis: Axis) -> int:
        return next(i for i, own in enumerate(self.axes) if own is axis)

    def inner(self, time: Axis) -> typed.Axes:
        return tuple(a for a in self.axes if a is not time)


def constant_subscripts(node: ast.LetCell, scope: Scope) -> tuple[int, ...]:
    """The dimensions of a cell whose subscripts name no index of a plate."""
    return tuple(
        i
        for i, s in enumerate(node.subscripts)
        if not isinstance(s, ast.Slice)
        and not any(isinstance(scope.find(n.text), Index) for n in names_in(s))
        and not isinstance(s, ast.Index | ast.Call)
    )


def plain(node: ast.LetCell, scope: Scope) -> bool:
    """Whether all subscripts are indices of ranges from 0, without anything added."""
    found = [scope.find(s.text) if isinstance(s, ast.Name) else None for s in node.subscripts]
    return all(isinstance(i, Index) and i.axis.start == ZERO for i in found)


def read_place(node: ast.LetCell, scope: Scope, checker: Expressions) -> Place | None:
    """The place that a cell of a plate stands at; None after a report."""
    axes: list[Axis] = []
    offsets: list[int] = []
    for s in node.subscripts:
        if isinstance(s, ast.Slice):
            checker.report.add(NotBuilt(node.span, "a `let` of a slice of cells"))
            return None
        value = checker.check(s, scope)
        if value.type.kind == "error":
            return None
        form = affine(value)
        found = None if form is None or len(form[0]) != 1 or form[0][0][1] != 1 else form[0][0][0]
        offset = None if form is None else form[1].constant
        if found is None or offset is None:
            shown = checker.report.source.extract(s.span)
            checker.report.add(CellIndex(s.span, shown, _advice(found, scope)))
            return None
        axes.append(found)
        offsets.append(offset)
    if not covers(node, tuple(axes), scope, checker):
        return None
    return Place(node, tuple(axes), tuple(offsets))


def _advice(axis: Axis | None, scope: Scope) -> str:
    if axis is not None:
        return f"the number behind `{axis.names[0]}` must be known without any sizes"
    names = ", ".join(n for a in scope.axes for n in a.names)
    return f"the indices here are {names}" if names else ""


def covers(node: ast.LetCell, axes: typed.Axes, scope: Scope, checker: Expressions) -> bool:
    """Whether every index of the plates stands in the subscripts once."""
    report = checker.report
    if any(a.rows is not None for a in scope.axes):
        report.add(NotBuilt(node.span, "a `let` of cells over the rows of a list"))
        return False
    for axis in scope.axes:
        if sum(a is axis for a in axes) != 1:
            shown = report.source.extract(Span(node.name.span.start, node.subscripts[-1].span.end + 1))
            name = axis.names[0]
            if any(a is axis for a in axes):
                report.add(NotBuilt(node.span, f"cells that name the index `{name}` twice"))
            else:
                advice = f"give it a subscript for `{name}`, or move it out of that plate"
                report.add(CellTwice(node.span, shown, advice))
            return False
    return True


def cells_of(value: Expr, inner: typed.Axes) -> Expr:
    """The value at every position of the axes, as one array with them in front."""
    if not inner:
        return value
    shape = tuple(a.size for a in inner if a.size is not None) + value.type.shape
    free = tuple(a for a in value.axes if a not in inner)
    type_ = value.type.with_shape(shape)
    return typed.Tabulate(type_, free, value.level, value.coupled, value.span, value, inner)
