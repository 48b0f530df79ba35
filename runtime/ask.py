"""Asking a bound model: the search of its question, and the result a person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ebmlang.compiler.choose_blocks import IN_TURN
from ebmlang.compiler.methods import MIXED_METHODS, find_method
from ebmlang.compiler.tables import SLACK
from ebmlang.errors import DataError
from ebmlang.runtime import outright
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.certificates import certificate, with_directions
from ebmlang.runtime.claims import Proven, vetted
from ebmlang.runtime.constrained import asking
from ebmlang.runtime.constrained.asking import by_heights
from ebmlang.runtime.constrained.problem import Violation, sentence
from ebmlang.runtime.discrete import answer as discrete
from ebmlang.runtime.driver import Outcome, Progress, solve, solve_from
from ebmlang.runtime.gap import lasso_gap
from ebmlang.runtime.mixed import search as mixed
from ebmlang.runtime.mixed.free import summed_names
from ebmlang.runtime.mixed.integrated import IntegratedEnergy
from ebmlang.runtime.mixed.search import Tools
from ebmlang.runtime.mixture import Mixture, MixtureForm, mixture_form
from ebmlang.runtime.nested.watching import quietly, watched
from ebmlang.runtime.picking import in_turn_or_at_once, make_solver, picked, without_recursion
from ebmlang.runtime.posing import (
    Unshared,
    UnsharedFree,
    constraint_specs,
    held_values,
    make_problem,
    plan_inner,
    prepared,
    wide_instance,
)
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.report import can_wait, evaluate, free_report, rows_of, values_alone, waiting
from ebmlang.runtime.result import Result, Status
from ebmlang.runtime.search import Search, first_given, limits_of
from ebmlang.runtime.turns import blocks_of

Values = Mapping[str, Tensor]


_MIXED = tuple(row.name for row in MIXED_METHODS)


def infer(
    bound: Bound,
    search: Search,
    observed: Values | None = None,
    progress: Callable[[Progress], None] | None = None,
    brief: bool = False,
) -> Result:
    """The answer for every row. Raises DataError for values that make no problem, never for a
    numeric outcome. With `brief` only the values and how the search ended need to be in it."""
    if brief:
        with quietly(bound):
            return _answer(bound, search, observed, progress, brief)
    return watched(bound, lambda: _answer(bound, search, observed, progress, brief))


def _answer(
    bound: Bound,
    search: Search,
    observed: Values | None,
    progress: Callable[[Progress], None] | None,
    brief: bool,
) -> Result:
    if not bound.module.SOUGHT:
        return evaluate(bound, {}, held_values(bound))
    if bound.part is not None and not summed_names(bound):
        return _mixed(bound, search, observed or {})
    if bound.module.METHOD in _MIXED:
        raise DataError(
            "real and countable unknowns at once are two questions, and one generated file asks only one",
            "ask the model itself, or give some of the unknowns",
        )
    if discrete.is_discrete(bound):
        return _discrete(bound, search, observed or {})
    problem = make_problem(bound, observed or {})
    if plan_inner(bound.module):
        found, name, because = asking.search(bound, problem, search, observed or {}, progress)
        rounded = asking.rounded(found, bound.settings.dtype)
        answer = _result(bound, problem, rounded, name, because)
        return asking.with_residuals(bound, problem, found, answer)
    known = None if observed else outright.answer(bound, problem, search, brief)
    if known is not None:
        if progress is not None:
            progress(Progress(1, bound.batch, bound.batch, 1))
        return known
    outcome, name, because = searched(bound, problem, search, progress, observed=observed)
    return _result(bound, problem, outcome, name, because, brief)


def searched(
    bound: Bound,
    problem: Problem,
    search: Search,
    progress: Callable[[Progress], None] | None = None,
    start: Tensor | None = None,
    observed: Values | None = None,
) -> tuple[Outcome, str, str]:
    """How the search of real unknowns without hard constraints ends, by which method, and why that one.

    `start` holds coordinates [R, N] to begin at, in place of the declared start; `observed` masks of what is
    given in part.
    """
    name, because = picked(bound, problem, search.method)
    if name == "concave_convex":
        form = _mixture(bound, problem)
        if isinstance(form, str):
            name, because = bound.module.FALLBACK, f"concave_convex does not apply: {form}"
        else:
            problem = replace(problem, mixture=form)
    if name == IN_TURN:
        if bound.blocks:
            blocks = blocks_of(bound, problem, observed or {})
            name, because = in_turn_or_at_once(bound, blocks, search.method)
            problem = replace(problem, blocks=blocks) if name == IN_TURN else problem
        else:
            because = f"{name} does not apply: a generated file asks one question"
            name = bound.module.FALLBACK or "adam"
    options = dict(bound.module.OPTIONS) if not search.method or search.method == bound.module.METHOD else {}
    limits, starts = limits_of(bound, search, options)
    if name == "epigraph":
        found = by_heights(bound, limits, starts, start, observed or {}, progress)
        if not isinstance(found, str):
            return found, name, because
        name, because = bound.module.FALLBACK or "adam", f"{name} does not apply: {found}"

    def run(name: str, options: Mapping[str, Any]) -> Outcome:
        solver = make_solver(name, options, bound.module.QUADRATIC, search.seed)
        at = start if starts.restarts <= 1 else None
        if at is None:
            outcome = solve(problem, solver, limits, starts, progress, search.trace)
        else:
            outcome = solve_from(problem, solver, at, limits, progress, search.trace)
        row = find_method(name)
        if row is not None and row.exact:
            return with_directions(problem, outcome) if name == "quadratic" else outcome
        if at is None:
            at = problem.space.start(starts.seed, starts.numbers(problem.space.batch)).x
        known = vars(bound.module)
        proven = Proven(known.get("CONVEX", False), bound.module.QUADRATIC, known.get("JUMPS", False))
        return vetted(problem, solver, at, outcome, limits, proven)

    outcome = run(name, options)
    if name == "riccati" and Status.SETTLED in outcome.status:
        name = without_recursion(problem, name)
        because = "riccati does not apply: the cost does not curve upwards in every action"
        outcome = run(name, {})
    return outcome, name, because


def _mixture(bound: Bound, problem: Problem) -> MixtureForm | str:
    """The energy as a quadratic minus log-sum-exps, measured in float64; or why it cannot be. The form of the
    last question serves where no row has its own and all that it depends on is the same."""
    plain = problem.detached()
    kept = prepared(bound)
    known: MixtureForm | None = None if kept is None else kept.find(plain.held)
    if known is not None:
        compared = known.with_patterns(problem.space)
        if kept is not None and compared is not known:
            kept.keep(plain.held, known.reads, compared, compared.size)
        return compared
    wide = Unshared(wide_instance(bound), frozenset(), bound.module.WRITTEN)
    proven = Mixture(wide, *bound.module.MIXTURE)
    form = mixture_form(proven, problem.space, problem.row_values, lambda rows: plain.select(rows).held)
    if isinstance(form, str):
        return form
    form = form.to(bound.settings.dtype).with_patterns(problem.space)
    # Bounds and given entries speak against a form only where its quadratic part couples entries.
    shared = proven.shared and proven.diagonal and not form.reads & problem.row_values
    if kept is not None and shared and problem.space.rows:
        kept.keep(plain.held, form.reads, form, form.size)
    return form


def _discrete(bound: Bound, search: Search, observed: Values) -> Result:
    """The answer for discrete unknowns."""
    held = held_values(bound)
    wanted = discrete.Wanted(search.method, search.steps, search.restarts, search.seed)
    answer = discrete.solve(bound, held, observed, wanted)
    report = evaluate(bound, answer.values, held)
    status = list(answer.status)
    for spec in constraint_specs(bound.module):
        if spec.given:
            for row in torch.nonzero(~(report.violations[spec.name] <= SLACK))[:, 0].tolist():
                status[row] = sentence(
                    Status.INFEASIBLE, Violation(spec.name, "", float(report.violations[spec.name][row]))
                )
    kept = torch.tensor([a == b for a, b in zip(status, answer.status, strict=True)], dtype=torch.bool)
    return replace(
        report,
        converged=answer.converged & kept,
        status=tuple(status),
        iterations=answer.iterations,
        method=answer.method,
        because=answer.because,
        certificate=answer.certificate,
    )


def _mixed(bound: Bound, search: Search, observed: Values) -> Result:
    """The answer for countable unknowns beside real ones."""
    options = dict(bound.module.OPTIONS)
    steps = first_given(search.steps, options.get("steps"), None)
    tol = first_given(search.tol, options.get("tol"), None)
    inner = replace(search, method="", steps=steps, tol=tol, restarts=None, trace=False)
    tools = Tools(
        lambda part, masks: infer(part, inner, masks),
        lambda whole, values: evaluate(whole, values, held_values(whole)),
        search.method,
        first_given(search.restarts, options.get("restarts"), None),
        search.seed,
    )
    return mixed.search(bound, held_values(bound), observed, tools)


def _result(
    bound: Bound, problem: Problem, outcome: Outcome, method: str, because: str, brief: bool = False
) -> Result:
    batch = bound.batch
    with torch.no_grad():
        unknown = {
            n: v if not problem.space.joint else v[0] for n, v in problem.space.values(outcome.x).items()
        }
        if isinstance(problem.functions, Unshared | UnsharedFree):
            unknown = dict(problem.functions.seen(unknown))
    unknown = {n: v.detach() for n, v in unknown.items()}
    outcome = asking.checked(bound, problem, outcome)
    kinds = outcome.status if len(outcome.status) == batch else outcome.status * batch
    converged = _converged(kinds)
    ending: dict[str, Any] = {
        "converged": converged,
        "status": outcome.sentences if len(outcome.sentences) == batch else outcome.sentences * batch,
        "iterations": rows_of(outcome.iterations, batch).cpu(),
        "method": method,
        "because": because,
        "certificate": certificate(bound.module, method, converged),
        "trace": outcome.trace,
    }
    if isinstance(problem.functions, UnsharedFree):
        report = free_report(bound, problem.functions.free, unknown, problem.held)
        ending["status"] = _with_faults(problem, unknown, report.energy, ending["status"])
    elif brief:
        report = values_alone(bound, unknown)
    elif not _has_gap(bound, problem, method) and can_wait(bound, unknown, problem.held):
        return waiting(bound, unknown, problem.held, ending)
    else:
        report = evaluate(bound, unknown, problem.held)
    found = replace(report, **ending)
    return found if brief else _with_gap(bound, problem, outcome, found)


def _with_faults(
    problem: Problem, unknown: Values, energy: Tensor, status: tuple[str, ...]
) -> tuple[str, ...]:
    """The sentences of rows, with the reason where an integral inside of the energy is infinite."""
    functions = problem.functions
    if not isinstance(functions, UnsharedFree) or not isinstance(functions.free, IntegratedEnergy):
        return status
    if bool(torch.isfinite(energy).all()):
        return status
    faults = functions.free.faults(unknown, problem.held)
    faults = faults if len(faults) == len(status) else ("; ".join(filter(None, faults)),) * len(status)
    return tuple(f"infinite integral: {f}" if f else s for s, f in zip(status, faults, strict=True))


def _converged(kinds: tuple[Status, ...]) -> Tensor:
    """Which rows met the tolerance, bool [B]. Most often all of them ended alike."""
    if kinds and kinds.count(kinds[0]) == len(kinds):
        return torch.full((len(kinds),), kinds[0].converged)
    return torch.tensor([k.converged for k in kinds], dtype=torch.bool)


def _with_gap(bound: Bound, problem: Problem, outcome: Outcome, found: Result) -> Result:
    """The duality gap of every row, where there is one."""
    if not _has_gap(bound, problem, found.method):
        return found
    gap = lasso_gap(problem, outcome.x) if found.method == "fista" else outcome.gap
    if gap is None or not bool(torch.isfinite(gap).all()):
        return found
    gap = gap.to(found.energy.dtype)
    return replace(found, gap=gap, certificate=certificate(bound.module, found.method, found.converged, gap))


def _has_gap(bound: Bound, problem: Problem, method: str) -> bool:
    """Whether the answers of a method may have a duality gap."""
    if method == "epigraph":
        return bound.module.DEGREE is not None
    return method == "fista" and bool(bound.module.LEAST_SQUARES) and not problem.space.joint
