"""What an entry of a value reads of the sought block, and which entries it couples.

The pattern calculus works on `Reach`: for every entry of a value the entries of the unknowns that it
depends on, and the pairs of them in which it is not additive. Both are upper bounds. With D the entries
read and H the pairs coupled,

    a + b     D = Da + Db      H = Ha + Hb
    a * b     D = Da + Db      H = Ha + Hb + Da x Db
    f(a, b)   D = Da + Db      H = Ha + Hb + (Da + Db) x (Da + Db)

because a mixed difference of f in entries of which it reads only one is 0. For twice differentiable
values H covers every entry of the Hessian that is not 0 (Griewank & Walther 2008, section 7.1, compute the
same sets entry by entry; here they stay families over the indices of plates and dimensions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from ebmlang.compiler.couplings import Atom, Condition, Coupling, Entry, Index, Running, as_index
from ebmlang.compiler.sizes import ZERO, Size

LETTERS = "ijklpq"
"""Names of indices that no plate names."""

MOST_ENTRIES = 64
MOST_COUPLINGS = 600

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Reach:
    """Entries read and pairs coupled; dimensions of the value stand as `Slot`s in both."""

    entries: tuple[Entry, ...] = ()
    couplings: tuple[Coupling, ...] = ()

    def replaced(self, values: Mapping[Atom, Index]) -> Reach:
        if not values:
            return self
        entries = (e.replaced(values) for e in self.entries)
        couplings = (coupling_replaced(c, values) for c in self.couplings)
        return Reach(
            tuple(dict.fromkeys(e for e in entries if e is not None)),
            tuple(dict.fromkeys(c for c in couplings if c is not None)),
        )

    def under(self, conditions: tuple[Condition, ...]) -> Reach:
        """The same, counted only where conditions hold."""
        if not conditions:
            return self
        return Reach(
            tuple(e.under(conditions) for e in self.entries),
            tuple(
                Coupling(c.term, c.first, c.second, tuple(dict.fromkeys((*c.where, *conditions))))
                for c in self.couplings
            ),
        )


NOTHING = Reach()


def coupling_replaced(coupling: Coupling, values: Mapping[Atom, Index]) -> Coupling | None:
    first, second = coupling.first.replaced(values), coupling.second.replaced(values)
    where = tuple(c.replaced(values) for c in coupling.where)
    if first is None or second is None or any(c.known is False for c in where):
        return None
    return Coupling(coupling.term, first, second, tuple(c for c in where if c.known is None))


def fresh(name: str, start: Size, size: Size) -> Running:
    """An index of its own, bound to one reading."""
    return Running(name, start, size, next(_numbers), bound=True)


def whole(name: str, size: Size) -> Index:
    """Any entry of a dimension."""
    return as_index(fresh(name, ZERO, size))


def again(entry: Entry) -> Entry:
    """The entry as a second, independent reading sees it: bound indices run once more."""
    bound = {r for r in entry.running() if isinstance(r, Running) and r.bound}
    if not bound:
        return entry
    renamed = entry.replaced({r: as_index(fresh(r.name, r.start, r.size)) for r in bound})
    assert renamed is not None
    return renamed


def joined(parts: Iterable[Reach]) -> Reach:
    """Everything that several values read and couple: the reach of their sum."""
    entries: dict[Entry, None] = {}
    couplings: dict[Coupling, None] = {}
    for part in parts:
        entries.update(dict.fromkeys(part.entries))
        couplings.update(dict.fromkeys(part.couplings))
    return Reach(tuple(entries), tuple(couplings))


def multiplied(term: str, a: Iterable[Entry], b: Iterable[Entry]) -> tuple[Coupling, ...]:
    """Every entry of one with every entry of the other."""
    second = [again(e) for e in b]
    pairs = (_coupled(term, x, y) for x in a for y in second)
    return tuple(dict.fromkeys(c for c in pairs if c is not None))


def entangled(term: str, entries: tuple[Entry, ...]) -> tuple[Coupling, ...]:
    """Every entry with every other one, and with itself where it stands for several."""
    second = [again(e) for e in entries]
    pairs = (_coupled(term, x, y) for i, x in enumerate(entries) for y in second[i:])
    return tuple(dict.fromkeys(c for c in pairs if c is not None))


def _coupled(term: str, first: Entry, second: Entry) -> Coupling | None:
    """The pair; None where the two are one entry, or are never read together."""
    if first.variable == second.variable and first.index == second.index:
        return None
    required: dict[Index, float] = {}
    for condition in (*first.where, *second.where):
        if condition.op == "eq":
            if not condition.left.terms:
                continue
            left, right = condition.left, condition.right
            rest = left.rest.constant
            if rest is not None:
                left, right = Index(left.terms, ZERO), right - rest
            if required.setdefault(left, right) != right:
                return None
    return Coupling(term, first, second)
