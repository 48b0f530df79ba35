"""How long a run lasts, in which batches, and with which settings of its optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.optimisers import WANTED, OptimiserRow, Value, accepted
from ebmlang.compiler.training import settings_of
from ebmlang.compiler.typed import Optimiser
from ebmlang.errors import DataError
from ebmlang.runtime.training.checkup import EVERY
from ebmlang.runtime.training.rules import unknown_rule

EPOCHS = 100
"""Passes over the data when nobody says."""

WORKERS = 1
"""Threads that read the rows of the steps to come, where data is read step by step."""

Precision = Literal["full", "bf16"]


@dataclass(frozen=True, slots=True)
class Course:
    """How long and in which batches. None: no limit, or all rows at once.

    `validate` is the share of rows that is held out, `patience` the epochs without a lower loss on them after
    which a run ends. `precision` is that of products of matrices in the loss. `max_memory` are the bytes that
    data may take, None: a part of what is free; data that takes more is read step by step, by so many
    `workers` for the steps to come. `shard`: processes divide the parameters among them. Every `health_every`
    steps, and at the first, a look is taken at the health of the run (0: never); it ends by the rules of
    `fail_on`. `easy_first` names the variable that says how hard a row is; after `widen` steps all rows take
    part.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    seed: int = 0
    validate: float | None = None
    patience: int | None = None
    precision: Precision = "full"
    max_memory: int | None = None
    workers: int = WORKERS
    shard: bool = False
    health_every: int = EVERY
    fail_on: frozenset[str] = frozenset()
    easy_first: str | None = None
    widen: int | None = None

    @staticmethod
    def of(
        epochs: int | None,
        steps: int | None,
        batch_size: int | None,
        seed: int,
        validate: float | None = None,
        patience: int | None = None,
        precision: str | None = None,
        max_memory: int | None = None,
        workers: int = WORKERS,
        shard: bool = False,
        health_every: int | None = None,
        fail_on: Iterable[str] = (),
        easy_first: str | None = None,
        widen: int | None = None,
    ) -> Course:
        """Raises DataError for numbers that are no counts, shares that are none, names of no rule."""
        every = EVERY if health_every is None else health_every
        counts: dict[str, tuple[object, int]] = {
            "epochs": (epochs, 1), "steps": (steps, 1), "batch_size": (batch_size, 1),
            "patience": (patience, 1), "workers": (workers, 0), "health_every": (every, 0),
            "widen": (widen, 1),
        }  # fmt: skip
        for name, (value, least) in counts.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise DataError(f"{name} is {value}, not a whole number of at least {least}", f"{name}=20")
        if validate is not None and not 0 < validate < 1:
            raise DataError(f"validate is {validate}, not a share between 0 and 1", "validate=0.1")
        if patience is not None and validate is None:
            raise DataError("patience is about rows that are held out, and none are", "validate=0.1")
        if (easy_first is None) != (widen is None):
            raise DataError(
                "a curriculum is a variable that says how hard a row is, and the steps until all take part",
                'easy_first="d", widen=500, or --easy-first d --widen 500',
            )
        if precision not in (None, *get_args(Precision)):
            known = get_args(Precision)
            hint = did_you_mean(precision or "", known) or f"it is {' or '.join(known)}"
            raise DataError(f"the precision `{precision}` is not known", hint)
        chosen: Precision = "bf16" if precision == "bf16" else "full"
        # A programme of stages may end by itself; `Fitting` sets the limit where nothing does.
        return Course(
            epochs, steps, batch_size, seed, validate, patience, chosen, max_memory, workers, shard, every,
            _rules(fail_on, every), easy_first, widen,
        )  # fmt: skip


def _rules(names: Iterable[str], every: int) -> frozenset[str]:
    """Names of rules of health. Raises DataError."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    for name in wanted:
        if hint := unknown_rule(name):
            raise DataError(f"there is no rule of health `{name}`", hint)
    if wanted and not every:
        raise DataError("a run that is never looked at cannot end by a rule of health", "health_every=50")
    return frozenset(wanted)


def optimiser_settings(
    optimiser: Optimiser | None, changes: Mapping[str, object]
) -> tuple[OptimiserRow, dict[str, Value]]:
    """The optimiser with options that the caller sets over those of the line. Raises DataError."""
    row, options = settings_of(optimiser)
    for name, value in changes.items():
        kind = row.kind(name)
        if kind is None:
            hint = did_you_mean(name, row.option_names) or f"it has {', '.join(row.option_names)}"
            raise DataError(f"{row.name} has no option `{name}`", hint)
        found = accepted(kind, value)
        if found is None:
            raise DataError(f"the option `{name}` of {row.name} is {value}, not {WANTED[kind]}", "lr=0.01")
        options[name] = found
    return row, options
