"""Reverse mode: the gradient of a sum of scalars with respect to the sought variables.

The adjoint of a node is the derivative of the total with respect to its entries; it may be narrow
(see `algebra`). Every node hands its adjoint to its operands, from the total downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.algebra import NoDerivativeError
from ebmlang.compiler.derivatives.rules import pulled
from ebmlang.compiler.derivatives.scans import Key, Loop, LoopAdjoint, group_key
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.typed import Apply, Expr, Level, Read, Scan
from ebmlang.compiler.types import Shape


@dataclass(frozen=True, slots=True)
class Adjoint:
    """Reverse mode over expressions that `canonical` has made unique.

    `depends` tells what moves with the sought variables.
    """

    depends: Dependence
    canonical: Callable[[Expr], Expr]
    _loops: dict[Key, LoopAdjoint] = field(default_factory=dict)

    def gradient(self, seeds: list[tuple[Expr, Expr]]) -> dict[str, list[Expr]]:
        """For each sought variable the parts whose sum is the gradient of the sum of `value * seed`.

        `seeds` pairs values with the derivative of the total along them; a value that differs by
        example stands for its sum over the examples. A part may be narrow in shape, and miss the
        dimension of the examples where it is the same for all. Raises NoDerivativeError.
        """
        found = self._gradient(seeds)
        arrays = {
            own.loop.known_name(which): own.loop.array(which)
            for own in self._loops.values()
            for which in range(len(own.loop.scan.states))
        }
        if not arrays:
            return found
        memo: dict[int, Expr] = {}

        def moving(node: Expr) -> Expr | None:
            return arrays.get(node.name) if isinstance(node, Read) else None

        return {
            name: [self.canonical(typed.mapped(p, moving, memo)) for p in parts]
            for name, parts in found.items()
        }

    def _gradient(self, seeds: list[tuple[Expr, Expr]]) -> dict[str, list[Expr]]:
        roots = [(self.canonical(value), seed) for value, seed in seeds if self.depends(value)]
        adjoints: dict[int, list[Expr]] = {}
        for root, seed in roots:
            adjoints.setdefault(id(root), []).append(seed)
        found: dict[str, list[Expr]] = {name: [] for name in sorted(self.depends.sought)}
        for node in self._downwards([root for root, _ in roots]):
            if isinstance(node, Scan):
                for child, part in self._of_loop(node, adjoints):
                    adjoints.setdefault(id(child), []).append(part)
                continue
            parts = adjoints.pop(id(node), [])
            if not parts:
                continue
            if isinstance(node, Read) and node.name in self.depends.sought:
                found[node.name] += parts
                continue
            adjoint = self.canonical(algebra.total(parts))
            for child, part in self._handed_on(node, adjoint):
                adjoints.setdefault(id(child), []).append(part)
        return found

    def _operands(self, node: Expr) -> Iterator[Expr]:
        """Operands that move with the sought variables."""
        if isinstance(node, Read):
            if node.name not in self.depends.sought:
                yield self.canonical(self.depends.graph.lets[node.name].value)
            return
        if isinstance(node, Scan):
            yield from self._loop(node).operands()
            return
        for child in node.children():
            if self.depends(child):
                yield child

    def _loop(self, scan: Scan) -> LoopAdjoint:
        key = group_key(scan)
        if key not in self._loops:
            loop = Loop(scan, self.depends.graph.lets, self.canonical, len(self._loops))
            self._loops[key] = LoopAdjoint(loop, self.depends)
        return self._loops[key]

    def _of_loop(self, scan: Scan, adjoints: dict[int, list[Expr]]) -> Iterator[tuple[Expr, Expr]]:
        """Shares of the operands of a loop, from the adjoints of all its arrays."""
        own = self._loop(scan)
        along: dict[int, Expr] = {}
        for which in range(len(scan.states)):
            parts = adjoints.pop(id(own.loop.node(which)), [])
            if parts:
                along[which] = self.canonical(algebra.total(parts))
        if along:
            yield from own.shares(along, self._local)

    def _local(self, seeds: list[tuple[Expr, Expr]], names: frozenset[str]) -> dict[str, list[Expr]]:
        return Adjoint(Dependence(self.depends.graph, names), self.canonical).gradient(seeds)

    def _downwards(self, roots: list[Expr]) -> list[Expr]:
        """Every node once, before its operands."""
        order: list[Expr] = []
        done: set[int] = set()
        for root in roots:
            stack: list[tuple[Expr, bool]] = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if isinstance(node, Scan):
                    # The arrays of one loop are differentiated together.
                    node = self._loop(node).loop.scan
                if ready:
                    order.append(node)
                elif id(node) not in done:
                    done.add(id(node))
                    stack.append((node, True))
                    stack.extend((child, False) for child in self._operands(node))
        return order[::-1]

    def _handed_on(self, node: Expr, adjoint: Expr) -> Iterator[tuple[Expr, Expr]]:
        if isinstance(node, Read):
            yield next(self._operands(node)), adjoint
            return
        for child, shape, part in pulled(node, adjoint, self.depends):
            yield child, self.canonical(_narrowed(node, child, shape, part))


def _narrowed(node: Expr, child: Expr, shape: Shape, part: Expr) -> Expr:
    """A share of the derivative, summed over everything that the operand does not vary along.

    `shape` is the shape that the operand was stretched to.
    """
    axes = list(node.axes)
    if isinstance(node, typed.Fold | typed.Tabulate):
        axes += [a for a in node.over if a not in axes]
    # What was scattered has been summed over the indices that it was scattered along.
    if not isinstance(node, typed.Pick):
        part = algebra.sum_axes(part, tuple(a for a in axes if a not in child.axes))
    if node.level is Level.EXAMPLE and child.level is not Level.EXAMPLE:
        _affordable(part)
        part = algebra.sum_examples(part)
    return algebra.gathered(part, shape, child.type.shape)


def _affordable(part: Expr) -> None:
    """A sum over examples of outer products is one matrix product; other arrays would be made per example."""
    _, rest = algebra.taken_apart(part)
    if rest is not None and rest.type.rank > 1 and not (isinstance(rest, Apply) and rest.function == "outer"):
        raise NoDerivativeError("a sum over examples of matrices")
