"""`ebmlang show`: the text form of what a pass makes of a model file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebmlang.compiler.choose import Plan
    from ebmlang.compiler.source import Source
    from ebmlang.compiler.typed import Model

NAME = "show"
HELP = "print what a pass makes of a model file"
EXAMPLE = "ebmlang show ast models/gallery/sparse_coding.ebm"


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass that can be looked at. `text` raises ModelError for a file with mistakes."""

    name: str
    makes: str
    text: Callable[[Source], str]


def _ast(source: Source) -> str:
    from ebmlang.compiler.ast import dump
    from ebmlang.compiler.diagnostics import Report
    from ebmlang.compiler.parse import parse
    from ebmlang.errors import ModelError

    report = Report(source)
    module = parse(report)
    if module is None or report.failed:
        raise ModelError(report.diagnostics)
    return dump(module)


def _graph(source: Source) -> str:
    from ebmlang.compiler.pipeline import graph_of

    return "\n\n".join(graph_of(model).text() for model in _models(source))


def _structure(source: Source) -> str:

    def findings(plan: Plan) -> str:
        return "\n".join(f"  {finding}" for finding in plan.structure.findings)

    return _questions(source, findings)


def _plan(source: Source) -> str:
    from ebmlang.compiler.explanation import explain

    return _questions(source, explain)


def _questions(source: Source, text: Callable[[Plan], str]) -> str:
    """What is known about the default question of every model."""
    from ebmlang.compiler.pipeline import graph_of, plan_for
    from ebmlang.questions import ask_roles

    parts = []
    for model in _models(source):
        asked = ask_roles(model, None, frozenset(), None, None, frozenset())
        query = asked.query
        parts.append(f"model {model.name}\n{text(plan_for(graph_of(model), query))}")
    return "\n\n".join(parts)


def _models(source: Source) -> tuple[Model, ...]:
    from ebmlang.compiler.pipeline import check_source
    from ebmlang.errors import ModelError

    checked = check_source(source)
    if checked.failed:
        raise ModelError(checked.diagnostics)
    return checked.models


def _names(source: Source) -> str:
    from ebmlang.compiler.dump import dump_names

    return "\n\n".join(dump_names(model) for model in _models(source))


def _typed(source: Source) -> str:
    from ebmlang.compiler.dump import dump_model

    return "\n\n".join(dump_model(model) for model in _models(source))


def _latex(source: Source) -> str:
    from ebmlang.compiler.latex import displays
    from ebmlang.compiler.pipeline import room_for_passes

    with room_for_passes():
        return "\n\n".join(displays(model) for model in _models(source))


PASSES = (
    Pass("ast", "the syntax tree", _ast),
    Pass("names", "what every name stands for", _names),
    Pass("typed", "types, shapes and levels of everything", _typed),
    Pass("latex", "the energy as a formula", _latex),
    Pass("graph", "the lifted factor graph", _graph),
    Pass("structure", "what is proven of the energy", _structure),
    Pass("plan", "the method and its reasons", _plan),
)
"""In the order in which they run."""


def add_arguments(parser: ArgumentParser) -> None:
    listing = "; ".join(f"{each.name}: {each.makes}" for each in PASSES)
    parser.add_argument("pass_", metavar="PASS", choices=[each.name for each in PASSES], help=listing)
    parser.add_argument("file", metavar="FILE", help="a model file (.ebm)")


def run(args: Namespace) -> int:
    from ebmlang.files import read_source

    chosen = next(each for each in PASSES if each.name == args.pass_)
    print(chosen.text(read_source(args.file)))
    return 0
