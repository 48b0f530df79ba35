"""Running a file that `ebmlang compile` wrote: `python model.py --data D -o OUT`."""

from __future__ import annotations

import runpy
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ebmlang import cli
from ebmlang.commands import options


def run_file(path: str, argv: Sequence[str] | None = None) -> int:
    """Find the unknowns of a generated module for every row of a data set. Returns the exit code."""
    parser = ArgumentParser(
        prog=Path(path).name, description="Find the unknowns of lowest energy for every row."
    )
    parser.add_argument(
        "--data", metavar="D", help=".npz, .npy, .csv, .parquet, .safetensors or sklearn:digits"
    )
    parser.add_argument(
        "--map", dest="mapping", metavar="V=A", type=options.pair, action="append", default=[]
    )
    parser.add_argument(
        "--set", dest="settings", metavar="NAME=VALUE", type=options.setting, action="append", default=[]
    )
    parser.add_argument("--seed", type=options.whole, default=0)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--device", default="cpu")
    options.add_output(parser, "where the result goes, .npz or .safetensors")
    parser.set_defaults(run=lambda args: _run(path, args), parser=parser)
    return cli.ended(lambda: cli.run(parser.parse_args(argv)))


def _run(path: str, args: Namespace) -> int:
    from ebmlang import data, report
    from ebmlang.commands.infer import add_result, read_dataset
    from ebmlang.runtime import ask, search
    from ebmlang.runtime.bind import Settings, bind
    from ebmlang.runtime.parameters import start_parameters
    from ebmlang.runtime.report import with_shared
    from ebmlang.settings import DTYPES, device_named, require_hypers

    if args.output:
        data.require_writable(args.output, args.force)
    module = _module(path)
    hypers = options.once(args.settings, "--set")
    require_hypers(hypers, [v.name for v in module.VARIABLES if v.role == "hyper"])
    wanted = {
        v.name: data.Wanted(
            v.name, v.role, v.role == "observed" and not v.start, len(v.shape), not v.per_example
        )
        for v in module.VARIABLES
        if v.role in ("observed", "param") and v.name not in module.SOUGHT
    }
    dataset = read_dataset(args.data, wanted)
    matching = data.match(dataset, wanted, options.once(args.mapping, "--map"))
    given = {name: dataset.array(array) for name, array in matching.items()}
    settings = Settings(DTYPES[args.dtype], device_named(args.device), args.seed)
    bound = bind(module, hypers, given, settings, frozenset(module.SOUGHT))
    parameters = {n: v for n, v in start_parameters(bound, args.seed).items() if n not in module.SOUGHT}
    bound = bind(module, hypers, {**parameters, **given}, settings, frozenset(module.SOUGHT))
    result = with_shared(ask.infer(bound, search.Search(seed=args.seed)), module)
    summary = report.Summary()
    if args.output:
        with data.ResultWriter(args.output, args.force) as writer:
            add_result(result, summary, writer)
    else:
        add_result(result, summary, None)
    summary.print(
        f"{Path(path).name}: {summary.rows:,} rows from {args.data or 'no data'}", args.output or ""
    )
    return 0


def _module(path: str) -> ModuleType:
    module = ModuleType("generated")
    names: dict[str, Any] = runpy.run_path(path, run_name="generated")
    module.__dict__.update(names)
    return module
