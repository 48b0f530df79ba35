"""The energy of a model at values that are all given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.questions import Asked
from ebmlang.runtime import posing, report
from ebmlang.runtime.bind import Bound

if TYPE_CHECKING:
    from ebmlang.api import Model

Values = Mapping[str, Tensor]


def energy(
    model: Model, given: Mapping[str, Any], dtype: str | torch.dtype | None, device: str | None
) -> Tensor:
    """The total of every row, [B]. Raises DataError for a variable without a value."""
    bound, unknown, held = _bound(model, given, dtype, device)
    return report.energy_rows(bound, unknown, held, bound.instance.terms(unknown, held))


def terms(
    model: Model, given: Mapping[str, Any], dtype: str | torch.dtype | None, device: str | None
) -> dict[str, Tensor]:
    """Every term of every row, name -> [B]; one number where it is of the batch. Raises DataError."""
    bound, unknown, held = _bound(model, given, dtype, device)
    batch = {t.name for t in bound.module.TERMS if t.batch}
    found = bound.instance.terms(unknown, held)
    return {n: v if n in batch else report.rows_of(v, bound.batch) for n, v in found.items()}


def _bound(
    model: Model, given: Mapping[str, Any], dtype: str | torch.dtype | None, device: str | None
) -> tuple[Bound, Values, Values]:
    """Bound values for an evaluation: the latents stay arguments."""
    latent = tuple(v.name for v in model.checked.variables if v.role == "latent")
    _, module = model.compiled(Asked(model.checked, latent, None, None), None)
    for name in latent:
        if name not in given:
            raise DataError(f"no value for the latent `{name}`", f"pass {name}=...")
    settings = model.settings(given, dtype, device, None, None)
    bound = model.bound(module, given, settings, frozenset())
    return bound, {n: bound.values[n] for n in latent}, posing.held_values(bound)
