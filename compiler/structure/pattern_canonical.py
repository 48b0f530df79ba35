"""Couplings in a normal form, so that each family stands once and reads well."""

from __future__ import annotations

from collections.abc import Iterable

from ebmlang.compiler.couplings import (
    ROWS,
    Atom,
    Computed,
    Condition,
    Coupling,
    Entry,
    Index,
    Running,
    Slot,
    Table,
    as_index,
)
from ebmlang.compiler.structure.pattern_reach import coupling_replaced

_LETTERS = "ijklpqrsuvabcdefghmnotwxyz"


def canonical(couplings: Iterable[Coupling]) -> tuple[Coupling, ...]:
    """The couplings of different entries, each family once, with indices named in order."""
    found: dict[Coupling, Coupling] = {}
    for coupling in couplings:
        solved = _solved(coupling)
        if solved is None or solved.diagonal:
            continue
        turned = Coupling(solved.term, solved.second, solved.first, solved.where)
        if _nameless(turned) not in found:
            found.setdefault(_nameless(solved), _renamed(solved))
    return _without_conditional(tuple(found.values()))


def _solved(coupling: Coupling) -> Coupling | None:
    """Conditions of the form `index = value` are put in; all conditions stand on the coupling."""
    where = tuple(dict.fromkeys((*coupling.where, *coupling.first.where, *coupling.second.where)))
    bare = Coupling(coupling.term, _bare(coupling.first), _bare(coupling.second), where)
    while True:
        step = next((s for c in bare.where if (s := _solution(c)) is not None), None)
        if step is None:
            break
        replaced = coupling_replaced(bare, step)
        if replaced is None:
            return None
        bare = replaced
    read = {r for e in (bare.first, bare.second) for r in e.running()}
    kept = tuple(c for c in bare.where if all(r in read or _row(r) for r in c.left.running()))
    return Coupling(bare.term, bare.first, bare.second, kept)


def _row(index: Running | Slot) -> bool:
    return isinstance(index, Running) and index.name == ROWS


def _bare(entry: Entry) -> Entry:
    return Entry(entry.variable, entry.index)


def _solution(condition: Condition) -> dict[Atom, Index] | None:
    """The value of an index that an equation fixes."""
    if condition.op != "eq" or not float(condition.right).is_integer():
        return None
    for atom, c in condition.left.terms:
        if isinstance(atom, Running) and abs(c) == 1 and atom.name != ROWS:
            rest = condition.left - as_index(atom) * c
            if atom not in rest.running():
                return {atom: (as_index(int(condition.right)) - rest) * c}
    return None


def _nameless(coupling: Coupling) -> Coupling:
    """The family without the names of its term and indices: equal for equal families."""
    values: dict[Atom, Index] = {
        r: as_index(Running(ROWS if r.name == ROWS else "", r.start, r.size, number))
        for number, r in enumerate(coupling.running())
    }
    found = coupling_replaced(Coupling("", coupling.first, coupling.second, coupling.where), values)
    assert found is not None
    return found


def _renamed(coupling: Coupling) -> Coupling:
    """Indices numbered in the order in which they appear, with names of their own."""
    running = coupling.running()
    taken: set[str] = set()
    values: dict[Atom, Index] = {}
    sources = {t for i in _indices(coupling) for t in _tables(i)} | {coupling.first.variable}
    sources.add(coupling.second.variable)
    for number, index in enumerate(running):
        name = index.name
        if name != ROWS and (name in taken or (name in sources and index.bound)):
            name = next((x for x in _LETTERS if x not in taken and x not in sources), f"{name}{number}")
        taken.add(name)
        values[index] = as_index(Running(name, index.start, index.size, number))
    renamed = coupling_replaced(coupling, values)
    assert renamed is not None
    return renamed


def _indices(coupling: Coupling) -> Iterable[Index]:
    yield from coupling.first.index
    yield from coupling.second.index
    for condition in coupling.where:
        yield condition.left


def _tables(index: Index) -> Iterable[str]:
    for atom, _ in index.terms:
        if isinstance(atom, Table):
            yield atom.name
        if isinstance(atom, Table | Computed):
            for argument in atom.arguments:
                yield from _tables(argument)


def _without_conditional(couplings: tuple[Coupling, ...]) -> tuple[Coupling, ...]:
    """Without families that hold under conditions where they also hold without."""
    always = {(c.first, c.second) for c in couplings if not c.where}
    return tuple(c for c in couplings if not c.where or (c.first, c.second) not in always)
