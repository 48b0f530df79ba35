"""Running a file that `ebmlang compile` wrote: `python model.py --data D -o OUT`."""

from __future__ import annotations

import runpy
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ebmlang import cli
from ebmlang.commands import options
from ebmlang.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Module

    from ebmlang.runtime.nets import MakeModules


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
    parser.add_argument("--params", metavar="PATH", help="trained parameters, a .safetensors file or a run")
    options.add_binds(parser)
    parser.add_argument("--seed", type=options.whole, default=0)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--device", default="cpu")
    options.add_output(parser, "where the result goes, .npz or .safetensors")
    parser.set_defaults(run=lambda args: _run(path, args), parser=parser)
    return cli.ended(lambda: cli.run(parser.parse_args(argv)))


def _run(path: str, args: Namespace) -> int:
    from ebmlang import data, report
    from ebmlang.commands.binding import bound_nets
    from ebmlang.commands.infer import add_result
    from ebmlang.commands.rows import read_dataset
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
    stored = _stored(args.params)
    nets = _nets(module, stored, bound_nets(options.once(args.binds, "--bind")), args.seed)
    dataset = read_dataset(args.data, wanted)
    matching = data.match(dataset, wanted, options.once(args.mapping, "--map"))
    given = {name: dataset.array(array) for name, array in matching.items()}
    given = {**{name: value for name, value in stored.items() if name in wanted}, **given}
    settings = Settings(DTYPES[args.dtype], device_named(args.device), args.seed)
    bound = bind(module, hypers, given, settings, frozenset(module.SOUGHT), nets=nets)
    parameters = {n: v for n, v in start_parameters(bound, args.seed).items() if n not in module.SOUGHT}
    bound = bind(module, hypers, {**parameters, **given}, settings, frozenset(module.SOUGHT), nets=nets)
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


def _stored(path: str | None) -> dict[str, NDArray[Any]]:
    """Parameters by name. Raises DataError for a path that is neither a file of them nor a run."""
    from ebmlang import data
    from ebmlang.runs import parameters_of

    if path is None:
        return {}
    found = data.read(parameters_of(path))
    return {name: found.array(name) for name in found.names}


def _nets(
    module: ModuleType, stored: Mapping[str, NDArray[Any]], extern: Mapping[str, Any], seed: int
) -> MakeModules:
    """Gives the question its nets: those from Python, and fresh ones with stored parameters, once for all."""
    import torch

    from ebmlang.runtime.bind import net_specs
    from ebmlang.runtime.layers import Function
    from ebmlang.runtime.nets import NetSpec, make_modules

    known = {spec.name for spec in net_specs(module) if spec.make is None and not spec.source}
    for name in extern:
        if name not in known:
            shown = ", ".join(sorted(known)) or "none"
            raise DataError(f"the file has no extern net `{name}`", f"its extern nets: {shown}")
    wrapped = {n: m if isinstance(m, torch.nn.Module) else Function(m) for n, m in extern.items()}
    make, kept = make_modules(seed, wrapped), dict[str, torch.nn.Module]()

    def made(specs: tuple[NetSpec, ...], sizes: Mapping[str, int]) -> Mapping[str, torch.nn.Module]:
        if not kept:
            kept.update(make(specs, sizes))
            for name, net in kept.items():
                own = {k[len(name) + 1 :]: v for k, v in stored.items() if k.startswith(f"{name}.")}
                if own:
                    _fill(name, net, {k: torch.as_tensor(v) for k, v in own.items()})
        return kept

    return made


def _fill(name: str, net: Module, values: Mapping[str, Tensor]) -> None:
    try:
        net.load_state_dict(values)
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise DataError(
            f"the parameters for the net `{name}` do not fit: {what}", "check the sizes"
        ) from None


def _module(path: str) -> ModuleType:
    module = ModuleType("generated")
    names: dict[str, Any] = runpy.run_path(path, run_name="generated")
    module.__dict__.update(names)
    return module
