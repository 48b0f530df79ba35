"""Questions asked by a caller: roles, and objectives given as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.compiler.hierarchy import elsewhere, lowest
from ebmlang.compiler.query import Query, default_question, default_sought, marginalized
from ebmlang.compiler.questions import CALLERS_OBJECTIVE
from ebmlang.compiler.source import Source
from ebmlang.compiler.typed import Expr, Method, Question
from ebmlang.compiler.unread import unneeded, unread, without
from ebmlang.errors import DataError, ModelError


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call seeks: the model, the sought names in order, and the line it goes by.

    `of` is the caller's objective as text; it is the last property of `model` then. `summed` are the names
    among the sought that are summed out first. `variant` tells models apart that are parts of one file.
    """

    model: typed.Model
    sought: tuple[str, ...]
    question: Question | None
    of: str | None
    summed: tuple[str, ...] = ()
    variant: str = ""

    @property
    def query(self) -> Query:
        return Query(self.sought, self.objective, self.using, self.question, self.summed)

    @property
    def label(self) -> str | None:
        return self.question.label if self.question is not None else None

    @property
    def objective(self) -> Expr | None:
        if self.of is not None:
            return self.model.properties[-1].left
        return self.question.of if self.question is not None else None

    @property
    def using(self) -> Method | None:
        line = self.question
        return line.using if line is not None and line.verb in ("infer", "plan") else None


def objective_model(model: typed.Model, of: str) -> typed.Model:
    """The model with the caller's objective checked as one more property of it.

    Raises ModelError whose diagnostics point into the objective.
    """
    text = model.source.text
    end = model.span.end - 1
    # On a line of its own, so that messages show what the caller wrote and nothing else.
    line = f"\n  property {CALLERS_OBJECTIVE} : (\n{' '.join(of.split())}\n) >= 0\n"
    checked = pipeline.check_source(Source("<of>", text[:end] + line + text[end:]))
    if checked.failed:
        raise ModelError(checked.diagnostics)
    return next(m for m in checked.models if m.name == model.name)


def ask_roles(
    model: typed.Model,
    find: Sequence[str] | None,
    given: frozenset[str],
    of: str | None,
    objective: str | Question | None,
    incomplete: frozenset[str],
) -> Asked:
    """Settle what is sought.

    `find` names what the caller wants; other latents that are not given are sought along.
    `incomplete` are given variables with missing entries. `objective` is the label of a line, or
    the line itself. Raises DataError for names that do not fit, ModelError for a wrong `of`.
    """
    if of is not None:
        model = objective_model(model, of)
    question = objective if isinstance(objective, Question) else _line(model, objective)
    _check_names(model, find or (), given)
    whole = model
    if question is not None and of is None and find is None:
        model = _narrowed(model, question, given)
    sought = set(default_sought(model, question))
    if find is not None:
        latents = {v.name for v in model.variables if v.role == "latent"}
        sought = (sought & latents) | set(find)
    sought -= given
    summed = _summed(model, sought, given - incomplete) if sought else frozenset()
    sought |= incomplete - summed
    ordered = tuple(v.name for v in model.variables if v.name in sought | summed)
    variant = f"of line {question.span.start}" if question is not None and model is not whole else ""
    asked = Asked(model, ordered, question, of, tuple(n for n in ordered if n in summed), variant)
    return _lean(asked, given)


def _narrowed(model: typed.Model, line: Question, given: frozenset[str]) -> typed.Model:
    """The model without the unknowns that other lines plan, as far as the objective does not read them: what
    is below this line is not decided yet when it is asked."""
    if line.verb != "plan" or line.of is None:
        return model
    gone = (elsewhere(model, line) & unread(model, (line.of,), "latent")) - given
    return replace(without(model, gone), questions=model.questions) if gone else model


def _lean(asked: Asked, given: frozenset[str]) -> Asked:
    """The question about a model without those observed variables that have no value and that the objective
    does not read: nor is there, then, anything that is computed from them."""
    if asked.objective is None:
        return asked
    gone = unneeded(asked.model, (asked.objective,), frozenset(asked.sought)) - given - set(asked.sought)
    claims = asked.model.properties[-1:] if asked.of is not None else ()
    if not gone:
        return asked
    model = replace(without(asked.model, gone), properties=claims)
    return replace(asked, model=model, variant=f"{asked.variant} without {' '.join(sorted(gone))}")


def plan_line(model: typed.Model, label: str | None) -> Question:
    """The `plan` line of this label. Without one it is the first line, or the one below it that rests on it.

    Raises DataError.
    """
    lines = [q for q in model.questions if q.verb == "plan"]
    first = lowest(model)
    if first is None:
        raise DataError(f"the model {model.name} has no `plan` line", "add one: plan a")
    labels = [q.label for q in lines if q.label]
    line = first if label is None else next((q for q in lines if q.label == label), None)
    if line is None:
        hint = f"it names {listing(labels, 'and')}" if labels else f"name a line of it: plan {label}: ..."
        raise DataError(f"no `plan` line is called `{label}`", did_you_mean(str(label), labels) or hint)
    return line


def ask_line(model: typed.Model, line: Question, given: frozenset[str]) -> Asked:
    """What a line seeks: what it names, and other latents with it. Raises DataError."""
    return ask_roles(model, None, given, None, line, frozenset())


def _summed(model: typed.Model, sought: set[str], given: frozenset[str]) -> frozenset[str]:
    """What `marginalize` lines name and nobody gives or seeks: it is summed out before anything is sought."""
    latents = {v.name for v in model.variables if v.role == "latent"}
    return (marginalized(model) & latents) - sought - given


def ask_sums(
    model: typed.Model, find: Sequence[str] | None, given: frozenset[str], incomplete: frozenset[str]
) -> Asked:
    """What is summed out: `find`, or what `marginalize` lines name, or all latents; never what is given.

    Raises DataError for other latents without a value.
    """
    _check_names(model, find or (), given)
    lines = [q for q in model.questions if q.verb == "marginalize"]
    latents = [v.name for v in model.variables if v.role == "latent"]
    named = {t for q in lines for t in q.targets}
    targets = set(find) if find is not None else named or set(latents)
    sought = (targets - given) | incomplete
    for v in model.variables:
        if v.role == "latent" and v.name not in sought and v.name not in given:
            raise DataError(f"`{v.name}` is not summed out and has no value", f"pass {v.name}=...")
    ordered = tuple(v.name for v in model.variables if v.name in sought)
    if not ordered:
        raise DataError("nothing is left to sum out: every unknown is given", "leave one of them out")
    return Asked(model, ordered, None, None)


def ask_samples(
    model: typed.Model,
    find: Sequence[str] | None,
    given: frozenset[str],
    of: str | None,
    objective: str | Question | None,
    incomplete: frozenset[str],
) -> Asked:
    """What is drawn: `find`, or what a `sample` line names, with all other latents that are neither given nor
    summed out. `objective` is the label of a line, or the line itself; without it the first line counts.

    Raises DataError for names that do not fit, ModelError for a wrong `of`.
    """
    if of is not None:
        model = objective_model(model, of)
    question = objective if isinstance(objective, Question) else _sample_line(model, objective)
    _check_names(model, find or (), given)
    latents = {v.name for v in model.variables if v.role == "latent"}
    held = set(question.given) if question is not None and find is None else set()
    targets = set(find) if find is not None else set(question.targets) if question is not None else set()
    # A file that sums out all it has may still be asked for draws.
    others = latents - marginalized(model) or (set() if targets else latents)
    sought = (targets | (others - held)) - given
    summed = _summed(model, sought, given - incomplete)
    sought |= incomplete - summed
    ordered = tuple(v.name for v in model.variables if v.name in sought | summed)
    if not sought - summed:
        raise DataError("nothing is left to draw: every unknown is given", "leave one of them out")
    return Asked(model, ordered, question, of, tuple(n for n in ordered if n in summed))


def _sample_line(model: typed.Model, label: str | None) -> Question | None:
    lines = [q for q in model.questions if q.verb == "sample"]
    if label is None:
        return next(iter(lines), None)
    found = next((q for q in lines if q.label == label), None)
    if found is None:
        labels = [q.label for q in lines if q.label]
        hint = f"it names {listing(labels, 'and')}" if labels else f"name a line of it: sample {label}: ..."
        raise DataError(f"no `sample` line is called `{label}`", did_you_mean(label, labels) or hint)
    return found


def line_of(model: typed.Model, names: Sequence[str]) -> Question | None:
    """The `marginalize` line that speaks about some of the names."""
    lines = (q for q in model.questions if q.verb == "marginalize" and set(q.targets) & set(names))
    return next(lines, None)


def _line(model: typed.Model, label: str | None) -> Question | None:
    question = default_question(model, label)
    if label is None:
        return question
    if question is None:
        labels = [q.label for q in model.questions if q.label]
        hint = did_you_mean(label, labels) or (
            f"it names {listing(labels, 'and')}" if labels else f"name a line of it: infer {label}: ..."
        )
        raise DataError(f"the model names no objective `{label}`", hint)
    if question.verb not in ("infer", "plan"):
        raise DataError(
            f"`{label}` is a `{question.verb}` line, and inference asks `infer` lines", "name one of those"
        )
    return question


def _check_names(model: typed.Model, find: Sequence[str], given: frozenset[str]) -> None:
    names = {v.name for v in model.variables if v.role != "hyper"}
    for name in (*find, *sorted(given)):
        if name not in names:
            hint = did_you_mean(name, names) or f"there are {', '.join(sorted(names))}"
            raise DataError(f"the model has no variable `{name}`", hint)
    for name in find:
        if name in given:
            raise DataError(f"`{name}` is given and asked for", "leave it out of the data, or out of find")
