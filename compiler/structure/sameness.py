"""What products with the Hessian read: whether all examples share the matrix, and whether it moves with x."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ebmlang.compiler import typed
from ebmlang.compiler.facts import Dependence, direction_name
from ebmlang.compiler.typed import Expr, Fold, Level, Read, Scatter, Tabulate


def hessian_facts(parts: Iterable[Expr], depends: Dependence) -> tuple[bool, bool]:
    """(shared, constant): nothing but the direction differs by example; nothing sought is read.

    What is shared is constant too, for the sought variables differ by example.
    """
    directions = {direction_name(name) for name in depends.sought}
    leaves = [x for x in _leaves(parts, depends) if not (isinstance(x, Read) and x.name in directions)]
    constant = not any(isinstance(leaf, Read) and leaf.name in depends.sought for leaf in leaves)
    return constant and all(leaf.level is not Level.EXAMPLE for leaf in leaves), constant


def _leaves(parts: Iterable[Expr], depends: Dependence) -> Iterator[Expr]:
    """Everything that values are computed from, lets and the conditions of axes followed."""
    stack = list(parts)
    seen: set[int] = set()
    while stack:
        root = stack.pop()
        for node in typed.walk(root):
            if id(node) in seen:
                continue
            seen.add(id(node))
            over = node.over if isinstance(node, Fold | Scatter | Tabulate) else ()
            for axis in (*node.axes, *over):
                stack += [part for part in (axis.rows, axis.guard) if part is not None]
            let = depends.graph.lets.get(node.name) if isinstance(node, Read) else None
            if let is not None:
                stack.append(let.value)
            elif not node.children():
                yield node
