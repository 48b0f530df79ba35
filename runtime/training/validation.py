"""The loss of rows that were held out, and when to stop because it falls no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True)
class Validation:
    """Asked at the end of every epoch. `loss` evaluates the rows that were held out; `values` are all
    tensors of the model, of which those at the lowest loss are kept. After `patience` epochs without a
    lower one there is nothing more to do; None: never."""

    loss: Callable[[], float]
    values: Callable[[], Mapping[str, Tensor]]
    patience: int | None
    best: float = inf
    since: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)

    def ask(self) -> float:
        """The loss now."""
        found = self.loss()
        if isfinite(found) and found < self.best:
            self.best, self.since = found, 0
            self.kept = {n: v.detach().clone() for n, v in self.values().items()}
        else:
            self.since += 1
        return found

    @property
    def enough(self) -> bool:
        """Whether the loss has not fallen for as long as patience lasts."""
        return self.patience is not None and self.since >= self.patience

    @torch.no_grad()
    def take_best(self) -> None:
        """The values at the lowest loss in place of those now."""
        now = self.values()
        for name, value in self.kept.items():
            now[name].copy_(value)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"best": self.best, "since": self.since, "kept": self.kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.best, self.since, self.kept = state["best"], state["since"], dict(state["kept"])
