"""Running checks over drawn values: what `ebmlang test` does."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import errors as hypothesis_errors

from ebmlang.api import Model
from ebmlang.errors import DataError
from ebmlang.testing.case import Case, CheckFailed, program
from ebmlang.testing.checks import (
    NOT_CHECKED,
    Remarks,
    check_batch_equals_loop,
    check_finite,
    check_properties,
    check_terms_sum,
)
from ebmlang.testing.evaluate import Values
from ebmlang.testing.gradient import check_gradient
from ebmlang.testing.inference import check_inference
from ebmlang.testing.strategies import values

Verdict = Literal["holds", "fails", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table. `share` is the part of the examples that it gets, `rows` the numbers of rows."""

    name: str
    function: Callable[[Model, Values], Remarks]
    share: float = 1.0
    rows: tuple[int, int] = (1, 3)
    blanks: bool = False
    """Whether entries of a `missing` variable are left out, for the check to find."""


CHECKS: tuple[Check, ...] = (
    Check("finite", check_finite),
    Check("batch equals loop", check_batch_equals_loop, rows=(2, 3)),
    Check("terms sum to the total", check_terms_sum),
    Check("gradient", check_gradient),
    Check("inference", check_inference, share=0.2, rows=(1, 2), blanks=True),
)


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The smallest values found for which a check fails, why, and a program that shows it."""

    case: Case
    message: str
    program: str


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check ended after a number of examples."""

    check: str
    examples: int
    verdict: Verdict
    remarks: Mapping[str, int] = field(default_factory=dict)
    because: str = ""
    counterexample: Counterexample | None = None


Progress = Callable[[str, int, int], None]
"""Hears the name of a check, its examples so far, and how many it will get."""


def run_checks(
    model: Model,
    *,
    examples: int = 100,
    seed: int = 0,
    only: Collection[str] | None = None,
    of_several: bool = False,
    progress: Progress | None = None,
) -> Iterator[Finding]:
    """Every check in turn, then every declared property, each with its smallest counter-example.

    The same seed gives the same values. `only` names the checks that are wanted. `of_several` tells that
    counter-examples must name the model.
    """
    told = progress or (lambda name, done, total: None)
    for check in CHECKS:
        if only is None or check.name in only:
            wanted = max(1, round(check.share * examples))
            yield _run(model, check, wanted, seed, of_several, told)
    for p in model.checked.properties:
        check = _property_check(p.name)
        if only is None or check.name in only:
            yield _run(model, check, examples, seed, of_several, told, p.name)


def _property_check(name: str) -> Check:
    return Check(f"property {name}", lambda model, case: check_properties(model, case, name))


@dataclass(slots=True)
class _Seen:
    """What happened while one check ran. The last failure is the smallest: it is the one shown again."""

    passed: int = 0
    remarks: Remarks = field(default_factory=Counter)
    case: Case | None = None
    error: Exception | None = None


def _run(
    model: Model,
    check: Check,
    examples: int,
    number: int,
    of_several: bool,
    told: Progress,
    prop: str | None = None,
) -> Finding:
    try:
        strategy = values(model, rows=check.rows, blanks=check.blanks, for_property=prop)
    except DataError as error:
        return Finding(check.name, 0, "not checked", because=str(error))
    seen = _Seen()

    def once(case: Case) -> None:
        told(check.name, seen.passed, examples)
        try:
            remarks = check.function(model, case)
        except Exception as error:
            # Whatever an energy raises is a finding: LinAlgError for a singular matrix, for instance.
            seen.case, seen.error = case, error
            raise
        if seen.error is None:
            seen.passed += 1
            seen.remarks += remarks

    quiet = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        # torch warns about degenerate shapes, such as the spread of one number; the values tell as well.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seed(number)(quiet(given(case=strategy)(once)))()
    except hypothesis_errors.Unsatisfiable:
        return Finding(check.name, 0, "not checked", because="no values were found inside all domains")
    except Exception as error:
        if seen.case is None or seen.error is None:
            raise error
    if seen.case is not None and seen.error is not None:
        program = _program(model, check, prop, seen.case, of_several)
        example = Counterexample(seen.case, _words(seen.error), program)
        return Finding(check.name, seen.passed + 1, "fails", dict(seen.remarks), "", example)
    return _passed(check, seen)


def _passed(check: Check, seen: _Seen) -> Finding:
    """A check that never got to look at anything has not passed."""
    for words, count in seen.remarks.items():
        if count == seen.passed and words.startswith(NOT_CHECKED):
            return Finding(check.name, 0, "not checked", because=words.removeprefix(NOT_CHECKED))
    return Finding(check.name, seen.passed, "holds", dict(seen.remarks))


def _words(error: Exception) -> str:
    if isinstance(error, CheckFailed):
        return error.message
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def _program(model: Model, check: Check, prop: str | None, case: Case, of_several: bool) -> str:
    name = "check_properties" if prop is not None else check.function.__name__
    call = f"{name}(m, values{'' if prop is None else f', {prop!r}'})"
    hypers: dict[str, Any] = dict(model.hypers)
    return program(call, model.checked.source.name, model.name if of_several else None, hypers, case)
