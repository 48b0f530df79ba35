"""What a person reads of given values: energies, terms, factors, lets and violations of every row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.constrained.problem import (
    feasible_within,
    flat,
    violation,
)
from ebmlang.runtime.driver import Limits
from ebmlang.runtime.mixed.free import FreeEnergy
from ebmlang.runtime.posing import constraint_specs
from ebmlang.runtime.result import Result

Values = Mapping[str, Tensor]


def evaluate(bound: Bound, unknown: Values, held: Values) -> Result:
    """Energies, terms, factors and lets at given values, without searching."""
    module, instance, batch = bound.module, bound.instance, bound.batch
    with torch.no_grad():
        terms, factors, lets = instance.report(unknown, held)
        energy = energy_rows(bound, unknown, held, terms)
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
                with_rows(value, batch) if name in module.ROW_VALUES or name in module.ROW_LETS else value
            )
    return Result(
        values=values,
        energy=energy,
        terms={n: rows_of(v, batch) for n, v in terms.items() if n in per_row},
        converged=~broken,
        status=_given_status(violations, broken.tolist()),
        iterations=torch.zeros(batch, dtype=torch.int64),
        method="",
        because="",
        certificate="",
        factors={
            # What is the same for every example stands in every row all the same.
            n: with_rows(v, batch) if n in differing else v.expand(batch, *v.shape)
            for n, v in factors.items()
            if n in per_row
        },
        batch_terms={n: v for n, v in terms.items() if n not in per_row},
        violations=violations,
    )


def free_report(bound: Bound, free: FreeEnergy, unknown: Values, held: Values) -> Result:
    """Free energies at given values, and the probabilities of what was summed out."""
    batch = bound.batch
    with torch.no_grad():
        energy = rows_of(free.energy(unknown, held), batch)
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


def energy_rows(bound: Bound, unknown: Values, held: Values, terms: Values | None = None) -> Tensor:
    """The total energy of every row, [B]; terms that are one number count in every row."""
    if terms is None and not bound.module.JOINT:
        return rows_of(bound.instance.energy(unknown, held), bound.batch)
    terms = terms if terms is not None else bound.instance.terms(unknown, held)
    total = torch.zeros((), dtype=bound.settings.dtype, device=bound.settings.device)
    for value in terms.values():
        total = total + value
    return rows_of(total, bound.batch)


def rows_of(value: Tensor, batch: int) -> Tensor:
    return value.reshape(-1).expand(batch) if value.numel() == 1 else value


def with_rows(value: Tensor, batch: int) -> Tensor:
    return value.expand(batch, *value.shape[1:]) if value.ndim and value.shape[0] == 1 else value


def _violations(bound: Bound, unknown: Values, held: Values) -> dict[str, Tensor]:
    """By how much each constraint is violated at most, name -> [B]."""
    specs = constraint_specs(bound.module)
    if not specs:
        return {}
    values = bound.instance.constraints(unknown, held)
    return {s.name: violation(flat(values[s.name], s, bound.batch), s.relation == "==") for s in specs}


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
