"""The lets of a model, what they are computed from, and replacing values inside expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ebmlang.compiler import typed
from ebmlang.compiler.typed import Axis, Expr, Let, Read


@dataclass(slots=True)
class Lets:
    """The lets defined so far, in order, with what each reads and is computed from."""

    defined: dict[str, Let] = field(default_factory=dict)
    direct: dict[str, frozenset[str]] = field(default_factory=dict)
    sources: dict[str, frozenset[str]] = field(default_factory=dict)

    def define(self, let: Let) -> None:
        self.defined[let.name] = let
        # A recurrence is asked for what it reads while it is being checked.
        for known in (self.direct, self.sources):
            known.pop(let.name, None)

    def reads_of(self, name: str) -> frozenset[str]:
        """What the value of a let reads itself; nothing for a variable."""
        found = self.direct.get(name)
        if found is None:
            let = self.defined.get(name)
            found = self.direct[name] = typed.reads(let.value) if let is not None else frozenset()
        return found

    def sources_of(self, root: Expr) -> frozenset[str]:
        """Hyperparameters and variables that a value is computed from, through lets too."""
        return _union([self.sources_of_let(name) for name in typed.reads(root)])

    def sources_of_let(self, name: str) -> frozenset[str]:
        """The same for a name: a let, or a variable, which is computed from itself."""
        # Lets read lets above them, and chains of lets are long: a stack instead of recursion.
        stack = [name]
        while stack:
            top = stack[-1]
            if top not in self.sources:
                direct = self.reads_of(top)
                missing = [r for r in direct if r not in self.sources]
                if missing:
                    stack.extend(missing)
                    continue
                parts = [self.sources[r] for r in direct]
                self.sources[top] = _union(parts) if top in self.defined else frozenset((top,))
            stack.pop()
        return self.sources[name]

    def dependents(self, root: Expr, names: frozenset[str]) -> frozenset[str]:
        """The lets that a value reads, through others too, and that depend on one of the names."""
        depends: dict[str, bool] = {}
        stack = list(typed.reads(root))
        while stack:
            top = stack[-1]
            direct = () if top in names else self.reads_of(top)
            missing = [r for r in direct if r not in depends]
            if top not in depends and missing:
                stack.extend(missing)
                continue
            depends[top] = top in names or any(depends[r] for r in direct)
            stack.pop()
        return frozenset(name for name, found in depends.items() if found) - names


def _union(parts: list[frozenset[str]]) -> frozenset[str]:
    """The union of sets; one of them itself where it holds the others, so that chains share it."""
    largest = max(parts, key=len, default=frozenset())
    return largest if all(part <= largest for part in parts) else largest.union(*parts)


def substitute(root: Expr, replaced: Mapping[str, Expr], lets: Lets) -> tuple[Expr, int]:
    """`root` with the named values replaced, also inside the lets that it reads; and how many nodes
    were visited for it.

    All are replaced at once: what is put in is not searched again. A let whose value does not
    depend on a replaced name stays a read of that let. An index that an inner array or reduction
    binds is renamed where a replacing value has the same index free.
    """
    depends = lets.dependents(root, frozenset(replaced))
    fresh = _FreshAxes(frozenset(a for value in replaced.values() for a in value.axes))
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
            elif node.name in depends:
                inner = lets.defined[node.name].value  # type: ignore[assignment]
                if id(inner) in done:
                    done[id(node)] = done[id(inner)]
                else:
                    stack.append(inner)
            else:
                done[id(node)] = node
            continue
        renamed = fresh.renamed(node)
        if renamed is not node:
            if id(renamed) in done:
                done[id(node)] = done[id(renamed)]
            else:
                stack.append(renamed)
            continue
        children = node.children()
        missing = [c for c in children if id(c) not in done]
        if missing:
            stack.extend(missing)
        else:
            done[id(node)] = typed.rebuilt(node, tuple(done[id(c)] for c in children))
    return done[id(root)], len(done)


@dataclass(slots=True)
class _FreshAxes:
    """Renames bound indices that would capture a free index of a replacing value."""

    free: frozenset[Axis]
    copies: dict[Axis, Axis] = field(default_factory=dict)
    nodes: dict[int, Expr] = field(default_factory=dict)

    def renamed(self, node: Expr) -> Expr:
        """The node itself, or the same one over copies of the axes that clash."""
        if isinstance(node, typed.Scan):
            return self._scan(node) if node.axis in self.free else node
        if not isinstance(node, typed.Fold | typed.Tabulate) or not self.free.intersection(node.over):
            return node
        if id(node) not in self.nodes:
            for axis in self.free.intersection(node.over):
                self._copy(axis)
            over = tuple(self.copies.get(a, a) if a in self.free else a for a in node.over)
            children = tuple(self._moved(c) for c in node.children())
            self.nodes[id(node)] = replace(typed.rebuilt(node, children), over=over)  # type: ignore[call-arg]
            kept = tuple(a for a in typed.merge_axes(children) if a not in over)
            self.nodes[id(node)] = replace(self.nodes[id(node)], axes=kept)
        return self.nodes[id(node)]

    def _copy(self, axis: Axis) -> Axis:
        # A copy comes after every other axis: it is bound further inside than they are.
        order = _BEYOND + axis.order
        return self.copies.setdefault(axis, replace(axis, label=f"{axis.label}_inner", order=order))

    def _scan(self, node: typed.Scan) -> Expr:
        if id(node) not in self.nodes:
            axis = self._copy(node.axis)
            moved = typed.rebuilt(node, tuple(self._moved(c) for c in node.children()))
            assert isinstance(moved, typed.Scan)
            self.nodes[id(node)] = typed.settled(replace(moved, axis=axis))
        return self.nodes[id(node)]

    def _moved(self, node: Expr) -> Expr:
        """The node with every position on a clashing axis read from its copy."""
        if isinstance(node, typed.Position) and node.axis in self.copies:
            axis = self.copies[node.axis]
            return replace(node, axis=axis, axes=(axis,))
        if isinstance(node, typed.Carry) and node.axis in self.copies:
            return replace(node, axis=self.copies[node.axis])
        return typed.rebuilt(node, tuple(self._moved(c) for c in node.children()))


_BEYOND = 10**9
