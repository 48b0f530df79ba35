"""Asking a question with hard constraints: its search in float64, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.constrained import epigraph
from ebmlang.runtime.constrained.problem import (
    ConstrainedOutcome,
    by_constraint,
    feasible_within,
    sentence,
)
from ebmlang.runtime.constrained.solving import solve as solve_constrained
from ebmlang.runtime.driver import Limits, Outcome, Progress, Starts
from ebmlang.runtime.picking import least_weight, make_solver, negative_weight
from ebmlang.runtime.posing import (
    Unshared,
    constrained_problem,
    constraint_specs,
    in_float64,
    make_problem,
    plan_inner,
    shared_names,
)
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Result, Status
from ebmlang.runtime.search import Search, limits_of

Values = Mapping[str, Tensor]


def search(
    bound: Bound,
    problem: Problem,
    how: Search,
    observed: Values,
    progress: Callable[[Progress], None] | None,
) -> tuple[ConstrainedOutcome, str, str]:
    """The answer under hard constraints, the method that found it, and why that one.

    The search is in float64 whatever the values are: penalties take digits that float32 does not have.
    """
    module, dtype = bound.module, bound.settings.dtype
    wide = in_float64(bound)
    options = dict(module.OPTIONS)
    limits, starts = limits_of(bound, how, options)
    limits = replace(limits, tol=limits.tolerance(dtype))
    least = least_weight(bound, problem) if module.INNER == "fista" else 0.0
    inner = make_solver("adam" if least < 0 else module.INNER, {} if least < 0 else options, False)
    solved = solve_constrained(
        constrained_problem(wide, make_problem(wide, observed)),
        module.METHOD,
        inner,
        limits,
        starts,
        progress,
        how.trace,
    )
    because = solved.because or (negative_weight(least) if least < 0 else module.BECAUSE)
    return solved.outcome, solved.method, because


def by_heights(
    bound: Bound,
    limits: Limits,
    starts: Starts,
    start: Tensor | None,
    observed: Values,
    progress: Callable[[Progress], None] | None,
) -> Outcome | str:
    """The answer for an energy with kinks, as a program in float64, rounded to the type of the problem; or
    why there is none."""
    wide, dtype = in_float64(bound), bound.settings.dtype
    posed = make_problem(wide, observed).detached()
    if start is None:
        start = posed.space.start(starts.seed, starts.numbers(posed.space.batch)).x
    functions = Unshared(wide.instance, shared_names(wide), frozenset())
    maxima, degree = epigraph.specs_of(bound.module)
    limits = replace(limits, tol=limits.tolerance(dtype))
    found = epigraph.solve(posed, functions, maxima, degree, start.double(), limits, progress)
    return found if isinstance(found, str) else replace(found, x=found.x.to(dtype))


def heights_of(bound: Bound, problem: Problem, x: Tensor) -> tuple[int, int]:
    """How many heights a row takes at the points x [R, N], and how many constraints hold them."""
    functions = Unshared(bound.instance, shared_names(bound), frozenset())
    lifted = epigraph.Lifted(functions, epigraph.specs_of(bound.module)[0])
    with torch.no_grad():
        groups = lifted.groups(problem.space.values(x), problem.held)
    return sum(g.shape[1] for g in groups), sum(g.shape[1] * g.shape[2] for g in groups)


def rounded(found: ConstrainedOutcome, dtype: torch.dtype) -> Outcome:
    """The outcome of a search in float64, for a result of `dtype`."""
    return Outcome(
        found.x.to(dtype),
        found.energy,
        found.optimality,
        found.iterations,
        found.status,
        found.sentences,
        None if found.trace is None else found.trace.to(dtype),
    )


def with_residuals(bound: Bound, problem: Problem, found: ConstrainedOutcome, result: Result) -> Result:
    """The result with its multipliers, and the residuals of the optimality conditions in its certificate."""
    good = torch.tensor([kind is Status.CONVERGED for kind in found.status], dtype=torch.bool)
    residuals = (
        f"largest violation {_worst(found.violation[good])}, projected gradient of the Lagrangian "
        f"{_worst(found.optimality[good])}, complementarity {_worst(found.complementarity[good])}"
    )
    if found.gap is not None:
        residuals += f", duality gap {_worst(found.gap[good])}"
    return replace(
        result,
        multipliers=_multipliers(bound, result, problem, found),
        certificate=f"{result.certificate} ({residuals})",
    )


def _worst(values: Tensor) -> str:
    return f"{float(values.max()):.1e}" if values.numel() else "0"


def _multipliers(
    bound: Bound, result: Result, problem: Problem, found: ConstrainedOutcome
) -> dict[str, Tensor]:
    """Multipliers by constraint: [B, *shape], or the constraint's own shape where all rows share it."""
    specs = tuple(s for s in constraint_specs(bound.module) if not s.given)
    unknown = {n: result.values[n] for n in bound.module.SOUGHT}
    with torch.no_grad():
        values = bound.instance.constraints(unknown, problem.held)
    joint = problem.space.joint
    shapes = {
        s.name: tuple(values[s.name].shape[1:] if s.per_example and not joint else values[s.name].shape)
        for s in specs
    }
    each = by_constraint(found.multipliers.to(bound.settings.dtype), specs, shapes)
    return {n: v[0] if joint else v for n, v in each.items()}


def checked(bound: Bound, problem: Problem, outcome: Outcome) -> Outcome:
    """The outcome with rows marked whose given values break a constraint that depends on nothing sought."""
    specs = constraint_specs(bound.module)
    if not specs or plan_inner(bound.module):
        return outcome
    constrained = constrained_problem(bound, problem)
    broken = constrained.failed_checks(
        outcome.x, feasible_within(Limits().tolerance(outcome.x.dtype))
    ).tolist()
    worst = constrained.worst(outcome.x)
    status = tuple(Status.INFEASIBLE if b else s for b, s in zip(broken, outcome.status, strict=True))
    sentences = tuple(
        sentence(Status.INFEASIBLE, worst[row]) if bad else old
        for row, (bad, old) in enumerate(zip(broken, outcome.sentences, strict=True))
    )
    return replace(outcome, status=status, sentences=sentences)
