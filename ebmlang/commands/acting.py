"""What `plan` and `collect` share: the model, the world, and the run that joins them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from ebmlang import data, planning
from ebmlang.api import Model
from ebmlang.commands import engine, options
from ebmlang.data import Wanted
from ebmlang.durations import budget
from ebmlang.errors import DataError


def model_of(args: Namespace) -> Model:
    """The model of the command line. Raises ModelError and DataError."""
    settings = options.once(args.settings, "--set")
    binds = options.once(args.binds, "--bind")
    return engine.opened(args.file, args.model, args.seed, settings, args.params, binds)


def world_of(args: Namespace, model: Model | None, pictures: bool) -> planning.World:
    """The world of `--env`. Raises DataError."""
    if args.env == "model" and model is not None:
        return planning.world_in(model, "model", None, _fixed(args, model), pictures)
    return planning.world_of(args.env, None, pictures)


def acting_of(args: Namespace, model: Model | None, world: planning.World) -> planning.Acting:
    """The run of the command line. Raises DataError where model and world do not fit."""
    known = vars(args)
    pictures, noise = known.get("gif") is not None, known.get("noise") or 0.0
    course = planning.Course(args.episodes, args.steps, args.seed, pictures, noise)
    if model is None:
        return planning.Acting(planning.RandomActions(world), world, {}, course)
    asking = planning.Asking(
        args.objective,
        args.using,
        args.every,
        budget(args.within),
        args.iterations,
        args.tol,
        args.restarts,
        not args.cold,
    )
    settings = model.settings({}, args.dtype, args.device, args.seed, None)
    mapping = {name: "" if key == "*" else key for name, key in options.once(args.mapping, "--map").items()}
    return planning.acting_in(model, world, asking, course, settings, mapping, _fixed(args, model))


def _fixed(args: Namespace, model: Model) -> dict[str, Any]:
    """Values that hold in every plan: the one row of `--data`, by the names of variables."""
    if args.data is None:
        return {}
    wanted = {
        v.name: Wanted(v.name, v.role, False, v.type.rank, not v.per_example)
        for v in model.checked.variables
        if v.role == "observed"
    }
    found = data.read(args.data, wanted)
    values = {}
    for name, array in data.match(found, wanted, {}).items():
        value = found.array(array)
        rank = wanted[name].rank
        if value.ndim == rank + 1 and value.shape[0] != 1:
            raise DataError(
                f"`{name}` has {value.shape[0]:,} rows in {args.data}, and a plan is made for one", "one row"
            )
        values[name] = value[0] if value.ndim == rank + 1 else value
    return values


def take(episodes: Iterable[planning.Episode], found: list[planning.Episode]) -> bool:
    """Gather episodes; whether the user interrupted. What had been done by then is among them."""
    try:
        for episode in episodes:
            found.append(episode)  # noqa: PERF402 - those before an interruption stay
    except KeyboardInterrupt:
        return True
    return False
