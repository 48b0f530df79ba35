"""Annealing: Hamiltonian trajectories that are cooled down while they warm up.

Kirkpatrick, Gelatt & Vecchi 1983. The temperature falls geometrically over the first part of the warm-up;
from then on the sampler is `hmc` at the temperature that was asked for. Near temperature 0 the draws stay
near minima.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ebmlang.runtime.samplers.hmc import Hmc, moving_steps, tuned_state
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State
from ebmlang.runtime.samplers.target import Target

_COOLING = 0.6
"""The share of the warm-up in which the temperature falls."""


@dataclass(frozen=True, slots=True, eq=False)
class Cooling:
    """A chain at a temperature that is `heat` times the one asked for."""

    inner: State
    heat: float


@dataclass(frozen=True, slots=True)
class Annealed(AbstractSampler[Target]):
    """Begins `hottest` times as hot as asked for; trajectories of `leapfrogs` steps. Without a warm-up
    nothing is cooled, and chains are at the temperature asked for from the beginning."""

    hottest: float = 100.0
    leapfrogs: int = 10
    step_size: float = 1.0

    def init(self, target: Target, x: Tensor) -> State:
        return State(x, Cooling(self._mover.init(target, x), 1.0))

    def step(self, target: Target, state: State, randomness: Randomness) -> tuple[State, Info]:
        memory: Cooling = state.memory
        inner, info = self._mover.step(_heated(target, memory.heat), memory.inner, randomness)
        return State(inner.x, Cooling(inner, memory.heat)), info

    def warm(self, target: Target, state: State, info: Info, course: Course) -> State:
        memory: Cooling = state.memory
        inner = tuned_state(memory.inner, info, course, self._mover.wanted)
        heat = self.hottest ** max(0.0, 1 - (course.number + 1) / (_COOLING * course.total))
        if heat != memory.heat:
            potential, gradient = _heated(target, heat).potential_and_gradient(inner.x)
            inner = replace(inner, memory=replace(inner.memory, potential=potential, gradient=gradient))
        return State(inner.x, Cooling(inner, heat))

    def step_sizes(self, state: State) -> Tensor | None:
        return moving_steps(state.memory.inner)

    @property
    def _mover(self) -> Hmc:
        return Hmc(self.step_size, leapfrogs=self.leapfrogs)


def _heated(target: Target, heat: float) -> Target:
    return target if heat == 1.0 else target.at(target.beta / heat)
