"""The summands of an expression."""

from __future__ import annotations

from ebmlang.compiler.typed import Apply, Expr


def pieces(node: Expr) -> list[tuple[int, Expr]]:
    """A sum taken apart: (sign, part) for each part."""
    found: list[tuple[int, Expr]] = []
    stack: list[tuple[int, Expr]] = [(1, node)]
    while stack:
        sign, part = stack.pop()
        match part:
            case Apply(function="add", arguments=(a, b)):
                stack += [(sign, b), (sign, a)]
            case Apply(function="sub", arguments=(a, b)):
                stack += [(-sign, b), (sign, a)]
            case Apply(function="neg", arguments=(a,)):
                stack.append((-sign, a))
            case _:
                found.append((sign, part))
    return found
