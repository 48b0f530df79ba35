"""`ebmlang show`: the text form of what a pass makes of a model file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebmlang.compiler.source import Source

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


PASSES = (Pass("ast", "the syntax tree", _ast),)
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
