"""Is the method that is chosen the best one? Gallery models and classic problems by every method that fits.

A method that was not chosen may take ten times the time of the chosen one. Where the energy is proven convex
or the chosen method exact, its answer must not lie above any other; elsewhere lines say where it does, from
the same start. Among methods that come as low, the chosen one may take twice the time of the fastest.
"""

from __future__ import annotations

import time
import warnings
from statistics import median
from typing import Any

import torch

from benchmarks.measure import Row, shown
from benchmarks.questions import QUESTIONS, Question
from ebmlang.api import Model
from ebmlang.compiler.methods import ALL_METHODS
from ebmlang.compiler.needs import has
from ebmlang.errors import DataError, ModelError
from ebmlang.runtime.result import Result

LEVEL = 1e-6
"""Energies this close, relative to the total, count as the same; so do those that differ by less than the
rounding of the energy at the start, which matters where the minimum is 0."""

MORE_TIME = 10.0
SLOWER = 2.0
SHORTEST = 2e-3
"""Seconds below which the time is that of the call, not of the method."""

AGAIN = 0.5
"""Seconds up to which a method is timed again, and the least counts."""

MOST_HIGHER = 0.05
"""Share of the pairs in which another method may come lower, where nothing is proven."""
LONGEST = 5.0
"""Seconds after which a method is given up whatever the time of the chosen one: it counts as slower."""


def rows() -> list[Row]:
    """One line for each pair of a chosen method and another one that fits, and one that counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [row for make in QUESTIONS for row in _of(make())]
    return [*found, *_summary([row for row in found if row.bar])]


def _summary(judged: list[Row]) -> list[Row]:
    """How often another method comes lower: where a minimum is proven, and where nothing is."""
    lines = []
    for start, where, bar, most in (
        ("not above", "a minimum is proven", "none", 0.0),
        ("same start", "none is", "at most 5 %", MOST_HIGHER),
    ):
        pairs = [row for row in judged if row.bar.startswith(start)]
        higher = [row for row in pairs if "higher" in row.bar]
        share = f"{len(higher)} of {len(pairs)}"
        what = f"another method comes lower where {where}"
        lines.append(Row(what, share, "", "", bar, len(higher) <= most * len(pairs)))
    return lines


def _of(question: Question) -> list[Row]:
    name = question.name
    model = question.load()
    found = question.ask(model, trace=True)
    rounding = 0.0
    if found.trace is not None:
        rounding = float(found.trace[0].abs().sum()) * torch.finfo(found.trace.dtype).eps
    first = _timed(question, model)[0]
    seconds = first if first > AGAIN else median(_timed(question, model)[0] for _ in range(5))
    plan = question.plan(model)
    print(f"  {name}: {found.method}, {shown(seconds)}", flush=True)
    proven = plan.structure.find("convex") is not None or found.certificate.startswith("exact")
    others = [
        row.name for row in ALL_METHODS if row.name != found.method and _fits(question, model, row.name)
    ]
    limit = MORE_TIME * seconds
    tried = [(other, *_within(question, model, other, limit)) for other in others]
    alone = Row(f"{name}: {found.method}, alone", shown(seconds), "", "", "", None)
    return [_line(name, found, seconds, proven, rounding, *each) for each in tried] or [alone]


def _fits(question: Question, model: Model, name: str) -> bool:
    try:
        plan = question.plan(model, using=name)
    except (DataError, ModelError):
        return False
    row = plan.method
    return row is not None and row.name == name and all(has(plan.structure, n) for n in row.needs)


def _within(
    question: Question, model: Model, name: str, seconds: float
) -> tuple[float, Result] | tuple[float, None]:
    """The answer in at most about so many seconds: the step limit is found from shorter runs."""
    steps = 16
    try:
        spent, found = _timed(question, model, using=name, steps=1)  # what is compiled is compiled once
        if spent > LONGEST:
            return spent, found
        while True:
            spent, found = _timed(question, model, using=name, steps=steps)
            if int(found.iterations.max()) < steps:
                again = 0 if spent > AGAIN else 2
                more = [_timed(question, model, using=name, steps=steps)[0] for _ in range(again)]
                return min([spent, *more]), found
            if spent > min(seconds, LONGEST) / 2:
                return spent, found
            steps *= 2
    except (DataError, ModelError):
        return 0.0, None


def _timed(question: Question, model: Model, **options: Any) -> tuple[float, Result]:
    begin = time.process_time()
    found = question.ask(model, **options)
    return time.process_time() - begin, found


def _line(
    name: str,
    found: Result,
    seconds: float,
    proven: bool,
    rounding: float,
    other: str,
    spent: float,
    theirs: Result | None,
) -> Row:
    what = f"{name}: {found.method} against {other}"
    if theirs is None or theirs.method != other:
        return Row(what, shown(seconds), "does not apply to the values", "", "", None)
    ours, others = float(found.energy.double().sum()), float(theirs.energy.double().sum())
    broken = any("feasible" in s or "constraints" in s for s in theirs.status)
    scale = max(LEVEL * max(abs(ours), abs(others)), rounding)
    higher = ours > others + scale and not broken
    level = abs(ours - others) <= scale
    slow = level and seconds > SLOWER * spent and seconds > SHORTEST
    verdict = ("higher" if higher else "") + ("slower" if slow else "")
    return Row(
        what,
        f"{shown(seconds)}, {ours:.8g}",
        f"{shown(spent)}, {others:.8g}" + (" (infeasible)" if broken else ""),
        f"{seconds / max(spent, 1e-9):.2g}",
        ("not above" if proven else "same start")
        + (", <= 2" if level else "")
        + (f": {verdict}" if verdict else ""),
        not (higher and proven) and not slow if proven or not higher else None,
    )
