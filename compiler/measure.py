"""How deep and how large expressions are, so that every later pass can walk them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler.typed import Expr

DEEPEST_NESTING = 100
"""Brackets and signs inside one another, and functions inside functions. Each is some frames of recursion."""

DEEPEST_EXPRESSION = 1000
"""Operations inside one another: a long sum is that deep. Later passes recurse some frames for each."""

LARGEST_EXPRESSION = 1_000_000
"""Operations in one expression with functions, local lets and substitutions written out."""


@dataclass(slots=True)
class Measure:
    """Depths and sizes of expressions; values that are used again are measured once."""

    known: dict[int, tuple[int, int]] = field(default_factory=dict)
    kept: list[Expr] = field(default_factory=list)

    def keep(self, root: Expr) -> None:
        """Remember the measure of a value that other expressions will contain."""
        self.known[id(root)] = self.of(root)
        self.kept.append(root)

    def of(self, root: Expr) -> tuple[int, int]:
        """`(depth, size)` of an expression, each occurrence of a shared part counted."""
        done: dict[int, tuple[int, int]] = {}
        stack = [root]
        while stack:
            node = stack[-1]
            key = id(node)
            if key in done:
                stack.pop()
                continue
            found = self.known.get(key)
            if found is None:
                children = node.children()
                missing = [c for c in children if id(c) not in done]
                if missing:
                    stack.extend(missing)
                    continue
                parts = [done[id(c)] for c in children]
                found = 1 + max((d for d, _ in parts), default=0), 1 + sum(s for _, s in parts)
            done[key] = found
            stack.pop()
        return done[id(root)]
