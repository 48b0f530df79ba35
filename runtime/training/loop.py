"""The loop: minibatch after minibatch, in each the lines of the stage, with a record of what was seen.

It knows nothing of models: players and a walk over rows are all it gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan

from ebmlang.runtime.training.batches import Batch, Walk
from ebmlang.runtime.training.history import Record
from ebmlang.runtime.training.judge import Judge
from ebmlang.runtime.training.player import NotFinite, Player, Seen
from ebmlang.runtime.training.rules import ANY


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of a run before its time, in words. `rule` is the one that ended it, where one was to."""

    sentence: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The players of a stage, which lasts `steps`; None: until the end of the run."""

    name: str
    steps: int | None
    players: tuple[Player, ...]


@dataclass(slots=True)
class Run:
    """A programme over a walk. `limit` ends it (None: nobody does), `done` minibatches are behind it.
    `after_batch` is called when a minibatch is finished, before its record, and may find a validation loss.
    `judge` says what its health tells; at a look after which a rule of `fail_on` is broken the run ends.
    `seconds` went by before. `between` tells that no minibatch is in progress."""

    stretches: Sequence[Stretch]
    walk: Walk
    limit: int | None
    after_batch: Callable[[Batch], float | None] = lambda batch: None
    judge: Judge | None = None
    fail_on: frozenset[str] = frozenset()
    done: int = 0
    seconds: float = 0.0
    between: bool = True
    begin: float = field(default_factory=time.perf_counter)

    @property
    def players(self) -> tuple[Player, ...]:
        """All of them, in the order of the programme."""
        return tuple(p for s in self.stretches for p in s.players)

    @property
    def steps(self) -> int | None:
        """How many minibatches there will be."""
        lengths = [s.steps for s in self.stretches]
        whole = None if None in lengths else sum(n for n in lengths if n is not None)
        return min((n for n in (self.limit, whole) if n is not None), default=None)

    def elapsed(self) -> float:
        """Seconds of work, those before a restart too."""
        return self.seconds + time.perf_counter() - self.begin

    def records(self) -> Iterator[Record | Stopped]:
        """One record for every minibatch. Ends with `Stopped` where a loss is not finite, or health is bad.

        Between two records the parameters are those of finished steps, each in its domain. An exception from
        the search inside, such as an interruption, leaves them so too.
        """
        while self.steps is None or self.done < self.steps:
            batch = self.walk.at(self.done + 1)
            self.between = False
            try:
                seen = self._play(batch)
            except NotFinite as fault:
                self._go_back()
                yield _not_finite(batch.step, fault.what)
                return
            validation = self.after_batch(batch)
            self.done, self.between = batch.step, True
            several = len(self.players) > 1
            record = replace(_record(batch, seen, self.elapsed(), several), validation=validation)
            yield self.judge.heard(record) if self.judge is not None else record
            ended = self._failed() if record.health else None
            if ended is not None:
                yield ended
                return
        if self.done and not all(p.finite for p in self.players):
            self._go_back()
            yield _not_finite(self.done, "the step leads to parameters that are not finite")

    def _failed(self) -> Stopped | None:
        """The end by a rule that is broken, if the run is to end by it."""
        for broken in self.judge.now() if self.judge is not None else ():
            if broken.rule in self.fail_on or ANY in self.fail_on:
                return Stopped(f"stopped after step {self.done:,} by the warning {broken.name}", broken.rule)
        return None

    def _play(self, batch: Batch) -> dict[str, Seen]:
        """One minibatch: the lines of its stage from top to bottom."""
        return {p.name: p.play(batch) for p in self._now(batch.step) if batch.step % p.pace.every == 0}

    def _now(self, step: int) -> tuple[Player, ...]:
        """The players of the stage that a step belongs to."""
        before = 0
        for stretch in self.stretches:
            if stretch.steps is None or step <= before + stretch.steps:
                return stretch.players
            before += stretch.steps
        return ()

    def _go_back(self) -> None:
        for player in self.players:
            player.go_back()


def _not_finite(step: int, what: str) -> Stopped:
    """The parameters are those of the last step with a finite loss."""
    return Stopped(f"stopped at step {step:,}: {what}; the parameters are those before it")


_NOTHING = Seen(nan, nan, {}, 0)
"""A minibatch in which no line had its turn."""


def _record(batch: Batch, seen: dict[str, Seen], seconds: float, several: bool) -> Record:
    """The first line that ran gives the loss; terms are those of the first line that has them. `several`
    lines are told apart."""
    first = next(iter(seen.values()), _NOTHING)
    terms: dict[str, float] = {}
    for one in seen.values():
        terms = {**one.terms, **terms}
    health: dict[str, float] = {}
    for one in seen.values():
        health = {**one.health, **health}
    lines = {name: one.loss for name, one in seen.items()} if several else {}
    unconverged = sum(one.unconverged for one in seen.values())
    return Record(
        batch.step, batch.epoch, first.loss, terms, first.norm, batch.total, unconverged, seconds, lines,
        health=health,
    )  # fmt: skip
