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
    count = scan.axis.start + state.offset + scan.axis.size + len(state.starts) * scan.backward
    shape = state.body.type.shape
    return state.body.type.with_shape((*shape[: state.dim], count, *shape[state.dim :]))


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


def next_cells(scan: Scan) -> tuple[Expr, ...]:
    """The next cells of all states at every index, [T, ...], from the arrays of states alone.

    What a step defines and uses itself is put in where it is used.
    """
    made: dict[str, Expr] = {}
    for state in scan.states:

        def change(node: Expr, offset: int = state.offset) -> Expr | None:
            own = isinstance(node, Carry) and node.axis is scan.axis and node.name in made
            return made[node.name] if own and node.offset == offset else None  # type: ignore[attr-defined]

        made[state.name] = typed.mapped(state.body, change)
    bodies = (over_arrays(scan, body) for body in made.values())
    return tuple(cells_of(body, (scan.axis,)) for body in bodies)


def _index(scan: Scan, node: Carry) -> Expr:
    position = Position(INT, (scan.axis,), Level.CONSTANT, False, node.span, scan.axis, 0)
    if not node.offset:
        return position
    size = SizeOf(INT, (), Level.CONSTANT, False, node.span, Size.of(abs(node.offset)))
    function = "add" if node.offset > 0 else "sub"
    return Apply(INT, position.axes, Level.CONSTANT, False, node.span, function, (position, size))
