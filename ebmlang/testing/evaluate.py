"""A model with its numbers in float64: what every check evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ebmlang.api import Model
from ebmlang.errors import DataError
from ebmlang.questions import Asked
from ebmlang.runtime import posing, report
from ebmlang.runtime.bind import Bound, Settings, bind
from ebmlang.testing.case import Case

Values = Mapping[str, Any]
"""A `Case`, or arrays or plain lists by variable name."""


def settings(first_row: int = 0, seed: int = 0) -> Settings:
    """float64 on the CPU."""
    return Settings(torch.float64, torch.device("cpu"), seed, first_row)


def evaluation_module(model: Model) -> ModuleType:
    """Generated code in which all latents are arguments."""
    latents = tuple(v.name for v in model.checked.variables if v.role == "latent")
    return model.compiled(Asked(model.checked, latents, None, None), None)[1]


def hypers_of(model: Model, values: Values) -> dict[str, Any]:
    """Those that the model was loaded with, and those of the case."""
    return {**model.hypers, **(values.hypers if isinstance(values, Case) else {})}


def bound_to(model: Model, module: ModuleType, values: Values, seed: int = 0) -> Bound:
    """The module with these values. Raises DataError where they do not fit."""
    known = {v.name for v in model.checked.variables if v.role != "hyper"}
    given = {name: value for name, value in values.items() if name in known}
    sought = frozenset(module.SOUGHT)
    hypers = hypers_of(model, values)
    bound = bind(module, hypers, given, settings(seed=seed), sought, nets=model.nets.fresh())
    for spec in bound.specs.values():
        if spec.role in ("latent", "param") and spec.name not in bound.values:
            raise DataError(f"no value for `{spec.name}`", f"pass {spec.name}=...")
    return bound


def scalars_of(bound: Bound) -> dict[str, Any]:
    """Scalar hyperparameters by name, defaults included."""
    fields = type(bound.instance).__dataclass_fields__  # type: ignore[attr-defined]
    names = [s.name for s in bound.specs.values() if s.role == "hyper" and not s.shape]
    return {name: getattr(bound.instance, name if name in fields else f"{name}_") for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class Energies:
    """The energies of one set of values.

    total: [B]. terms: name -> [B], or [] for a term of the whole batch.
    """

    total: Tensor
    terms: Mapping[str, Tensor]


def energies(bound: Bound, changed: Mapping[str, Tensor] | None = None) -> Energies:
    """Total and terms, with some values replaced; differentiable."""
    if changed:
        bound = replace(bound, values={**bound.values, **changed})
    unknown = {name: bound.values[name] for name in bound.module.SOUGHT}
    held = posing.held_values(bound)
    terms = bound.instance.terms(unknown, held)
    # The total by itself: that it is the sum of its terms is one of the checks.
    return Energies(report.energy_rows(bound, unknown, held), terms)


def objective(bound: Bound, changed: Mapping[str, Tensor]) -> Tensor:
    """What is minimised: [B], or [] when the examples are coupled."""
    values = {**bound.values, **changed}
    unknown = {name: values[name] for name in bound.module.SOUGHT}
    held = posing.held_values(replace(bound, values=values))
    found = bound.instance.energy(unknown, held)
    if bound.module.JOINT:
        return found.sum()
    return found.reshape(-1).expand(bound.batch) if found.numel() == 1 else found
