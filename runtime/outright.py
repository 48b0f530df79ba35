"""Questions that are answered without a search: the answer is computed, checked, and reported.

It must come out as a search would have it: what does not stand the check in any row is left to the search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.certificates import certificate
from ebmlang.runtime.checked import Outright
from ebmlang.runtime.kept import Remembered
from ebmlang.runtime.picking import picked
from ebmlang.runtime.posing import Unshared, constraint_specs, prepared
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.report import can_wait, evaluate, values_alone, waiting
from ebmlang.runtime.result import Result, Status
from ebmlang.runtime.search import Search, limits_of
from ebmlang.runtime.solvers import riccati, small_quadratic

Values = Mapping[str, Tensor]
Compute = Callable[[Problem, Callable[[], Tensor], Remembered | None, float], Outright | None]
"""An answer from a problem, its start, where what is prepared stays for the next question, and the tolerance;
None where it takes a search."""

METHODS: Mapping[str, Compute] = MappingProxyType(
    {"riccati": riccati.outright, "quadratic": small_quadratic.outright}
)


def answer(bound: Bound, problem: Problem, search: Search, brief: bool) -> Result | None:
    """The answer of a method that needs no search, where all rows stand the check; else None.

    With `brief` only the values and how the search ended need to be in it.
    """
    name = bound.module.METHOD
    compute = METHODS.get(name) if search.method in ("", name) else None
    if compute is None or search.trace or constraint_specs(bound.module) or not _fits(problem):
        return None
    limits, starts = limits_of(bound, search, bound.module.OPTIONS)
    if starts.restarts > 1 or limits.steps < 1:
        return None
    picks, because = picked(bound, problem, search.method)
    if picks != name:
        return None
    with torch.no_grad():
        numbers = starts.numbers(problem.space.batch)
        tolerance = limits.tolerance(problem.space.dtype)
        found = compute(
            problem, lambda: problem.space.start(starts.seed, numbers).x, prepared(bound), tolerance
        )
        if found is None:
            return None
        converged = torch.ones(bound.batch, dtype=torch.bool)
        ending = {
            "converged": converged,
            "status": (Status.CONVERGED.sentence(),) * bound.batch,
            "iterations": torch.ones(bound.batch, dtype=torch.int64),
            "method": name,
            "because": because,
            "certificate": certificate(bound.module, name, converged),
        }
        return _reported(bound, problem, found, ending, brief)


def _fits(problem: Problem) -> bool:
    space = problem.space
    return not space.joint and space.device.type == "cpu" and isinstance(problem.functions, Unshared)


def _reported(
    bound: Bound, problem: Problem, found: Outright, ending: dict[str, Any], brief: bool
) -> Result | None:
    """The result; None where the answer does not stand the check, or an energy is not finite."""
    unknown, held = problem.unknown(found.x), problem.held
    if brief and found.sure:
        return replace(values_alone(bound, unknown), **ending)
    if found.sure and can_wait(bound, unknown, held):
        return waiting(bound, unknown, held, ending)
    report = values_alone(bound, unknown) if brief else evaluate(bound, unknown, held)
    values = report.values
    if found.reads - values.keys():
        values = {**values, **bound.instance.lets(unknown, held)}
    good = found.stands is None or bool(found.stands(values).all())
    finite = brief or bool(torch.isfinite(report.energy).all())
    return replace(report, **ending) if good and finite else None
