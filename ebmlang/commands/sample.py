"""`ebmlang sample`: draws from exp(-E) for every row of a data set, with diagnostics."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from ebmlang.commands import infer, options, rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ebmlang.data import ResultWriter
    from ebmlang.runtime.samplers.samples import Samples

NAME = "sample"
HELP = "draw from exp(-E) for every row of the data, with diagnostics"
EXAMPLE = "ebmlang sample models/gallery/asia.ebm --draws 500 -o draws.npz"


def add_arguments(parser: ArgumentParser) -> None:
    options.add_model_and_data(parser)
    asked = parser.add_argument_group("the question")
    asked.add_argument("--given", metavar="A,B", type=options.names, help="variables that the data gives")
    asked.add_argument("--find", metavar="Y", type=options.names, help="variables to draw")
    asked.add_argument("--of", metavar="EXPR", help="the energy to draw from instead of the total")
    asked.add_argument("--objective", metavar="NAME", help="a named `sample` line of the file")
    options.add_settings(parser)
    parser.add_argument("--params", metavar="PATH", help="trained parameters, a .safetensors file or a run")
    options.add_binds(parser)
    drawn = parser.add_argument_group("the draws")
    drawn.add_argument("--using", metavar="SAMPLER", help="a sampler instead of the chosen one")
    drawn.add_argument("--chains", metavar="C", type=options.count, help="chains per row, 4 if not given")
    drawn.add_argument("--draws", metavar="N", type=options.count, help="draws per chain, 1000 if not given")
    drawn.add_argument(
        "--warmup", metavar="N", type=options.whole, help="steps before the draws, 1000 if not given"
    )
    drawn.add_argument("--thin", metavar="N", type=options.count, help="steps per draw, 1 if not given")
    drawn.add_argument("--step", type=options.positive, help="the step size, or where learning it begins")
    drawn.add_argument(
        "--temperature", metavar="T", type=options.positive, help="draw from exp(-E / T), 1 if not given"
    )
    drawn.add_argument(
        "--start", choices=("declared", "infer"), default="declared", help="where chains begin"
    )
    drawn.add_argument("--seed", metavar="S", type=options.whole, default=0, help="of the draws")
    options.add_resources(drawn)
    drawn.add_argument(
        "--torch-compile", action="store_true", help="make a kernel of the gradient, for long runs"
    )
    options.add_output(parser, "where the draws go, .npz or .safetensors; without it only a summary")
    parser.add_argument("--strict", action="store_true", help="exit with 3 when a diagnostic fails")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options.add_progress(parser)


def run(args: Namespace) -> int:
    asked = rows.opened(args, _question(args))
    from ebmlang.draws import DrawSummary
    from ebmlang.sampling import Request

    request = Request(
        args.using, args.chains, args.draws, args.warmup, args.thin, args.step, args.temperature, args.start
    )
    sampling, summary = asked.engine.draws(asked.dataset, asked.matching, request), DrawSummary()

    def take(found: Samples, writer: ResultWriter | None) -> None:
        if writer is not None:
            _write(found, writer, first=not summary.rows)
        summary.add(found)

    interrupted = rows.take_chunks(args, sampling.chunks, take, lambda: summary.rows, ("sample", asked.total))
    if args.json:
        print(json.dumps({**summary.to_json(), "output": args.output}, indent=2))
    else:
        count = "1 row" if summary.rows == 1 else f"{summary.rows:,} rows"
        print(summary.text(f"{args.file}: {count} from {args.data or 'no data'}", args.output))
    failed = summary.rows - summary.good
    return rows.exit_code(args, interrupted=interrupted, done=summary.rows, total=asked.total, failed=failed)


def _write(found: Samples, writer: ResultWriter, *, first: bool) -> None:
    """Draws by name, `energy`, and the diagnostics: `rhat.NAME`, `ess_bulk.NAME`, `ess_tail.NAME`,
    `acceptance`, `divergences`, `step`, `converged`, `status`."""
    entries = {"energy", "acceptance", "divergences", "step", "converged", "status", "status_names"}
    named: dict[str, tuple[str, Tensor]] = {}
    for name, draws in found.values.items():
        named[f"value.{name}" if name in entries else name] = (name, draws)
    for word, by_name in (("rhat", found.rhat), ("ess_bulk", found.bulk), ("ess_tail", found.tail)):
        named |= {f"{word}.{name}": (name, value) for name, value in by_name.items()}
    for entry, (name, value) in named.items():
        if name not in found.shared:
            writer.append(entry, _numpy(value))
        elif first:
            writer.put(entry, _numpy(value))
    for entry in ("energy", "acceptance", "divergences", "step", "converged"):
        writer.append(entry, _numpy(getattr(found, entry)))
    writer.append_words("status", found.status)


def _numpy(value: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = value.detach().cpu().numpy()
    return found


def _question(args: Namespace) -> infer.Question:
    return infer.Question(
        path=args.file,
        model=args.model,
        settings=options.once(args.settings, "--set"),
        given=args.given,
        observed=options.once(args.observed, "--observed"),
        find=args.find,
        of=args.of,
        objective=args.objective,
        restarts=None,
        seed=args.seed,
        device=args.device,
        dtype=args.dtype,
        tol=None,
        steps=None,
        using=args.using,
        max_memory=args.max_memory,
        params=args.params,
        binds=options.once(args.binds, "--bind"),
        torch_compile=args.torch_compile,
    )
