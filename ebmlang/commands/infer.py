"""`ebmlang infer`: the unknowns of lowest energy for every row of a data set."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ebmlang.commands import options, rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ebmlang.data import ResultWriter
    from ebmlang.report import Summary
    from ebmlang.runtime.result import Result

NAME = "infer"
HELP = "find the unknowns of lowest energy for every row of the data"
EXAMPLE = "ebmlang infer models/gallery/ridge.ebm --data sklearn:diabetes -o w.npz"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a model; None leaves the choice to the file or to the compiler."""

    path: str
    model: str | None
    settings: Mapping[str, options.Setting]
    given: tuple[str, ...] | None
    find: tuple[str, ...] | None
    of: str | None
    objective: str | None
    restarts: int | None
    seed: int
    device: str | None
    dtype: str | None
    tol: float | None
    steps: int | None
    using: str | None
    max_memory: int | None
    params: str | None
    binds: Mapping[str, str]
    torch_compile: bool = False
    observed: Mapping[str, str] = field(default_factory=dict)


def add_arguments(parser: ArgumentParser) -> None:
    options.add_model_and_data(parser)
    asked = parser.add_argument_group("the question")
    asked.add_argument("--given", metavar="A,B", type=options.names, help="variables that the data gives")
    asked.add_argument("--find", metavar="Y", type=options.names, help="variables to find")
    asked.add_argument("--of", metavar="EXPR", help="what to minimise instead of the total energy")
    asked.add_argument("--objective", metavar="NAME", help="a named objective of the file")
    options.add_settings(parser)
    parser.add_argument("--params", metavar="PATH", help="trained parameters, a .safetensors file or a run")
    options.add_binds(parser)
    search = parser.add_argument_group("the search")
    search.add_argument("--using", metavar="METHOD", help="a method instead of the chosen one")
    search.add_argument("--restarts", metavar="R", type=options.count, help="starts per row")
    search.add_argument(
        "--seed", metavar="S", type=options.whole, default=0, help="of random starts and draws"
    )
    search.add_argument("--tol", type=options.positive, help="bound on the relative projected gradient")
    search.add_argument("--steps", metavar="N", type=options.count, help="most steps, 10000 if not given")
    options.add_resources(search)
    options.add_output(parser, "where the result goes, .npz or .safetensors; without it only a summary")
    parser.add_argument("--strict", action="store_true", help="exit with 3 when a row did not converge")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options.add_progress(parser)


def run(args: Namespace) -> int:
    asked = rows.opened(args, _question(args))
    from ebmlang import report

    summary = report.Summary()
    interrupted = rows.take_chunks(
        args,
        lambda update: asked.engine.chunks(asked.dataset, asked.matching, update),
        lambda result, writer: add_result(result, summary, writer),
        lambda: summary.rows,
        ("infer", asked.total),
    )
    _print_summary(args, summary)
    failed = summary.rows - summary.converged
    return rows.exit_code(args, interrupted=interrupted, done=summary.rows, total=asked.total, failed=failed)


def _question(args: Namespace) -> Question:
    return Question(
        path=args.file,
        model=args.model,
        settings=options.once(args.settings, "--set"),
        given=args.given,
        observed=options.once(args.observed, "--observed"),
        find=args.find,
        of=args.of,
        objective=args.objective,
        restarts=args.restarts,
        seed=args.seed,
        device=args.device,
        dtype=args.dtype,
        tol=args.tol,
        steps=args.steps,
        using=args.using,
        max_memory=args.max_memory,
        params=args.params,
        binds=options.once(args.binds, "--bind"),
    )


def add_result(result: Result, summary: Summary, writer: ResultWriter | None) -> None:
    """Count a chunk in and hand it to the writer, before anything of the next chunk exists."""
    energy, converged, iterations = (_numpy(x) for x in (result.energy, result.converged, result.iterations))
    terms = {name: _numpy(value) for name, value in result.terms.items()}
    batch_terms = {name: _numpy(value) for name, value in result.batch_terms.items()}
    if writer is not None:
        import numpy as np

        entries = {"energy", "converged", "iterations", "status", "status_names"}
        entries |= {f"term.{name}" for name in terms} | {f"batch_term.{name}" for name in batch_terms}
        entries |= {f"{what}.{name}" for what in ("violation", "multiplier") for name in result.violations}
        for name, value in result.values.items():
            # a variable may be called `status`; the entries that every result has keep their names
            entry = f"value.{name}" if name in entries else name
            if name not in result.shared:
                writer.append(entry, _numpy(value))
            elif not summary.rows:
                writer.put(entry, _numpy(value))
        writer.append("energy", energy)
        for name, each in terms.items():
            writer.append(f"term.{name}", np.broadcast_to(each, energy.shape))
        for name, each in batch_terms.items():
            writer.append(f"batch_term.{name}", each.reshape(1))
        for name, largest in result.violations.items():
            writer.append(f"violation.{name}", _numpy(largest))
        for name, value in result.multipliers.items():
            by_row = value.ndim > 0 and value.shape[0] == len(energy)
            (writer.append if by_row else writer.put)(f"multiplier.{name}", _numpy(value))
        for name, value in result.marginals.items():
            by_row = value.shape[0] == len(energy)
            (writer.append if by_row else writer.put)(f"marginal.{name}", _numpy(value))
        writer.append("converged", converged)
        writer.append("iterations", iterations)
        writer.append_words("status", result.status)
    summary.add(energy, terms, batch_terms, converged, iterations, result.status)
    summary.add_violations({name: _numpy(value) for name, value in result.violations.items()})
    summary.method, summary.because = result.method, result.because


def _numpy(value: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = value.detach().cpu().numpy()
    return found


def _print_summary(args: Namespace, summary: Summary) -> None:
    if args.json:
        print(json.dumps({**summary.to_json(), "output": args.output}, indent=2))
        return
    summary.print(f"{args.file}: {summary.rows:,} rows from {args.data or 'no data'}", args.output or "")
