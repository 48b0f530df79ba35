"""What a person reads of given values: energies, terms, factors, lets and violations of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound, net_specs
from ebmlang.runtime.constrained.problem import (
    feasible_within,
    flat,
    violation,
)
from ebmlang.runtime.driver import Limits
from ebmlang.runtime.generated import NUMBERED, Report
from ebmlang.runtime.kept import Kept
from ebmlang.runtime.mixed.free import FreeEnergy
from ebmlang.runtime.mixed.integrated import IntegratedEnergy
from ebmlang.runtime.posing import constraint_specs
from ebmlang.runtime.result import Later, Result, result_later

Values = Mapping[str, Tensor]

CACHED = 1 << 23
"""Bytes of what the evaluation of some rows makes that stay in the cache of a core, all in all."""

FEWEST = 64
"""Rows that are worth a call of their own."""

MOST_BYTES = 2**18
MOST_ANSWERS = 4
MOST_COPIED = 2**24
"""Values that are copied so that a report can wait: so many bytes, or so many times those of the answer,
which whoever keeps the result keeps too, up to as many as the last. If there are more, it is made at once."""


def evaluate(bound: Bound, unknown: Values, held: Values) -> Result:
    """Energies, terms, factors and lets at given values, without searching."""
    module, batch = bound.module, bound.batch
    with torch.no_grad():
        terms, factors, lets = _tables(bound, unknown, held)
        energy = energy_rows(bound, unknown, held, terms)
        violations = _violations(bound, unknown, held)
    good = _within(violations, bound)
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
        converged=good,
        status=_given_status(violations, good),
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


def can_wait(bound: Bound, unknown: Values, held: Values) -> bool:
    """Whether what a report is made from can be kept as it is now: few values, and nothing else."""
    if "NESTED" in vars(bound.module) or net_specs(bound.module) or constraint_specs(bound.module):
        return False
    answer = sum([v.nbytes for v in unknown.values()])
    size = answer + sum([v.nbytes for v in held.values()])
    return size <= MOST_BYTES or size <= min(MOST_ANSWERS * answer, MOST_COPIED)


def waiting(bound: Bound, unknown: Values, held: Values, ending: dict[str, Any]) -> Result:
    """The result of a search that ended so, with a report that waits until it is asked for. The caller may
    change what was passed, or the answer, before."""
    then, given = ({n: v.detach().clone() for n, v in values.items()} for values in (unknown, held))
    # How much a row takes is all that a report asks of what the model keeps.
    kept = None if bound.kept is None else Kept(footprints=bound.kept.footprints)
    module, idle = bound.module, replace(bound, values={}, kept=kept)
    later = Later(lambda: with_shared(evaluate(idle, then, given), module))
    return result_later(dict(unknown), later, **ending)


def with_shared(result: Result, module: ModuleType) -> Result:
    """The result with the names of the values that are the same for all rows."""
    if result.pending:
        return result
    return replace(result, shared=frozenset(result.values) - module.ROW_VALUES - module.ROW_LETS)


def _tables(bound: Bound, unknown: Values, held: Values) -> Report:
    """Terms, factors and lets. Terms alone are evaluated for as many rows at a time as a cache holds: what is
    made on the way is read again at once."""
    module, batch = bound.module, bound.batch
    size = CACHED // max(bound.kept.bytes_per_row, 1) if bound.kept is not None else batch
    separate = not (module.JOINT or module.ROW_LETS or any(t.batch or t.plated for t in module.TERMS))
    if not separate or batch < 2 * max(size, FEWEST) or unknown.keys() - module.ROW_VALUES:
        return bound.instance.report(unknown, held)
    count = -(-batch // max(size, FEWEST))
    parts = []
    for k in range(count):
        low, high = batch * k // count, batch * (k + 1) // count
        own = module.ROW_VALUES | {NUMBERED}
        x, known = (_between(values, own, batch, low, high) for values in (unknown, held))
        found = bound.instance.following(known).terms(x, known)
        parts.append({n: v.reshape(-1).expand(high - low) for n, v in found.items()})
    terms = {n: torch.cat([part[n] for part in parts]) for n in parts[0]}
    return terms, {}, bound.instance.lets(unknown, held)


def _between(values: Values, own: frozenset[str], batch: int, low: int, high: int) -> Values:
    """The values of rows low..high."""
    return {n: v[low:high] if n in own and v.shape[0] == batch else v for n, v in values.items()}


def free_report(bound: Bound, free: FreeEnergy | IntegratedEnergy, unknown: Values, held: Values) -> Result:
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


def values_alone(bound: Bound, unknown: Values) -> Result:
    """Values without anything that would have to be computed from them; the energies are NaN."""
    energy = torch.full((bound.batch,), torch.nan, dtype=bound.settings.dtype)
    nothing = torch.zeros(bound.batch, dtype=torch.int64)
    return Result(dict(unknown), energy, {}, nothing.bool(), ("",) * bound.batch, nothing, "", "", "")


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


def _within(violations: Values, bound: Bound) -> Tensor:
    """Rows in which every constraint holds, bool [B]."""
    tolerance = feasible_within(Limits().tolerance(bound.settings.dtype))
    good = torch.ones(bound.batch, dtype=torch.bool)
    for largest in violations.values():
        good = good & (largest.cpu() <= tolerance)
    return good


def _given_status(violations: Values, good: Tensor) -> tuple[str, ...]:
    """The status of rows in which nothing was sought."""
    plain = "given: nothing was sought"
    if not violations or bool(good.all()):
        return (plain,) * len(good)
    broken = (~good).tolist()
    worst = [max(violations, key=lambda name: float(violations[name][row])) for row in range(len(broken))]
    return tuple(
        f"{plain}; '{name}' is violated by {float(violations[name][row]):.3g}" if broken[row] else plain
        for row, name in enumerate(worst)
    )
