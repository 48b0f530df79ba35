"""`ebmlang train`: the parameters that lower the energy of the data."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ebmlang.commands import options, processes
from ebmlang.commands.rows import print_notes, read_dataset
from ebmlang.interrupts import undisturbed

if TYPE_CHECKING:
    from ebmlang.runtime.training.history import History, Record
    from ebmlang.runtime.training.peers import Peers
    from ebmlang.training import Session

NAME = "train"
HELP = "find the parameters that lower the energy of the data"
EXAMPLE = "ebmlang train models/gallery/sparse_coding.ebm --data sklearn:digits -o run"


def add_arguments(parser: ArgumentParser) -> None:
    options.add_model_and_data(parser)
    asked = parser.add_argument_group("the question")
    asked.add_argument(
        "--given",
        metavar="A,B",
        type=options.names,
        help="latents that the data gives, beside those of --map",
    )
    asked.add_argument("--objective", metavar="NAME", help="one `train` line of the file, by its label")
    asked.add_argument(
        "--on",
        dest="sets",
        metavar="NAME=D",
        type=options.pair,
        action="append",
        default=[],
        help="a data set that lines name: train ... on NAME; may be repeated",
    )
    options.add_settings(parser)
    parser.add_argument(
        "--params", metavar="PATH", help="parameters to begin with, a .safetensors file or a run"
    )
    options.add_binds(parser)
    _add_course(parser)
    options.add_output(parser, "the folder of the run; without it only a summary")
    _add_kept(parser)
    _add_health(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options.add_progress(parser)


def _add_course(parser: ArgumentParser) -> None:
    """How long, in which batches, by which steps."""
    course = parser.add_argument_group("the course")
    course.add_argument(
        "--epochs", metavar="N", type=options.count, help="passes over the data, 100 if not given"
    )
    course.add_argument("--steps", metavar="N", type=options.count, help="most steps of the optimiser")
    course.add_argument(
        "--batch-size", metavar="B", type=options.count, help="rows of a step; all if not given"
    )
    course.add_argument("--using", metavar="NAME", help="an optimiser instead of the one of the line")
    course.add_argument("--lr", type=options.positive, help="its step size")
    course.add_argument(
        "--easy-first", metavar="VARIABLE", help="a number of each row: rows where it is low come first"
    )
    course.add_argument(
        "--widen", metavar="N", type=options.count, help="steps after which all rows take part"
    )
    course.add_argument(
        "--validate", metavar="SHARE", type=options.share, help="rows that are held out to judge by"
    )
    course.add_argument(
        "--patience",
        metavar="N",
        type=options.count,
        help="epochs without a lower loss on them before the end",
    )
    course.add_argument(
        "--precision", choices=("full", "bf16"), help="of products of matrices in the loss; full if not given"
    )
    course.add_argument(
        "--seed", metavar="S", type=options.whole, default=0, help="of starts, order and draws"
    )
    course.add_argument("--device", help="cpu, cuda or cuda:1")
    course.add_argument(
        "--devices", metavar="N", type=options.count, default=1,
        help="processes on this machine that share every batch, 1; torchrun starts them on many",
    )  # fmt: skip
    course.add_argument(
        "--shard", action="store_true", help="each process keeps a piece of the parameters, not all of them"
    )
    course.add_argument("--dtype", choices=("float32", "float64"), help="float32 if not given")
    course.add_argument(
        "--max-memory", metavar="2GiB", type=options.memory,
        help="memory that data may take; what takes more is read batch by batch",
    )  # fmt: skip
    course.add_argument(
        "--workers", metavar="N", type=options.whole, default=1,
        help="threads that read the batches to come, 1; the numbers are the same",
    )  # fmt: skip


def _add_kept(parser: ArgumentParser) -> None:
    """What is written while a run goes on."""
    kept = parser.add_argument_group("what is kept: the same command goes on where a run was cut off")
    kept.add_argument(
        "--checkpoint",
        metavar="EVERY",
        help="a number of steps, or a time such as 30s, 5min; 60s if not given",
    )
    kept.add_argument(
        "--keep", metavar="N", type=options.count, default=2, help="the newest checkpoints that stay, 2"
    )
    kept.add_argument(
        "--tensorboard", action="store_true", help="note every step for TensorBoard too, in RUN/tensorboard"
    )


def _add_health(parser: ArgumentParser) -> None:
    """What is looked at while a run goes on."""
    health = parser.add_argument_group("its health")
    health.add_argument(
        "--health-every", metavar="N", type=options.whole, help="steps between two looks, 50; 0: never"
    )
    health.add_argument(
        "--fail-on",
        metavar="RULE",
        action="append",
        default=[],
        help="end the run with exit code 3 by this warning, such as collapse, or any; may be repeated",
    )


def run(args: Namespace) -> int:
    if args.devices > 1 and not processes.among_others():
        return processes.spawned([sys.executable, "-m", "ebmlang", *args.words], args.devices)
    with processes.joined(args.device) as peers:
        if not peers.first:  # one process speaks for all
            args.progress = False
        return _run(args, peers)


def _run(args: Namespace, peers: Peers) -> int:
    settings = options.once(args.settings, "--set")
    _check_health(args)
    from ebmlang import data, runs
    from ebmlang.commands import engine, trainer
    from ebmlang.training import Session, alarm, facts_of, silent, warn

    if args.output:
        runs.place_of_run(args.output)
    elif args.checkpoint is not None:
        raise options.UsageError("--checkpoint is about the folder of a run: it goes with -o RUN")
    elif args.tensorboard:
        raise options.UsageError("--tensorboard writes into the folder of a run: it goes with -o RUN")
    binds = options.once(args.binds, "--bind")
    model = engine.opened(args.file, args.model, args.seed, settings, args.params, binds)
    wanted = trainer.wanted_for_training(model, trainer.given_names(model, args))
    dataset = read_dataset(args.data, wanted)
    matching = data.match(dataset, wanted, trainer.mapping_of(args))
    if peers.first:
        masks = (array for _, array in args.observed)
        print_notes(dataset, data.unused(dataset, (*matching.values(), *masks)))
        trainer.print_warnings(model)
    fitting = trainer.fitting(model, args, dataset, matching)
    say = warn if peers.first else silent
    keeper = trainer.keeper(args, fitting, say) if args.output else None
    session = Session(fitting, keeper, tell=alarm if peers.first else silent)
    if fitting.division is not None:
        say(fitting.division.sentence(peers.count))
    interrupted = False
    note, close = trainer.board_of(args, session)
    try:
        _go(session, args.progress, note)
    except KeyboardInterrupt:
        if not session.found or fitting.shards is not None:
            raise  # pieces of several steps make no parameters; the last checkpoint is there to go on from
        interrupted = True  # the parameters are those of the last step that is finished
    finally:
        close()
    facts = {"file": args.file, "data": args.data, **facts_of(session, interrupted)}
    if keeper is not None:
        with undisturbed():
            if interrupted:
                keeper.checkpoint()
            keeper.finish(facts)
    history = session.history()
    ended = 3 if history.failed_on else 1 if history.stopped else 0
    if not peers.first:
        return ended
    _print_summary(args, history, facts)
    if interrupted:
        print(f"interrupted after step {len(history):,}", file=sys.stderr)
        return 130
    return ended


def _check_health(args: Namespace) -> None:
    """Raises UsageError for names of no rule."""
    from ebmlang.runtime.training.rules import unknown_rule

    for name in args.fail_on:
        if hint := unknown_rule(name):
            raise options.UsageError(f"--fail-on {name}: there is no such rule; {hint}")
    if args.fail_on and args.health_every == 0:
        raise options.UsageError("--fail-on needs looks at the run: it does not go with --health-every 0")


def _go(session: Session, shown: bool, note: Callable[[Record], None]) -> None:
    """The run, each record noted, with how far it is if that is wanted."""
    from ebmlang.report import training_progress

    if not shown:
        session.go(lambda record, steps: note(record))
        return
    with training_progress(session.fitting.steps) as update:

        def both(record: Record, steps: int | None) -> None:
            note(record)
            update(record, steps)

        session.go(both)


def _print_summary(args: Namespace, history: History, facts: dict[str, Any]) -> None:
    if args.json:
        print(json.dumps({**facts, "output": args.output}, indent=2))
        return
    print(f"{args.file}: {facts['rows']:,} rows from {args.data or 'no data'}")
    print()
    print(history)
    print()
    print(f"  trained       {', '.join(facts['trained'])} by {facts['optimiser']['name']}")
    unconverged = sum(r.unconverged for r in history.records)
    if unconverged:
        total = sum(r.rows for r in history.records)
        print(f"  inside        {unconverged:,} of {total:,} searches ended early")
    if args.output:
        print(f"  written       {args.output}")
