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


@dataclass(frozen=True, slots=True)
class Gibbs(AbstractSampler[Countable]):
    """A step is a sweep over all entries."""

    def init(self, target: Countable, x: Tensor) -> State:
        return State(x)

    def step(self, target: Countable, state: State, randomness: Randomness) -> tuple[State, Info]:
        x = state.x.clone()
        luck = randomness.uniform(x.shape[1])
        for number, (entries, given) in enumerate(target.groups()):
            energies = target.conditional(number, x)
            own = x[:, entries]
            new = drawn_cases(-target.beta * energies, luck[:, entries], own)
            x[:, entries] = new if given is None else torch.where(given, own, new)
        return State(x), certain(x)

    def warm(self, target: Countable, state: State, info: Info, course: Course) -> State:
        return state

    def step_sizes(self, state: State) -> Tensor | None:
        return None
