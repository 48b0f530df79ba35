"""The problem that a question to a bound model poses: what is held, what is sought, the functions over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound, domain_of, expanded, net_specs
from ebmlang.runtime.constrained.problem import Constrained
from ebmlang.runtime.domain_base import DomainError
from ebmlang.runtime.generated import NUMBERED, Array, Arrays, Entries, GeneratedModel, HessianPlaces
from ebmlang.runtime.kept import Remembered
from ebmlang.runtime.layout import hessian_form
from ebmlang.runtime.mixed.free import GIVEN, FreeEnergy, free_energy, summed_names
from ebmlang.runtime.mixed.integrated import IntegratedEnergy, integrated_energy
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.rollout import Rollout, Tie
from ebmlang.runtime.space import Space, Unknown, space_of
from ebmlang.runtime.spec import ConstraintSpec, VariableSpec

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Unshared:
    """The generated functions, for a solver that keeps values shared by all examples as [1, ...].

    While nets are thinned, each row keeps its masks, whatever rows are held beside it.
    """

    instance: GeneratedModel
    shared: frozenset[str]
    written: frozenset[str]

    def seen(self, unknown: Values) -> Values:
        return _unshared(unknown, self.shared)

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.following(held).energy(self.seen(unknown), held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).terms(self.seen(unknown), held)

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).constraints(self.seen(unknown), held)

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.following(held).smooth(self.seen(unknown), held)

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).absolute(held)

    def majorant(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.following(held).majorant(self.seen(unknown), held)

    def energy_and_gradient(self, unknown: Values, held: Values) -> tuple[Tensor, dict[str, Tensor]]:
        return self.instance.following(held).energy_and_gradient(self.seen(unknown), held)

    def gradient(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).gradient(self.seen(unknown), held)

    def smooth_and_gradient(self, unknown: Values, held: Values) -> tuple[Tensor, dict[str, Tensor]]:
        return self.instance.following(held).smooth_and_gradient(self.seen(unknown), held)

    def hessian_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        return self.instance.following(held).hessian_times(self.seen(unknown), held, self.seen(direction))

    def hessian_entries(self, unknown: Values, held: Values) -> tuple[Tensor, ...]:
        return self.instance.following(held).hessian_entries(self.seen(unknown), held)

    def hessian_places(self, held: Values, number: Values) -> HessianPlaces:
        return self.instance.following(held).hessian_places(held, self.seen(number))

    def normal_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        return self.instance.following(held).normal_times(self.seen(unknown), held, self.seen(direction))

    def prepare(self, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).prepare(held)

    def closed_form(self, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).closed_form(held)

    def scores(self, unknown: Values, held: Values) -> list[tuple[Tensor, Tensor]]:
        return self.instance.following(held).scores(self.seen(unknown), held)

    def rest(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.following(held).rest(self.seen(unknown), held)

    def maxima(self, unknown: Values, held: Values) -> list[tuple[Tensor, list[Tensor]]]:
        return self.instance.following(held).maxima(self.seen(unknown), held)

    def without_kinks(self, unknown: Values, held: Values) -> Tensor:
        return self.instance.following(held).without_kinks(self.seen(unknown), held)

    def lets(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).lets(self.seen(unknown), held)

    def first_states(self, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).first_states(held)

    def next_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).next_states(states, self.seen(unknown), held)

    def limits_of_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.following(held).limits_of_states(states, self.seen(unknown), held)

    def cost_of_states(self, states: Values, unknown: Values, held: Values) -> Tensor:
        return self.instance.following(held).cost_of_states(states, self.seen(unknown), held)

    def cost_slopes(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.instance.cost_slopes(states, self.seen(unknown), held)

    def step_slopes(self, states: Values, unknown: Values, held: Values, seeds: Values) -> dict[str, Tensor]:
        return self.instance.step_slopes(states, self.seen(unknown), held, seeds)

    def stage_bends(
        self, states: Values, unknown: Values, held: Values, seeds: Values, direction: Values
    ) -> dict[str, Tensor]:
        return self.instance.stage_bends(states, self.seen(unknown), held, seeds, direction)

    def next_entries(self, t: int, states: Entries, action: Entries, held: Arrays) -> tuple[Array, ...]:
        return self.instance.next_entries(t, states, action, held)


@dataclass(frozen=True, slots=True)
class UnsharedFree:
    """A free energy, for a solver that keeps values shared by all examples as [1, ...]."""

    free: FreeEnergy | IntegratedEnergy
    shared: frozenset[str]

    def seen(self, unknown: Values) -> Values:
        return _unshared(unknown, self.shared)

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.free.energy(self.seen(unknown), held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.free.terms(self.seen(unknown), held)


def _unshared(unknown: Values, shared: frozenset[str]) -> Values:
    """Values as the generated functions take them: shared ones without the dimension of the examples."""
    if not shared:
        return unknown
    return {n: v.squeeze(0) if n in shared else v for n, v in unknown.items()}


def held_values(bound: Bound) -> dict[str, Tensor]:
    """Everything that is not sought, with what the module prepares from it."""
    held = {n: v for n, v in bound.values.items() if n not in bound.module.SOUGHT}
    held |= bound.instance.prepare(held)
    if net_specs(bound.module) and (rows := cast(Any, bound.instance).nets.thinned_rows) is not None:
        held[NUMBERED] = torch.from_numpy(rows).to(bound.settings.device)
    return held


def make_problem(bound: Bound, observed: Values) -> Problem:
    """The minimisation that a bound module stands for.

    `observed` holds masks (True: given) of the sought variables that are given in part.
    """
    module = bound.module
    summed = summed_names(bound)
    sought = [bound.specs[name] for name in module.SOUGHT if name not in summed]
    shared = shared_names(bound)
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
    functions = Unshared(bound.instance, shared, module.WRITTEN)
    rows = frozenset(n for n in module.ROW_VALUES if n not in module.SOUGHT) | {NUMBERED}
    held = held_values(bound)
    split = functions if module.SPLIT else None
    rollout = None if observed else _rollout(bound, functions)
    form = hessian_form(bound, space, functions, held)
    closed = functions.closed_form if vars(module).get("CLOSED_FORM", False) else None
    problem = Problem(functions, held, rows & held.keys(), space, split, functions, rollout, form, closed)
    majorant = functions.majorant if vars(module).get("MAJORANT", False) else None
    return replace(problem, lengths=vars(module).get("LENGTHS", ()), majorant=majorant)


def _rollout(bound: Bound, functions: Unshared) -> Rollout | None:
    """The rollout of the plan, if it has one, and where its recursion stays for the next question."""
    found = vars(bound.module).get("ROLLOUT")
    if found is None:
        return None
    states, action, shared, whole = found[:4]
    ties: tuple[Tie, ...] = found[4] if len(found) > 4 else ()
    made = vars(type(bound.instance))
    stepped, written = "next_entries" in made, "stage_bends" in made
    return Rollout(functions, states, action, shared, whole, ties, prepared(bound), stepped, written)


def prepared(bound: Bound) -> Remembered | None:
    """Where what the method prepares stays for the next question of the same sizes, if anywhere."""
    # What is kept is found by the values held; parameters of nets are not among these.
    if bound.kept is None or net_specs(bound.module):
        return None
    settings, sizes = bound.settings, tuple(sorted(bound.sizes.items()))
    key = bound.module, sizes, settings.dtype, str(settings.device), settings.seed
    return bound.kept.prepared(key)


def _free_problem(bound: Bound, observed: Values, space: Space, shared: frozenset[str]) -> Problem:
    """Lowering the free energy of what is summed out over the coordinates of the others."""
    free, held = free_of(bound, held_values(bound), observed)
    rows = (frozenset(bound.module.ROW_VALUES) | {GIVEN, NUMBERED}) & held.keys()
    return Problem(UnsharedFree(free, shared), held, rows, space)


def free_of(
    bound: Bound, held: Values, observed: Values
) -> tuple[FreeEnergy | IntegratedEnergy, dict[str, Tensor]]:
    """The free energy that is left when a bound question sums its countable or real unknowns out, and the
    held values that it reads."""
    if any(bound.specs[name].kind == "real" for name in summed_names(bound)):
        return integrated_energy(bound, held, observed, make_problem, in_float64)
    return free_energy(bound, held, observed)


def shared_names(bound: Bound) -> frozenset[str]:
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
    elif spec.start or spec.name in bound.starts:
        given = spec.name in bound.starts
        begin = bound.starts[spec.name] if given else bound.instance.start(spec.name, known)
        start = expanded(spec, begin, shape, bound.settings)
        start = start if spec.per_example else start[None]
        # A sum, which is quickly made, tells of any NaN; infinite entries may make one too.
        dubious = not isinstance(begin, int) and bool(torch.isnan(start.sum()))
        if dubious and bool(torch.isnan(start).any()):
            raise DataError(
                f"the start of `{spec.name}` is NaN in some entries", "check what it is computed from"
            )
    return Unknown(spec.name, shape, domain, start, free, fixed, per_batch=not spec.per_example)


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
        Unshared(bound.instance, shared_names(bound), bound.module.WRITTEN),
        tuple(s for s in specs if not s.given),
        tuple(s for s in specs if s.given),
    )


def in_float64(bound: Bound) -> Bound:
    def wide(value: Tensor) -> Tensor:
        return value.double() if value.is_floating_point() else value

    return replace(
        bound,
        instance=wide_instance(bound),
        values={n: wide(v) for n, v in bound.values.items()},
        settings=replace(bound.settings, dtype=torch.float64),
    )


def wide_instance(bound: Bound) -> GeneratedModel:
    """The generated functions with constants in float64."""
    instance: Any = bound.instance
    double = torch.float64
    wide: GeneratedModel = replace(instance, dtype=double, draw=replace(instance.draw, dtype=double))
    if net_specs(bound.module):
        wide = replace(cast(Any, wide), nets=instance.nets.to(double))
    return wide
