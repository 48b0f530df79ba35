"""What `infer`, `sample` and `marginal` share: a question about the rows of a data set, chunk by chunk."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ebmlang.commands import options
from ebmlang.errors import DataError
from ebmlang.interrupts import undisturbed

if TYPE_CHECKING:
    from ebmlang.commands.engine import Engine
    from ebmlang.commands.infer import Question
    from ebmlang.data import DataSet, ResultWriter, Wanted

Found = TypeVar("Found")
"""The answer of one chunk."""

Update = Callable[[int, int], None]
"""Hears how many rows are finished, and how many steps those in work have taken."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model with its question, and the data that matches it."""

    engine: Engine
    dataset: DataSet
    matching: Mapping[str, str]
    total: int


def opened(args: Namespace, question: Question) -> Opened:
    """Load the model and match the data. Whether the output can be written is known before that."""
    mapping = options.once(args.mapping, "--map")
    from ebmlang import data

    if args.output:
        data.require_writable(args.output, args.force)
    from ebmlang.commands import engine as engines

    engine = engines.connect(question)
    dataset = read_dataset(args.data, engine.wanted)
    matching = data.match(dataset, engine.wanted, mapping)
    print_notes(dataset, data.unused(dataset, (*matching.values(), *question.observed.values())))
    return Opened(engine, dataset, matching, engine.rows(dataset, matching))


def read_dataset(spec: str | None, wanted: Mapping[str, Wanted]) -> DataSet:
    from ebmlang import data

    if spec is not None:
        return data.read(spec, wanted)
    required = [f"`{variable.name}`" for variable in wanted.values() if variable.required]
    if required:
        raise DataError(
            f"the model needs data for {', '.join(required)}", "--data FILE or --data sklearn:digits"
        )
    return data.DataSet("no data", {})


def print_notes(dataset: DataSet, unused: tuple[str, ...]) -> None:
    """What the reader should know about the data, on stderr."""
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)
    if unused:
        shown = ", ".join(unused[:10]) + (f" and {len(unused) - 10} more" if len(unused) > 10 else "")
        print(f"note: no variable uses {shown} of {dataset.source}", file=sys.stderr)


def take_chunks(
    args: Namespace,
    chunks: Callable[[Update], Iterable[Found]],
    take: Callable[[Found, ResultWriter | None], None],
    done: Callable[[], int],
    shown_as: tuple[str, int] | None = None,
) -> bool:
    """Hand every chunk to `take` with the writer of the output; whether the user interrupted.

    `done` counts the rows that were taken. An interruption before the first of them is raised; later, the
    chunks that are finished are written. `shown_as` is the title of the progress and the number of all rows.
    """
    from ebmlang import data, report

    with ExitStack() as stack:
        writer = stack.enter_context(data.ResultWriter(args.output, args.force)) if args.output else None
        shown = report.progress(*shown_as) if shown_as is not None and args.progress else report.no_progress()
        try:
            with shown as update:
                for found in chunks(update):
                    with undisturbed():  # a chunk is in all arrays and in the summary, or in none
                        take(found, writer)
                    update(done(), 0)
        except KeyboardInterrupt:
            if not done():
                raise
            return True
    return False


def exit_code(args: Namespace, *, interrupted: bool, done: int, total: int, failed: int) -> int:
    """130 after an interruption, which is told; 3 where `--strict` and a row failed; else 0."""
    if interrupted:
        print(f"interrupted: {done:,} of {total:,} rows are finished", file=sys.stderr)
        return 130
    return 3 if args.strict and failed else 0
