"""Where the `train` command meets the Python API: a model, its data, and the run to come."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ebmlang.api import Model
from ebmlang.commands import options
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.diagnostics import Located, render_all
from ebmlang.compiler.envelope import loss_of
from ebmlang.compiler.training import training_warnings
from ebmlang.data import Wanted, match, read
from ebmlang.errors import DataError
from ebmlang.inference import Given
from ebmlang.reading import given_rows, masks_of, wanted_of
from ebmlang.runs import TENSORBOARD
from ebmlang.runtime.training.history import Record
from ebmlang.training import (
    Asking,
    Course,
    Every,
    Fitting,
    Keeper,
    Session,
    peers_here,
    settings_for,
    with_parameters_on,
)
from ebmlang.training.board import board

if TYPE_CHECKING:
    from ebmlang.data import DataSet


def print_warnings(model: Model) -> None:
    """What the text of a model leads to expect of its training, on stderr."""
    with pipeline.room_for_passes():
        found = tuple(Located(model.checked.source, w) for w in training_warnings(model.checked))
    if found:
        print(render_all(found), file=sys.stderr)


def wanted_for_training(model: Model, given: tuple[str, ...] | None) -> dict[str, Wanted]:
    """Variables that the data may or must give: observed ones, and latents that are `given`.

    An array that is called like a parameter or a schedule is not taken for its value.
    """
    named = set(given or ())
    found: dict[str, Wanted] = {}
    schedules, read = model.checked.programme.schedules, _read_by_lines(model.checked)
    for v in model.checked.variables:
        if v.name in schedules:
            continue
        if v.role == "observed" or (v.role == "latent" and v.name in named):
            required = v.role == "latent" or (v.init is None and v.name in read)
            found[v.name] = wanted_of(model, v, required)
    for name in sorted(named - found.keys()):
        raise DataError(
            f"--given names `{name}`, which is no observed variable and no latent", "check the names"
        )
    return found


def _read_by_lines(model: typed.Model) -> frozenset[str]:
    """The variables that some line of training needs."""
    lines = [q for q in model.questions if q.verb in typed.TRAINING]
    losses = (loss_of(model, line, frozenset(), frozenset()) for line in lines or (None,))
    return frozenset(v.name for loss in losses for v in loss.model.variables)


def fitting(model: Model, args: Namespace, data: DataSet, matching: Mapping[str, str]) -> Fitting:
    """The run that a command line asks for, its data read and checked. Raises ModelError and DataError."""
    settings = model.settings({}, args.dtype, args.device, args.seed, args.max_memory)
    settings = settings_for(model, settings, args.dtype, args.device)
    course = Course.of(
        args.epochs, args.steps, args.batch_size, args.seed, args.validate, args.patience, args.precision,
        args.max_memory, args.workers, args.shard,
        args.health_every, args.fail_on, args.easy_first, args.widen,
    )  # fmt: skip
    given = given_rows(model, data, matching)
    changes = {} if args.lr is None else {"lr": args.lr}
    masks = masks_of(data, options.once(args.observed, "--observed"))
    asking = Asking(args.objective, args.using, changes, masks, _named_sets(model, args))
    if args.device is not None:
        with_parameters_on(model, settings.device)
    return Fitting.of(model, given, settings, course, asking, peers_here())


def keeper(args: Namespace, fitting: Fitting, say: Callable[[str], None]) -> Keeper:
    """The run in its folder, begun or gone on with. Raises DataError."""
    extra = {"params": args.params, "given": list(given_names(fitting.model, args))}
    every = Every.of(args.checkpoint)
    return Keeper.of(
        args.output, fitting, every=every, keep=args.keep, force=args.force, extra=extra, say=say
    )


def board_of(args: Namespace, session: Session) -> tuple[Callable[[Record], None], Callable[[], None]]:
    """What notes a record for TensorBoard, and what ends that; both do nothing where it is not asked for."""
    if not args.tensorboard or session.keeper is None or not session.fitting.peers.first:
        return lambda record: None, lambda: None
    return board(session.keeper.folder / TENSORBOARD, session.fitting.run.done)


def _named_sets(model: Model, args: Namespace) -> dict[str, Given]:
    """The data sets of `--on`, by name. Raises DataError."""
    found: dict[str, Given] = {}
    for name, path in options.once(args.sets, "--on").items():
        wanted = wanted_for_training(model, given_names(model, args, name))
        dataset = read(path, wanted)
        found[name] = given_rows(model, dataset, match(dataset, wanted, mapping_of(args, name)))
    return found


def given_names(model: Model, args: Namespace, name: str = "") -> tuple[str, ...]:
    """The latents that a data set gives: those of `--given`, and those that `--map` finds an array for."""
    latents = {v.name for v in model.checked.variables if v.role == "latent"}
    return tuple(dict.fromkeys((*(args.given or ()), *(n for n in mapping_of(args, name) if n in latents))))


def mapping_of(args: Namespace, name: str = "") -> dict[str, str]:
    """Which variable takes which array, of the data set of `--on` that has a name, or of the main one: what
    is called `pairs.y` is about `y` of `pairs`, if there is such a set."""
    sets = {name for name, _ in args.sets}
    found: dict[str, str] = {}
    for variable, array in options.once(args.mapping, "--map").items():
        before, _, own = variable.partition(".")
        if (before if before in sets else "") == name:
            found[own if before in sets else variable] = array
    return found
