"""Recurrences: `let s[t+1] = ...` in a plate, from cells that are defined before it.

A plate is read as a whole. The cells that its lets define read each other as arrays first, whose
types are known from declarations and starts. Then the arrays that really read each other become
one Scan; any other one is an ordinary array.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.recurrences import CellsDiffer, CellTwice, StartMissing
from ebmlang.compiler.catalogue.types import DeclaredOtherwise
from ebmlang.compiler.cells import Place, Start, cells_of, plain, read_place
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.scope import Bound, LetEntry, Scope, broken
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.sizing import read_type
from ebmlang.compiler.source import Span
from ebmlang.compiler.steps import Advance, Steps, together
from ebmlang.compiler.typed import Axis, Constant, Expr, Level, Read, Scan
from ebmlang.compiler.types import Shape, Type, fits

if TYPE_CHECKING:
    from ebmlang.compiler.letting import LetStatements


@dataclass(slots=True)
class Recurrences:
    """Checks the plates of one model whose lets define cells from earlier cells."""

    lets: LetStatements
    starts: dict[str, list[Start]] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        return self.lets.report

    def found_in(self, body: tuple[ast.Statement, ...], scope: Scope) -> bool:
        """Whether a plate holds a recurrence: cells at a shifted index, or of an array with starts."""
        own = [s for s in body if isinstance(s, ast.LetCell) and not self.lets.is_start(s, scope)]
        return any(s.name.text in self.starts or not plain(s, scope) for s in own)

    def check(self, body: tuple[ast.Statement, ...], scope: Scope, guard: Expr | None) -> None:
        """Define the arrays of a plate, and its local lets."""
        failed = len(self.report.errors)
        cells = [s for s in body if isinstance(s, ast.LetCell) and not self.lets.is_start(s, scope)]
        advances = self._advances(cells, scope)
        if advances is not None:
            for advance in advances.values():
                self._expect(advance)
        if advances is None or len(self.report.errors) > failed:
            self._give_up(cells)
            self._locals(body, scope)
            return
        self._values(body, scope, advances, guard)
        if len(self.report.errors) > failed:
            self._give_up(cells)
            return
        self._define(list(advances.values()), guard)
        if len(self.report.errors) > failed:
            self._give_up(cells)
        self._settle_locals(scope, frozenset(advances))

    def _locals(self, body: tuple[ast.Statement, ...], scope: Scope) -> None:
        parts = parts_between_cells(body)
        for s in body:
            if isinstance(s, ast.Let):
                self.lets.let(s, scope)
            elif isinstance(s, ast.Compose) and s.name.text in parts:
                self.lets.nested(s, scope)

    def _give_up(self, cells: list[ast.LetCell]) -> None:
        for node in cells:
            self.lets.give_up(node.name.text)

    # --- where the cells stand ---

    def _advances(self, cells: list[ast.LetCell], scope: Scope) -> dict[str, Advance] | None:
        places: list[Place] = []
        for node in cells:
            place = read_place(node, scope, self.lets.expressions)
            if place is None:
                return None
            places.append(place)
        time = self._time(places)
        if time is None:
            return None
        found: dict[str, Advance] = {}
        for place in places:
            name = place.node.name
            entry = self.lets.array(name.text)
            if entry is None:
                return None  # the name belongs to something else, as reported
            if entry.value is not None or name.text in found:
                first = found[name.text].node.span if name.text in found else entry.span
                places_ = (Label(first, "first defined here"),)
                self.report.add(CellTwice(place.node.span, f"{name.text}[...]", "", places_))
                return None
            advance = found[name.text] = Advance(place, time, entry.span)
            if not self._starts(advance):
                return None
        if len({a.backward for a in found.values() if a.starts}) > 1:
            what = "arrays that advance in opposite directions in one plate"
            self.report.add(NotBuilt(cells[-1].span, what))
            return None
        backward = any(a.backward for a in found.values())
        for advance in found.values():
            advance.backward = backward
        return found

    def _time(self, places: list[Place]) -> Axis | None:
        """The one axis along which the arrays of a plate advance."""
        moving: dict[Axis, Place] = {}
        for place in places:
            for axis, offset in zip(place.axes, place.offsets, strict=True):
                if offset or axis.start != ZERO:
                    moving.setdefault(axis, place)
            for start in self.starts.get(place.node.name.text, ()):
                if start.dim < len(place.axes):
                    moving.setdefault(place.axes[start.dim], place)
        if len(moving) == 1:
            return next(iter(moving))
        last = list(moving.values())[-1].node if moving else places[0].node
        self.report.add(NotBuilt(last.span, "a recurrence that advances along several indices"))
        return None

    def _starts(self, advance: Advance) -> bool:
        """Give the array its starts: exactly the cells that the plate leaves out."""
        name, time = advance.name, advance.time
        given = self.starts.pop(name, [])
        lag = (time.start + advance.offset).constant
        dims = {s.dim for s in given} | {advance.dim}
        inner = tuple(a.size for a in advance.inner)
        if len(dims) > 1 or any(s.inner and tuple(a.size for a in s.inner) != inner for s in given):
            what = f"`{advance.cell}` and the cells that it starts from, with other subscripts,"
            self.report.add(NotBuilt(advance.node.span, what))
            return False
        if lag is None or lag < 0:
            shown = str(time.start + advance.offset)
            why = f"the first cell would be {name}[{shown}]"
            self.report.add(NotBuilt(advance.node.span, f"a recurrence where {why}"))
            return False
        assert time.size is not None
        advance.backward = lag == 0 and bool(given)
        first = time.start + advance.offset + time.size if advance.backward else ZERO
        count = len(given) if advance.backward else lag
        wanted = [first + k for k in range(count)]
        for index in wanted:
            if all(s.index != index for s in given):
                missing = f"{name}[{'.., ' * advance.dim}{index}]"
                self.report.add(StartMissing(advance.node.span, missing, advance.cell))
                return False
        for start in given:
            if start.index not in wanted:
                places = (Label(start.span, f"`{name}[{start.index}]` is defined here"),)
                self.report.add(CellTwice(advance.node.span, f"{name}[{start.index}]", "", places))
                return False
        advance.starts = tuple(next(s for s in given if s.index == index) for index in wanted)
        return True

    # --- types ---

    def _expect(self, advance: Advance) -> None:
        """What is known of an array before its plate: its declared type, else that of its starts."""
        pending = self.lets.pending.pop(advance.name, None)
        if pending is not None and pending.type is not None:
            # A mistake in the type itself was reported where the array is declared.
            declared = read_type(pending.type, self.lets.scope, Report(self.report.source))
            if declared.kind == "error":
                self.lets.give_up(advance.name)
                return
            advance.declared = declared
            advance.span = pending.name.span
            places = advance.place.axes
            shape = advance.shape(declared.shape[len(places) :])
            if declared.shape != shape:
                self._otherwise(advance, declared.with_shape(shape), advance.node.span)
                return
            advance.type = declared
        if advance.starts:
            values = [self._start(advance, s) for s in advance.starts]
            if all(v is not None for v in values):
                advance.starts = tuple(
                    replace(s, value=v) for s, v in zip(advance.starts, values, strict=True) if v is not None
                )
        if advance.type is not None:
            self._show(advance)

    def _start(self, advance: Advance, start: Start) -> Expr | None:
        """A start as a row of the array: cell by cell over other indices, or the row as it is."""
        if start.inner or not advance.inner:
            return self._row(advance, start.value, start.value.type.shape, start.span, start.inner)
        sizes = tuple(a.size for a in advance.inner if a.size is not None)
        shape = start.value.type.shape
        if shape[: len(sizes)] != sizes:
            wanted = str(start.value.type.with_shape((*sizes, *shape[len(sizes) :])))
            self.report.add(CellsDiffer(start.span, advance.name, str(start.value.type), wanted))
            return None
        return self._row(advance, start.value, shape[len(sizes) :], start.span, ())

    def _row(self, advance: Advance, value: Expr, cell: Shape, span: Span, inner: typed.Axes) -> Expr | None:
        """Cells of a shape as they fit into the array; the first ones give the array its type."""
        if value.type.kind == "error":
            return None
        found = value.type.with_shape(advance.shape(cell))
        if advance.type is None:
            advance.type = found
            return cells_of(value, inner)
        if advance.declared is not None:
            if not fits(found, advance.declared):
                self._otherwise(advance, found, span)
                return None
        elif found != advance.type:
            other = advance.starts[0].span if advance.starts else advance.span
            rank = len(advance.place.axes)
            one = advance.type.with_shape(advance.type.shape[rank:])
            if one.kind == "real" and value.type.kind in ("int", "bool") and cell == one.shape:
                return cells_of(self.lets.expressions.as_real(value), inner)
            places = () if span == other else (Label(other, "another cell is defined here"),)
            shown = str(value.type.with_shape(cell))
            self.report.add(CellsDiffer(span, advance.name, shown, str(one), places))
            return None
        if advance.type.kind == "real":
            value = self.lets.expressions.as_real(value)
        return cells_of(value, inner)

    def _otherwise(self, advance: Advance, found: Type, span: Span) -> None:
        assert advance.declared is not None
        places = (Label(advance.span, "declared here"),)
        advice = "the plate and the starts give the first sizes, the value the others"
        self.report.add(
            DeclaredOtherwise(span, advance.name, str(found), str(advance.declared), advice, places)
        )

    def _show(self, advance: Advance) -> None:
        """Make an array readable before its cells are known."""
        assert advance.type is not None
        entry = self.lets.array(advance.name)
        if entry is not None:
            stand_in = Constant(advance.type, (), Level.CONSTANT, False, advance.span, 0.0)
            self.lets.scope.entries[advance.name] = LetEntry(stand_in, entry.span)

    # --- values ---

    def _values(
        self, body: tuple[ast.Statement, ...], scope: Scope, advances: dict[str, Advance], guard: Expr | None
    ) -> None:
        parts = parts_between_cells(body)
        for s in body:
            if isinstance(s, ast.Let):
                self.lets.let(s, scope)
            elif isinstance(s, ast.Compose) and s.name.text in parts:
                self.lets.nested(s, scope)
            elif isinstance(s, ast.LetCell) and s.name.text in advances:
                advance = advances[s.name.text]
                self.lets.expressions.defined_now = "" if advance.type is not None else advance.name
                value = self.lets.expressions.value(s.value, scope)
                self.lets.expressions.defined_now = ""
                if self._row(advance, value, value.type.shape, s.span, ()) is None:
                    self.lets.give_up(advance.name)
                    continue
                real = advance.type is not None and advance.type.kind == "real"
                advance.value = self.lets.expressions.as_real(value) if real else value
                if guard is not None and not advance.starts:
                    self.report.add(NotBuilt(s.span, "a `let` of cells under a guard"))
                self._show(advance)

    def _define(self, advances: list[Advance], guard: Expr | None) -> None:
        advances = [a for a in advances if a.value is not None]  # the others have a mistake, as reported
        names = {a.name for a in advances}
        direct = {
            a.name: typed.reads(a.value) & names | ({a.name} if guard is not None else frozenset())
            for a in advances
            if a.value is not None
        }
        for group in together(advances, direct):
            alone = len(group) == 1 and group[0].name not in direct[group[0].name]
            if alone and not group[0].starts:
                advance = group[0]
                assert advance.value is not None
                value = self._as_defined(advance.value, names)
                self.lets.define_cells(advance.node, cells_of(value, advance.place.axes))
                continue
            for advance in group:
                assert advance.value is not None
                advance.value = self._as_defined(advance.value, names)
            steps = Steps(self.lets.expressions, group)
            made = steps.states(guard)
            if made is None:
                return
            for which, advance in enumerate(group):
                assert advance.type is not None
                scan = Scan(
                    advance.type, (), Level.CONSTANT, False, advance.node.span, steps.axis, made, which,
                    advance.backward, guard is not None,
                )  # fmt: skip
                self.lets.define_cells(advance.node, typed.settled(scan))

    def _settle_locals(self, scope: Scope, names: frozenset[str]) -> None:
        """Local lets read the arrays as they have become."""
        for name, entry in scope.entries.items():
            if isinstance(entry, Bound) and typed.reads(entry.value) & names:
                value = self._as_defined(entry.value, names)
                self.lets.expressions.measure.keep(value)
                whole = all(self.lets.array(n) is not None for n in names)
                scope.entries[name] = Bound(value, entry.span) if whole else broken(entry.span)

    def _as_defined(self, value: Expr, names: AbstractSet[str]) -> Expr:
        """The value with reads of the arrays as far as these are defined by now."""

        def now(node: Expr) -> Expr | None:
            entry = self.lets.array(node.name) if isinstance(node, Read) and node.name in names else None
            if entry is None or entry.value is None:
                return None
            return replace(node, level=entry.value.level, coupled=entry.value.coupled)

        return typed.mapped(value, now)


def parts_between_cells(body: tuple[ast.Statement, ...]) -> frozenset[str]:
    """The parts of a plate that belong to its steps: nested ones, and joined ones that its lets read.

    Any other joined part only adds terms, and those see whole arrays.
    """
    found = {s.name.text for s in body if isinstance(s, ast.Compose) and s.word == "solve"}
    read: set[str] = set()
    for s in reversed(body):
        belongs = isinstance(s, ast.Compose) and s.name.text in found | read
        if belongs or isinstance(s, (ast.Let, ast.LetCell)):
            read.update(ast.names_read(s))
            if isinstance(s, ast.Compose):
                found.add(s.name.text)
    return frozenset(found)
