"""Gibbs sampling of countable unknowns: every entry from its law given the others, colour by colour.

Entries of one colour share no table, so they are independent given the rest and change side by side (Geman &
Geman 1984; Gonzalez, Low, Gretton & Guestrin 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.discrete.cases import drawn_cases
from ebmlang.runtime.samplers.countable import Countable
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State, certain


def sweep(
    target: Countable,
    x: Tensor,
    randomness: Randomness,
    only: Tensor | None = None,
    share: Tensor | float = 1.0,
) -> Tensor:
    """Every entry drawn once from its law given the others, int64 [R, N]; with `only`, bool [N], those
    entries alone. `share` is a factor of the inverse temperature, a number or [R, 1, 1]."""
    x = x.clone()
    luck = randomness.uniform(x.shape[1])
    for number, (entries, given) in enumerate(target.groups()):
        if only is not None and not bool(only[entries].any()):
            continue
        own = x[:, entries]
        new = drawn_cases(-share * target.beta * target.conditional(number, x), luck[:, entries], own)
        new = new if given is None else torch.where(given, own, new)
        x[:, entries] = new if only is None else torch.where(only[entries], new, own)
    return x


@dataclass(frozen=True, slots=True)
class Gibbs(AbstractSampler[Countable]):
    """A step is a sweep over all entries."""

    def init(self, target: Countable, x: Tensor) -> State:
        return State(x)

    def step(self, target: Countable, state: State, randomness: Randomness) -> tuple[State, Info]:
        x = sweep(target, state.x, randomness)
        return State(x), certain(x)

    def warm(self, target: Countable, state: State, info: Info, course: Course) -> State:
        return state

    def step_sizes(self, state: State) -> Tensor | None:
        return None
