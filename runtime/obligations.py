"""Obligations of a plan, checked against the values that were bound."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from ebmlang.runtime.generated import GeneratedModel, Values

EIGENVALUE_TOL = 1e-6
"""How far below 0 an eigenvalue may be, relative to the largest one, to count as rounding."""


def unmet(module: ModuleType, instance: GeneratedModel, held: Values) -> tuple[str, ...]:
    """The obligations that do not hold, in words, each with what was found instead."""
    if not module.OBLIGATIONS:
        return ()
    values = instance.obligations(held)
    found = ((says, _violation(values[says], kind)) for says, kind in module.OBLIGATIONS)
    return tuple(f"{says} does not hold{seen}" for says, seen in found if seen is not None)


def _violation(value: Tensor, kind: str) -> str | None:
    """What is wrong, or None; an empty tensor has nothing wrong."""
    value = value.detach()
    if value.numel() == 0:
        return None
    if not bool(torch.isfinite(value).all()):
        # +inf is a weight like any other where only the sign matters.
        if kind == "psd" or not bool((value >= 0).all()):
            return " (some entry is not finite)"
        return None
    if kind == "psd":
        return _indefinite(value)
    least = float(value.min())
    return None if least >= 0 else f" (it reaches {least:g} in the check)"


def _indefinite(matrix: Tensor) -> str | None:
    symmetric = (0.5 * (matrix + matrix.mT)).double()
    eigenvalues = torch.linalg.eigvalsh(symmetric)
    scale = eigenvalues.abs().amax(-1)
    least = eigenvalues[..., 0]
    wrong = least < -EIGENVALUE_TOL * scale
    return f" (its smallest eigenvalue is {float(least.min()):g})" if bool(wrong.any()) else None
