"""Finding parameters: the loss of a call over its data, and the run of an optimiser over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ebmlang.compiler import pipeline
from ebmlang.compiler.diagnostics import Located, did_you_mean, listing
from ebmlang.compiler.envelope import Loss, loss_of, obstacles
from ebmlang.compiler.optimisers import (
    WANTED,
    OptimiserRow,
    Value,
    accepted,
    find_optimiser,
    optimiser_names,
)
from ebmlang.compiler.source import Span
from ebmlang.compiler.training import settings_of, training_mistakes
from ebmlang.compiler.typed import Model as CheckedModel
from ebmlang.compiler.typed import Optimiser, Question
from ebmlang.errors import DataError, ModelError
from ebmlang.inference import Given, Inference, incomplete_names
from ebmlang.questions import Asked, line_of
from ebmlang.runtime.bind import Bound, Settings, domain_of
from ebmlang.runtime.domain_base import Domain, Kind
from ebmlang.runtime.marginal import beta_of
from ebmlang.runtime.search import Search
from ebmlang.runtime.simplexes import OpenSimplex, Simplex
from ebmlang.runtime.training.batches import Batch, at_rows, batches, picked_masks, seed_of_step, steps_of
from ebmlang.runtime.training.history import History, Record
from ebmlang.runtime.training.loop import Stopped, make_optimiser, run
from ebmlang.runtime.training.loss import Evaluated, Form, evaluate
from ebmlang.runtime.training.moved import Moved, moved
from ebmlang.summing import sums

if TYPE_CHECKING:
    from ebmlang.api import Model

EPOCHS = 100
"""Passes over the data when nobody says."""


# --- the question -------------------------------------------------------------------------------


def train_line(model: CheckedModel, label: str | None, optimiser: str | None = None) -> Question | None:
    """The `train` line that applies: the one called `label`, or the only one; None where the file has none.

    `optimiser` replaces what the line names. Raises DataError where it is not clear which line is meant.
    """
    lines = [q for q in model.questions if q.verb == "train"]
    if label is not None:
        named = next((q for q in lines if q.label == label), None)
        if named is None:
            labels = [q.label for q in lines if q.label]
            hint = did_you_mean(label, labels) or (
                f"it names {listing(labels, 'and')}" if labels else f"name a line of it: train {label}: ..."
            )
            raise DataError(f"the model names no `train` line `{label}`", hint)
        lines = [named]
    if len(lines) > 1:
        shown = listing([f"`{q.text}`" for q in lines], "and")
        raise DataError(
            f"the model has {len(lines)} `train` lines, {shown}, and training by several is not built yet",
            "name one in the file, `train first: ...`, and choose it: objective or --objective first",
        )
    line = lines[0] if lines else None
    if optimiser is None:
        return line
    if find_optimiser(optimiser) is None:
        known = optimiser_names()
        hint = did_you_mean(optimiser, known) or f"optimisers are {', '.join(known)}"
        raise DataError(f"there is no optimiser `{optimiser}`", hint)
    chosen = Optimiser(optimiser, (), line.span if line is not None else model.span)
    if line is not None:
        same = line.optimiser is not None and line.optimiser.name == optimiser
        return line if same else replace(line, optimiser=chosen)
    head = _head(model)
    return Question("train", None, (), None, (), None, "train", "", head, optimiser=chosen)


def _head(model: CheckedModel) -> Span:
    """Where mistakes of a file without a `train` line are shown."""
    return Span(model.span.start, model.span.start + len("model"))


def settled_loss(
    model: CheckedModel, line: Question | None, given: frozenset[str], incomplete: frozenset[str]
) -> Loss:
    """The loss with its roles settled. Raises ModelError for what cannot be trained."""
    span = line.span if line is not None else _head(model)
    wrong = list(training_mistakes(model, line, span))
    if not wrong:
        loss = loss_of(model, line, given, incomplete)
        wrong = list(obstacles(loss, pipeline.graph_of(loss.model)))
    if wrong:
        raise ModelError(Located(model.source, w) for w in wrong)
    return loss


@dataclass(frozen=True, slots=True)
class Posed:
    """A loss over given data. `run` is the question inside, about all rows."""

    model: Model
    loss: Loss
    run: Inference
    form: Form

    @staticmethod
    def of(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        objective: str | None = None,
        optimiser: str | None = None,
    ) -> Posed:
        """Settle the roles. Raises ModelError and DataError."""
        incomplete = incomplete_names(model, given, masks, settings.chunk_bytes)
        key = (given.names(), incomplete, objective, optimiser)

        def settled() -> Loss:
            line = train_line(model.checked, objective, optimiser)
            return settled_loss(model.checked, line, given.names(), incomplete)

        loss = model.loss_kept(key, settled)
        for name in loss.targets:
            if name in given.names():
                raise DataError(
                    f"`{name}` is given and to be trained",
                    "leave it out of the data, or train others by name; preset(...) says where it begins",
                )
        variant = f"train {loss.line.span.start if loss.line is not None else ''} {' '.join(loss.skipped)}"
        if loss.summed and not loss.sought:
            asked = Asked(loss.model, loss.summed, None, None, (), variant)
            return Posed(model, loss, sums(model, given, masks, settings, asked, incomplete), Form(sums=True))
        asked = Asked(loss.model, loss.inside, loss.question, None, loss.summed, variant)
        search = Search(seed=settings.seed)
        inner = Inference.settled(model, given, masks, settings, search, asked, incomplete)
        return Posed(model, loss, inner, Form(own=loss.of is not None))

    def bound(self) -> tuple[Bound, dict[str, Tensor]]:
        """All rows, checked and bound, and masks (True: given) of what is given in part."""
        rows = self.run.given.rows
        if rows == 0:
            raise DataError("the data holds no examples", "pass at least one row")
        bound = self.run.bound_rows(0, rows)
        if self.form.sums:
            line = line_of(self.model.checked, self.loss.summed)
            bound = replace(bound, beta=beta_of(line.beta if line is not None else None, bound))
        return bound, {name: self.run.mask(bound, name, 0, rows) for name in self.run.incomplete}

    def own(self) -> dict[str, nn.Parameter]:
        """The parameters whose values are the model's own, not passed by the caller."""
        passed = self.run.given.names()
        return {n: p for n, p in self.model.declared_parameters().items() if n not in passed}

    def at(
        self,
        bound: Bound,
        masks: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        rows: Any,
        seed: int,
    ) -> Evaluated:
        """The loss of some of the rows, with the parameters as they are."""
        some = at_rows(bound, own, rows, seed)
        return evaluate(some, self.run.search, picked_masks(masks, rows), self.form)


def loss_now(model: Model, given: Given, settings: Settings, objective: str | None, draw_seed: int) -> Tensor:
    """The training loss of all given rows, a number that is differentiable in the parameters."""
    posed = Posed.of(model, given, {}, settings, objective)
    bound, masks = posed.bound()
    rows = np.arange(bound.batch, dtype=np.int64)
    return posed.at(bound, masks, posed.own(), rows, draw_seed).loss


# --- the run ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """How long and in which batches. None: no limit, or all rows at once."""

    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    seed: int = 0

    @staticmethod
    def of(epochs: int | None, steps: int | None, batch_size: int | None, seed: int) -> Course:
        """Raises DataError for numbers that are no counts."""
        counts: dict[str, object] = {"epochs": epochs, "steps": steps, "batch_size": batch_size}
        for name, value in counts.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise DataError(f"{name} is {value}, not a whole number of at least 1", f"{name}=20")
        return Course(EPOCHS if epochs is None and steps is None else epochs, steps, batch_size, seed)


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


@dataclass(slots=True)
class Fitting:
    """One run over data that is bound and checked. Iterate `records`, or let `all` do it."""

    posed: Posed
    course: Course
    row: OptimiserRow
    options: Mapping[str, Value]
    bound: Bound
    masks: Mapping[str, Tensor]
    own: Mapping[str, Tensor]
    parameters: tuple[Moved, ...]

    @staticmethod
    def of(posed: Posed, course: Course, changes: Mapping[str, object]) -> Fitting:
        """Bind the data, make the parameters if there are none yet. Raises DataError."""
        row, options = optimiser_settings(posed.loss.optimiser, changes)
        bound, masks = posed.bound()
        if row.whole and course.batch_size is not None and course.batch_size < bound.batch:
            raise DataError(
                f"{row.name} looks at all rows several times in a step, and takes no batches",
                "leave out the batch size, or use adam",
            )
        pace = options["lr"]
        assert isinstance(pace, float)
        moving = trained(posed, bound, pace)
        return Fitting(posed, course, row, options, bound, masks, posed.own(), moving)

    @property
    def steps(self) -> int | None:
        """How many there will be."""
        course = self.course
        return steps_of(self.bound.batch, course.batch_size, course.epochs, course.steps)

    def records(self) -> Iterator[Record | Stopped]:
        """One record per step; the last item may say why there are no more."""
        leaves = [m.leaf for m in self.parameters]
        optimiser = make_optimiser(self.row.implementation, self.options, leaves)
        course, count = self.course, self.bound.batch
        walk = batches(count, course.batch_size, course.seed, course.epochs, course.steps)
        return run(self.parameters, optimiser, self._loss, walk, self.posed.model.after_step)

    def _loss(self, batch: Batch) -> Evaluated:
        seed = seed_of_step(self.course.seed, batch.step)
        return self.posed.at(self.bound, self.masks, self.own, batch.rows, seed)

    def all(self, progress: Callable[[Record, int | None], None] | None = None) -> History:
        """The whole run."""
        gathered = Gathered()
        for item in self.records():
            gathered.add(item)
            if progress is not None and isinstance(item, Record):
                progress(item, self.steps)
        return gathered.history()


@dataclass(slots=True)
class Gathered:
    """Records of a run so far; `history` may be asked at any time."""

    found: list[Record]
    stopped: str

    def __init__(self) -> None:
        self.found, self.stopped = [], ""

    def add(self, item: Record | Stopped) -> None:
        if isinstance(item, Stopped):
            self.stopped = item.sentence
        else:
            self.found.append(item)

    def history(self) -> History:
        names = tuple(self.found[0].terms) if self.found else ()
        return History(tuple(self.found), self.stopped, names)


def trained(posed: Posed, bound: Bound, pace: float) -> tuple[Moved, ...]:
    """The parameters that a run moves, by name, with the domains they are kept in.

    A name with dots belongs to what is named before the first dot that is a target: a net or a part.
    """
    declared = {id(p): name for name, p in posed.model.declared_parameters().items()}
    within = {id(p): name for name, p in posed.model.nets.parameters()}
    found = []
    for path, parameter in posed.model.named_parameters():
        name = declared.get(id(parameter)) or within.get(id(parameter), path)
        frozen = id(parameter) in within and not parameter.requires_grad  # a part of a net from outside
        if _belongs(name, posed.loss.targets) and not frozen:
            spec = bound.specs.get(name)
            domain = None if spec is None or spec.domain == "reals" else domain_of(bound, spec)
            if isinstance(domain, Simplex) and name in posed.loss.interior:
                domain = OpenSimplex(domain.where)
            found.append(moved(name, _inside(name, _leaf(name, parameter), domain), domain, pace))
    return tuple(found)


def _belongs(name: str, targets: tuple[str, ...]) -> bool:
    return any(name == t or name.startswith(f"{t}.") for t in targets)


def _leaf(name: str, parameter: nn.Parameter) -> nn.Parameter:
    if not parameter.requires_grad:
        raise DataError(
            f"the parameter `{name}` is frozen: requires_grad is False", "train the others by name"
        )
    return parameter


@torch.no_grad()
def _inside(name: str, parameter: nn.Parameter, domain: Domain | None) -> nn.Parameter:
    """The parameter, brought into its domain where somebody has moved it out. Raises DataError for NaN, and
    outside of an open set, which has no nearest point."""
    if not bool(torch.isfinite(parameter).all()):
        raise DataError(f"the parameter `{name}` is not finite", "load the model anew")
    if domain is None:
        return parameter
    slack = 1e-9 if parameter.dtype == torch.float64 else 1e-5
    if bool(domain.inside(parameter[None], slack).all()):
        return parameter
    if domain.kind is Kind.OPEN:
        raise DataError(f"the parameter `{name}` is not {domain.describe()}", "set it to a value that is")
    parameter.copy_(domain.nearest(parameter[None])[0])
    return parameter


def settings_for(model: Model, settings: Settings, dtype: Any, device: str | None) -> Settings:
    """Where and how precisely to compute: as the caller says, else as the parameters are."""
    stored = (*model.declared_parameters().values(), *(p for _, p in model.nets.parameters()))
    first = next((p for p in stored if p.is_floating_point()), None)
    if first is None:
        return settings
    chosen = settings.dtype if dtype is not None else first.dtype
    return replace(settings, dtype=chosen, device=settings.device if device is not None else first.device)


def with_parameters_on(model: Model, device: torch.device) -> None:
    """Move what there is to a device."""
    model.to(device)
