"""Whether two expressions say the same."""

from __future__ import annotations

from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.typed import Expr


def same(a: Expr, b: Expr) -> bool:
    """Structural equality; lets are compared by their names."""
    if a is b:
        return True
    if type(a) is not type(b) or a.type != b.type or len(a.children()) != len(b.children()):
        return False
    canonical = Canonical()
    return canonical(a) is canonical(b)
