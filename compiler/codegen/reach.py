"""What is known of where subscripts reach, so that only those in doubt are checked at run time."""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.indexing import Affine, Prover
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Axis, Expr, Position


def always_inside(index: Expr, size: Size) -> bool:
    """Whether a subscript lies inside its dimension at every position, guards aside."""
    return _rooms_left(index, size, with_guard=False) == 0


def decided(index: Expr, size: Size) -> bool:
    """Whether the checker has proven a subscript inside, or turned what was left into a
    requirement on sizes; otherwise its values must be looked at."""
    return _rooms_left(index, size, with_guard=True) is not None


def _rooms_left(index: Expr, size: Size, with_guard: bool) -> int | None:
    """How many inequalities are left to show; None when nothing is known of the value."""
    selection = next((a for node in typed.walk(index) for a in node.axes if a.parents), None)
    prover = Prover({})
    facts: tuple[Affine, ...] = ()
    if selection is not None:
        index = _of_parents(index, selection)
        if with_guard and selection.guard is not None:
            facts = prover.facts(selection.guard)
    rooms = prover.inside(index, size, facts)
    return None if rooms is None else len(rooms)


def _of_parents(root: Expr, selection: Axis) -> Expr:
    """The subscript with its selected indices read from the plates they come from."""
    columns = [(parent, column) for parent in selection.parents for column in range(len(parent.names))]
    memo: dict[int, Expr] = {}

    def visit(node: Expr) -> Expr:
        done = memo.get(id(node))
        if done is None:
            if isinstance(node, Position) and node.axis.parents:
                parent, column = columns[node.column]
                done = replace(node, axis=parent, column=column, axes=(parent,))
            else:
                done = typed.rebuilt(node, tuple(visit(c) for c in node.children()))
            memo[id(node)] = done
        return done

    return visit(root)
