"""The model as the world that its own plans are carried out in: what it expects is what happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ebmlang.compiler.diagnostics import listing
from ebmlang.compiler.successors import successors
from ebmlang.errors import DataError
from ebmlang.planning.spaces import Array
from ebmlang.planning.worlds import Step, World

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.planning.agents import Agent
    from ebmlang.runtime.result import Result


class ModelWorld(World):
    """States follow each other as the recurrences of the model say; the reward of a step is minus what the
    terms of its time cost.

    `first` holds the first value of every observed variable that has a next one; entries of an observation
    are called like the variables.
    """

    name = "the model"

    def __init__(self, model: Model, first: Mapping[str, Any]) -> None:
        self._model = model.checked
        self._next = successors(self._model)
        if not self._next:
            raise DataError(
                "the model does not say how what is observed goes on", "let s[0] = s0, with s0 observed"
            )
        missing = [name for name in self._next if name not in first]
        if missing:
            raise DataError(f"no value for {listing(missing, 'and')} to begin at", f"pass {missing[0]}=...")
        self._first = {name: np.asarray(first[name], dtype=float) for name in self._next}
        self._now = dict(self._first)
        self._planner: Agent | None = None

    @property
    def takes(self) -> dict[str, str]:
        """Every variable takes the entry of its name."""
        return {name: name for name in self._next}

    def ask(self, planner: Agent) -> None:
        """The planner whose plans are carried out: it knows the other values, and whose states follow."""
        self._next = successors(self._model, planner.levels.lowest.action)
        self._planner = planner

    def begin(self, seed: int) -> Any:
        self._now = dict(self._first)
        return dict(self._now)

    def step(self, action: Array) -> Step:
        assert self._planner is not None, "a planner is set before the first step"
        result = self._planner.expected(self._now, action)
        self._now = {
            name: result[states].select(1 + dim, 1)[0].detach().cpu().double().numpy()
            for name, (states, dim) in self._next.items()
        }
        return Step(dict(self._now), -_cost_of_first(result))


def _cost_of_first(result: Result) -> float:
    """What the terms cost that count the time in their first dimension, at the first one."""
    longest = max((f.shape[1] for f in result.factors.values() if f.ndim > 1), default=0)
    timed = [f for f in result.factors.values() if f.ndim > 1 and f.shape[1] == longest]
    return float(sum((f[0, 0].sum() for f in timed), torch.zeros(())))
