"""The lets of a model, what they are computed from, and replacing values inside expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.typed import Expr, Let, Read


@dataclass(slots=True)
class Lets:
    """The lets defined so far, in order, with what each is computed from."""

    defined: dict[str, Let] = field(default_factory=dict)
    sources: dict[str, frozenset[str]] = field(default_factory=dict)

    def define(self, let: Let) -> None:
        self.defined[let.name] = let

    def sources_of(self, root: Expr) -> frozenset[str]:
        """Names of what a value is computed from: hyperparameters, variables, lets, and what those
        lets are computed from."""
        direct = typed.reads(root)
        return direct.union(*map(self.sources_of_let, direct))

    def sources_of_let(self, name: str) -> frozenset[str]:
        # Lets read lets above them, and chains of lets are long: a stack instead of recursion.
        stack = [name]
        while stack:
            let = self.defined.get(stack[-1])
            if let is None or let.name in self.sources:
                stack.pop()
                continue
            direct = typed.reads(let.value)
            missing = [r for r in direct if r in self.defined and r not in self.sources]
            if missing:
                stack.extend(missing)
                continue
            self.sources[let.name] = direct.union(*(self.sources.get(r, frozenset()) for r in direct))
            stack.pop()
        return self.sources.get(name, frozenset())


def substitute(root: Expr, replaced: Mapping[str, Expr], lets: Lets) -> tuple[Expr, int]:
    """`root` with the named values replaced, also inside the lets that it reads; and how many nodes
    were visited for it.

    All are replaced at once: what is put in is not searched again. A let whose value does not
    depend on a replaced name stays a read of that let.
    """
    names = frozenset(replaced)
    done: dict[int, Expr] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        if id(node) in done:
            stack.pop()
            continue
        if isinstance(node, Read):
            inner = node
            if node.name in replaced:
                done[id(node)] = replaced[node.name]
            elif lets.sources_of_let(node.name) & names:
                inner = lets.defined[node.name].value  # type: ignore[assignment]
                if id(inner) in done:
                    done[id(node)] = done[id(inner)]
                else:
                    stack.append(inner)
            else:
                done[id(node)] = node
            continue
        children = node.children()
        missing = [c for c in children if id(c) not in done]
        if missing:
            stack.extend(missing)
        else:
            done[id(node)] = typed.rebuilt(node, tuple(done[id(c)] for c in children))
    return done[id(root)], len(done)
