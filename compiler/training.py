"""What a `train` line says: which parameters, by which optimiser, of which energy.

Checked here as far as the text goes; what the inference inside means for the gradient is in `envelope.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import TABLE
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.names import RepeatedName, UnknownArgument, UnknownMethod
from ebmlang.compiler.catalogue.training import (
    CannotTrain,
    Collapses,
    LossMisfit,
    NothingToTrain,
    OptimiserDomain,
    Untrained,
)
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.diagnostics import Diagnostic, Label, Report
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.optimisers import (
    DEFAULT,
    WANTED,
    OptimiserRow,
    Value,
    accepted,
    find_optimiser,
    optimiser_names,
)
from ebmlang.compiler.query import marginalized
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import SKIPPED_KIND, Expr, Model, Optimiser, Question, Variable

# --- the optimiser ------------------------------------------------------------------------------


def read_optimiser(clause: ast.Clause, report: Report, schedules: tuple[str, ...] = ()) -> Optimiser | None:
    """`using NAME` or `using NAME(option = value, ...)`; None after a mistake, which the report has.

    A number may be the name of one of the `schedules`.
    """
    value, name = clause.value, ""
    arguments: tuple[ast.Argument, ...] = ()
    if isinstance(value, ast.Call):
        name, arguments = value.function.text, value.arguments
    elif isinstance(value, ast.Name):
        name = value.text
    row = find_optimiser(name)
    if row is None:
        place = value.span if value is not None else clause.span
        report.add(UnknownMethod(place, name or report.source.extract(place), optimiser_names(), "optimiser"))
        return None
    return Optimiser(name, tuple(_options(row, arguments, report, schedules)), clause.span)


def _options(
    row: OptimiserRow, arguments: tuple[ast.Argument, ...], report: Report, schedules: tuple[str, ...]
) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for argument in arguments:
        shown = report.source.extract(argument.value.span)
        name = argument.name.text if argument.name is not None else ""
        kind = row.kind(name)
        if argument.name is None or kind is None:
            span = argument.name.span if argument.name is not None else argument.span
            advice = "" if name else f"name it: {row.options[0][0]} = {shown}"
            report.add(UnknownArgument(span, name or shown, row.name, row.option_names, advice))
        elif name in seen:
            report.add(RepeatedName(argument.span, name, f"the options of `{row.name}`"))
        else:
            seen.add(name)
            value = accepted(kind, _literal(argument.value, schedules))
            if value is None:
                report.add(BadOption(argument.value.span, name, f"`{shown}`", WANTED[kind]))
            else:
                yield name, value


def _literal(
    node: ast.Expr | ast.Reduction | ast.OverBatch | ast.Text, schedules: tuple[str, ...] = ()
) -> object:
    """A plain number, true or false, a list of plain numbers, or a schedule; None for anything else."""
    match node:
        case ast.Number(text=text):
            value = float(text.replace("_", ""))
            return value if value < float("inf") else None
        case ast.Name(text="true" | "false" as word):
            return word == "true"
        case ast.Name(text=name) if name in schedules:
            return name
        case ast.ListExpr(items=items):
            return tuple(_literal(item) for item in items)
        case ast.Parenthesised(inner=inner):
            return _literal(inner, schedules)
    return None


def settings_of(optimiser: Optimiser | None) -> tuple[OptimiserRow, dict[str, Value]]:
    """The row of the table, and all its options: those that are set over the defaults."""
    row = find_optimiser(optimiser.name if optimiser is not None else DEFAULT)
    assert row is not None
    return row, {**row.defaults, **dict(optimiser.options if optimiser is not None else ())}


# --- the parameters -----------------------------------------------------------------------------


def trainable(model: Model) -> tuple[str, ...]:
    """Everything that a bare `train` moves: parameters of real numbers that are no states, and nets that are
    no averages."""
    states = model.programme.states
    params = tuple(
        v.name
        for v in model.variables
        if v.role == "param" and v.type.kind == "real" and v.name not in states
    )
    return (*params, *(net.name for net in model.nets if not net.source))


def targets_of(model: Model, line: Question | None) -> tuple[str, ...]:
    """What a line trains, in the order of declaration: what it names; of a prediction what no term reads, or
    all of it; else everything that is not left to a prediction."""
    everything = trainable(model)
    if line is not None and line.prediction:
        own = _predicting(model, line)
        return tuple(n for n in everything if n in own)
    if line is not None and line.targets:
        return tuple(n for n in everything if n in line.targets)
    others = frozenset(n for q in model.questions if q.prediction for n in _predicting(model, q))
    return tuple(n for n in everything if n not in others)


def _predicting(model: Model, line: Question) -> frozenset[str]:
    """What an `amortize` line moves. What the energy is made of is not bent towards being predictable, unless
    the prediction is made of nothing else."""
    within = reached(model, line.prediction) & frozenset(trainable(model))
    used = reached(model, tuple(part for term in model.terms for part in term_parts(term)))
    return within - used or within


def kept_terms(model: Model, line: Question | None) -> tuple[typed.Term, ...]:
    """The terms whose sum is the loss where the line has no `of`."""
    whole = line is not None and line.of is not None and (line.loss is None or line.prediction)
    return tuple(t for t in model.terms if whole or t.kind != SKIPPED_KIND)


def check_training(model: Model, report: Report) -> None:
    """The `train` lines of a model that is right otherwise, and what its updates read."""
    latents = {v.name for v in model.variables if v.role == "latent"}
    for update in model.programme.updates:
        # Acting computes what it moves from what was seen and done, without a search.
        searched = update.state not in model.programme.episodic
        for name in sorted(reached(model, (update.value,)) & latents):
            if not searched:
                report.add(NotBuilt(update.span, f"an `update` per episode that reads the latent `{name}`"))
            elif name in marginalized(model):
                report.add(NotBuilt(update.span, f"an `update` that reads `{name}`, which is summed out,"))
    wrong = False
    for line in model.questions:
        if line.verb in typed.TRAINING:
            mistakes = tuple(training_mistakes(model, line, line.span))
            for mistake in mistakes or _collapse(model, line):
                report.add(mistake)
            wrong = wrong or bool(mistakes)
    # A line with a mistake may be the one that was to move them.
    for mistake in () if wrong else _untrained(model):
        report.add(mistake)


def training_warnings(model: Model) -> Iterator[Diagnostic]:
    """What is to be said before a model without mistakes is trained."""
    for line in model.questions:
        if line.verb in typed.TRAINING:
            yield from _collapse(model, line)
    yield from _untrained(model)


def _untrained(model: Model) -> Iterator[Diagnostic]:
    """Parameters and nets that terms read, that some line could move, and that none does."""
    lines = [q for q in model.questions if q.verb in typed.TRAINING]
    if not lines:
        return
    moved = {name for line in lines for name in targets_of(model, line)}
    sought = {name for q in model.questions for name in q.targets}
    used = reached(model, tuple(part for term in model.terms for part in term_parts(term)))
    left = [n for n in trainable(model) if n in used and n not in moved | sought]
    declared = {v.name: v.span for v in model.variables} | {n.name: n.span for n in model.nets}
    outside = {n.name for n in model.nets if n.extern}
    names = tuple(n for n in left if n not in outside)
    if names:
        first = next((q.targets for q in lines if q.verb == "train" and q.targets), ())
        places = tuple(Label(declared[n], f"`{n}` is declared here") for n in names[1:])
        yield Untrained(declared[names[0]], names, f"train {', '.join((*first, *names))}", places)


def _collapse(model: Model, line: Question) -> Iterator[Diagnostic]:
    """What training by a right line may end in."""
    from ebmlang.compiler.collapse.verdict import verdict_of

    verdict = verdict_of(model, line)
    if verdict is not None and verdict.collapses:
        declared = {v.name: v.span for v in model.variables} | {n.name: n.span for n in model.nets}
        places = tuple(Label(declared[name], f"`{name}` is declared here") for name in verdict.constant)
        yield Collapses(line.span, verdict.constant, verdict.minimal, places)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a loss depends on: everything that it reads, what it reads outside of `stop(...)`, and what its
    gradient may reach."""

    read: frozenset[str]
    open: frozenset[str]
    followed: frozenset[str]


def training_mistakes(model: Model, line: Question | None, span: Span) -> Iterator[Diagnostic]:
    """What speaks against training by a line, or everything without one; placed at `span`."""
    if not trainable(model):
        yield NothingToTrain(span, model.name)
        return
    names = set(targets_of(model, line))
    if line is not None and line.verb == "train":
        names |= set(line.targets)
    if not names and line is not None and line.prediction:
        because = "nothing that can be trained is in the prediction"
        yield LossMisfit(span, "amortize", because, "net enc : real[n] -> real[k] = mlp([64])")
    targets = [v for v in model.variables if v.name in names]
    parts = _loss_parts(model, line)
    within = _Reach(reached(model, parts), followed(model, parts), followed(model, parts, STOPS | STEPS))
    for variable in targets:
        because, advice = _obstacle(model, line, variable, within)
        if because:
            places = (Label(variable.span, f"`{variable.name}` is declared here"),)
            yield CannotTrain(span, variable.name, because, advice, places)
    for net in (n for n in model.nets if n.name in names):
        because, advice = _net_obstacle(model, line, net, within)
        if because:
            places = (Label(net.span, f"`{net.name}` is declared here"),)
            yield CannotTrain(span, net.name, because, advice, places)
    yield from _domain_mistakes(targets, line, span)


def _obstacle(model: Model, line: Question | None, variable: Variable, within: _Reach) -> tuple[str, str]:
    """Why a variable cannot be trained, and one thing to try; empty where it can."""
    if variable.role != "param":
        return f"it is {variable.role}, with one value per example", f"infer {variable.name}"
    if variable.name in model.programme.states:
        return "it is a state, which its `update` moves", f"declare it a parameter: param {variable.name}"
    if variable.type.kind != "real":
        return f"it is {variable.type}, which has no gradient", "declare it real, with a domain"
    return _unreached(model, line, variable.name, within)


def _net_obstacle(model: Model, line: Question | None, net: Net, within: _Reach) -> tuple[str, str]:
    """The same for a net."""
    if net.source:
        return f"it is the average of {net.source}, and follows that", f"train {net.source}"
    return _unreached(model, line, net.name, within)


def _unreached(model: Model, line: Question | None, name: str, within: _Reach) -> tuple[str, str]:
    """Why the loss does not depend on a name; empty where it does."""
    if name in within.followed:
        return "", ""
    if name in within.open:
        because = "no gradient reaches it: the loss reads it through argmax, rounding or comparisons alone"
        return because, "straight_through(hard, soft), with the gradient of soft"
    if name in within.read:
        return "its gradient is stopped wherever the loss reads it", "leave out stop(...) in one place"
    others = ", ".join(n for n in trainable(model) if n in within.followed)
    if line is not None and line.of is not None:
        what = "what follows `of`" if line.loss is None else f"`{line.loss.name}`"
        return f"{what} does not depend on it", f"train {others}" if others else ""
    everything = reached(model, tuple(p for t in model.terms for p in term_parts(t)))
    if name in everything:
        return "only cost terms depend on it, and training skips those", _way_through(model, name)
    return "no term depends on it", f"train {others}" if others else "use it in a term"


def _way_through(model: Model, name: str) -> str:
    """How what only costs depend on is trained: by lowering costs that it leads to, if it stands in none."""
    costs = [t for t in model.terms if t.kind == SKIPPED_KIND]
    standing = [t.name for t in costs if name in typed.reads(t.value)]
    if standing:
        return f"an `energy` that fits `{name}` to data: it stands in the cost `{standing[0]}` itself"
    return f"train {name} of {' + '.join(t.name for t in costs)}"


def _domain_mistakes(targets: list[Variable], line: Question | None, span: Span) -> Iterator[Diagnostic]:
    row, _ = settings_of(line.optimiser if line is not None else None)
    if row.free:
        for variable in targets:
            if variable.role == "param" and variable.domain.rule.geometry not in ("everywhere", "open"):
                places = (Label(variable.span, f"`{variable.name}` is declared here"),)
                yield OptimiserDomain(span, row.name, variable.name, variable.domain.name, places)


def _loss_parts(model: Model, line: Question | None) -> tuple[Expr, ...]:
    if line is not None and line.of is not None:
        return (line.of,)
    return tuple(part for term in kept_terms(model, line) for part in term_parts(term))


def term_parts(term: typed.Term) -> tuple[Expr, ...]:
    """Everything that a term reads: its value, its guard, the lists that its plates run over."""
    guard = () if term.guard is None else (term.guard,)
    return (term.value, *guard, *(a.rows for a in term.axes if a.rows is not None))


STOPS = frozenset({"stop"})
STEPS = frozenset(row.name for row in TABLE if row.result in ("bool", "int") or set(row.derivative) == {"0"})
"""Functions whose slope is 0 wherever they have one."""


def followed(model: Model, parts: tuple[Expr, ...], cut: frozenset[str] = STOPS) -> frozenset[str]:
    """The same apart from what stands in the functions `cut`: what a gradient may reach."""
    lets = tuple(replace(let, value=_without(cut, let.value)) for let in model.lets)
    return reached(replace(model, lets=lets), tuple(_without(cut, part) for part in parts))


def _without(functions: frozenset[str], value: Expr) -> Expr:
    """The value with a constant in place of what stands in the functions."""

    def cut(node: Expr) -> Expr | None:
        if isinstance(node, typed.Apply) and node.function in functions:
            return typed.Constant(node.type, (), typed.Level.CONSTANT, False, node.span, 0.0)
        return None

    return typed.mapped(value, cut)


def reached(model: Model, parts: tuple[Expr, ...]) -> frozenset[str]:
    """Variables that values depend on, also through lets and through how random ones are drawn."""
    graph = FactorGraph(model, ())
    drawn = {v.name: v.init for v in model.variables if v.role == "random" and v.init is not None}
    found: set[str] = set()
    fresh = {name for part in parts for name in graph.inputs(part)}
    while fresh:
        found |= fresh
        inits = [drawn[name] for name in fresh if name in drawn]
        fresh = {name for init in inits for name in graph.inputs(init)} - found
    return frozenset(found)
