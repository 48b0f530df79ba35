"""Asking a bound model: the problem of a question, its solution, and the result a person reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.methods import find_method
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound, domain_of, expanded
from ebmlang.runtime.discrete import answer as discrete
from ebmlang.runtime.domain_base import DomainError
from ebmlang.runtime.driver import Limits, Outcome, Progress, Starts, solve
from ebmlang.runtime.generated import GeneratedModel
from ebmlang.runtime.memory import AllocatedBytes
from ebmlang.runtime.obligations import unmet
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Result, Status
from ebmlang.runtime.solvers import SOLVERS, AbstractSolver, Fista
from ebmlang.runtime.space import Unknown, space_of
from ebmlang.runtime.spec import VariableSpec

Values = Mapping[str, Tensor]


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


def held_values(bound: Bound) -> dict[str, Tensor]:
    """Everything that is not sought, with what the module prepares from it."""
    held = {n: v for n, v in bound.values.items() if n not in bound.module.SOUGHT}
    return {**held, **bound.instance.prepare(held)}


def make_problem(bound: Bound, observed: Values) -> Problem:
    """The minimisation that a bound module stands for.

    `observed` holds masks (True: given) of the sought variables that are given in part.
    """
    module = bound.module
    sought = [bound.specs[name] for name in module.SOUGHT]
    shared = frozenset(s.name for s in sought if not s.per_example)
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
    functions = _Unshared(bound.instance, shared, module.WRITTEN)
    rows = frozenset(n for n in module.ROW_VALUES if n not in module.SOUGHT)
    held = held_values(bound)
    split = functions if module.SPLIT else None
    return Problem(functions, held, rows & held.keys(), space, split, functions)


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
    if discrete.is_discrete(bound):
        return _discrete(bound, search, observed or {})
    problem = make_problem(bound, observed or {})
    name, because = _method(bound, problem, search)
    options = (
        dict(bound.module.OPTIONS) if not search.method or search.method == bound.module.METHOD else {}
    )
    solver = make_solver(name, options, bound.module.QUADRATIC)
    defaults = Limits()
    limits = Limits(
        int(_pick(search.steps, options.get("steps"), defaults.steps)),
        _pick(search.tol, options.get("tol"), None),
    )
    restarts = int(_pick(search.restarts, options.get("restarts"), 1))
    starts = Starts(search.seed, bound.settings.first_row, restarts)
    outcome = solve(problem, solver, limits, starts, progress, search.trace)
    return _result(bound, problem, outcome, name, because)


def _discrete(bound: Bound, search: Search, observed: Values) -> Result:
    """The answer for discrete unknowns."""
    held = held_values(bound)
    wanted = discrete.Wanted(search.method, search.steps, search.restarts, search.seed)
    answer = discrete.solve(bound, held, observed, wanted)
    return replace(
        evaluate(bound, answer.values, held),
        converged=answer.converged,
        status=answer.status,
        iterations=answer.iterations,
        method=answer.method,
        because=answer.because,
        certificate=answer.certificate,
    )


def _pick(*choices: Any) -> Any:
    return next((c for c in choices if c is not None), None)


def _method(bound: Bound, problem: Problem, search: Search) -> tuple[str, str]:
    """The method, after the obligations of the plan have met the numbers."""
    module = bound.module
    name, because = search.method or module.METHOD, module.BECAUSE
    if name == module.METHOD:
        failed = unmet(module, bound.instance, problem.held)
        if failed:
            return module.FALLBACK or "adam", f"{name} does not apply: {failed[0]}"
    return name, because


def make_solver(name: str, options: Mapping[str, Any], quadratic: bool) -> AbstractSolver:
    """A solver by its name, with the options that it has."""
    kind = SOLVERS[name]
    own = {k: v for k, v in options.items() if k not in ("steps", "tol", "restarts")}
    if kind is Fista:
        own["quadratic"] = quadratic
    return kind(**own)


def _result(bound: Bound, problem: Problem, outcome: Outcome, method: str, because: str) -> Result:
    batch = bound.batch
    with torch.no_grad():
        unknown = {
            n: v if not problem.space.joint else v[0] for n, v in problem.space.values(outcome.x).items()
        }
        if isinstance(problem.functions, _Unshared):
            unknown = dict(problem.functions._seen(unknown))
    unknown = {n: v.detach() for n, v in unknown.items()}
    report = evaluate(bound, unknown, problem.held)
    status = outcome.sentences if len(outcome.sentences) == batch else outcome.sentences * batch
    kinds = outcome.status if len(outcome.status) == batch else outcome.status * batch
    converged = torch.tensor([k is Status.CONVERGED for k in kinds], dtype=torch.bool)
    return replace(
        report,
        converged=converged,
        status=tuple(status),
        iterations=_rows(outcome.iterations, batch).cpu(),
        method=method,
        because=because,
        certificate=_certificate(method, converged),
        trace=outcome.trace,
    )


def _certificate(method: str, converged: Tensor) -> str:
    """What is known about the answer: the claim of the method, for the rows that reached it."""
    row = find_method(method)
    claim = row.certificate if row is not None else ""
    count, total = int(converged.sum()), int(converged.numel())
    return (
        claim if count == total else f"{claim} in {count:,} of {total:,} rows; see the status of the others"
    )


def evaluate(bound: Bound, unknown: Values, held: Values) -> Result:
    """Energies, terms, factors and lets at given values, without searching."""
    module, instance, batch = bound.module, bound.instance, bound.batch
    with torch.no_grad():
        terms = instance.terms(unknown, held)
        energy = energy_rows(bound, unknown, held, terms)
        lets = instance.lets(unknown, held)
        factors = instance.factors(unknown, held)
    per_row = {t.name for t in module.TERMS if not t.batch}
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
        converged=torch.ones(batch, dtype=torch.bool),
        status=("given: nothing was sought",) * batch,
        iterations=torch.zeros(batch, dtype=torch.int64),
        method="",
        because="",
        certificate="",
        factors={n: _with_rows(v, batch) for n, v in factors.items() if n in per_row},
        batch_terms={n: v for n, v in terms.items() if n not in per_row},
    )


def energy_rows(bound: Bound, unknown: Values, held: Values, terms: Values | None = None) -> Tensor:
    """The total energy of every row, [B]; terms that are one number count in every row."""
    if not bound.module.JOINT:
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


def bytes_per_row(bound: Bound, observed: Values | None = None) -> int:
    """Memory that a row needs while it is searched.

    Counts what one evaluation with its gradient makes for the rows that are bound, and the vectors
    that solvers keep; an upper bound, since tensors are freed on the way.
    """
    if discrete.is_discrete(bound):
        return discrete.bytes_per_row(bound, held_values(bound))
    width = 8 if bound.settings.dtype == torch.float64 else 4
    sought = sum(math.prod(bound.shapes[name]) for name in bound.module.SOUGHT)
    problem = make_problem(bound, observed or {})
    start = problem.space.start(bound.settings.seed, np.arange(bound.batch, dtype=np.int64))
    counted = AllocatedBytes()
    with counted:
        problem.energy_and_gradient(start.x)
    given = sum(v.nbytes for n, v in problem.held.items() if n in problem.row_values)
    total: int = counted.total + given
    return total // max(bound.batch, 1) + width * _SOLVER_VECTORS * sought
