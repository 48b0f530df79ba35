"""The groups of unknowns of a bound question that take turns, each with the solver of its own plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.blocks import Blocks, Part
from ebmlang.runtime.picking import make_solver, picked
from ebmlang.runtime.posing import Unshared, make_problem
from ebmlang.runtime.problem import Problem

Values = Mapping[str, Tensor]


def blocks_of(bound: Bound, problem: Problem, observed: Values) -> Blocks:
    """The groups of a bound question; `observed` holds masks of unknowns that are given in part."""
    space = problem.space
    x = space.start(bound.settings.seed, bound.instance.draw.rows).x[: 1 if space.joint else None]
    values = dict(problem.unknown(x))
    for unknown in space.unknowns:
        if unknown.per_batch:
            values[unknown.name] = values[unknown.name].squeeze(0)
    return Blocks(tuple(_part(bound, module, values, observed) for module in bound.blocks))


def _part(bound: Bound, module: ModuleType, values: Values, observed: Values) -> Part:
    own: Any = bound.instance
    common = ("batch", "dtype", "device", "draw")
    hypers = {f.name: getattr(own, f.name) for f in fields(own) if f.name not in common}
    instance = module.MODEL(**hypers, **{name: getattr(own, name) for name in common})
    others = {n: v for n, v in values.items() if n not in module.SOUGHT}
    part = replace(
        bound, module=module, instance=instance, values={**bound.values, **others}, part=None, blocks=()
    )
    problem = make_problem(part, {n: m for n, m in observed.items() if n in module.SOUGHT}).detached()
    name, _ = picked(part, problem, "")
    functions = Unshared(instance, frozenset(), module.WRITTEN)
    return Part(problem, make_solver(name, {}, module.QUADRATIC), functions.prepare)
