"""Checked model to factor graph: guards that are known early become selections of indices."""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.graph import Factor, FactorGraph, Limit
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.typed import Axes, Axis, Expr, Level, Position


def elaborate(model: typed.Model) -> FactorGraph:
    """The factor graph of a model. Plates are kept; nothing is unrolled."""
    factors = tuple(_factor(term) for term in model.terms)
    return FactorGraph(model, factors, tuple(_limit(c) for c in model.constraints))


def _factor(term: typed.Term) -> Factor:
    axes, mask, value = _selected(term.axes, term.guard, term.value)
    return Factor(term.name, term.kind, term.batch, axes, mask, value, term)


def _limit(constraint: typed.Constraint) -> Limit:
    axes, mask, value = _selected(constraint.axes, constraint.guard, constraint.value)
    return Limit(constraint.name, constraint.relation, axes, mask, value, constraint)


def _selected(axes: Axes, guard: Expr | None, value: Expr) -> tuple[Axes, Expr | None, Expr]:
    """Axes, mask and value with a guard that is known before the unknowns are as a selection."""
    if guard is None or guard.level is Level.EXAMPLE:
        return axes, guard, value
    # Only the index tuples that count are evaluated: an entry that the guard excludes may be
    # infinite or not a number, and would spoil gradients even with a weight of 0.
    names = tuple(n for axis in axes for n in axis.names)
    selection = Axis("_".join(names), names, axes[0].order, ZERO, None, None, axes, guard)
    return (selection,), None, select(value, selection)


def select(root: Expr, selection: Axis) -> Expr:
    """`root` with every index of the selection's parents read from the selection."""
    columns: dict[tuple[int, int], int] = {}
    for axis in selection.parents:
        for column in range(len(axis.names)):
            columns[axis.order, column] = len(columns)
    memo: dict[int, Expr] = {}

    def visit(node: Expr) -> Expr:
        done = memo.get(id(node))
        if done is None:
            if isinstance(node, Position):
                column = columns.get((node.axis.order, node.column))
                if column is None:
                    done = node
                else:
                    done = replace(node, axis=selection, column=column, axes=(selection,))
            else:
                done = typed.rebuilt(node, tuple(visit(c) for c in node.children()))
            memo[id(node)] = done
        return done

    return visit(root)
