"""Costs say what is wanted: training that lowers nothing else must not change what they are made of."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.compiler import ast, typed
from ebmlang.compiler.ast.walking import names_read
from ebmlang.compiler.catalogue.training import CostTrained
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.scope import Declared, LetEntry, NetEntry, Scope, TermEntry
from ebmlang.compiler.typed import SKIPPED_KIND

_AFFINE = ("add", "sub", "neg", "mul", "div", "sum", "mean", "reshape")
"""Functions through which a value makes a cost as low as it says; of a product, that is taken for granted."""


def bent_costs(line: ast.Question, of: ast.Expr, scope: Scope) -> Iterator[CostTrained]:
    """What a `train` line moves that stands in a cost, where the costs are all that it lowers.

    What a cost reads through a `let`, such as the states that actions lead to, does not stand in it, unless
    the cost is that value: `let worth = V(s[T])[0]; cost ahead = worth`.
    """
    entries = [scope.find(name) for name in names_read(of)]
    terms = [e.term for e in entries if isinstance(e, TermEntry) and e.term is not None]
    numbers = [e for e in entries if isinstance(e, Declared) and e.role == "hyper"]
    if not terms or any(t.kind != SKIPPED_KIND for t in terms) or len(terms) + len(numbers) < len(entries):
        return
    named = {target.text for target in line.targets}
    for term in terms:
        for name in sorted(_made_of(term.value, scope, _leading(scope))):
            entry = scope.find(name)
            if _moved(entry) and (name in named or not named):
                assert isinstance(entry, Declared | NetEntry)
                places = (Label(term.span, "the cost"), Label(entry.span, f"`{name}` is declared here"))
                yield CostTrained(of.span, name, term.name, places)


def _made_of(value: typed.Expr, scope: Scope, leading: frozenset[str]) -> set[str]:
    """What is read in a value, and in the lets that it is, but for those that lead to states."""
    found = set(typed.reads(value))
    for name in _said(value) - leading:
        entry = scope.find(name)
        if isinstance(entry, LetEntry) and entry.value is not None:
            found |= _made_of(entry.value, scope, leading | {name})
    return found


def _said(value: typed.Expr) -> set[str]:
    """The names of which a value is a sum or a multiple."""
    match value:
        case typed.Read():
            return {value.name}
        case typed.Pick():
            return _said(value.base)
        case typed.Fold(function="sum" | "mean") | typed.Tabulate():
            return _said(value.body)
        case typed.Apply() if value.function in _AFFINE:
            return set().union(*(_said(part) for part in value.arguments))
    return set()


def _leading(scope: Scope) -> frozenset[str]:
    """The states of recurrences, and what these read: by that a policy acts, and its cost may be lowered."""
    entries = ((name, scope.find(name)) for name in scope.names())
    values = [(n, e.value) for n, e in entries if isinstance(e, LetEntry) and e.value is not None]
    states = [(name, value) for name, value in values if isinstance(value, typed.Scan)]
    return frozenset({name for name, _ in states}.union(*(typed.reads(value) for _, value in states)))


def _moved(entry: object) -> bool:
    return isinstance(entry, NetEntry) or (isinstance(entry, Declared) and entry.role == "param")
