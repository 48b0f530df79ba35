"""Replacing variables and lets inside typed expressions."""

from __future__ import annotations

from collections.abc import Mapping

from ebmlang.compiler import typed
from ebmlang.compiler.typed import Expr, Let, Read


def substitute(root: Expr, replaced: Mapping[str, Expr], lets: Mapping[str, Let]) -> Expr:
    """`root` with the named values replaced, also inside the lets that it reads.

    A let whose value does not depend on a replaced name stays a read of that let.
    """
    depends = dependents(lets, frozenset(replaced))
    memo: dict[int, Expr] = {}

    def visit(node: Expr) -> Expr:
        done = memo.get(id(node))
        if done is None:
            if isinstance(node, Read):
                if node.name in replaced:
                    done = replaced[node.name]
                elif node.name in depends:
                    done = visit(lets[node.name].value)
                else:
                    done = node
            else:
                done = typed.rebuilt(node, tuple(visit(c) for c in node.children()))
            memo[id(node)] = done
        return done

    return visit(root)


def dependents(lets: Mapping[str, Let], names: frozenset[str]) -> frozenset[str]:
    """The lets whose value is computed, through other lets too, from one of the names."""
    found: set[str] = set()
    for name, let in lets.items():
        used = typed.reads(let.value)
        if used & names or used & found:
            found.add(name)
    return frozenset(found)
