"""`ebmlang check`: all mistakes of some model files at once."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace

NAME = "check"
HELP = "find all mistakes in model files"
EXAMPLE = "ebmlang check models/gallery/sparse_coding.ebm"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="model files (.ebm); - reads standard input")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how mistakes are shown")


def run(args: Namespace) -> int:
    from ebmlang.compiler.diagnostics import Located, render_all
    from ebmlang.compiler.pipeline import check_source
    from ebmlang.compiler.source import Source
    from ebmlang.errors import DataError, ModelError
    from ebmlang.files import read_source

    found: list[Located] = []
    unreadable: list[DataError] = []
    models = 0
    for path in args.files:
        try:
            source = Source("<stdin>", sys.stdin.read()) if path == "-" else read_source(path)
        except ModelError as error:
            found += error.diagnostics
            continue
        except DataError as error:
            unreadable.append(error)
            continue
        checked = check_source(source)
        models += len(checked.models)
        found += checked.diagnostics
    errors = sum(x.diagnostic.severity == "error" for x in found)
    if args.format == "json":
        broken = [{"error": e.message, "hint": e.hint} for e in unreadable]
        print(json.dumps({"diagnostics": [x.to_json() for x in found], "unreadable": broken}, indent=2))
    else:
        color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        if found:
            print(render_all(found, color), file=sys.stderr)
        for mistake in unreadable:
            print(f"error: {mistake}", file=sys.stderr)
        if errors:
            print(f"\n{errors} mistake{'s' * (errors != 1)}", file=sys.stderr)
        elif not unreadable:
            print(f"no mistakes in {models} model{'s' * (models != 1)}")
    return 1 if errors or unreadable else 0
