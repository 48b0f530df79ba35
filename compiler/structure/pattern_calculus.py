"""The couplings of an energy: the pattern calculus over typed expressions."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.couplings import Atom, Coupling, Entry, Index, Slot, as_index
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.pattern_canonical import canonical
from ebmlang.compiler.structure.pattern_functions import apply_reach, stacked
from ebmlang.compiler.structure.pattern_index import EXAMPLE, ROW, Indices
from ebmlang.compiler.structure.pattern_reach import (
    LETTERS,
    MOST_COUPLINGS,
    MOST_ENTRIES,
    NOTHING,
    Reach,
    entangled,
    fresh,
    joined,
    multiplied,
    whole,
)
from ebmlang.compiler.typed import Apply, Axes, Axis, Expr, Pick

ADDITIVE = frozenset({"sum", "mean"})
"""Reductions that couple nothing."""


def couplings_of(block: Block) -> tuple[Coupling, ...]:
    """Every pair of different entries that the energy of a block couples, each family once."""
    found: list[Coupling] = []
    graph = block.graph
    if block.query.of is not None:
        found += Calculus(block, "objective").summed(block.query.of, (), None).couplings
    else:
        for factor in graph.factors:
            # The plate as declared: its indices are then ranges, and its guard a condition on them.
            term = factor.term
            if any(block.depends(part) for part in factor.parts):
                found += Calculus(block, factor.name).summed(term.value, term.axes, term.guard).couplings
    return canonical(found)


@dataclass(slots=True)
class Calculus:
    """Works out the reach of values, each node once.

    `term` names the summand that is looked at, for the evidence.
    """

    block: Block
    term: str = ""
    indices: Indices = field(init=False)
    _memo: dict[int, tuple[Expr, Reach]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.indices = Indices(self.block)

    def __call__(self, node: Expr) -> Reach:
        if not self.block.depends(node):
            return NOTHING
        found = self._memo.get(id(node))
        if found is not None:
            return found[1]
        reach = self._limited(self._reach(node), node)
        self._memo[id(node)] = (node, reach)
        return reach

    def summed(self, value: Expr, axes: Axes, guard: Expr | None) -> Reach:
        """A value over all positions of its plates where the guard holds."""
        if not self._known(axes) or (guard is not None and self.block.depends(guard)):
            return self.opaque(value, *(() if guard is None else (guard,)))
        return self(value).under(self.indices.conditions(guard))

    # --- the cases ---

    def _reach(self, node: Expr) -> Reach:
        match node:
            case typed.Read(name=name) if name in self.block.graph.lets:
                return self(self.block.graph.lets[name].value)
            case typed.Read():
                return Reach((self._entry(node),))
            case Pick():
                return self._pick(node)
            case typed.Pack(items=items):
                return stacked(self, items)
            case typed.Fold():
                return self._fold(node)
            case typed.Tabulate():
                return self._tabulate(node)
            case typed.OverExamples() if node.function != "stack":
                body = self(node.body).replaced({ROW: as_index(fresh(ROW.name, ROW.start, ROW.size))})
                return self.reduced(node.function, body)
            case Apply():
                return apply_reach(self, node)
        return self.opaque(node)

    def _entry(self, node: typed.Read) -> Entry:
        variable = self.block.graph.model.variable(node.name)
        assert variable is not None
        slots = tuple(as_index(Slot(k)) for k in range(node.type.rank))
        if self.block.joint is not None and variable.per_example:
            return Entry(node.name, (EXAMPLE, *slots))
        return Entry(node.name, slots)

    def opaque(self, *nodes: Expr) -> Reach:
        """Everything that values read, all of it coupled: what holds of any function."""
        names = frozenset().union(*(self._names(n) for n in nodes))
        entries = tuple(self._any_entry(v) for v in self.block.sought if v.name in names)
        return Reach(entries, entangled(self.term, entries))

    def _any_entry(self, variable: typed.Variable) -> Entry:
        index = [whole(LETTERS[k % 6], size) for k, size in enumerate(variable.type.shape)]
        if self.block.joint is not None and variable.per_example:
            index.insert(0, as_index(fresh(ROW.name, ROW.start, ROW.size)))
        return Entry(variable.name, tuple(index))

    def _names(self, node: Expr) -> frozenset[str]:
        """The sought variables that a value is computed from, also through axes and lets."""
        found: set[str] = set()
        seen: set[str] = set()
        walked: set[int] = set()
        stack = [node]
        while stack:
            for inner in typed.walk(stack.pop()):
                own = (
                    (*inner.axes, *inner.over)
                    if isinstance(inner, typed.Fold | typed.Tabulate)
                    else inner.axes
                )
                for part in (p for axis in own for p in _axis_parts(axis)):
                    if id(part) not in walked:
                        walked.add(id(part))
                        stack.append(part)
                if not isinstance(inner, typed.Read) or inner.name in seen:
                    continue
                seen.add(inner.name)
                let = self.block.graph.lets.get(inner.name)
                if let is not None:
                    stack.append(let.value)
                elif inner.name in self.block.names:
                    found.add(inner.name)
        return frozenset(found)

    def _limited(self, reach: Reach, node: Expr) -> Reach:
        """The reach, or a coarser one where it would become too long to work with."""
        if len(reach.couplings) <= MOST_COUPLINGS:
            return reach
        reach = Reach(reach.entries, tuple(canonical(reach.couplings)))
        return reach if len(reach.couplings) <= MOST_COUPLINGS else self.opaque(node)

    def _known(self, axes: Axes) -> bool:
        """Whether axes run over what is known, position by position."""
        return not any(a.guard is not None or self.block.depends.moves(a) for a in axes)

    # --- indexing ---

    def _pick(self, node: Pick) -> Reach:
        if any(self.block.depends(s) for s in node.subscripts if isinstance(s, Expr)):
            return self.opaque(node)
        values: dict[Atom, Index] = {}
        found = self.indices.subscripts(node)
        for k, (value, size) in enumerate(zip(found, node.base.type.shape, strict=True)):
            values[Slot(k)] = whole(LETTERS[k % 6], size) if value is None else value
        return self(node.base).replaced(values)

    # --- plates ---

    def _fold(self, node: typed.Fold) -> Reach:
        if not self._known(node.over) or (node.guard is not None and self.block.depends(node.guard)):
            return self.opaque(node)
        inner = self(node.body).under(self.indices.conditions(node.guard))
        return self.reduced(node.function, inner.replaced(self._bound(node.over)))

    def _bound(self, axes: Axes) -> dict[Atom, Index]:
        running = [self.indices.running(a) for a in axes]
        return {r: as_index(fresh(r.name, r.start, r.size)) for r in running}

    def _tabulate(self, node: typed.Tabulate) -> Reach:
        if not self._known(node.over):
            return self.opaque(node)
        count = len(node.over)
        shifted: dict[Atom, Index] = {Slot(k): as_index(Slot(k + count)) for k in range(node.body.type.rank)}
        for k, axis in enumerate(node.over):
            shifted[self.indices.running(axis)] = as_index(Slot(k)) + axis.start
        return self(node.body).replaced(shifted)

    def reduced(self, function: str, reach: Reach) -> Reach:
        """A reduction of a value whose reduced entries are bound already."""
        return reach if function in ADDITIVE else self.mixed(reach)

    def mixed(self, *parts: Reach) -> Reach:
        """Any function of values, entry by entry."""
        reach = joined(parts)
        return Reach(reach.entries, (*reach.couplings, *entangled(self.term, self._fewer(reach.entries))))

    def product(self, a: Reach, b: Reach) -> Reach:
        """The product of two values, entry by entry."""
        reach = joined((a, b))
        pairs = multiplied(self.term, self._fewer(a.entries), self._fewer(b.entries))
        return Reach(reach.entries, (*reach.couplings, *pairs))

    def _fewer(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """The entries, or all of their variables where there are too many to pair."""
        if len(entries) <= MOST_ENTRIES:
            return entries
        names = {e.variable for e in entries}
        return tuple(self._any_entry(v) for v in self.block.sought if v.name in names)


def _axis_parts(axis: Axis) -> tuple[Expr, ...]:
    own = tuple(part for part in (axis.rows, axis.guard) if part is not None)
    return own + tuple(part for parent in axis.parents for part in _axis_parts(parent))
