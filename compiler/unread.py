"""The model of one question: without what the question does not read, so that nobody has to know it."""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.training import reached, term_parts
from ebmlang.compiler.typed import Expr, Let, Model, Variable, reads


def unread(model: Model, parts: tuple[Expr, ...], role: str) -> frozenset[str]:
    """Variables of a role that values do not depend on."""
    read = reached(model, parts)
    return frozenset(v.name for v in model.variables if v.role == role and v.name not in read)


def unneeded(model: Model, objective: tuple[Expr, ...], sought: frozenset[str]) -> frozenset[str]:
    """Observed variables without a default that a question does not read.

    Starts, domains, and constraints on what is sought are read beside the objective.
    """
    graph = FactorGraph(model, ())
    bound = (c for c in model.constraints if graph.depends(c.value, sought))
    parts = [*objective, *(c.value for c in bound), *(p for v in model.variables for p in own_parts(v))]
    absent = {v.name for v in model.variables if v.role == "observed" and v.init is None}
    return unread(model, tuple(parts), "observed") & absent


def without(model: Model, gone: frozenset[str]) -> Model:
    """The model without some variables, and without what depends on them; it asks and claims nothing."""
    if not gone:
        return model
    graph = FactorGraph(model, ())

    def stays(parts: tuple[Expr, ...]) -> bool:
        return not any(graph.depends(part, gone) for part in parts)

    return replace(
        model,
        variables=tuple(v for v in model.variables if v.name not in gone),
        lets=tuple(let for let in model.lets if stays((let.value,))),
        terms=tuple(t for t in model.terms if stays(term_parts(t))),
        constraints=tuple(c for c in model.constraints if stays((c.value,))),
        questions=(),
        properties=(),
    )


def lets_under(model: Model, parts: tuple[Expr, ...]) -> tuple[Let, ...]:
    """The lets that values read, also through other lets, in the order of the model."""
    lets = {let.name: let.value for let in model.lets}
    found: set[str] = set()
    fresh = {name for part in parts for name in reads(part)} & lets.keys()
    while fresh:
        found |= fresh
        fresh = ({name for let in fresh for name in reads(lets[let])} & lets.keys()) - found
    return tuple(let for let in model.lets if let.name in found)


def borders(variable: Variable) -> tuple[Expr, ...]:
    """What the domain of a variable is made of."""
    where = () if variable.domain.where is None else (variable.domain.where,)
    return (*variable.domain.arguments, *where)


def own_parts(variable: Variable) -> tuple[Expr, ...]:
    """What the domain and the start of a variable, or its default, are made of."""
    return (*borders(variable), *(() if variable.init is None else (variable.init,)))
