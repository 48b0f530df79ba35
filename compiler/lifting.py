"""Recurrences with their states as arrays: every cell from cells that are there already."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.cells import cells_of
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Apply, Carry, Expr, Level, Position, Read, Scan, SizeOf, SliceOf
from ebmlang.compiler.types import INT, Type


def array_type(scan: Scan, which: int) -> Type:
    """The type of the whole array of a state."""
    state = scan.states[which]
    assert scan.axis.size is not None
    count = scan.axis.size + len(state.starts)
    shape = state.body.type.shape
    return state.body.type.with_shape((*shape[: state.dim], count, *shape[state.dim :]))


def first_cell(scan: Scan, which: int) -> Size:
    """The index of the first cell of a state, as its loop counts: 0 but for derivatives."""
    state = scan.states[which]
    first = scan.axis.start + state.offset
    return first if scan.backward else first - len(state.starts)


def over_arrays(scan: Scan, body: Expr) -> Expr:
    """A body with its carries as cells of the arrays by name: `s[t]` reads the array `s`."""
    names = {s.name: i for i, s in enumerate(scan.states)}

    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Carry) or node.axis is not scan.axis:
            return None
        type_ = array_type(scan, names[node.name])
        array = Read(type_, node.axes, node.level, node.coupled, node.span, node.name)
        parts: list[typed.Subscript] = [SliceOf(ZERO, size) for size in type_.shape]
        parts[node.dim] = _index(scan, node)
        return pick(array, tuple(parts), node.span)

    return typed.mapped(body, change)


def in_one_step(scan: Scan) -> tuple[Expr, ...]:
    """The next cells of all states from cells of earlier steps alone.

    What a step defines and uses itself is put in where it is used.
    """
    offsets = {s.name: s.offset for s in scan.states}
    made: dict[str, Expr] = {}

    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Carry) or node.axis is not scan.axis or node.name not in made:
            return None
        return made[node.name] if node.offset == offsets[node.name] else None

    for state in scan.states:
        made[state.name] = typed.mapped(state.body, change)
    return tuple(made.values())


def next_cells(scan: Scan) -> tuple[Expr, ...]:
    """The next cells of all states at every index, [T, ...], from the arrays of states alone."""
    return tuple(cells_of(over_arrays(scan, body), (scan.axis,)) for body in in_one_step(scan))


def _index(scan: Scan, node: Carry) -> Expr:
    position = Position(INT, (scan.axis,), Level.CONSTANT, False, node.span, scan.axis, 0)
    if not node.offset:
        return position
    size = SizeOf(INT, (), Level.CONSTANT, False, node.span, Size.of(abs(node.offset)))
    function = "add" if node.offset > 0 else "sub"
    return Apply(INT, position.axes, Level.CONSTANT, False, node.span, function, (position, size))
