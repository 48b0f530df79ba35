"""Recurrences over short vectors, as recurrences over their entries.

`s[t+1] = [s[t, 0] + v, v]` would take the cell apart and put it together again in every step, which costs
more than its arithmetic. Where a step reads and makes single entries, each of them gets a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Apply, Carry, Expr, Pack, Pick, Scan, Scatter, State

MOST_ENTRIES = 8
"""Entries of a cell, above which operations on the whole of it are cheaper."""

_ENTRYWISE = frozenset({"operator", "comparison", "elementwise"})

_SUMS: Mapping[str, Callable[[Expr, Expr], Expr]] = MappingProxyType(
    {"add": algebra.plus, "sub": algebra.minus}
)
"""What most entries of a sum of single entries need not be written for: they are 0."""


class _WholeError(Exception):
    """A step looks at a cell as a whole."""


def entries_apart(scan: Scan, canonical: Callable[[Expr], Expr]) -> tuple[Scan, ...] | None:
    """The recurrences of the entries of a state, all of one loop; None where they are not apart."""
    if not any(state.body.type.rank for state in scan.states):
        return None
    counts = [_count(state) for state in scan.states]
    split = _Split(scan, {s.name: n for s, n in zip(scan.states, counts, strict=True) if n})
    if 0 in counts or split.taken():
        return None
    try:
        states = tuple(split.states())
    except _WholeError:
        return None
    first = sum(max(n, 1) for n in counts[: scan.which] if n is not None)
    numbers = range(first, first + (counts[scan.which] or 1))
    plain = replace(scan, type=scan.type.with_shape(scan.type.shape[:1]), states=states)
    found = (canonical(typed.settled(replace(plain, which=k))) for k in numbers)
    return tuple(s for s in found if isinstance(s, Scan))


def entry_of(base: Expr, number: int) -> Expr:
    """One entry of a vector."""
    return pick(base, (algebra.size_of(Size.of(number), base.span),), base.span)


def constant_index(node: Pick | Scatter) -> int | None:
    """The only subscript, where it is a number that is not negative."""
    match node.subscripts:
        case (typed.SizeOf(size=size),) if size.constant is not None and size.constant >= 0:
            return size.constant
    return None


def _count(state: State) -> int | None:
    """The entries of a cell; None for a single number, 0 where they cannot be apart."""
    shape = state.body.type.shape
    if state.dim or state.body.type.kind != "real" or len(shape) > 1:
        return 0
    if not shape:
        return None
    count = shape[0].constant
    return count if count is not None and count <= MOST_ENTRIES else 0


@dataclass(slots=True)
class _Split:
    """`counts` holds the number of entries of every state that is a vector."""

    scan: Scan
    counts: dict[str, int]
    carried: dict[int, bool] = field(default_factory=dict)

    def name(self, state: str, number: int) -> str:
        return f"{state}_{number}"

    def taken(self) -> bool:
        """Whether another state has the name of an entry."""
        made = {self.name(s, k) for s, n in self.counts.items() for k in range(n)}
        return any(state.name in made for state in self.scan.states)

    def states(self) -> list[State]:
        """All entries of all states, in order."""
        found = []
        for state in self.scan.states:
            if state.name not in self.counts:
                found.append(replace(state, body=self.number(state.body)))
                continue
            for k in range(self.counts[state.name]):
                starts = tuple(entry_of(start, k) for start in state.starts)
                body = self.entry(state.body, k)
                found.append(replace(state, name=self.name(state.name, k), starts=starts, body=body))
        return found

    def entry(self, node: Expr, k: int) -> Expr:
        """One entry of a vector that a step computes."""
        if not self.moves(node):
            return entry_of(node, k)
        match node:
            case Pack(items=items):
                return self.number(items[k])
            case Carry(name=name) if node.axis is self.scan.axis:
                return replace(node, type=node.type.with_shape(()), name=self.name(name, k))
            case Scatter(value=value, over=()) if value.type.scalar and constant_index(node) is not None:
                found = constant_index(node) == k
                return self.number(value) if found else algebra.constant(0.0, node.span)
            case Apply(function=function) if BUILTINS[function].form in _ENTRYWISE:
                parts = tuple(self._operand(a, k) for a in node.arguments)
                if function in _SUMS:
                    return _SUMS[function](*parts)
                return replace(typed.rebuilt(node, parts), type=node.type.with_shape(()))
        raise _WholeError

    def number(self, node: Expr) -> Expr:
        """A single number that a step computes, from entries of cells."""

        def change(node: Expr) -> Expr | None:
            if not self.moves(node):
                return node
            if isinstance(node, Carry) and node.axis is self.scan.axis and node.type.rank:
                raise _WholeError
            if isinstance(node, Pick) and node.base.type.rank == 1 and self.moves(node.base):
                k = constant_index(node)
                if k is None:
                    raise _WholeError
                return self.entry(node.base, k)
            return None

        return typed.mapped(node, change)

    def moves(self, node: Expr) -> bool:
        """Whether a value is computed from cells of this recurrence."""
        known = self.carried.get(id(node))
        if known is None:
            own = isinstance(node, Carry) and node.axis is self.scan.axis
            known = own or any(self.moves(c) for c in node.children())
            self.carried[id(node)] = known
        return known

    def _operand(self, node: Expr, k: int) -> Expr:
        if not node.type.shape:
            return self.number(node)
        if len(node.type.shape) > 1:
            raise _WholeError
        return self.entry(node, 0 if node.type.shape[0].constant == 1 else k)
