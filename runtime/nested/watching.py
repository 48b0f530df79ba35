"""What nested searches have to say of the answer of the question around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.nested.solves import Note, Solves
from ebmlang.runtime.result import Result


def solves_of(bound: Bound) -> Solves | None:
    """The nested searches of a bound model, if it has any."""
    instance: Any = bound.instance
    return instance.solves if "NESTED" in vars(bound.module) else None


def quietly(bound: Bound) -> AbstractContextManager[None]:
    """Inside the block the energy is evaluated at points that nobody will see."""
    solves = solves_of(bound)
    return nullcontext() if solves is None else solves.searching()


def heard(bound: Bound) -> AbstractContextManager[list[Note]]:
    """Inside the block nested searches say how they ended to the list."""
    solves = solves_of(bound)
    return nullcontext([]) if solves is None else solves.listening()


def watched(bound: Bound, answer: Callable[[], Result]) -> Result:
    """The answer, with the status of rows in which a nested search ended badly at the end.

    What happens on the way there does not count: the search around it steps back from such points.
    """
    solves = solves_of(bound)
    if solves is None:
        return answer()
    with solves.searching():
        result = answer()
        unknown = {n: result.values[n] for n in bound.module.SOUGHT if n in result.values}
        if len(unknown) < len(bound.module.SOUGHT):
            return result
        with solves.listening() as notes, torch.no_grad():
            bound.instance.report(unknown, posing.held_values(bound))
    return _with_notes(result, notes)


def _with_notes(result: Result, notes: list[Note]) -> Result:
    status, good = list(result.status), result.converged.clone()
    for note in notes:
        for row in note.rows.expand(good.shape).nonzero()[:, 0].tolist():
            says = f"; the nested search of `{note.part}`: {note.says}"
            if says not in status[row]:
                status[row] += says
            good[row] = False
    if not notes:
        return result
    count = sum(a != b for a, b in zip(status, result.status, strict=True))
    certificate = (
        f"{result.certificate}; a nested search did not end well in {count:,} of {len(status):,} rows"
    )
    return replace(result, status=tuple(status), converged=good, certificate=certificate.removeprefix("; "))
