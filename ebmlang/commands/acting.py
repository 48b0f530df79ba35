"""What `plan` and `collect` share: the model, the world, and the run in which they meet."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from ebmlang import data, planning, report
from ebmlang.api import Model
from ebmlang.commands import engine, options
from ebmlang.durations import budget
from ebmlang.errors import DataError
from ebmlang.reading import wanted_of


def model_of(args: Namespace) -> Model:
    """The model of the command line. Raises ModelError and DataError."""
    settings = options.once(args.settings, "--set")
    binds = options.once(args.binds, "--bind")
    return engine.opened(args.file, args.model, args.seed, settings, args.params, binds)


def played(
    args: Namespace, title: str, model: Model | None, by: str, *, pictures: bool = False, noise: float = 0.0
) -> tuple[planning.Episodes, bool]:
    """The episodes of the command line, and whether the user interrupted: what had been done by then is among
    them. Actions come from plans or from the policy, as `by` says; without a model they are random. Raises
    DataError where model and world do not fit."""
    fixed = _fixed(args, model) if model is not None else {}
    if args.env == "model" and model is not None:
        world = planning.world_in(model, "model", None, fixed, pictures)
    else:
        world = planning.world_of(args.env, None, pictures)
    course = planning.Course(args.episodes, args.steps, args.seed, pictures, noise)
    found: list[planning.Episode] = []
    shown = report.progress(title, args.episodes, unit="episodes") if args.progress else report.no_progress()
    try:
        with shown as update:
            run = _acting(args, model, by, world, course, fixed)
            interrupted = _take(run.episodes(update), found)
    finally:
        world.close()
    return planning.Episodes(world.name, tuple(found)), interrupted


def _acting(
    args: Namespace,
    model: Model | None,
    by: str,
    world: planning.World,
    course: planning.Course,
    fixed: Mapping[str, Any],
) -> planning.Acting:
    if model is None:
        return planning.Acting(planning.RandomActions(world, args.hold or 1), world, {}, course)
    asking = planning.Asking(
        args.objective,
        args.using,
        args.every,
        budget(args.within),
        args.iterations,
        args.tol,
        args.restarts,
        not args.cold,
        by,
    )
    settings = model.settings({}, args.dtype, args.device, args.seed, None)
    mapping = {name: "" if key == "*" else key for name, key in options.once(args.mapping, "--map").items()}
    return planning.acting_in(model, world, asking, course, settings, mapping, fixed)


def _fixed(args: Namespace, model: Model) -> dict[str, Any]:
    """Values that hold in every plan: the one row of `--data`, by the names of variables."""
    if args.data is None:
        return {}
    wanted = {
        v.name: wanted_of(model, v, required=False) for v in model.checked.variables if v.role == "observed"
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


def _take(episodes: Iterable[planning.Episode], found: list[planning.Episode]) -> bool:
    """Gather episodes; whether the user interrupted."""
    try:
        for episode in episodes:
            found.append(episode)  # noqa: PERF402 - those before an interruption stay
    except KeyboardInterrupt:
        return True
    return False
