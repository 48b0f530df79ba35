"""Asking a bound model for its discrete unknowns: the method, its fallback, and what is known after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.compiler.methods import find_method
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.methods import DISCRETE, STARTS, Effort, Found, Unfit
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.memory import AllocatedBytes
from ebmlang.runtime.result import Status

_SWEEPS = 10_000

_REACHED = (Status.EXACT, Status.LOCAL, Status.EXCHANGED)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Values of the unknowns and, per row, how the search ended and whether its certificate holds."""

    values: Mapping[str, Tensor]
    status: tuple[str, ...]
    converged: Tensor
    iterations: Tensor
    method: str
    because: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller may say about the search."""

    method: str = ""
    steps: int | None = None
    restarts: int | None = None
    seed: int = 0


def is_discrete(bound: Bound) -> bool:
    """Whether the plan of a bound question searches discrete unknowns."""
    return bound.module.METHOD in DISCRETE


def solve(bound: Bound, held: Mapping[str, Tensor], observed: Mapping[str, Tensor], wanted: Wanted) -> Answer:
    """The assignment of lowest energy for every row.

    Raises DataError where a method that was asked for by name is too large, or an energy is NaN.
    """
    question = question_of(bound, observed, held, {})
    name = wanted.method or bound.module.METHOD
    options = dict(bound.module.OPTIONS)
    effort = Effort(
        int(wanted.steps or options.get("steps") or _SWEEPS),
        int(wanted.restarts or options.get("restarts") or STARTS),
        wanted.seed,
        bound.settings.first_row,
        bound.settings.chunk_bytes,
    )
    because = bound.module.BECAUSE
    try:
        found = DISCRETE[name](question, effort)
    except Unfit as unfit:
        if not bound.module.FALLBACK or name == bound.module.FALLBACK:
            shown = ", ".join(f.name for f in question.fields)
            raise DataError(
                f"{name} of {shown} is too large: {unfit.because}", "leave the method out, or make it smaller"
            ) from None
        name = bound.module.FALLBACK
        because = f"{unfit.because}, so {name} instead"
        found = DISCRETE[name](question, effort)
    return _answer(question, found, name, f"{because}; {found.note}")


def _answer(question: Question, found: Found, name: str, because: str) -> Answer:
    batch = question.bound.batch
    status = found.status if len(found.status) == batch else found.status * batch
    converged = torch.tensor([s in _REACHED for s in status], dtype=torch.bool)
    row = find_method(name)
    assert row is not None
    claim = row.certificate
    if not bool(converged.all()):
        claim = f"{claim} in {int(converged.sum()):,} of {batch:,} rows; see the status of the others"
    return Answer(
        question.values(found.assignment),
        tuple(s.sentence() for s in status),
        converged,
        found.iterations.expand(batch).cpu(),
        name,
        because,
        claim,
    )


def bytes_per_row(bound: Bound, held: Mapping[str, Tensor]) -> int:
    """Memory of the tables of one row; elimination itself goes through rows in parts that fit."""
    question = question_of(bound, {}, held, {})
    if not bound.module.TABLES:
        return 64 * len(question.cases)
    counted = AllocatedBytes()
    with counted:
        bound.instance.tables({}, held)
    # In float64, as they come and as they are added up.
    total: int = 6 * counted.total
    return total // max(bound.batch, 1) + 64 * len(question.cases)
