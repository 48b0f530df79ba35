"""Quotients by arrays that stay the same, as products with their reciprocals, which are made once.

A division takes several times as long as a multiplication. The last digit may come out otherwise, so this is
for gradients that steps ask for without the energy: nobody compares them with a difference of energies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.typed import Apply, Expr


@dataclass(slots=True)
class Reciprocals:
    """Rewrites expressions; `depends` tells what is sought."""

    depends: Dependence
    done: dict[int, tuple[Expr, Expr]] = field(default_factory=dict)

    def __call__(self, node: Expr) -> Expr:
        if not self.depends(node):
            return node
        known = self.done.get(id(node))
        if known is None:
            # With the node itself, which keeps its id from being that of another.
            known = self.done[id(node)] = node, self._rewritten(node)
        return known[1]

    def _rewritten(self, node: Expr) -> Expr:
        made = typed.rebuilt(node, tuple(self(child) for child in node.children()))
        match made:
            case Apply(function="div", arguments=(top, bottom)) if not self.depends(bottom):
                if bottom.type.rank or bottom.axes:
                    one = algebra.constant(1.0, node.span)
                    return algebra.elementwise("mul", top, algebra.elementwise("div", one, bottom))
        return made
