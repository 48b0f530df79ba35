"""The generated methods that give the entries of the Hessian and the places where they stand."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.codegen.energies import ARGUMENTS
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions
from ebmlang.compiler.codegen.layout import Layout, aligned
from ebmlang.compiler.codegen.lines import Line, Statement
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.derivatives.entries import HessianEntry
from ebmlang.compiler.facts import direction_name
from ebmlang.compiler.typed import Axes, merge_axes

Shape = tuple[int, tuple[int, ...], int]
"""A value by its id, and the layout in which it is written."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Writes `hessian_entries`, the values at x, and `hessian_places`, which are the same at every x."""

    functions: Functions
    entries: list[HessianEntry]
    guarded: bool

    def methods(self) -> list[Method]:
        if not self.entries:
            return []
        return [self._values(), self._places()]

    def _values(self) -> Method:
        e = self.functions.method()
        e.guards += self.guarded
        chosen = self._chosen()
        e.count(*(entry.value for entry in chosen.values()))
        texts = []
        for entry in chosen.values():
            code = e.tensor(e.converted(e.emit(entry.value, "entry"), "real"))
            texts.append(aligned(code, _layout(entry)).text)
        lines = [*self.functions.prologue(e), *e.lines, Line((), _tuple(texts))]
        doc = "The entries that the Hessian is the sum of, each for all positions of its plates."
        return Method("hessian_entries", ARGUMENTS, "tuple[Tensor, ...]", doc, lines)

    def _places(self) -> Method:
        e = self.functions.method()
        e.guards += self.guarded
        heads: list[Statement] = []
        for v in self.functions.graph.variables:
            if v.name in self.functions.depends.sought:
                local = e.fresh(f"{local_name(v.name)}_number")
                e.available[direction_name(v.name)] = local
                heads.append(Line((local,), f'number["{v.name}"]'))
        numbers = {key: n for n, key in enumerate(self._chosen())}
        texts = []
        for entry in self.entries:
            row, column = self._number(e, entry, True), self._number(e, entry, False)
            sign = "-1" if entry.minus else "1"
            texts.append(f"({numbers[self._key(entry)]}, {sign}, {row}, {column})")
        lines = [*self.functions.prologue(e), *heads, *e.lines, Line((), f"[{', '.join(texts)}]")]
        doc = "For each entry: which of `hessian_entries`, its sign, its row and its column."
        return Method("hessian_places", "held: Values, number: Values", "HessianPlaces", doc, lines)

    def _number(self, e: Emitter, entry: HessianEntry, row: bool) -> str:
        layout = _layout(entry)
        code = e.emit(entry.row if row else entry.column, "row" if row else "column")
        # Along an axis that a place does not name there stands one entry for each position all the same.
        code = e.expanded(code, Layout(code.batch, layout.axes, code.rank)) if row else code
        return aligned(code, layout).text

    def _chosen(self) -> dict[Shape, HessianEntry]:
        """One entry for each value, in the order in which values are returned."""
        found: dict[Shape, HessianEntry] = {}
        for entry in self.entries:
            found.setdefault(self._key(entry), entry)
        return found

    def _key(self, entry: HessianEntry) -> Shape:
        layout = _layout(entry)
        orders = tuple(axis.order for axis in layout.axes)
        return id(self.functions.canonical(entry.value)), orders, layout.rank


def _layout(entry: HessianEntry) -> Layout:
    return Layout(True, _axes(entry), entry.row.type.rank)


def _axes(entry: HessianEntry) -> Axes:
    own = merge_axes((entry.value, entry.row, entry.column))
    named = {axis.order: axis for axis in (*entry.over, *own)}
    return tuple(named[order] for order in sorted(named))


def _tuple(texts: list[str]) -> str:
    return f"({', '.join(texts)}{',' * (len(texts) == 1)})"
