"""`ebmlang graph`: a picture of the factor graph."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from ebmlang.commands import options

if TYPE_CHECKING:
    from ebmlang.compiler.typed import Model

NAME = "graph"
HELP = "draw the factor graph of a model"
EXAMPLE = "ebmlang graph models/gallery/smoothing_chain.ebm --unroll --set T=6 -o x.svg"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the model, an .ebm file")
    options.add_settings(parser)
    parser.add_argument(
        "--unroll", action="store_true", help="one node for every entry and summand; sizes come from --set"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="edge lists and masks that --unroll runs over, and the sizes they have"
    )
    parser.add_argument(
        "--energies", metavar="RESULT", help="what `ebmlang infer` wrote: squares carry the mean of each term"
    )
    options.add_output(parser, "the picture: .svg, .png, .pdf, .dot or .json; without it DOT text is printed")


def run(args: Namespace) -> int:
    from ebmlang import draw
    from ebmlang.compiler import pipeline
    from ebmlang.draw.dot import dot_text
    from ebmlang.draw.write import ending_of
    from ebmlang.explaining import open_model

    settings = options.once(args.settings, "--set")
    if args.output is not None:
        ending_of(args.output)
    if not args.unroll and (settings or args.data):
        raise options.UsageError("--set and --data go with --unroll: plates are drawn as frames without it")
    model = open_model(args.file, args.model)
    graph = pipeline.graph_of(model)
    picture = draw.lifted(graph)
    if args.unroll:
        picture = draw.unrolled(graph, settings, _arrays(model, args.data))
    if args.energies:
        picture = draw.with_energies(picture, _energies(model, args.energies))
    if args.output is None:
        sys.stdout.write(dot_text(picture))
        return 0
    draw.write(picture, args.output, args.force)
    print(f"wrote {args.output}")
    return 0


def _arrays(model: Model, spec: str | None) -> dict[str, Any]:
    """The shared variables of a data file: plates and guards may run over them."""
    if spec is None:
        return {}
    from ebmlang import data

    dataset = data.read(spec)
    shared = [v.name for v in model.variables if v.role == "observed" and not v.per_example]
    return {name: dataset.array(name) for name in shared if name in dataset}


def _energies(model: Model, path: str) -> dict[str, float]:
    """The mean over the rows of each term in a result."""
    from ebmlang import data
    from ebmlang.errors import DataError

    dataset = data.read(path)
    found: dict[str, float] = {}
    for term in model.terms:
        for entry in (f"term.{term.name}", f"batch_term.{term.name}"):
            if entry in dataset:
                found[term.name] = float(dataset.array(entry).mean())
    if not found:
        raise DataError(
            f"{path} holds no energies of the terms of `{model.name}`", "a file that `ebmlang infer -o` wrote"
        )
    return found
