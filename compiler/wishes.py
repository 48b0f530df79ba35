"""Costs say what is wanted: training that lowers nothing else must not change what they are made of."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.compiler import ast, typed
from ebmlang.compiler.ast.walking import names_read
from ebmlang.compiler.catalogue.training import CostTrained
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.scope import Declared, NetEntry, Scope, TermEntry
from ebmlang.compiler.typed import SKIPPED_KIND


def bent_costs(line: ast.Question, of: ast.Expr, scope: Scope) -> Iterator[CostTrained]:
    """What a `train` line moves that stands in a cost, where the costs are all that it lowers.

    What a cost reads through a `let`, such as the states that actions lead to, does not stand in it.
    """
    entries = [scope.find(name) for name in names_read(of)]
    terms = [e.term for e in entries if isinstance(e, TermEntry) and e.term is not None]
    numbers = [e for e in entries if isinstance(e, Declared) and e.role == "hyper"]
    if not terms or any(t.kind != SKIPPED_KIND for t in terms) or len(terms) + len(numbers) < len(entries):
        return
    named = {target.text for target in line.targets}
    for term in terms:
        for name in sorted(typed.reads(term.value)):
            entry = scope.find(name)
            if _moved(entry) and (name in named or not named):
                assert isinstance(entry, Declared | NetEntry)
                places = (Label(term.span, "the cost"), Label(entry.span, f"`{name}` is declared here"))
                yield CostTrained(of.span, name, term.name, places)


def _moved(entry: object) -> bool:
    return isinstance(entry, NetEntry) or (isinstance(entry, Declared) and entry.role == "param")
