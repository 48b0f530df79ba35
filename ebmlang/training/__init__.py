"""Finding parameters: the losses of a file over its data, and the run of its programme."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ebmlang.runtime.bind import Settings
from ebmlang.runtime.training.peers import peers_here
from ebmlang.training.course import EPOCHS, WORKERS, Course
from ebmlang.training.fitting import Asking, Fitting
from ebmlang.training.keeping import Every, Keeper
from ebmlang.training.lines import Posed, loss_now
from ebmlang.training.session import Session, alarm, facts_of, fitted, silent, warn

if TYPE_CHECKING:
    from ebmlang.api import Model

__all__ = [
    "EPOCHS",
    "WORKERS",
    "Asking",
    "Course",
    "Every",
    "Fitting",
    "Keeper",
    "Posed",
    "Session",
    "alarm",
    "facts_of",
    "fitted",
    "loss_now",
    "peers_here",
    "settings_for",
    "silent",
    "warn",
    "with_parameters_on",
]


def settings_for(model: Model, settings: Settings, dtype: Any, device: str | None) -> Settings:
    """Where and how precisely to compute: as the caller says, else as the parameters are."""
    stored = (*model.declared_parameters().values(), *(p for _, p in model.nets.parameters()))
    first = next((p for p in stored if p.is_floating_point()), None)
    if first is None:
        return settings
    chosen = settings.dtype if dtype is not None else first.dtype
    return replace(settings, dtype=chosen, device=settings.device if device is not None else first.device)


def with_parameters_on(model: Model, device: torch.device) -> None:
    """Move what there is to a device."""
    model.to(device)
