"""Whether constants are as good as anything else for a `train` line, and if not, what forbids them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ebmlang.compiler import typed
from ebmlang.compiler.collapse.constants import (
    FROZEN,
    SOLVED,
    STOPPED,
    UNKNOWN,
    Case,
    Constants,
    holds_zero,
    is_zero,
)
from ebmlang.compiler.curvature.ranges import Ranges
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.query import marginalized
from ebmlang.compiler.training import kept_terms, targets_of
from ebmlang.compiler.typed import Apply, Expr, Level, Model, Question, Read


@dataclass(frozen=True, slots=True)
class Verdict:
    """`constant` are the nets and parameters that are constant, `minimal` the terms that this brings to their
    lower bound. Where the proof fails, `because` names the term and says what is in the way."""

    constant: tuple[str, ...]
    minimal: tuple[str, ...]
    because: str = ""

    @property
    def collapses(self) -> bool:
        return not self.because


@dataclass(frozen=True, slots=True)
class Summand:
    """A part of a term that is added to the rest of it."""

    term: str
    value: Expr


def verdict_of(model: Model, line: Question | None) -> Verdict | None:
    """What a `train` line may come to; None where nothing trained meets the data of an example, where the
    model draws other values to be pushed up, and where a prediction is learnt.

    The claim is about the loss, the mean over examples of min_z E(z, W) or of a free energy: of the summands
    that read what is trained, each is at its proven lower bound for all z, and no other summand moves with W.
    Unknowns may be put to 0 too where they are minimised, and every summand that reads them is counted then.
    """
    if line is not None and (line.prediction or (line.loss is not None and line.loss.negatives)):
        return None
    graph = FactorGraph(model, ())
    targets = frozenset(targets_of(model, line))
    moving = Dependence(graph, targets)
    summands = tuple(_summands(model, graph, line))
    touched = tuple(s for s in summands if moving(s.value))
    if not any(_sees_data(graph, s.value) for s in touched) or _otherwise_tied(model, graph, targets):
        return None
    failures: list[str] = []
    for case, counted in _cases(model, line, targets, touched, summands, graph):
        blocked = next((why for s in counted if (why := _obstacle(graph, case, s))), "")
        if not blocked:
            names = _constant_names(model, graph, targets, touched)
            return Verdict(names, tuple(dict.fromkeys(s.term for s in counted)))
        failures.append(blocked)
    return Verdict((), (), failures[0])


def _cases(
    model: Model,
    line: Question | None,
    targets: frozenset[str],
    touched: tuple[Summand, ...],
    summands: tuple[Summand, ...],
    graph: FactorGraph,
) -> Iterator[tuple[Case, tuple[Summand, ...]]]:
    """What may be constant, with the summands that have to be at their bound."""
    held = frozenset(line.given if line is not None else ()) | marginalized(model)
    ranges = Ranges(graph, targets)
    free = frozenset(
        v.name
        for v in model.variables
        if v.role == "latent" and v.name not in held and v.type.kind == "real" and holds_zero(v, ranges)
    )
    for settled in (frozenset[str](), free) if free else (free,):
        reads = Dependence(graph, settled)
        counted = tuple(s for s in summands if s in touched or reads(s.value))
        for alike in (False, True):
            yield Case(targets, alike, settled), counted


# --- the parts of the loss ----------------------------------------------------------------------


def _summands(model: Model, graph: FactorGraph, line: Question | None) -> Iterator[Summand]:
    if line is not None and line.of is not None:
        for part in _added(graph, line.of):
            yield Summand(_terms_in(model, part), part)
        return
    for term in kept_terms(model, line):
        for part in _added(graph, term.value):
            yield Summand(term.name, part)


def _terms_in(model: Model, part: Expr) -> str:
    """The terms that an objective is made of, as far as they stand in it whole."""
    parts = {id(node) for node in typed.walk(part)}
    return ", ".join(t.name for t in model.terms if id(t.value) in parts) or "the objective"


def _added(graph: FactorGraph, value: Expr) -> Iterator[Expr]:
    """The summands of a value, through lets."""
    match value:
        case Read(name=name) if name in graph.lets:
            yield from _added(graph, graph.lets[name].value)
        case Apply(function="add", arguments=(a, b)) if a.type.scalar and b.type.scalar:
            yield from _added(graph, a)
            yield from _added(graph, b)
        case _:
            yield value


def _otherwise_tied(model: Model, graph: FactorGraph, targets: frozenset[str]) -> bool:
    """Whether what is trained decides which summands there are, or a constraint ties unknowns down."""
    guards = [t.guard for t in model.terms if t.guard is not None]
    return bool(model.constraints) or any(graph.depends(g, targets) for g in guards)


def _sees_data(graph: FactorGraph, value: Expr) -> bool:
    """Whether a value differs by example through what is observed or drawn."""
    names = graph.inputs(value)
    data = (v for v in graph.variables if v.role in ("observed", "random") and v.level is Level.EXAMPLE)
    return any(v.name in names for v in data)


def _constant_names(
    model: Model, graph: FactorGraph, targets: frozenset[str], touched: tuple[Summand, ...]
) -> tuple[str, ...]:
    """What is trained and read by the summands: nets by name, and parameters where there is no net."""
    read = frozenset[str]().union(*(graph.inputs(s.value) for s in touched))
    nets = tuple(n.name for n in model.nets if n.name in targets & read)
    return nets or tuple(v.name for v in model.variables if v.name in targets & read)


# --- one summand --------------------------------------------------------------------------------


def _obstacle(graph: FactorGraph, case: Case, summand: Summand) -> str:
    """Why a summand is not at a proven lower bound where everything is constant; empty where it is."""
    unknown = case.trained | {v.name for v in graph.variables if v.role == "latent"}
    ranges = Ranges(graph, unknown)
    bound = ranges(summand.value).low
    constants = Constants(graph, case, ranges)
    value = constants(summand.value)
    name = f"`{summand.term}`"
    left = _left(graph, case, value)
    if left:
        return f"{name} {left}"
    if bound == float("-inf"):
        return f"no lower bound of {name} is proven"
    if constants.undefined:
        return f"{name} does not exist where everything is constant"
    if is_zero(value) and bound >= 0:
        return ""
    found = ranges(value)
    if found.high <= bound:
        return ""
    looks = "looks at all examples together, and " if summand.value.coupled else ""
    for shown, note in (
        (value, ""),
        (_with_defaults(graph, value), ", with hyperparameters at their defaults"),
    ):
        least = ranges(shown)
        if least.low > bound or (bound == 0 and least.positive):
            return f"{name} {looks}is above its lower bound {bound:g} where everything is constant{note}"
    return f"{name} {looks}is not proven to be at its lower bound {bound:g} where everything is constant"


def _shown(name: str, kind: str) -> str:
    """The text of a value that stands for itself, without its places."""
    return name.removeprefix(kind).rstrip("0123456789 ")


def _left(graph: FactorGraph, case: Case, value: Expr) -> str:
    """What a summand still compares constants with."""
    for node in typed.walk(value):
        if isinstance(node, Apply) and node.function == "net" and isinstance(node.arguments[0], Read):
            own = graph.model.net(node.arguments[0].name)
            if own is not None and own.extern:
                return f"calls `{own.name}`, which comes from outside: what it can be is not known"
    reads = typed.reads(value)
    for name in sorted(reads):
        if name.startswith(FROZEN):
            net = name.removeprefix(FROZEN).split(" ")[0]
            own = graph.model.net(net)
            source = own.source if own is not None else ""
            return f"compares with `{net}`, an average of `{source}` that no gradient reaches"
        if name.startswith(STOPPED):
            return f"has no gradient through `{_shown(name, STOPPED)}`: training does not follow its slope"
        if name.startswith(UNKNOWN):
            return f"reads the recurrence `{_shown(name, UNKNOWN)}`"
        if name.startswith(SOLVED):
            return f"reads the nested minimum `{_shown(name, SOLVED)}`"
    for v in graph.variables:
        if v.name in reads and v.role in ("observed", "random") and v.name not in case.settled:
            return f"depends on `{v.name}` also where everything trained is constant"
    kept = [v for v in graph.variables if v.name in case.trained & reads]
    if kept:
        return f"reads `{kept[0].name}`, which cannot be 0 in {kept[0].domain.name}"
    return ""


def _with_defaults(graph: FactorGraph, value: Expr) -> Expr:
    """The value with hyperparameters at the numbers that the file gives them."""
    numbers = {v.name: v.init for v in graph.variables if v.role == "hyper" and v.init is not None}

    def default(node: Expr) -> Expr | None:
        return numbers.get(node.name) if isinstance(node, Read) else None

    return typed.mapped(value, default)
