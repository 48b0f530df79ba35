"""One run over data that is bound and checked: the programme of a file with its players."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.compiler.optimisers import COMMON, OptimiserRow, Value
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Programme, Question, Turn
from ebmlang.compiler.vitals import Vitals, vitals_of
from ebmlang.errors import DataError
from ebmlang.inference import Given
from ebmlang.runtime.arrays import infinite
from ebmlang.runtime.bind import Bound, Settings
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.training.batches import Batch, Examples, Walk, held_out, scheduled, seed_of_step, walk
from ebmlang.runtime.training.checkup import Checkup
from ebmlang.runtime.training.curriculum import EasyFirst
from ebmlang.runtime.training.history import Record
from ebmlang.runtime.training.judge import Judge
from ebmlang.runtime.training.look import Look
from ebmlang.runtime.training.loop import Run, Stopped, Stretch
from ebmlang.runtime.training.loss import Evaluated
from ebmlang.runtime.training.moved import Moved
from ebmlang.runtime.training.negatives import Chains
from ebmlang.runtime.training.optimisers import make_optimiser
from ebmlang.runtime.training.peers import ALONE, Peers
from ebmlang.runtime.training.player import Pace, Player
from ebmlang.runtime.training.shards import Shards
from ebmlang.runtime.training.validation import Validation
from ebmlang.training.course import EPOCHS, Course, optimiser_settings
from ebmlang.training.dividing import Division, in_pieces
from ebmlang.training.lines import Posed, train_lines
from ebmlang.training.moving import trained
from ebmlang.training.source import Source
from ebmlang.training.updates import Updates

if TYPE_CHECKING:
    from ebmlang.api import Model

_AT_ONCE = 2**16
"""Rows whose difficulty is read together."""

OPTIONS_OF_LINE = tuple(name for name, _ in COMMON)
"""Options that are not those of an optimiser of torch."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a caller asks of training: the line called `objective` alone, another optimiser (`using`), options
    of it, masks of what is given, further data sets by name."""

    objective: str | None = None
    using: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    masks: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Given] = field(default_factory=dict)

    def set(self, name: str) -> Given:
        """A data set that a line names. Raises DataError."""
        if name not in self.sets:
            hint = did_you_mean(name, self.sets) or f"--on {name}=FILE, or fit(..., on={{'{name}': {{...}}}})"
            raise DataError(f"a `train` line is on the data set `{name}`, which is not given", hint)
        return self.sets[name]


@dataclass
class Line:
    """A `train` line with its data bound and its optimiser chosen. `walk` is over the rows of a data set of
    its own, None for the main one; `source` is where the `examples` come from. `moving` is what it moves,
    maybe in the pieces of `shards`."""

    name: str
    posed: Posed
    turn: Turn
    row: OptimiserRow
    options: Mapping[str, Value]
    bound: Bound
    source: Source
    examples: Examples
    walk: Walk | None
    chains: Chains | None = None
    moving: tuple[Moved, ...] = ()
    shards: Shards | None = None
    ahead: Callable[[int], None] = lambda step: None
    """Called when a step begins, so that rows of the next ones can be read."""

    @staticmethod
    def of(
        model: Model, name: str, question: Question | None, source: Source, settings: Settings,
        course: Course, asking: Asking,
    ) -> Line:  # fmt: skip
        """Settle the roles and bind the data of a line. Raises ModelError and DataError."""
        turn = question.turn if question is not None else Turn()
        posed = Posed.of(model, source.given, source.masks, settings, question)
        row, options = optimiser_settings(posed.loss.optimiser, asking.changes)
        bound, examples = posed.bound(source)
        if course.precision == "bf16":
            posed = replace(posed, form=replace(posed.form, half=True))
        if row.whole and course.batch_size is not None and course.batch_size < bound.batch:
            raise DataError(
                f"{row.name} looks at all rows several times in a step, and takes no batches",
                "leave out the batch size, or use adam",
            )
        own = walk(bound.batch, course.batch_size, course.seed, turn.on) if turn.on else None
        return Line(name, posed, turn, row, options, bound, source, examples, own, posed.chains(source))

    def at(self, rows: Rows, seed: int, done: int, look: Look | None = None) -> Evaluated:
        """The loss of some rows when some steps are done."""
        lent = self.shards.lend() if self.shards is not None else None
        return self.posed.at(self.bound, self.examples, rows, seed, done, self.chains, lent, look)

    @cached_property
    def vitals(self) -> Vitals:
        """What to look at while the line is trained."""
        return vitals_of(self.posed.loss)

    def count(self, size: Size | None) -> int:
        """A number of steps, 1 if the line does not say."""
        return 1 if size is None else size.evaluate(self.bound.sizes)

    def player(self, course: Course, peers: Peers, several: bool) -> Player:
        """The line, ready to move its parameters; `several`: it is one of some. Where all examples are
        searched together, every process looks at all rows of a batch."""
        peers = replace(peers, whole=self.posed.joint)
        own = {n: v for n, v in self.options.items() if n not in OPTIONS_OF_LINE}
        follows = {option: name for option, name in own.items() if isinstance(name, str)}

        def rates(done: int) -> Mapping[str, float]:
            values = scheduled(self.bound, set(follows.values()), done)
            return {option: values[name] for option, name in follows.items()}

        def loss(batch: Batch, turn: int, look: Look | None) -> Evaluated:
            self.ahead(batch.step)
            return self.at(batch.rows, seed_of_step(course.seed, batch.step, turn), batch.step - 1, look)

        pace = Pace(
            self.count(self.turn.repeats), self.count(self.turn.every), rates=rates if follows else None
        )
        extra: dict[str, Any] = {n: self.options[n] for n in OPTIONS_OF_LINE if n in self.options}
        pace = replace(pace, **extra)
        leaves = [m.leaf for m in self.moving]
        optimiser = make_optimiser(self.row.implementation, {**own, **rates(0)}, leaves)
        visits = self.chains.visits if self.chains is not None else None
        name = self.name if several else ""
        checkup = Checkup(self.vitals, self.posed.loss.targets, course.health_every, name)
        return Player(
            self.name, self.moving, optimiser, loss, pace, peers, self.walk, visits, self.shards, checkup
        )


@dataclass(slots=True)
class Fitting:
    """A run to come. Iterate `records`, or let `all` do it.

    `tensors` are all parameters, states, and tensors of nets by their declared names: what a file of them
    holds. Where they are divided among processes, those are empty until the run is finished, and `held` are
    the pieces.
    """

    model: Model
    course: Course
    lines: tuple[Line, ...]
    run: Run
    updates: Updates | None
    tensors: Mapping[str, Tensor]
    peers: Peers = ALONE
    division: Division | None = None
    shards: Shards | None = None
    validation: Validation | None = None

    @staticmethod
    def of(
        model: Model, given: Given, settings: Settings, course: Course, asking: Asking, peers: Peers = ALONE
    ) -> Fitting:
        """Settle roles, bind the data, make the parameters if there are none yet. Raises ModelError and
        DataError: what is wrong is said before the first step."""
        lines = _lines(model, given, settings, course, asking)
        judged = next((line for line in reversed(lines) if line.walk is None), lines[-1])
        way, aside = _split(judged, course)
        _fit_for(peers, lines, way)
        main = next((line.source for line in lines if line.walk is None), None)
        updates = Updates.of(model, main or Source.of(given, asking.masks, settings, course), settings)
        # Those of nets as the parameters that they are: what `state` gives has no identity.
        tensors = {**model.declared_parameters(), **model.nets.state(), **dict(model.nets.parameters())}
        peers.agree(tensors.values())
        for line in lines:
            line.moving = trained(line.posed, line.bound)
        division = None
        if course.shard and peers.count > 1:
            division = Division.of([(line.moving, line.row) for line in lines])
        shards = _divided(lines, division, settings.device)
        stretches = _stretches(model.checked.programme, lines, course, peers)
        run = Run(stretches, way, _limit(stretches, way, course), judge=_judge(lines), fail_on=course.fail_on)
        fitting = Fitting(model, course, lines, run, updates, tensors, peers, division, shards)
        fitting._read_ahead()
        run.after_batch = fitting._after
        if aside is not None:
            loss = partial(fitting._held_out_loss, judged, aside)
            fitting.validation = Validation(loss, fitting.held, course.patience)
        return fitting

    @property
    def steps(self) -> int | None:
        """How many there will be, if validation does not end them before."""
        return self.run.steps

    @property
    def bound(self) -> Bound:
        """The data of the first line."""
        return self.lines[0].bound

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the parameters that move, each once."""
        names = (m.name for p in self.run.players for m in p.parameters)
        return tuple(dict.fromkeys(names))

    def held(self) -> Mapping[str, Tensor]:
        """The tensors by name as this process holds them."""
        return self.tensors if self.shards is None else self.shards.held(self.tensors)

    # --- data that is read ---

    @property
    def sources(self) -> tuple[Source, ...]:
        """The data sets of the lines, each once."""
        return tuple({id(line.source): line.source for line in self.lines}.values())

    def check(self) -> None:
        """Look at all rows of data that is read, before the first step of a run: the first process does, and
        tells the others. Raises DataError."""
        mistake: DataError | None = None
        if self.peers.first:
            try:
                for source in self.sources:
                    source.check()
            except DataError as error:
                mistake = error
        mistake = self.peers.told(mistake)
        if mistake is not None:
            raise mistake

    def close(self) -> None:
        """Stop reading ahead."""
        for source in self.sources:
            if source.reader is not None:
                source.reader.close()

    def _read_ahead(self) -> None:
        """Every line tells the reader of its data which rows the next steps will ask for."""
        for line in self.lines:
            if line.source.reader is not None:
                stride, rows = line.count(line.turn.every), partial(self._rows_of, line)
                line.ahead = partial(line.source.reader.follow, stride=stride, rows_of=rows)

    def _rows_of(self, line: Line, step: int) -> list[Rows]:
        """What a line will ask for in a step: the rows of this process, in the parts of its gradient."""
        if self.steps is not None and step > self.steps:
            return []
        parts: Any = line.options.get("accumulate", 1)
        peers = replace(self.peers, whole=line.posed.joint)
        batch = peers.share((line.walk or self.run.walk).at(step))
        return [part.rows for part in batch.parts(peers.parts(batch, parts))]

    # --- after a minibatch ---

    def _after(self, batch: Batch) -> float | None:
        carried = self.updates is not None or self.model.nets.averages
        with self.shards.whole() if self.shards is not None and carried else nullcontext():
            computed = self.model.nets.computed_decays
            self.model.after_step(scheduled(self.bound, computed, batch.step - 1) if computed else None)
            if self.updates is not None:
                self.updates.after(batch, self.model.declared_parameters(), self.peers)
        if self.validation is None or batch.step % self.run.walk.per_epoch:
            return None
        found = self.validation.ask()
        self.stop_if_enough(batch.step)
        return found

    def stop_if_enough(self, step: int) -> None:
        """End the run at a step where validation sees nothing more to do."""
        if self.validation is not None and self.validation.enough:
            self.run.limit = step

    @torch.no_grad()
    def _held_out_loss(self, line: Line, rows: Rows) -> float:
        """The mean loss of the rows that were held out, by the averages where a line keeps them."""
        raw = [(m.parameter, m.parameter.detach().clone()) for p in self.run.players for m in p.parameters]
        for player in self.run.players:
            player.take_averages()
        done = self.run.done + 1
        size, seed = self.course.batch_size or len(rows), seed_of_step(self.course.seed, 0)
        total = 0.0
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            total += float(line.at(some, seed, done).loss) * len(some) / len(rows)
        for parameter, value in raw:
            parameter.copy_(value)
        return self.peers.told(total) or 0.0

    # --- the run ---

    def records(self) -> Iterator[Record | Stopped]:
        """One record per step; the last item may say why there are no more. `finish` comes after them."""
        for item in self.run.records():
            yield self._explained(item) if isinstance(item, Stopped) else item

    def _explained(self, end: Stopped) -> Stopped:
        """The end of a run, with what of the data may be behind it."""
        for line in () if end.rule else self.lines:
            given = [n for n in line.bound.values if n in line.bound.given]
            for name in given:
                where = infinite(line.bound.specs[name], line.bound.values[name])
                if where:
                    return replace(end, sentence=f"{end.sentence}; {where}")
        return end

    def judged(self, before: Iterable[Record]) -> None:
        """Take note of the records of a run that goes on."""
        if self.run.judge is not None:
            for record in before:
                self.run.judge.heard(record)

    def finish(self) -> None:
        """The parameters that a run is for: the best ones, or running means, where these were asked for."""
        if self.validation is not None:
            self.validation.take_best()
        else:
            for player in self.run.players:
                player.take_averages()
        if self.shards is not None:
            self.shards.give_back()


def _lines(
    model: Model, given: Given, settings: Settings, course: Course, asking: Asking
) -> tuple[Line, ...]:
    """The lines of a run; those on one data set share its source. Raises ModelError and DataError."""
    found = train_lines(model.checked, asking.objective, asking.using)
    sources: dict[str, Source] = {}
    lines = []
    for number, question in enumerate(found, 1):
        on = question.turn.on if question is not None else ""
        if on not in sources:
            data, masks = (asking.set(on), {}) if on else (given, asking.masks)
            sources[on] = Source.of(data, masks, settings, course)
        name = question.label if question is not None and question.label else str(number)
        lines.append(Line.of(model, name, question, sources[on], settings, course, asking))
    _all_used(asking.sets, tuple(lines))
    return tuple(lines)


def _divided(lines: tuple[Line, ...], division: Division | None, device: torch.device) -> Shards | None:
    """The pieces that the lines move from now on."""
    if division is None:
        return None
    shards = Shards.of(division.parts, device)
    for line in lines:
        line.moving, line.shards = in_pieces(line.moving, shards), shards
    return shards


def _judge(lines: tuple[Line, ...]) -> Judge:
    """Of all lines together. With several of them each changes the loss of the others."""
    descends = len(lines) == 1 and lines[0].vitals.descends
    return Judge(descends, sampled=any(line.chains is not None for line in lines))


def _stretches(
    programme: Programme, lines: tuple[Line, ...], course: Course, peers: Peers
) -> tuple[Stretch, ...]:
    """The stages in the order of the file, each with its lines; lines outside of stages come last."""
    players = [(line, line.player(course, peers, len(lines) > 1)) for line in lines]
    found = []
    for stage in programme.stages:
        own = tuple(p for line, p in players if line.turn.stage == stage.name)
        if own:
            found.append(Stretch(stage.name, stage.steps.evaluate(lines[0].bound.sizes), own))
    rest = tuple(p for line, p in players if not line.turn.stage)
    return (*found, Stretch("", None, rest)) if rest else tuple(found)


def _limit(stretches: tuple[Stretch, ...], way: Walk, course: Course) -> int | None:
    """Where a run ends: by epochs or steps, or by its stages alone where nobody says."""
    endless = stretches[-1].steps is None
    epochs = EPOCHS if course.epochs is None and course.steps is None and endless else course.epochs
    return way.steps(epochs, course.steps)


def _split(line: Line, course: Course) -> tuple[Walk, Rows | None]:
    """The walk over the rows that train, and the rows that are held out."""
    count = line.bound.batch
    kept, aside = np.arange(count, dtype=np.int64), None
    if course.validate is not None:
        kept, aside = held_out(count, course.validate, course.seed)
    if not len(kept):
        raise DataError(
            f"{course.validate:g} of {count:,} row{'s' * (count != 1)} held out leaves none to train with",
            "validate=0.1, or more data",
        )
    return Walk(kept, course.batch_size, course.seed, curriculum=_curriculum(line, kept, course)), aside


def _curriculum(line: Line, rows: Rows, course: Course) -> EasyFirst | None:
    """The rows of a line by their difficulty, if somebody asks for that. Raises DataError."""
    name = course.easy_first
    if name is None or course.widen is None:
        return None
    numbers = [
        s.name for s in line.bound.specs.values() if s.per_example and not s.shape and s.role == "observed"
    ]
    if name not in numbers:
        known = f"numbers of rows are {listing(numbers, 'and')}" if numbers else f"observed {name} : real"
        raise DataError(
            f"`{name}` is to say how hard a row is, and is no observed number of each row",
            did_you_mean(name, numbers) or known,
        )
    pieces = [rows[k : k + _AT_ONCE] for k in range(0, len(rows), _AT_ONCE)]
    found = [line.examples.values(piece).get(name) for piece in pieces]
    difficulty = np.concatenate([v.double().cpu().numpy() for v in found if v is not None] or [np.empty(0)])
    if len(difficulty) != len(rows):
        raise DataError(
            f"`{name}` is to say how hard a row is, and is the same for all rows", "one number a row"
        )
    return EasyFirst.of(rows, difficulty, course.widen, course.seed)


def _fit_for(peers: Peers, lines: tuple[Line, ...], way: Walk) -> None:
    """Raises DataError for what several processes cannot share."""
    if peers.count == 1:
        return
    for line in lines:
        smallest = (line.walk or way).smallest
        if smallest < peers.count:
            raise DataError(
                f"the smallest batch has {smallest:,} row{'s' * (smallest != 1)} for {peers.count} processes",
                "another batch size, or fewer processes",
            )


def _all_used(sets: Mapping[str, Given], lines: tuple[Line, ...]) -> None:
    """Raises DataError for a data set that no line is on."""
    known = [line.turn.on for line in lines if line.turn.on]
    for name in sets:
        if name not in known:
            hint = did_you_mean(name, known) or (
                f"they name {', '.join(known)}" if known else "train ... on NAME"
            )
            raise DataError(f"no `train` line is on the data set `{name}`", hint)
