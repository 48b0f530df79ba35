"""Asking a bound model: the problem of a question, its solution, and the result a person reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.methods import MIXED_METHODS, find_method
from ebmlang.compiler.tables import SLACK
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound, domain_of, expanded
from ebmlang.runtime.certificates import with_directions
from ebmlang.runtime.constrained.problem import (
    Constrained,
    ConstrainedOutcome,
    by_constraint,
    feasible_within,
    flat,
    sentence,
    violation,
)
from ebmlang.runtime.constrained.quadratic import LARGEST_UNKNOWNS
from ebmlang.runtime.constrained.solving import solve as solve_constrained
from ebmlang.runtime.discrete import answer as discrete
from ebmlang.runtime.domain_base import DomainError
from ebmlang.runtime.driver import Limits, Outcome, Progress, Starts, solve
from ebmlang.runtime.gap import lasso_gap
from ebmlang.runtime.generated import GeneratedModel
from ebmlang.runtime.hessian import HessianForm
from ebmlang.runtime.memory import AllocatedBytes
from ebmlang.runtime.mixed import search as mixed
from ebmlang.runtime.mixed.free import GIVEN, FreeEnergy, free_energy, summed_names
from ebmlang.runtime.mixed.search import Tools
from ebmlang.runtime.mixed.states import real_masks
from ebmlang.runtime.mixture import Mixture, MixtureForm, mixture_form
from ebmlang.runtime.pattern import pattern_of
from ebmlang.runtime.picking import WITHOUT_MINIMUM, least_weight, make_solver, negative_weight, picked
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Result, Status
from ebmlang.runtime.rollout import Rollout
from ebmlang.runtime.space import Space, Unknown, space_of
from ebmlang.runtime.spec import ConstraintSpec, VariableSpec

Values = Mapping[str, Tensor]

_MIXED = tuple(row.name for row in MIXED_METHODS)


@dataclass(frozen=True, slots=True)
class Search:
    """How to search. `method` overrides the one of the plan."""

    method: str = ""
    steps: int | None = None
    tol: float | None = None
    restarts: int | None = None
    seed: int = 0
    trace: bool = False


@dataclass(frozen=True, slots=True)
class _Unshared:
    """The generated functions, for a solver that keeps values shared by all examples as [1, ...]."""

    instance: GeneratedModel
    shared: frozenset[str]
    written: frozenset[str]

    def _seen(self, unknown: Values) -> Values:
        if not self.shared:
            return unknown
        return {n: v.squeeze(0) if n in self.shared else v for n, v in unknown.items()}

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.energy(self._seen(unknown), held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.terms(self._seen(unknown), held)

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.constraints(self._seen(unknown), held)

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.smooth(self._seen(unknown), held)

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return self.instance.absolute(held)

    def energy_and_gradient(self, unknown: Values, held: Values) -> tuple[Tensor, dict[str, Tensor]]:
        return self.instance.energy_and_gradient(self._seen(unknown), held)

    def smooth_and_gradient(self, unknown: Values, held: Values) -> tuple[Tensor, dict[str, Tensor]]:
        return self.instance.smooth_and_gradient(self._seen(unknown), held)

    def hessian_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        return self.instance.hessian_times(self._seen(unknown), held, self._seen(direction))

    def normal_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        return self.instance.normal_times(self._seen(unknown), held, self._seen(direction))


def held_values(bound: Bound) -> dict[str, Tensor]:
    """Everything that is not sought, with what the module prepares from it."""
    held = {n: v for n, v in bound.values.items() if n not in bound.module.SOUGHT}
    return {**held, **bound.instance.prepare(held)}


def make_problem(bound: Bound, observed: Values) -> Problem:
    """The minimisation that a bound module stands for.

    `observed` holds masks (True: given) of the sought variables that are given in part.
    """
    module = bound.module
    summed = summed_names(bound)
    sought = [bound.specs[name] for name in module.SOUGHT if name not in summed]
    shared = _shared_names(bound)
    known = dict(bound.values)
    unknowns = []
    for spec in sought:
        unknown = _unknown(bound, spec, known, observed.get(spec.name))
        unknowns.append(unknown)
        if unknown.start is not None:
            known[spec.name] = unknown.start if spec.per_example else unknown.start[0]
    settings = bound.settings
    try:
        space = space_of(tuple(unknowns), bound.batch, settings.dtype, settings.device, joint=module.JOINT)
    except DomainError as error:
        raise DataError(str(error), "check the domain and the data") from None
    if summed:
        return _free_problem(bound, observed, space, shared)
    functions = _Unshared(bound.instance, shared, module.WRITTEN)
    rows = frozenset(n for n in module.ROW_VALUES if n not in module.SOUGHT)
    held = held_values(bound)
    split = functions if module.SPLIT else None
    found = vars(module).get("ROLLOUT")
    rollout = None if found is None or observed else Rollout(bound.instance, *found)
    form = HessianForm(lambda: pattern_of(bound, space), module.HESSIAN_SHARED, module.HESSIAN_CONSTANT)
    closed = bound.instance.closed_form if vars(module).get("CLOSED_FORM", False) else None
    return Problem(functions, held, rows & held.keys(), space, split, functions, rollout, form, closed)


def _free_problem(bound: Bound, observed: Values, space: Space, shared: frozenset[str]) -> Problem:
    """Lowering the free energy of what is summed out over the coordinates of the others."""
    free, held = free_energy(bound, held_values(bound), observed)
    rows = (frozenset(bound.module.ROW_VALUES) | {GIVEN}) & held.keys()
    return Problem(_UnsharedFree(free, shared), held, rows, space)


@dataclass(frozen=True, slots=True)
class _UnsharedFree:
    """A free energy, for a solver that keeps values shared by all examples as [1, ...]."""

    free: FreeEnergy
    shared: frozenset[str]

    def seen(self, unknown: Values) -> Values:
        return {n: v.squeeze(0) if n in self.shared else v for n, v in unknown.items()}

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.free.energy(self.seen(unknown), held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.free.terms(self.seen(unknown), held)


def _shared_names(bound: Bound) -> frozenset[str]:
    """Sought variables that all examples share."""
    return frozenset(n for n in bound.module.SOUGHT if not bound.specs[n].per_example)


def _unknown(bound: Bound, spec: VariableSpec, known: dict[str, Tensor], mask: Tensor | None) -> Unknown:
    shape = bound.shapes[spec.name]
    domain = domain_of(replace(bound, values=known), spec)
    free = fixed = start = None
    if mask is not None:
        free = ~mask
        value = bound.values[spec.name]
        fixed = torch.where(mask, value, torch.zeros_like(value))
        start = fixed
    elif spec.start:
        start = expanded(spec, bound.instance.start(spec.name, known), shape, bound.settings)
        start = start if spec.per_example else start[None]
        if bool(torch.isnan(start).any()):
            raise DataError(
                f"the start of `{spec.name}` is NaN in some entries", "check what it is computed from"
            )
    return Unknown(spec.name, shape, domain, start, free, fixed, per_batch=not spec.per_example)


# --- solving ------------------------------------------------------------------------------------


def infer(
    bound: Bound,
    search: Search,
    observed: Values | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """The answer for every row. Raises DataError for values that make no problem, never for a
    numeric outcome."""
    if bound.part is not None:
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
        return _constrained(bound, problem, search, observed or {}, progress)
    name, because = picked(bound, problem, search.method)
    if name == "concave_convex":
        form = _mixture(bound, problem)
        if isinstance(form, str):
            name, because = bound.module.FALLBACK, f"concave_convex does not apply: {form}"
        else:
            problem = replace(problem, mixture=form)
    options = dict(bound.module.OPTIONS) if not search.method or search.method == bound.module.METHOD else {}
    solver = make_solver(name, options, bound.module.QUADRATIC)
    limits, starts = _limits(bound, search, options)
    outcome = solve(problem, solver, limits, starts, progress, search.trace)
    if name == "quadratic":
        outcome = with_directions(problem, outcome)
    if name == "riccati" and Status.SETTLED in outcome.status:
        name = WITHOUT_MINIMUM
        because = "riccati does not apply: the cost does not curve upwards in every action"
        outcome = solve(problem, make_solver(name, {}, False), limits, starts, progress, search.trace)
    return _result(bound, problem, outcome, name, because)


def _mixture(bound: Bound, problem: Problem) -> MixtureForm | str:
    """The energy as a quadratic minus log-sum-exps, measured in float64; or why it cannot be."""
    held = {n: v.double() if v.is_floating_point() else v for n, v in problem.held.items()}
    wide = replace(problem, held=held).detached()
    proven = Mixture(in_float64(bound).instance, *bound.module.MIXTURE)
    form = mixture_form(proven, problem.space, lambda rows: wide.select(rows).held)
    return form if isinstance(form, str) else form.to(bound.settings.dtype)


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
                status[row] = sentence(Status.INFEASIBLE, spec.name, float(report.violations[spec.name][row]))
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
    steps = _pick(search.steps, options.get("steps"), None)
    tol = _pick(search.tol, options.get("tol"), None)
    inner = replace(search, method="", steps=steps, tol=tol, restarts=None, trace=False)
    tools = Tools(
        lambda part, masks: infer(part, inner, masks),
        lambda whole, values: evaluate(whole, values, held_values(whole)),
        search.method,
        _pick(search.restarts, options.get("restarts"), None),
        search.seed,
    )
    return mixed.search(bound, held_values(bound), observed, tools)


def _limits(bound: Bound, search: Search, options: Mapping[str, Any]) -> tuple[Limits, Starts]:
    steps = int(_pick(search.steps, options.get("steps"), Limits().steps))
    restarts = int(_pick(search.restarts, options.get("restarts"), 1))
    starts = Starts(search.seed, bound.settings.first_row, restarts)
    return Limits(steps, _pick(search.tol, options.get("tol"), None)), starts


def _pick(*choices: Any) -> Any:
    return next((c for c in choices if c is not None), None)


def _result(bound: Bound, problem: Problem, outcome: Outcome, method: str, because: str) -> Result:
    batch = bound.batch
    with torch.no_grad():
        unknown = {
            n: v if not problem.space.joint else v[0] for n, v in problem.space.values(outcome.x).items()
        }
        if isinstance(problem.functions, _Unshared):
            unknown = dict(problem.functions._seen(unknown))
        if isinstance(problem.functions, _UnsharedFree):
            unknown = dict(problem.functions.seen(unknown))
    unknown = {n: v.detach() for n, v in unknown.items()}
    if isinstance(problem.functions, _UnsharedFree):
        report = _free_report(bound, problem.functions.free, unknown, problem.held)
    else:
        report = evaluate(bound, unknown, problem.held)
    outcome = _checked(bound, problem, outcome)
    status = outcome.sentences if len(outcome.sentences) == batch else outcome.sentences * batch
    kinds = outcome.status if len(outcome.status) == batch else outcome.status * batch
    converged = torch.tensor([k.converged for k in kinds], dtype=torch.bool)
    found = replace(
        report,
        converged=converged,
        status=tuple(status),
        iterations=_rows(outcome.iterations, batch).cpu(),
        method=method,
        because=because,
        certificate=certificate(method, converged),
        trace=outcome.trace,
    )
    return _with_gap(bound, problem, outcome, found)


def _free_report(bound: Bound, free: FreeEnergy, unknown: Values, held: Values) -> Result:
    """Free energies at given values, and the probabilities of what was summed out."""
    batch = bound.batch
    with torch.no_grad():
        energy = _rows(free.energy(unknown, held), batch)
    found = free.probabilities(unknown, held)
    probabilities = {n: p.to(bound.settings.dtype) for n, p in found.items()}
    nothing = torch.zeros(batch, dtype=torch.int64)
    return Result(
        values=dict(unknown),
        energy=energy,
        terms={},
        converged=nothing.bool(),
        status=("",) * batch,
        iterations=nothing,
        method="",
        because="",
        certificate="",
        marginals=probabilities,
    )


def _with_gap(bound: Bound, problem: Problem, outcome: Outcome, found: Result) -> Result:
    """The duality gap of every row, where there is one."""
    if found.method != "fista" or not bound.module.LEAST_SQUARES or problem.space.joint:
        return found
    gap = lasso_gap(problem, outcome.x)
    if gap is None or not bool(torch.isfinite(gap).all()):
        return found
    return replace(found, gap=gap, certificate=certificate(found.method, found.converged, gap))


def certificate(method: str, converged: Tensor, gap: Tensor | None = None) -> str:
    """What is known about the answer: the claim of the method, for the rows that reached it."""
    row = find_method(method)
    claim = row.certificate if row is not None else ""
    count, total = int(converged.sum()), int(converged.numel())
    if count < total:
        claim = f"{claim} in {count:,} of {total:,} rows; see the status of the others"
    if gap is None:
        return claim
    return f"{claim}; no row is more than {float(gap.max()):.2g} above its minimum (duality gap)"


# --- hard constraints -----------------------------------------------------------------------------


def plan_inner(module: Any) -> str:
    """The method that runs inside the one for hard constraints; empty where the plan has none."""
    inner: str = getattr(module, "INNER", "")
    return inner


def constraint_specs(module: Any) -> tuple[ConstraintSpec, ...]:
    specs: tuple[ConstraintSpec, ...] = getattr(module, "CONSTRAINTS", ())
    return specs


def constrained_problem(bound: Bound, problem: Problem) -> Constrained:
    """A problem of a bound module with the constraints of the module."""
    specs = constraint_specs(bound.module)
    return Constrained(
        problem,
        _Unshared(bound.instance, _shared_names(bound), bound.module.WRITTEN),
        tuple(s for s in specs if not s.given),
        tuple(s for s in specs if s.given),
    )


def _constrained(
    bound: Bound,
    problem: Problem,
    search: Search,
    observed: Values,
    progress: Callable[[Progress], None] | None,
) -> Result:
    """The answer under hard constraints. The search is in float64 whatever the values are: penalties take
    digits that float32 does not have. The answer is rounded to the type of the values."""
    module, dtype = bound.module, bound.settings.dtype
    wide = in_float64(bound)
    options = dict(module.OPTIONS)
    limits, starts = _limits(bound, search, options)
    limits = Limits(limits.steps, limits.tolerance(dtype))
    least = least_weight(bound, problem) if module.INNER == "fista" else 0.0
    inner = make_solver("adam" if least < 0 else module.INNER, {} if least < 0 else options, False)
    solved = solve_constrained(
        constrained_problem(wide, make_problem(wide, observed)),
        module.METHOD,
        inner,
        limits,
        starts,
        progress,
        search.trace,
    )
    found = solved.outcome
    trace = None if found.trace is None else found.trace.to(dtype)
    outcome = Outcome(
        found.x.to(dtype),
        found.energy,
        found.optimality,
        found.iterations,
        found.status,
        found.sentences,
        trace,
    )
    because = solved.because or (negative_weight(least) if least < 0 else module.BECAUSE)
    result = _result(bound, problem, outcome, solved.method, because)
    good = torch.tensor([kind is Status.CONVERGED for kind in found.status], dtype=torch.bool)
    residuals = (
        f"largest violation {_worst(found.violation[good])}, projected gradient of the Lagrangian "
        f"{_worst(found.optimality[good])}, complementarity {_worst(found.complementarity[good])}"
    )
    return replace(
        result,
        multipliers=_multipliers(bound, result, problem, found),
        certificate=f"{result.certificate} ({residuals})",
    )


def in_float64(bound: Bound) -> Bound:
    def wide(value: Tensor) -> Tensor:
        return value.double() if value.is_floating_point() else value

    double = torch.float64
    instance: Any = bound.instance
    instance = replace(instance, dtype=double, draw=replace(instance.draw, dtype=double))
    return replace(
        bound,
        instance=instance,
        values={n: wide(v) for n, v in bound.values.items()},
        settings=replace(bound.settings, dtype=double),
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


def _checked(bound: Bound, problem: Problem, outcome: Outcome) -> Outcome:
    """The outcome with rows marked whose given values break a constraint that depends on nothing sought."""
    specs = constraint_specs(bound.module)
    if not specs or plan_inner(bound.module):
        return outcome
    constrained = constrained_problem(bound, problem)
    broken = constrained.failed_checks(
        outcome.x, feasible_within(Limits().tolerance(outcome.x.dtype))
    ).tolist()
    names, by = constrained.worst(outcome.x)
    status = tuple(Status.INFEASIBLE if b else s for b, s in zip(broken, outcome.status, strict=True))
    sentences = tuple(
        sentence(Status.INFEASIBLE, names[row], float(by[row])) if bad else old
        for row, (bad, old) in enumerate(zip(broken, outcome.sentences, strict=True))
    )
    return replace(outcome, status=status, sentences=sentences)


def _given_status(violations: Values, broken: list[bool]) -> tuple[str, ...]:
    """The status of rows in which nothing was sought."""
    plain = "given: nothing was sought"
    if not any(broken):
        return (plain,) * len(broken)
    worst = [max(violations, key=lambda name: float(violations[name][row])) for row in range(len(broken))]
    return tuple(
        f"{plain}; '{name}' is violated by {float(violations[name][row]):.3g}" if broken[row] else plain
        for row, name in enumerate(worst)
    )


def _violations(bound: Bound, unknown: Values, held: Values) -> dict[str, Tensor]:
    """By how much each constraint is violated at most, name -> [B]."""
    specs = constraint_specs(bound.module)
    if not specs:
        return {}
    values = bound.instance.constraints(unknown, held)
    return {s.name: violation(flat(values[s.name], s, bound.batch), s.relation == "==") for s in specs}


def evaluate(bound: Bound, unknown: Values, held: Values) -> Result:
    """Energies, terms, factors and lets at given values, without searching."""
    module, instance, batch = bound.module, bound.instance, bound.batch
    with torch.no_grad():
        terms = instance.terms(unknown, held)
        energy = energy_rows(bound, unknown, held, terms)
        lets = instance.lets(unknown, held)
        factors = instance.factors(unknown, held)
        violations = _violations(bound, unknown, held)
    tolerance = feasible_within(Limits().tolerance(bound.settings.dtype))
    broken = torch.zeros(batch, dtype=torch.bool)
    for largest in violations.values():
        broken = broken | ~(largest.cpu() <= tolerance)
    per_row = {t.name for t in module.TERMS if not t.batch}
    differing = {t.name for t in module.TERMS if t.per_example}
    values = dict(unknown)
    for name, value in lets.items():
        if name not in values:
            values[name] = (
                _with_rows(value, batch) if name in module.ROW_VALUES or name in module.ROW_LETS else value
            )
    return Result(
        values=values,
        energy=energy,
        terms={n: _rows(v, batch) for n, v in terms.items() if n in per_row},
        converged=~broken,
        status=_given_status(violations, broken.tolist()),
        iterations=torch.zeros(batch, dtype=torch.int64),
        method="",
        because="",
        certificate="",
        factors={
            # What is the same for every example stands in every row all the same.
            n: _with_rows(v, batch) if n in differing else v.expand(batch, *v.shape)
            for n, v in factors.items()
            if n in per_row
        },
        batch_terms={n: v for n, v in terms.items() if n not in per_row},
        violations=violations,
    )


def energy_rows(bound: Bound, unknown: Values, held: Values, terms: Values | None = None) -> Tensor:
    """The total energy of every row, [B]; terms that are one number count in every row."""
    if terms is None and not bound.module.JOINT:
        return _rows(bound.instance.energy(unknown, held), bound.batch)
    terms = terms if terms is not None else bound.instance.terms(unknown, held)
    total = torch.zeros((), dtype=bound.settings.dtype, device=bound.settings.device)
    for value in terms.values():
        total = total + value
    return _rows(total, bound.batch)


def _rows(value: Tensor, batch: int) -> Tensor:
    return value.reshape(-1).expand(batch) if value.numel() == 1 else value


def _with_rows(value: Tensor, batch: int) -> Tensor:
    return value.expand(batch, *value.shape[1:]) if value.ndim and value.shape[0] == 1 else value


_SOLVER_VECTORS = 40
"""Vectors of the unknowns that the hungriest solver keeps per row: two histories of ten, and iterates."""


_SOLVER_MATRICES = 6


def bytes_per_row(bound: Bound, observed: Values | None = None) -> int:
    """Memory that a row needs while it is searched.

    Counts what one evaluation with its gradient makes for the rows that are bound, and the vectors
    that solvers keep; an upper bound, since tensors are freed on the way.
    """
    if bound.part is not None:
        first, states = mixed.first_state(bound, held_values(bound), observed or {})
        return states * bytes_per_row(first, real_masks(bound, observed or {}, 1))
    if discrete.is_discrete(bound):
        return discrete.bytes_per_row(bound, held_values(bound))
    bound = in_float64(bound) if plan_inner(bound.module) else bound
    width = 8 if bound.settings.dtype == torch.float64 else 4
    sought = sum(math.prod(bound.shapes[name]) for name in bound.module.SOUGHT)
    problem = make_problem(bound, observed or {})
    start = problem.space.start(bound.settings.seed, np.arange(bound.batch, dtype=np.int64))
    counted = AllocatedBytes()
    with counted:
        problem.energy_and_gradient(start.x)
    given = sum(v.nbytes for n, v in problem.held.items() if n in problem.row_values)
    total: int = counted.total + given
    vectors = width * _SOLVER_VECTORS * sought
    if bound.module.METHOD == "interior_point" and sought <= LARGEST_UNKNOWNS:
        with torch.no_grad():
            entries = constrained_problem(bound, problem).values(start.x).shape[1]
        # The interior point keeps this many dense matrices of all unknowns and constraints.
        vectors += width * _SOLVER_MATRICES * (sought + entries) ** 2
    return total // max(bound.batch, 1) + vectors
