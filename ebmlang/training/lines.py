"""Which lines train, and the loss of each over its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ebmlang.compiler import pipeline
from ebmlang.compiler.diagnostics import Located, did_you_mean, listing
from ebmlang.compiler.envelope import Loss, loss_of, obstacles
from ebmlang.compiler.optimisers import find_optimiser, optimiser_names
from ebmlang.compiler.samplers import find_sampler
from ebmlang.compiler.source import Span
from ebmlang.compiler.training import training_mistakes
from ebmlang.compiler.typed import TRAINING, Optimiser, Question
from ebmlang.compiler.typed import Model as CheckedModel
from ebmlang.errors import DataError, ModelError
from ebmlang.inference import Given, Inference, incomplete_names
from ebmlang.questions import Asked, line_of
from ebmlang.runtime.bind import Bound, Settings
from ebmlang.runtime.marginal import beta_of
from ebmlang.runtime.samplers import make_sampler
from ebmlang.runtime.search import Search
from ebmlang.runtime.training.batches import Examples, at_rows
from ebmlang.runtime.training.look import ENERGIES, Look
from ebmlang.runtime.training.loss import Evaluated, Form, evaluate
from ebmlang.runtime.training.negatives import Chains
from ebmlang.runtime.training.visits import Visits
from ebmlang.summing import sums
from ebmlang.training.source import Source

if TYPE_CHECKING:
    from ebmlang.api import Model

# --- the question -------------------------------------------------------------------------------


def train_lines(
    model: CheckedModel, label: str | None = None, optimiser: str | None = None
) -> tuple[Question | None, ...]:
    """The `train` lines in the order of the file, or the one that is called `label`; None stands for training
    everything, where the file has no line.

    `optimiser` replaces what the lines name. Raises DataError for names that are not there.
    """
    lines: list[Question | None] = [q for q in model.questions if q.verb in TRAINING]
    if label is not None:
        named = [q for q in lines if q is not None and q.label == label]
        if not named:
            labels = [q.label for q in lines if q is not None and q.label]
            hint = did_you_mean(label, labels) or (
                f"it names {listing(labels, 'and')}" if labels else f"name a line of it: train {label}: ..."
            )
            raise DataError(f"the model names no `train` line `{label}`", hint)
        lines = [*named]
    if optimiser is not None and find_optimiser(optimiser) is None:
        known = optimiser_names()
        hint = did_you_mean(optimiser, known) or f"optimisers are {', '.join(known)}"
        raise DataError(f"there is no optimiser `{optimiser}`", hint)
    return tuple(_moved_by(model, line, optimiser) for line in lines or [None])


def _moved_by(model: CheckedModel, line: Question | None, optimiser: str | None) -> Question | None:
    """The line with another optimiser, unless it names that one already."""
    if optimiser is None or (line is not None and line.optimiser and line.optimiser.name == optimiser):
        return line
    span = line.span if line is not None else _head(model)
    chosen = Optimiser(optimiser, (), span)
    if line is None:
        return Question("train", None, (), None, (), None, "train", "", span, optimiser=chosen)
    return replace(line, optimiser=chosen)


def only_line(model: CheckedModel, label: str | None) -> Question | None:
    """The line of a loss: the one called `label`, or the only one. Raises DataError where it is not clear."""
    lines = train_lines(model, label)
    if len(lines) > 1:
        shown = listing([f"`{q.text}`" for q in lines if q is not None], "and")
        raise DataError(
            f"the model has {len(lines)} `train` lines, {shown}, and a loss is that of one",
            "name one in the file, `train first: ...`, and choose it: objective='first'",
        )
    return lines[0]


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


def _optimiser_of(line: Question | None) -> object:
    return (line.optimiser.name, line.optimiser.options) if line is not None and line.optimiser else None


@dataclass(frozen=True, slots=True)
class Posed:
    """A loss over given data. `run` is the question inside, about all rows; `negatives` that of the values
    that the loss draws from the model."""

    model: Model
    loss: Loss
    run: Inference
    form: Form
    negatives: Inference | None = None

    @staticmethod
    def of(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        line: Question | None,
    ) -> Posed:
        """Settle the roles of a line. Raises ModelError and DataError."""
        incomplete = incomplete_names(model, given, masks, settings.chunk_bytes)
        key = (given.names(), incomplete, line.span if line is not None else None, _optimiser_of(line))

        def settled() -> Loss:
            return settled_loss(model.checked, line, given.names(), incomplete)

        loss = model.loss_kept(key, settled)
        for name in loss.targets:
            if name in given.names():
                raise DataError(
                    f"`{name}` is given and to be trained",
                    "leave it out of the data, or train others by name; preset(...) says where it begins",
                )
        negatives = _negatives(model, loss, given, masks, settings, incomplete)
        variant = f"train {loss.line.span.start if loss.line is not None else ''} {' '.join(loss.skipped)}"
        if loss.summed and not loss.sought:
            asked = Asked(loss.model, loss.summed, None, None, (), variant)
            run = sums(model, given, masks, settings, asked, incomplete)
            return Posed(model, loss, run, Form(sums=True), negatives)
        asked = Asked(loss.model, loss.inside, loss.question, None, loss.summed, variant)
        search = Search(seed=settings.seed)
        inner = Inference.settled(model, given, masks, settings, search, asked, incomplete)
        return Posed(model, loss, inner, Form(own=loss.of is not None, value=loss.regressed), negatives)

    @property
    def joint(self) -> bool:
        """Whether all examples are searched, or drawn, together."""
        asked = (self.run, self.negatives)
        return any(one is not None and one.module.JOINT for one in asked)

    def bound(self, source: Source) -> tuple[Bound, Examples]:
        """The model with its sizes, checked, and the examples of its data."""
        bound, examples = source.bound(self.run)
        if self.form.sums:
            line = line_of(self.model.checked, self.loss.summed)
            bound = replace(bound, beta=beta_of(line.beta if line is not None else None, bound))
        return bound, examples

    def chains(self, source: Source) -> Chains | None:
        """Where the loss draws from the model: the chains of all rows."""
        if self.negatives is None or self.loss.line is None or self.loss.line.loss is None:
            return None
        named, wanted = self.loss.line.loss, self.loss.line.loss.negatives
        assert wanted is not None
        bound, examples = source.bound(self.negatives)
        sampler = make_sampler(wanted.sampler.name, dict(wanted.sampler.options))
        row = find_sampler(wanted.sampler.name)
        proposes = row is not None and row.proposes
        # Rows that are not in memory have chains that are not either.
        visits = Visits(bound.batch, filed=source.reader is not None) if wanted.persistent else None
        return Chains(
            named.variable, bound, examples, sampler, wanted.steps, wanted.refresh, proposes, visits
        )

    def own(self, lent: Mapping[int, Tensor] | None = None) -> dict[str, Tensor]:
        """The parameters whose values are the model's own, not passed by the caller; `lent` stands for some
        of them, by their ids."""
        passed, found = self.run.given.names(), lent or {}
        mine = self.model.declared_parameters().items()
        return {n: found.get(id(p), p) for n, p in mine if n not in passed}

    def at(
        self,
        bound: Bound,
        examples: Examples,
        rows: Any,
        seed: int,
        done: int | None = None,
        chains: Chains | None = None,
        lent: Mapping[int, Tensor] | None = None,
        look: Look | None = None,
    ) -> Evaluated:
        """The loss of some of the rows, with the parameters as they are, or as they are `lent` by their ids,
        and schedules after `done` steps. `look` hears what happens on the way."""
        own = self.own(lent)
        some = at_rows(bound, examples.values(rows), own, rows, seed, done, lent)
        observed = examples.masks(rows)
        found = evaluate(some, self.run.search, observed, self.form, look)
        if chains is None:
            return found
        free = at_rows(chains.bound, chains.examples.values(rows), own, rows, seed, done, lent)
        drawn = chains.draw(free, chains.examples.masks(rows), rows, seed, look)
        other = replace(some, values={**some.values, chains.name: drawn})
        there = evaluate(other, self.run.search, observed, self.form)
        for of, one in zip(ENERGIES, (found, there), strict=True):
            if look is not None and one.rows is not None:
                look.energy(of, one.rows)
        return found.less(there)


def _negatives(
    model: Model, loss: Loss, given: Given, masks: Mapping[str, Any], settings: Settings,
    incomplete: frozenset[str],
) -> Inference | None:  # fmt: skip
    """The question of what a loss draws from the model: its variable, with all that is unknown, where nothing
    of the variable counts as given."""
    named = loss.line.loss if loss.line is not None else None
    if loss.line is None or named is None or named.negatives is None:
        return None
    if named.variable not in given.names():
        raise DataError(f"`{named.name}` compares with `{named.variable}`, which is not given", "pass it")
    names = {named.variable, *loss.inside}
    ordered = tuple(v.name for v in loss.model.variables if v.name in names)
    drawn = Question("sample", None, ordered, None, (), None, "", "", loss.line.span)
    asked = Asked(loss.model, ordered, drawn, None, (), f"negatives {' '.join(loss.skipped)}")
    own = given.counts[named.variable] is not None
    hidden = np.zeros(given.shapes[named.variable][own:], dtype=bool)
    nothing = {**masks, named.variable: hidden}
    return Inference.settled(model, given, nothing, settings, Search(), asked, incomplete | {named.variable})


def loss_now(model: Model, given: Given, settings: Settings, objective: str | None, draw_seed: int) -> Tensor:
    """The training loss of all given rows, a number that is differentiable in the parameters."""
    posed = Posed.of(model, given, {}, settings, only_line(model.checked, objective))
    source = Source.held(given, {})
    bound, examples = posed.bound(source)
    rows = np.arange(bound.batch, dtype=np.int64)
    return posed.at(bound, examples, rows, draw_seed, chains=posed.chains(source)).loss
