"""Unknowns inside of properties: what a property does not quantify is the answer of the `infer` line.

Such an unknown stands for its minimiser as a formula where there is one, else for a nested search. Both read
the observed values, so that `(e with K = K[P])` asks again for what depends on the replaced ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ebmlang.compiler import typed
from ebmlang.compiler.composition.solving import hindrance
from ebmlang.compiler.nested import problem_reads
from ebmlang.compiler.nets.calls import net_read
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Expr, LentNet, Level, Nested, Solve
from ebmlang.compiler.types import INT


@dataclass(frozen=True, slots=True)
class Answered:
    """The unknowns that a property may read as answers, by name. `hindrance` says why there are none, where
    they would be wanted."""

    values: dict[str, Expr] = field(default_factory=dict)
    hindrance: str = ""


def answers(model: typed.Model, quantified: frozenset[str], part: str) -> Answered:
    """What the first `infer` line of a checked model finds, with quantified unknowns given; a nested search
    for it is called `part`."""
    line = next((q for q in model.questions if q.verb == "infer"), None)
    if line is None:
        return Answered()
    held = quantified | frozenset(line.given)
    held |= {n for q in model.questions if q.verb == "marginalize" for n in q.targets}
    sought = [v for v in model.variables if v.role == "latent" and v.name not in held]
    if not sought:
        return Answered()
    model = _asked(model, line)
    why = _not_for_a_row(model, sought, line)
    if why:
        return Answered(hindrance=why)
    if line.using is None:
        # Loaded late: only files that ask for an answer need what the analysis imports.
        from ebmlang.compiler.composition.closed import closed_forms

        closed = closed_forms(model, sought)
        if closed is not None:
            return Answered(closed)
    found = _searched(model, sought, line, part)
    search = next(iter(found.values()))
    assert isinstance(search, Solve)
    why = hindrance(search, sought)
    return Answered(hindrance=why) if why else Answered(found)


def _asked(model: typed.Model, line: typed.Question) -> typed.Model:
    """The model whose energy is what the line minimises."""
    bare = replace(model, questions=(), properties=(), solved=())
    if line.of is None:
        return bare
    term = typed.Term("objective", "energy", False, (), None, line.of, "", line.span)
    return replace(bare, terms=(term,))


def _not_for_a_row(model: typed.Model, sought: list[typed.Variable], line: typed.Question) -> str:
    """What keeps a question from being asked row by row inside of another one; empty where nothing does."""
    if any(v.name in line.targets and v.role == "param" for v in model.variables):
        return "the `infer` line seeks a parameter too"
    for variable in sought:
        if variable.level is not Level.EXAMPLE:
            return f"`{variable.name}` is one value for all examples"
    if any(term.value.coupled for term in model.terms):
        return "a term joins all examples"
    return ""


def _searched(
    model: typed.Model, sought: list[typed.Variable], line: typed.Question, part: str
) -> dict[str, Expr]:
    names = {v.name for v in sought}
    read = problem_reads(model, sought)
    given = [
        v
        for v in model.variables
        if v.name in read and v.name not in names and not (v.role == "hyper" and v.type == INT)
    ]
    inputs = tuple(typed.Read(v.type, (), v.level, False, line.span, v.name) for v in given)
    sizes = tuple((v.name, Size.of(v.name)) for v in model.hypers if v.type == INT)
    nets = [net for net in model.nets if net.name in read]
    lent = tuple(LentNet(net_read(net, line.span)) for net in nets)
    nested = Nested(
        part,
        model,
        tuple(v.name for v in sought),
        tuple(v.name for v in given),
        sizes,
        line.using,
        tuple(net.name for net in nets),
    )
    level = max((i.level for i in inputs), default=Level.CONSTANT)
    found: dict[str, Expr] = {}
    for v in sought:
        bare = Solve(v.type, (), level, False, line.span, nested, inputs, v.name, lent)
        found[v.name] = typed.solve_with(bare, inputs, lent)
    return found
