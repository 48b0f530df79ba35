"""`ebmlang compile`: readable PyTorch for a model and a question."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ebmlang.commands import options

NAME = "compile"
HELP = "write readable PyTorch that runs by itself with ebmlang installed"
EXAMPLE = (
    "ebmlang compile models/gallery/sparse_coding.ebm -o sparse_coding.py\n"
    "  python sparse_coding.py --data sklearn:digits -o codes.npz"
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the model, an .ebm file")
    parser.add_argument("--model", metavar="NAME", help="which model, when the file holds several")
    parser.add_argument(
        "--given", metavar="A,B", type=options.names, default=(), help="variables that are given"
    )
    parser.add_argument("--find", metavar="Y", type=options.names, help="variables to find")
    parser.add_argument("--of", metavar="EXPR", help="what to minimise instead of the total energy")
    parser.add_argument("--objective", metavar="NAME", help="a named objective of the file")
    parser.add_argument("--using", metavar="METHOD", help="a method instead of the chosen one")
    options.add_output(parser, "where the module goes, a .py file; without it it is printed")


def run(args: Namespace) -> int:
    from ebmlang.compiler import pipeline
    from ebmlang.errors import DataError
    from ebmlang.explaining import open_model
    from ebmlang.questions import ask_roles

    model = open_model(args.file, args.model)
    asked = ask_roles(model, args.find, frozenset(args.given), args.of, args.objective, frozenset())
    query = asked.query
    plan = pipeline.plan_for(pipeline.graph_of(asked.model), query, args.using)
    if plan.method is None and asked.sought:
        raise DataError(plan.because, "give these variables, or ask for others with --find")
    text = pipeline.generate_for(plan).text
    if args.output is None:
        sys.stdout.write(text)
        return 0
    from ebmlang.files import write_whole

    write_whole(Path(args.output), text.encode(), args.force)
    print(f"wrote {args.output}")
    return 0
