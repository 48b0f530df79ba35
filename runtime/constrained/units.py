"""Hard constraints in units in which slopes are of ordinary size.

Penalties, tolerances and limits of multipliers are numbers, so an energy or a constraint that is written in
units a million times larger or smaller would be searched badly, or not at all. Such rows are searched with
energy and constraints divided by the size of their changes (Waechter & Biegler 2006, section 3.8), and what
is found is said in the units of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ebmlang.runtime.constrained.problem import (
    Constrained,
    ConstrainedOutcome,
    Everything,
    excess,
    largest,
    sentence,
)
from ebmlang.runtime.domain_base import row_norm
from ebmlang.runtime.problem import Values
from ebmlang.runtime.result import Status
from ebmlang.runtime.rollout import RolloutFunctions
from ebmlang.runtime.spec import ConstraintSpec
from ebmlang.runtime.steepness import slopes_at

ORDINARY = 1e4
"""Slopes up to this size, and down to its inverse, are left as they are."""

UNIT = "unit of the energy"
"""The name of a held value; no variable can be called so."""


@dataclass(frozen=True, slots=True)
class _InUnits:
    """Generated functions, divided by the held units."""

    base: Everything
    specs: tuple[ConstraintSpec, ...]
    ranks: Mapping[str, int]
    joint: bool

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.base.energy(unknown, held) / self._energy_unit(held)

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        return self.base.smooth(unknown, held) / self._energy_unit(held)

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return {n: self._weight(n, w, held) for n, w in self.base.absolute(held).items()}

    def _weight(self, name: str, weight: Tensor, held: Values) -> Tensor:
        """The weights of a variable, of which each row has its own in its unit."""
        if self.joint:
            return weight / self._energy_unit(held)
        rank = self.ranks[name]
        rows = weight.reshape(*[1] * (rank + 1 - weight.ndim), *weight.shape)
        return rows / held[UNIT].reshape(-1, *[1] * rank)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.base.terms(unknown, held)

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.divided(self.base.constraints(unknown, held), held)

    def divided(self, found: Mapping[str, Tensor], held: Values) -> dict[str, Tensor]:
        """Constraints in their units."""
        return {n: v / self._constraint_unit(n, v, held) for n, v in found.items()}

    def _energy_unit(self, held: Values) -> Tensor:
        return held[UNIT][0] if self.joint else held[UNIT]

    def _constraint_unit(self, name: str, value: Tensor, held: Values) -> Tensor:
        unit = constraint_unit(name, held)
        if unit is None:
            return value.new_ones(())
        if self.joint:
            return unit[0]
        spec = next(s for s in self.specs if s.name == name)
        return _along_rows(unit, value if spec.per_example else value[None])


@dataclass(frozen=True, slots=True)
class _RolloutInUnits:
    """The functions of a rollout, with costs and limits divided by the held units, each row by its own."""

    base: RolloutFunctions
    units: _InUnits

    def lets(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.base.lets(unknown, held)

    def first_states(self, held: Values) -> dict[str, Tensor]:
        return self.base.first_states(held)

    def next_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.base.next_states(states, unknown, held)

    def cost_of_states(self, states: Values, unknown: Values, held: Values) -> Tensor:
        return self.base.cost_of_states(states, unknown, held) / held[UNIT]

    def limits_of_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.units.divided(self.base.limits_of_states(states, unknown, held), held)


def _name_of(constraint: str) -> str:
    return f"unit of constraint {constraint}"


def constraint_unit(name: str, held: Values) -> Tensor | None:
    """What a constraint is divided by in each row, [R]; None where it is left as it is written."""
    return held.get(_name_of(name))


def _along_rows(unit: Tensor, value: Tensor) -> Tensor:
    """A unit [R] beside a value [R or 1, ...]."""
    return unit.reshape(-1, *[1] * (value.ndim - 1)) if unit.ndim and value.ndim else unit


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What the energy [R] and every constraint, name -> [R], are divided by; 1 where sizes are ordinary."""

    energy: Tensor
    constraints: Mapping[str, Tensor]

    @property
    def plain(self) -> bool:
        """Whether nothing is divided by anything but 1."""
        return all(bool((unit == 1).all()) for unit in (self.energy, *self.constraints.values()))


def in_units(constrained: Constrained, units: Units) -> Constrained:
    """The problem with its energy and constraints divided by their units."""
    problem = constrained.problem
    ranks = {u.name: u.rank for u in problem.space.unknowns}
    functions = _InUnits(constrained.functions, constrained.specs, ranks, problem.space.joint)
    rollout = problem.rollout
    if rollout is not None:
        # Derivatives of stages are not written in units, and nobody asks for them then.
        inside = cast("RolloutFunctions", _RolloutInUnits(rollout.functions, functions))
        rollout = replace(rollout, functions=inside, shared=False, kept=None, stepped=False, written=False)
    held = {UNIT: units.energy} | {_name_of(name): unit for name, unit in units.constraints.items()}
    problem = replace(
        problem,
        functions=functions,
        held={**problem.held, **held},
        row_values=problem.row_values | set(held),
        split=functions if problem.split is not None else None,
        derivatives=None,
        rollout=rollout,
    )
    return replace(constrained, problem=problem, functions=functions)


def in_own_units(constrained: Constrained, found: ConstrainedOutcome, units: Units) -> ConstrainedOutcome:
    """What was found in units, as the model writes it."""
    with torch.no_grad():
        c = constrained.values(found.x)
    rules = _by_entry(constrained, units, found.x)
    y = found.multipliers * units.energy[:, None] / rules
    equal = constrained.equal(found.x)
    slack = torch.where(equal, 0.0, torch.minimum(-c, y).abs())
    worst = constrained.worst(found.x)
    sentences = tuple(
        sentence(kind, violation) if kind in (Status.INFEASIBLE, Status.VIOLATED) else text
        for kind, text, violation in zip(found.status, found.sentences, worst, strict=True)
    )
    return replace(
        found,
        energy=constrained.problem.energy(found.x),
        optimality=found.optimality * units.energy,
        multipliers=y,
        violation=largest(excess(c, equal)),
        complementarity=largest(slack),
        sentences=sentences,
        trace=None if found.trace is None else found.trace * units.energy,
        gap=None if found.gap is None else found.gap * units.energy,
    )


def units_of(constrained: Constrained, x: Tensor) -> Units:
    """The sizes of the changes around x [R, N], where they are not ordinary."""
    slopes = slopes_at(constrained.problem, x, x, False)
    made = torch.Generator().manual_seed(0)
    signs = (2 * torch.randint(0, 2, x.shape[1:], generator=made) - 1).to(x)
    with torch.no_grad():
        before = constrained.by_name(x)
        around = [
            constrained.by_name(constrained.problem.space.retract(x, side * slopes.length * signs / 2))
            for side in (1.0, -1.0)
        ]
    way = row_norm(slopes.length).clamp(min=torch.finfo(x.dtype).tiny)
    rules = {}
    for spec in constrained.specs:
        changes = [(after[spec.name] - before[spec.name]).abs() for after in around]
        rules[spec.name] = _unusual(largest(torch.cat(changes, 1)) / way)
    return Units(_unusual(row_norm(slopes.usual)), rules)


def _unusual(size: Tensor) -> Tensor:
    """Sizes that are not ordinary as they are, 1 for all others."""
    odd = torch.isfinite(size) & (size > 0) & ((size > ORDINARY) | (size < 1 / ORDINARY))
    return torch.where(odd, size, 1.0)


def _by_entry(constrained: Constrained, units: Units, x: Tensor) -> Tensor:
    """The unit of every constraint entry, [R, M]."""
    with torch.no_grad():
        found = constrained.by_name(x)
    rules = units.constraints
    parts = [rules[s.name][:, None].expand(-1, found[s.name].shape[1]) for s in constrained.specs]
    return torch.cat(parts, 1) if parts else x.new_ones(x.shape[0], 0)
