"""What of a loss tells whether training goes well: which of its values are looked at while it is lowered.

Everything here is read off the typed model, before there is data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ebmlang.compiler.envelope import COMPARED, Loss
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.training import followed, kept_terms, reached, term_parts
from ebmlang.compiler.typed import Apply, Expr, Fold, Level, Model, Pack, Pick, Read, Tabulate

_CHOICES = ("argmin", "argmax")

_SIDE_BY_SIDE = ("concat", "stack", "where")
"""Functions that put values beside each other, or choose between them, and compare nothing."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """`nets` are those that the loss moves. `representations` are those among them whose results the loss
    reads for every example, apart from those that are compared with what is given: these are predictions, and
    may be as constant as the data. `codes` are values that choose one of so many cases for every example.
    `entries` are unknowns of real numbers that are searched for every example. `contrast` are the named
    values that are the energies of the data and of what it is compared with, if there are any. `descends`:
    the loss is one function that training lowers from step to step, so that it should not rise."""

    nets: tuple[str, ...] = ()
    representations: tuple[str, ...] = ()
    codes: tuple[tuple[str, Size], ...] = ()
    entries: tuple[str, ...] = ()
    contrast: tuple[str, ...] = ()
    descends: bool = False


def vitals_of(loss: Loss) -> Vitals:
    """What to look at while a loss is lowered."""
    parts = tuple(_parts(loss))
    unknowns = tuple(v for v in loss.model.variables if v.name in loss.inside and v.per_example)
    counted = [(v.name, v.type.classes) for v in unknowns if v.type.kind == "class"]
    codes = [(name, size) for name, size in counted if size is not None]
    codes += [(let.name, size) for let in loss.model.lets if (size := _cases(let.value)) is not None]
    found = [v for v in unknowns if v.name in loss.sought and v.type.kind == "real" and v.type.rank]
    entries = tuple(v.name for v in found)
    nets = tuple(net.name for net in loss.model.nets if net.name in loss.targets)
    contrast = tuple(name for name in COMPARED if any(let.name == name for let in loss.model.lets))
    return Vitals(
        nets, _representations(loss, parts), tuple(codes), entries, contrast, _descends(loss, parts)
    )


def _parts(loss: Loss) -> Iterator[Expr]:
    if loss.of is not None:
        yield loss.of
        return
    for term in kept_terms(loss.model, loss.line):
        yield from term_parts(term)


def _cases(value: Expr) -> Size | None:
    """Among how many a value of every example chooses by a smallest or largest entry; None where it does
    not."""
    node = value.body if isinstance(value, Tabulate) else value
    if not (isinstance(node, Apply) and node.function in _CHOICES and value.level is Level.EXAMPLE):
        return None
    count = Size.of(1)
    for size in node.arguments[0].type.shape:
        count = count * size
    return count


def _descends(loss: Loss, parts: tuple[Expr, ...]) -> bool:
    named = loss.line.loss if loss.line is not None else None
    moved = loss.model.programme.states or any(net.source for net in loss.model.nets)
    if (named is not None and named.negatives) or moved or loss.model.programme.schedules:
        return False
    return followed(loss.model, parts) == reached(loss.model, parts)


# --- representations ----------------------------------------------------------------------------


def _representations(loss: Loss, parts: tuple[Expr, ...]) -> tuple[str, ...]:
    """Nets in the order of declaration."""
    exposed = _Exposed(loss.model, FactorGraph(loss.model, ()))
    for part in parts:
        exposed(part)
    names = {name for name in exposed.called if name in loss.targets} - exposed.compared
    return tuple(net.name for net in loss.model.nets if net.name in names)


class _Exposed:
    """Nets and given values that stand open in an expression: no other net, and no reduction, is between.

    `called` are the nets that are called for every example; `compared` those that meet what is given in one
    operation, as in `y - f(x)`, or in a subscript.
    """

    def __init__(self, model: Model, graph: FactorGraph) -> None:
        self.called: set[str] = set()
        self.compared: set[str] = set()
        self._lets = graph.lets
        self._nets = {net.name for net in model.nets}
        self._given = {v.name for v in model.variables if v.role == "observed" and v.per_example}
        self._known: dict[str, frozenset[str]] = {}

    def __call__(self, node: Expr) -> frozenset[str]:
        if isinstance(node, Read):
            return self._read(node)
        if isinstance(node, Apply) and node.function == "net":
            head = node.arguments[0]
            for argument in node.arguments[1:]:
                self(argument)
            if isinstance(head, Read) and node.level is Level.EXAMPLE:
                self.called.add(head.name)
                return frozenset((head.name,))
            return frozenset()
        found = [self(child) for child in node.children()]
        if not (isinstance(node, Pack) or (isinstance(node, Apply) and node.function in _SIDE_BY_SIDE)):
            self._meet(found)
        return frozenset() if _reduces(node) else frozenset().union(*found)

    def _read(self, node: Read) -> frozenset[str]:
        if node.name in self._lets:
            if node.name not in self._known:
                self._known[node.name] = frozenset()  # a recurrence may read itself
                self._known[node.name] = self(self._lets[node.name].value)
            return self._known[node.name]
        return frozenset((node.name,)) if node.name in self._given else frozenset()

    def _meet(self, found: list[frozenset[str]]) -> None:
        for k, one in enumerate(found):
            others = frozenset[str]().union(*found[:k], *found[k + 1 :])
            if others & self._given:
                self.compared |= one & self._nets


def _reduces(node: Expr) -> bool:
    """Whether the entries of what a node is made of can no longer be told apart in it."""
    if isinstance(node, Fold):
        return True
    arrays = any(not child.type.scalar for child in node.children())
    return node.type.scalar and arrays and not isinstance(node, Pick)
