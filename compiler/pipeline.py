"""The passes in order, with a function to stop after each.

text -parse-> ast.Module -check-> typed.Model -elaborate-> FactorGraph
   + Query -analyse-> Structure -choose-> Plan -generate-> Generated
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.model import CellsMissing, ModelMissing, NoQuestionTarget, NoTerms
from ebmlang.compiler.catalogue.names import UnknownFunction, UnknownName, UnusedHyper, UsedBeforeDefinition
from ebmlang.compiler.catalogue.parts import UnknownMember, UnknownModel
from ebmlang.compiler.catalogue.syntax import TooDeep
from ebmlang.compiler.check import check_module
from ebmlang.compiler.collector import collector_paused
from ebmlang.compiler.composition.library import Library
from ebmlang.compiler.diagnostics import Located, Report
from ebmlang.compiler.parse import DEEPEST_NESTING, parse
from ebmlang.compiler.source import Source, Span
from ebmlang.files import read_imported

if TYPE_CHECKING:
    from ebmlang.compiler.choose import Plan
    from ebmlang.compiler.codegen.module import Generated
    from ebmlang.compiler.graph import FactorGraph
    from ebmlang.compiler.query import Query

_DEEPEST_RECURSION = 60_000

_FOLLOW = (
    UnknownName,
    UnknownFunction,
    UsedBeforeDefinition,
    UnusedHyper,
    NoTerms,
    NoQuestionTarget,
    CellsMissing,
    UnknownModel,
    UnknownMember,
)
"""What may follow from a statement that could not be read; not shown beside a syntax mistake."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What one file says: its tree, its models where they could be checked, its mistakes."""

    source: Source
    module: ast.Module | None
    models: tuple[typed.Model, ...]
    diagnostics: tuple[Located, ...]

    @property
    def failed(self) -> bool:
        return any(d.diagnostic.severity == "error" for d in self.diagnostics)


@contextmanager
def room_for_passes() -> Iterator[None]:
    """Trees are walked by recursion, and a long sum is a deep tree; passes make no cycles."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEEPEST_RECURSION))
    try:
        with collector_paused():
            yield
    finally:
        sys.setrecursionlimit(limit)


def check_source(source: Source) -> Checked:
    """Parse and check one file and those that it imports. Every mistake is in `diagnostics`; nothing
    is raised."""
    report = Report(source)
    library = Library(check_module, read_imported)
    if not source.name.startswith("<"):
        library.loading.append(Path(source.name).resolve())
    module: ast.Module | None = None
    models: tuple[typed.Model, ...] = ()
    with room_for_passes():
        try:
            module = parse(report)
            unread = report.failed
            if module is not None:
                models = check_module(module, report, library)
        except RecursionError:
            unread = False
            report.add(TooDeep(Span(0, 0), DEEPEST_NESTING))
    found = report.diagnostics
    if unread:
        found = tuple(x for x in found if not isinstance(x.diagnostic, _FOLLOW))
    found = (*found, *library.diagnostics)
    return Checked(source, module, () if report.failed else models, found)


def pick_model(checked: Checked, name: str | None) -> typed.Model | Located:
    """The model of a file by name (the last one without a name), or the mistake: one that has no energy can
    only be a part of others."""
    found = next((m for m in reversed(checked.models) if name in (None, m.name)), None)
    if found is None:
        known = tuple(m.name for m in checked.models)
        return Located(checked.source, ModelMissing(Span(0, 0), name or "", known))
    if not found.terms:
        others = tuple(m.name for m in checked.models if m.terms)
        start = found.span.start
        return Located(checked.source, NoTerms(Span(start, start + len("model")), found.name, others))
    return found


def graph_of(model: typed.Model) -> FactorGraph:
    """The lifted factor graph of a checked model."""
    from ebmlang.compiler.elaborate import elaborate

    with room_for_passes():
        return elaborate(model)


def plan_for(graph: FactorGraph, query: Query, method: str | None = None) -> Plan:
    """Findings and method for a question."""
    from ebmlang.compiler.choose import choose
    from ebmlang.compiler.structure import Block

    with room_for_passes():
        return choose(Block(graph, query), method)


def generate_for(plan: Plan) -> Generated:
    """PyTorch for a plan."""
    from ebmlang.compiler.codegen.module import generate

    with room_for_passes():
        return generate(plan)
