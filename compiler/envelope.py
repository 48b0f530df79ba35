"""What training lowers, and why its gradient needs no derivative of the search inside.

The loss is F(W) = min_z E(z, W), averaged over examples (or the free energy, where unknowns are summed
out). Where z minimises the same E over a set that does not move with W, the envelope theorem (Danskin 1967;
Milgrom & Segal 2002) gives dF/dW = dE/dW at the minimiser, with z held. Everything that would break this is
found here and refused; nothing is differentiated wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ebmlang.compiler import notation, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.training import LossMisfit
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.collapse.verdict import Verdict, verdict_of
from ebmlang.compiler.diagnostics import Diagnostic, listing
from ebmlang.compiler.explanation import line as entry
from ebmlang.compiler.graph import Factor, FactorGraph
from ebmlang.compiler.losses.amortized import EVIDENCE, REGRESSION, TITLES
from ebmlang.compiler.losses.table import find_written
from ebmlang.compiler.optimisers import OptimiserRow, optimiser_text
from ebmlang.compiler.query import default_question, marginalized
from ebmlang.compiler.training import kept_terms, reached, settings_of, targets_of
from ebmlang.compiler.typed import Apply, Expr, Level, Method, Model, Optimiser, Question, Turn, Variable
from ebmlang.compiler.unread import borders, unneeded, unread, without

_REGRESSED = "distance of the prediction"

COMPARED = ("energy of the data", "energy of the negatives")
"""Values of the model that a contrast compares, to be looked at while it is trained."""

ENVELOPE = "of the energy at the minimum, with {} held there: the loss is the minimum of that same energy"
FREE = "of the free energy, through the sums"
PLAIN = "of the energy: nothing is sought"


_LOGARITHMS = ("log", "xlogy", "entropy")
"""Functions whose slope has no end where an argument is 0."""


@dataclass(frozen=True)
class Loss:
    """A train question with its roles settled.

    `model` is without the terms that training skips. `sought` are minimised and `summed` summed out for every
    example, with the `targets` held. `own` is the line of the file that says how they are found.
    """

    model: Model
    line: Question | None
    targets: tuple[str, ...]
    sought: tuple[str, ...]
    summed: tuple[str, ...]
    own: Question | None
    skipped: tuple[str, ...]

    @property
    def of(self) -> Expr | None:
        return self.line.of if self.line is not None else None

    @property
    def regressed(self) -> str:
        """The value of the model that is the loss, where the search inside lowers something else, which the
        loss does not follow: the distance of a prediction from what was found. Empty elsewhere."""
        named = self.line.loss if self.line is not None else None
        return _REGRESSED if named is not None and named.name == REGRESSION and self.sought else ""

    @property
    def lowered(self) -> Expr | None:
        """What the search inside lowers; None for the total."""
        if not self.regressed:
            return self.of
        return self.own.of if self.own is not None else None

    @property
    def optimiser(self) -> Optimiser | None:
        return self.line.optimiser if self.line is not None else None

    @property
    def using(self) -> Method | None:
        """The method that the file names for what is sought inside."""
        return self.own.using if self.own is not None else None

    @cached_property
    def question(self) -> Question | None:
        """The inner question as an `infer` line; None where it is about the total, and nothing is sought."""
        if not self.sought and self.of is None:
            return None
        span = self.line.span if self.line is not None else self.model.span
        text = f"infer {', '.join(self.sought)}"
        return Question("infer", None, self.sought, self.lowered, (), self.using, text, "", span)

    @cached_property
    def interior(self) -> frozenset[str]:
        """Parameters on a simplex whose logarithm the model reads. Its slope has no end at the border, so
        they are moved as logits, which never reach it."""
        graph = FactorGraph(self.model, ())
        values = (*(t.value for t in self.model.terms), *(let.value for let in self.model.lets))
        nodes = (n for v in values for n in typed.walk(v) if isinstance(n, Apply))
        read = (a for n in nodes if n.function in _LOGARITHMS for a in n.arguments)
        names = {name for argument in read for name in graph.inputs(argument)}
        on = {v.name for v in self.model.variables if v.domain.name == "simplex"}
        return frozenset(names & on & set(self.targets))

    @property
    def inside(self) -> tuple[str, ...]:
        """Everything unknown beside the parameters, in the order of declaration."""
        return tuple(v.name for v in self.model.variables if v.name in (*self.sought, *self.summed))


def loss_of(model: Model, line: Question | None, given: frozenset[str], incomplete: frozenset[str]) -> Loss:
    """Settle the roles of a `train` line, or of training everything. `given` are the variables with values;
    `incomplete` are those among them with entries that are missing, which are sought."""
    line = _by_evidence(model, line, given)
    targets = targets_of(model, line)
    kept = kept_terms(model, line)
    clamped = (given | frozenset(line.given if line is not None else ())) - incomplete
    skipped = tuple(t.name for t in model.terms if t not in kept)
    smaller = _without(model, kept, given) if skipped else model
    if line is not None and line.of is not None:
        carried = (line.of, *(update.value for update in model.programme.updates))
        needless = unread(model, (line.of,), "latent") | unneeded(model, carried, frozenset())
        smaller = without(model, needless - given)
    latents = {v.name for v in smaller.variables if v.role == "latent"}
    summed = (marginalized(model) & latents) - clamped
    sought = ((latents - clamped) | incomplete) - summed

    def ordered(names: set[str] | frozenset[str]) -> tuple[str, ...]:
        return tuple(v.name for v in smaller.variables if v.name in names)

    own = default_question(model)
    if own is not None and (own.verb != "infer" or not sought & set(own.targets)):
        own = None
    named = line.loss if line is not None else None
    pairs = zip(COMPARED, named.compared, strict=False) if named is not None else ()
    compared = tuple(typed.Let(name, value, "", value.span) for name, value in pairs)
    smaller = replace(smaller, lets=(*smaller.lets, *compared))
    found = Loss(smaller, line, targets, ordered(sought), ordered(summed), own, skipped)
    if not found.regressed or line is None or line.of is None:
        return found
    own_let = typed.Let(found.regressed, line.of, "", line.span)
    return replace(found, model=replace(smaller, lets=(*smaller.lets, own_let)))


def _by_evidence(model: Model, line: Question | None, given: frozenset[str]) -> Question | None:
    """A plain `train` line where the first line of an unknown says that it is drawn from a prediction: its
    loss is the evidence bound then, and not the energy at a minimum."""
    if line is not None and (line.of is not None or line.loss is not None):
        return line
    first: dict[str, Question] = {}
    for question in model.questions:
        if question.verb in ("infer", "amortize"):
            for name in question.targets:
                first.setdefault(name, question)
    drawn = [q for n, q in first.items() if n not in given and q.loss is not None and q.loss.name == EVIDENCE]
    if len(drawn) != 1:
        return line
    plain = line or Question("train", None, (), None, (), None, "train", "", model.span)
    return replace(plain, of=drawn[0].of, loss=drawn[0].loss)


def _without(model: Model, kept: tuple[typed.Term, ...], given: frozenset[str]) -> Model:
    """The model of the kept terms: what nothing reads any more, and nobody gives, is gone."""
    graph = FactorGraph(model, ())
    parts = tuple(p for t in kept for p in Factor(t.name, t.kind, t.batch, t.axes, None, t.value, t).parts)
    # An optimiser reads schedules, too.
    needed = reached(model, parts) | given | frozenset(model.programme.schedules)
    gone = frozenset(
        v.name for v in model.variables if v.role in ("latent", "observed") and v.name not in needed
    )
    return replace(
        model,
        variables=tuple(v for v in model.variables if v.name not in gone),
        lets=tuple(let for let in model.lets if not graph.depends(let.value, gone)),
        terms=kept,
        constraints=tuple(c for c in model.constraints if not graph.depends(c.value, gone)),
        questions=(),
        properties=(),
    )


# --- what would make the gradient wrong ---------------------------------------------------------


def obstacles(loss: Loss, graph: FactorGraph) -> Iterator[Diagnostic]:
    """What is not built, or would make the gradient another one than that of the loss."""
    for word, span in loss.line.later if loss.line is not None else ():
        yield NotBuilt(span, f"`train` with `{word}`")
    targets = frozenset(loss.targets)
    for limit in graph.limits:
        if reached(loss.model, limit.parts) & targets:
            what = f"training what the constraint `{limit.name}` depends on"
            yield NotBuilt(limit.constraint.span, what, "make it a term that is large where it is violated")
    if not loss.inside:
        return
    named = loss.line.loss if loss.line is not None else None
    if loss.regressed and loss.summed and loss.line is not None:
        names = listing([f"`{n}`" for n in loss.summed], "and")
        yield NotBuilt(loss.line.span, f"regression beside a sum over {names}", "by energy")
    if named is not None and loss.line is not None and find_written(named.name) and not named.negatives:
        names = listing([f"`{n}`" for n in loss.inside], "and")
        because = f"{names} would be found anew for every value of `{named.variable}`"
        advice = f"pass values of {names}, or write the energy without"
        yield LossMisfit(loss.line.span, named.name, because, advice)
        return
    for variable in loss.model.variables:
        if variable.name in loss.inside and reached(loss.model, borders(variable)) & targets:
            yield NotBuilt(variable.span, f"training what the domain of `{variable.name}` depends on")
    yield from _other_energies(loss)
    yield from _other_weights(loss, graph)


def _other_energies(loss: Loss) -> Iterator[Diagnostic]:
    """The search inside lowers another energy than the loss: it would have to be differentiated."""
    own = loss.own
    if loss.line is not None and loss.line.prediction:
        return  # a regression stops at what was found, and the others minimise what they lower
    other = own is not None and own.of is not None and not (loss.of and _same(own.of, loss.of))
    if own is not None and other:
        what = f"training through `{own.text}`, which lowers something else than the loss"
        yield NotBuilt(own.span, what, "train ... of the same, or leave out `of` here")
    elif loss.of is not None and loss.line is not None and (own is None or own.of is None):
        names = ", ".join(loss.inside)
        what = f"training `of` something while {names} lowers the total"
        yield NotBuilt(loss.line.span, what, f"give {names}, or say in an `infer` line what it lowers")
    if loss.of is not None and loss.summed and loss.line is not None:
        yield NotBuilt(loss.line.span, f"training `of` something after summing out {', '.join(loss.summed)}")


def _same(a: Expr, b: Expr) -> bool:
    return notation.text(a) == notation.text(b)


def _other_weights(loss: Loss, graph: FactorGraph) -> Iterator[Diagnostic]:
    """All examples are one search, which weighs terms of an example against terms of the batch otherwise
    than the loss does: the one adds examples up, the other takes their mean."""
    names = frozenset(loss.inside)
    touching = [f for f in graph.factors if any(graph.depends(p, names) for p in f.parts)]
    shared = any(v.level is not Level.EXAMPLE for v in loss.model.variables if v.name in names)
    joint = shared or any(f.value.coupled for f in touching)
    if not joint:
        return
    once = [f for f in touching if f.batch or f.value.coupled or f.value.level is not Level.EXAMPLE]
    if loss.summed or loss.of is not None or (once and len(once) < len(touching)):
        first = once[0] if once else touching[0]
        what = f"training while all examples search {', '.join(loss.inside)} together"
        yield NotBuilt(first.term.span, what, "one value per example has no such term")


# --- words --------------------------------------------------------------------------------------


def explain_training(loss: Loss, plan: Plan | None) -> str:
    """What is trained, which loss, how the gradient passes the search inside, and by which steps."""
    row, _ = settings_of(loss.optimiser)
    lines = [f"train {', '.join(loss.targets)}"]
    when = _turn_text(loss.line.turn) if loss.line is not None else ""
    lines += [entry("when", when)] if when else []
    lines.append(entry("loss", _loss_text(loss)))
    if plan is not None and loss.sought:
        named = f"by {plan.method.name}" if plan.method is not None else f"by no method: {plan.because}"
        held = ", ".join(loss.targets)
        lines.append(entry("inside", f"{', '.join(loss.sought)} {named}, with {held} held"))
    lines.append(entry("gradient", _gradient_text(loss)))
    lines.append(entry("using", _optimiser_text(loss, row)))
    verdict = verdict_of(loss.model, loss.line)
    if verdict is not None:
        lines.append(entry("collapse", _collapse_text(verdict)))
    kept = [v for v in loss.model.variables if v.name in loss.targets and v.domain.name != "reals"]
    lines += [entry("kept", f"{v.name} in {v.domain.name}: {_kept(loss, v)}") for v in kept]
    return "\n".join(lines)


def _turn_text(turn: Turn) -> str:
    """When a line runs; empty where that is once in every minibatch of the main data."""
    parts = [
        f"in the stage {turn.stage}" if turn.stage else "",
        f"in every minibatch that {turn.every} divides" if turn.every is not None else "",
        f"{turn.repeats} steps in a minibatch" if turn.repeats is not None else "",
        f"on the rows of {turn.on}" if turn.on else "",
    ]
    return ", ".join(part for part in parts if part)


def _loss_text(loss: Loss) -> str:
    named = loss.line.loss if loss.line is not None else None
    if named is not None:
        row = find_written(named.name)
        told = f"{row.title} ({row.reference})" if row is not None else TITLES[named.name]
        return f"the mean over the examples of {named.text}: {told}"
    what = "what follows `of`" if loss.of is not None else " + ".join(t.name for t in loss.model.terms)
    over = f"the mean over the examples of {what}"
    if loss.summed:
        over += f", as the free energy after summing out {', '.join(loss.summed)}"
    skipped = f"; {', '.join(loss.skipped)} is a cost, and left out" if loss.skipped else ""
    return over + skipped


def _gradient_text(loss: Loss) -> str:
    if loss.summed and loss.sought:
        return f"{FREE}, at the minimum in {', '.join(loss.sought)} (envelope theorem)"
    if loss.summed:
        return FREE
    if not loss.sought:
        return PLAIN
    if loss.regressed:
        return f"of the distance, with {', '.join(loss.sought)} as found: training does not follow the search"
    return (
        ENVELOPE.format(", ".join(loss.sought))
        + " (envelope theorem), so the search itself is not differentiated"
    )


def _optimiser_text(loss: Loss, row: OptimiserRow) -> str:
    chosen = loss.optimiser
    named = optimiser_text(row.name, chosen.options if chosen is not None else ())
    note = "" if chosen is not None else "; the line names none"
    return f"{named}: {row.title} ({row.reference}){note}"


def _collapse_text(verdict: Verdict) -> str:
    if not verdict.collapses:
        return f"nothing says that constants are best: {verdict.because}"
    names, terms = listing(verdict.constant, "and"), listing(verdict.minimal, "and")
    do = "does" if len(verdict.constant) == 1 else "do"
    return f"possible: where {names} {do} not depend on the data, {terms} cannot be lower"


_KEPT = {
    "closed convex": "projected after every step",
    "closed": "projected after every step",
    "open": "moved in coordinates without a border",
    "manifold": "the gradient along it, every step brought back to it",
}


def _kept(loss: Loss, variable: Variable) -> str:
    if variable.name in loss.interior:
        return "moved as logits, because its logarithm is read"
    return _KEPT.get(variable.domain.rule.geometry, "")
