"""A question with its roles settled: what is sought, what is given, and of which energy."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.hierarchy import lowest
from ebmlang.compiler.typed import Expr, Method, Model, Question, Variable


@dataclass(frozen=True, slots=True)
class Query:
    """`sought` in declaration order; every other variable is given. `of` None means the total. Those in
    `summed` are summed out before the others are searched: what is lowered is a free energy."""

    sought: tuple[str, ...]
    of: Expr | None = None
    using: Method | None = None
    question: Question | None = None
    summed: tuple[str, ...] = ()


def default_question(model: Model, label: str | None = None) -> Question | None:
    """The `infer` line that applies: the labelled one, else the first; a `plan` line else."""
    if label is not None:
        return next((q for q in model.questions if q.label == label), None)
    return next((q for q in model.questions if q.verb == "infer"), None) or lowest(model)


def marginalized(model: Model) -> frozenset[str]:
    return frozenset(t for q in model.questions if q.verb == "marginalize" for t in q.targets)


def default_sought(model: Model, question: Question | None) -> tuple[str, ...]:
    """What inference seeks when the caller does not say: the question's names and the latents
    that it does not give; without a question all latents that are not marginalised."""
    summed = marginalized(model)
    targets = set(question.targets) if question is not None else set()
    given = set(question.given) if question is not None else set()
    kept = given | summed
    return tuple(
        v.name for v in model.variables if v.name in targets or (v.role == "latent" and v.name not in kept)
    )


def ordered(model: Model, names: frozenset[str]) -> tuple[Variable, ...]:
    return tuple(v for v in model.variables if v.name in names)
