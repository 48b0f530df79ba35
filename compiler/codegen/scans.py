"""Recurrences as one loop: `for t in range(T)` over cells, with everything else computed before it.

What does not depend on the carried cells is a plate like any other: it is evaluated for all steps
at once, and taken apart along the axis with `unbind`, whose backward pass is one stack.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.apart import entries_apart
from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, comment, spread
from ebmlang.compiler.codegen.lines import Line, Loop
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Apply, Carry, Expr, Level, Read, Scan
from ebmlang.compiler.types import Kind

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


def write_scan(e: Emitter, scan: Scan) -> Code:
    """The array of one state; the states of one recurrence share the loop."""
    apart = entries_apart(scan, e.canonical)
    if apart is not None:
        tables = [_table(e, entry) for entry in apart]
        where = _layout(scan, scan.which)
        text = f"functions.stack_entries({', '.join(tables)})"
        return Code(text, ATOM, where.batch, where.axes, scan.type.rank, scan.type.kind)
    table, where = _table(e, scan), _layout(scan, scan.which)
    text = f"functions.stack_cells({table}, {scan.state.dim - scan.type.rank})"
    return Code(text, ATOM, where.batch, where.axes, scan.type.rank, scan.type.kind)


def _table(e: Emitter, scan: Scan) -> str:
    """The name of the table of cells of one state."""
    key = _key(scan)
    if key not in e.loops:
        e.loops[key] = _Loop(e, scan).write()
    return e.loops[key][scan.which]


def write_cell(e: Emitter, base: Expr, index: Size) -> Expr | None:
    """One cell of a recurrence that is written here, without the array of all of them; None elsewhere."""
    base = e.canonical(base)
    name = base.name if isinstance(base, Read) else ""
    if id(base) in e.hoisted or name in e.available:
        return None
    scan = e.canonical(e.lets[name].value) if name in e.lets else base
    if not isinstance(scan, Scan) or scan.state.dim or id(scan) in e.hoisted:
        return None
    apart = entries_apart(scan, e.canonical)
    if apart is None:
        return _cell(e, scan, index)
    items = tuple(_cell(e, entry, index) for entry in apart)
    type_ = scan.type.with_shape(scan.type.shape[1:])
    return typed.Pack(type_, items[0].axes, max(i.level for i in items), scan.coupled, scan.span, items)


def _cell(e: Emitter, scan: Scan, index: Size) -> Read:
    """One cell of the table of a state."""
    table = _table(e, scan)
    # A recurrence that runs backwards may begin its table above 0: the array is counted from its first cell.
    first = scan.axis.start + scan.state.offset if scan.backward else ZERO
    text = f"{table}[{e.size(first + index)}]"
    e.available[text] = text
    shape, level = scan.type.shape[1:], max(scan.level, Level.SHARED)
    return Read(scan.type.with_shape(shape), scan.axes, level, scan.coupled, scan.span, text)


def _key(scan: Scan) -> tuple[object, ...]:
    return (scan.axis.order, scan.backward, *(id(c) for c in scan.children()))


def _layout(scan: Scan, which: int) -> Layout:
    """How one cell lies: a row of the array, without the dimension of the axis."""
    return Layout(scan.level is Level.EXAMPLE, scan.axes, scan.states[which].body.type.rank)


@dataclass(slots=True)
class _Loop:
    e: Emitter
    scan: Scan
    index: str = ""
    cells: tuple[str, ...] = ()
    leaves: dict[str, str] = field(default_factory=dict)
    carries: dict[int, bool] = field(default_factory=dict)
    inside: dict[int, Expr] = field(default_factory=dict)

    def write(self) -> tuple[str, ...]:
        """Write the starts and the loop; the names of the tables of cells."""
        e, scan = self.e, self.scan
        tables = [self._starts(which) for which in range(len(scan.states))]
        self.cells = tuple(name for name, _ in tables)
        self.index = self._index()
        with e.guarded(scan if scan.guarded else None):
            bodies = [self._inside(e.canonical(state.body)) for state in scan.states]
        inner = self._inner()
        inner.count(*bodies)
        for which, (state, body) in enumerate(zip(scan.states, bodies, strict=True)):
            kind = scan_kind(scan, which)
            hint = local_name(state.name)
            code = inner.tensor(inner.converted(inner.emit(body, hint), kind))
            code = spread(code, _layout(scan, which))
            target = f"{self.cells[which]}[{self._at(state.offset)}]"
            inner.line((target,), code.text, comment(code, body.type.shape))
        e.lines += [Line((name,), value) for name, value in tables]
        e.lines.append(Loop(self.cells, self._head(), tuple(inner.lines)))
        e.draws = inner.draws
        return self.cells

    def _index(self) -> str:
        """The name of the index: that of another loop will do, unless it runs around this one."""
        own = local_name(self.scan.axis.names[0])
        name = own if own in self.e.loop_indices else self.e.fresh(own)
        self.e.loop_indices.add(name)
        return name

    def _starts(self, which: int) -> tuple[str, str]:
        """The table of the cells that are known before the loop."""
        e, scan, state = self.e, self.scan, self.scan.states[which]
        name = e.fresh(f"{local_name(state.name)}_at")
        entries = []
        for k, start in enumerate(state.starts):
            code = e.tensor(e.of_kind(start, scan_kind(scan, which)))
            code = spread(code, _layout(scan, which))
            first = self._stop() + state.offset if scan.backward else ZERO
            entries.append(f"{e.size(first + k)}: {code.text}")
        return name, f"{{{', '.join(entries)}}}"

    def _stop(self) -> Size:
        assert self.scan.axis.size is not None
        return self.scan.axis.start + self.scan.axis.size

    def _head(self) -> str:
        start = self.scan.axis.start
        first = "" if start == ZERO else f"{self.e.size(start)}, "
        steps = f"range({first}{self.e.size(self._stop())})"
        return f"for {self.index} in {f'reversed({steps})' if self.scan.backward else steps}:"

    def _at(self, offset: int) -> str:
        if not offset:
            return self.index
        return f"{self.index} {'-' if offset < 0 else '+'} {abs(offset)}"

    # --- the body: what moves with the carries stays, everything else is computed before ---

    def _inner(self) -> Emitter:
        """An emitter for one step: its lines are those inside the loop."""
        e = self.e
        leaves = frozenset(self.leaves)
        depends = Dependence(e.depends.graph, e.depends.sought | leaves)
        return replace(
            e, depends=depends, available={**e.available, **self.leaves}, lines=[], loops={}, nests={},
            net_results={},
            loop_indices=set(), index_owner=e.index_owner or e, _codes={}, _counts={},
        )  # fmt: skip

    def _carried(self, node: Expr) -> bool:
        """Whether a value is computed from the carries of this loop."""
        found = self.carries.get(id(node))
        if found is None:
            if isinstance(node, Carry):
                found = node.axis is self.scan.axis
            else:
                found = any(self._carried(c) for c in node.children())
            self.carries[id(node)] = found
        return found

    def _inside(self, body: Expr) -> Expr:
        """The body with names in place of carries and of everything computed before the loop."""

        def change(node: Expr) -> Expr | None:
            if isinstance(node, Carry) and node.axis is self.scan.axis:
                return self._carry(node)
            if not self._carried(node):
                return self._steady(node)
            return chosen(node) if isinstance(node, Apply) and node.option("at") else None

        def chosen(call: Apply) -> Expr:
            """A call of the net of this step: its index is a plain number of the loop."""
            parts = (
                self._leaf(a, self.index, (), Level.CONSTANT)
                if isinstance(a, typed.Position) and a.axis is self.scan.axis
                else typed.mapped(a, change, self.inside)
                for a in call.arguments
            )
            return typed.rebuilt(call, tuple(parts))

        return typed.mapped(body, change, self.inside)

    def _carry(self, node: Carry) -> Expr:
        which = next(i for i, s in enumerate(self.scan.states) if s.name == node.name)
        text = f"{self.cells[which]}[{self._at(node.offset)}]"
        return self._leaf(node, text, node.axes, max(node.level, Level.SHARED))

    def _steady(self, node: Expr) -> Expr:
        """A value that no step changes, or that is known for all steps."""
        e, axis = self.e, self.scan.axis
        if isinstance(node, typed.Constant) or (isinstance(node, Read) and node.name not in e.lets):
            return node
        if axis not in node.axes and affine(node) is not None:
            return node  # a number, or a subscript that may turn out to be a slice
        code = e.indices.position(node) if isinstance(node, typed.Position) else None
        code = code or e.of_kind(node, node.type.kind)
        if code.python:
            return self._leaf(node, code.at(ATOM), (), Level.CONSTANT)
        level = max(node.level, Level.SHARED)
        code = e.expanded(code, Layout(node.level is Level.EXAMPLE, node.axes, node.type.rank))
        if axis not in node.axes:
            if not code.text.isidentifier():
                code = e.assign(self._hint(node), code, node.type.shape)
            return self._leaf(node, code.text, node.axes, level)
        place = int(code.batch) + next(i for i, a in enumerate(code.axes) if a is axis)
        name = e.fresh(f"{self._hint(node)}_at")
        e.line((name,), f"{code.at(ATOM)}.unbind({place})")
        shift = axis.start.constant
        assert shift is not None
        axes = tuple(a for a in node.axes if a is not axis)
        return self._leaf(node, f"{name}[{self._at(-shift)}]", axes, level)

    def _hint(self, node: Expr) -> str:
        names = sorted(typed.reads(node) - {v.name for v in self.e.depends.graph.model.hypers})
        return "_".join(local_name(n).rstrip("_") for n in names[:2]) if 0 < len(names) <= 2 else "steps"

    def _leaf(self, node: Expr, text: str, axes: typed.Axes, level: Level) -> Read:
        # A name that no program can have: equal names are one value to everything that follows.
        name = f"{text} {id(node)}"
        self.leaves[name] = text
        return Read(node.type, axes, level, node.coupled, node.span, name)


def scan_kind(scan: Scan, which: int) -> Kind:
    """The kind of the entries of a state: that of its cells."""
    return scan.states[which].body.type.kind
