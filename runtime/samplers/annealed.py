"""Annealing: trajectories and jumps that are cooled down while they warm up.

Kirkpatrick, Gelatt & Vecchi 1983. The temperature falls geometrically over the first part of the warm-up;
from then on it is the one that was asked for. Near temperature 0 the draws stay near minima. Trajectories
find the way inside a valley; jumps lead from one valley into another, which trajectories cannot do once
it is cold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.samplers.hmc import Hmc, Moving, moving_steps, tuned_state
from ebmlang.runtime.samplers.jumps import jumped
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State
from ebmlang.runtime.samplers.target import Target

_COOLING = 0.6
"""The share of the warm-up in which the temperature falls."""


@dataclass(frozen=True, slots=True, eq=False)
class Cooling:
    """A chain at a temperature that is `heat` times the one asked for; `width` [R or 1, N] is how far chains
    have been apart at any temperature so far."""

    inner: State
    heat: float
    width: Tensor


@dataclass(frozen=True, slots=True)
class Annealed(AbstractSampler[Target]):
    """Begins `hottest` times as hot as asked for. A step is a trajectory of `leapfrogs` steps, then `jumps`
    jumps. Without a warm-up nothing is cooled: chains are at the temperature asked for from the beginning."""

    hottest: float = 100.0
    leapfrogs: int = 10
    jumps: int = 10
    step_size: float = 1.0

    def init(self, target: Target, x: Tensor) -> State:
        return State(x, Cooling(self._mover.init(target, x), 1.0, x.new_ones(1, x.shape[1])))

    def step(self, target: Target, state: State, randomness: Randomness) -> tuple[State, Info]:
        memory: Cooling = state.memory
        heated = _heated(target, memory.heat)
        inner, info = self._mover.step(heated, memory.inner, randomness)
        if self.jumps:
            moving: Moving = inner.memory
            landed = jumped(heated, inner.x, moving.potential, memory.width, self.jumps, randomness)
            inner = _at(heated, State(landed.x, moving))
            info = replace(info, evaluations=info.evaluations + self.jumps + 1)
        return State(inner.x, replace(memory, inner=inner)), info

    def warm(self, target: Target, state: State, info: Info, course: Course) -> State:
        memory: Cooling = state.memory
        inner = tuned_state(memory.inner, info, course, self._mover.wanted)
        heat = self.hottest ** max(0.0, 1 - (course.number + 1) / (_COOLING * course.total))
        if heat != memory.heat:
            inner = _at(_heated(target, heat), inner)
        return State(
            inner.x, Cooling(inner, heat, torch.maximum(memory.width, _apart(inner.x, course.chains)))
        )

    def step_sizes(self, state: State) -> Tensor | None:
        return moving_steps(state.memory.inner)

    @property
    def _mover(self) -> Hmc:
        return Hmc(self.step_size, leapfrogs=self.leapfrogs)


def _heated(target: Target, heat: float) -> Target:
    return target if heat == 1.0 else target.at(target.beta / heat)


def _at(target: Target, inner: State) -> State:
    """The state of trajectories with the potential and the gradient of another target, or another place."""
    potential, gradient = target.potential_and_gradient(inner.x)
    return replace(inner, memory=replace(inner.memory, potential=potential, gradient=gradient))


def _apart(x: Tensor, chains: int) -> Tensor:
    """The deviation of each coordinate across the chains of a row, for every chain [R, N]; 0 of one chain."""
    if chains == 1:
        return torch.zeros_like(x)
    return x.reshape(-1, chains, x.shape[1]).std(1).repeat_interleave(chains, 0)
