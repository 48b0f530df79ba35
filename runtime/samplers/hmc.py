"""Hamiltonian Monte Carlo, and the Metropolis-adjusted Langevin method as its shortest trajectory.

Neal 2011, "MCMC using Hamiltonian dynamics"; step size by dual averaging (Hoffman & Gelman 2014). Momenta are
kept as velocities in units of the learnt scales, so that their law is standard normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State
from ebmlang.runtime.samplers.target import Sloped
from ebmlang.runtime.samplers.tuning import Tuning, learnt, untuned

ASTRAY = 1000.0
"""A rise of the total energy beyond which a trajectory counts as divergent (Stan)."""

MOST_LEAPFROGS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """What gradient samplers remember: potential [R] and gradient [R, N] at the position, the tuning of rows
    (None before a warm-up), and steps times scales, [R or 1, N]."""

    potential: Tensor
    gradient: Tensor
    tuning: Tuning | None
    scale: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """A position x and a velocity v [R, N], with the potential [R] and gradient [R, N] at x."""

    x: Tensor
    v: Tensor
    potential: Tensor
    gradient: Tensor

    @property
    def total(self) -> Tensor:
        """Potential plus kinetic energy, [R]."""
        return self.potential + row_dot(self.v, self.v) / 2


def at_rest(target: Sloped, x: Tensor, step: float) -> State:
    """The state of a gradient sampler at x, with one step size for all coordinates."""
    potential, gradient = target.potential_and_gradient(x)
    scale = x.new_full((1, x.shape[1]), step)
    return State(x, Moving(potential, gradient, None, scale))


def kicked(target: Sloped, state: State, randomness: Randomness) -> Phase:
    """The position with a velocity drawn anew."""
    memory: Moving = state.memory
    v = target.moving(randomness.normal(state.x.shape[1]))
    return Phase(state.x, v, memory.potential, memory.gradient)


def leapfrog(target: Sloped, phase: Phase, scale: Tensor, steps: int = 1) -> Phase:
    """Steps of the symplectic integrator; `scale` is the step times the scales, [R or 1, N]."""
    half = scale / 2
    v = torch.addcmul(phase.v, half, phase.gradient, value=-1.0)
    x = torch.addcmul(phase.x, scale, v)
    slope = target.slope()
    for _ in range(steps - 1):
        v.addcmul_(scale, slope(x), value=-1.0)
        x.addcmul_(scale, v)
    potential, gradient = target.potential_and_gradient(x)
    return Phase(x, torch.addcmul(v, half, gradient, value=-1.0), potential, gradient)


def chosen(taken: Tensor, new: Sequence[Tensor], old: Sequence[Tensor]) -> list[Tensor]:
    """Rows of new tensors [R, N] where they are taken [R], of the old ones elsewhere."""
    if taken.is_cuda:
        return [torch.where(taken[:, None], a, b) for a, b in zip(new, old, strict=True)]
    # Few are refused, and a choice row by row takes longer than to copy these.
    refused = (~taken).nonzero()[:, 0]
    return [a.index_copy(0, refused, b.index_select(0, refused)) for a, b in zip(new, old, strict=True)]


def tuned_state(state: State, info: Info, course: Course, wanted: float) -> State:
    """The state with what one step of the warm-up has taught."""
    memory: Moving = state.memory
    rows = state.x.shape[0] // course.chains
    tuning = memory.tuning
    if tuning is None:
        tuning = untuned(rows, state.x.shape[1], memory.potential, float(memory.scale[0, :1].mean()))
    tuning = learnt(tuning, info.acceptance, state.x, course, wanted)
    return replace(state, memory=replace(memory, tuning=tuning, scale=tuning.scales(course.chains)))


def moving_steps(state: State) -> Tensor:
    """The step sizes that a state of a gradient sampler has, [B] after a warm-up, else [1]."""
    memory: Moving = state.memory
    return memory.scale[:, 0] if memory.tuning is None else memory.tuning.step


@dataclass(frozen=True, slots=True)
class Hmc(AbstractSampler[Sloped]):
    """Trajectories of `trajectory` time units, in steps that are learnt unless warm-up is left out.

    `step_size` is where learning begins, or the step itself. `leapfrogs` fixes the number of steps; 0: as
    many as the trajectory takes. `wanted` is the acceptance to reach, `jitter` the share by which steps of
    single chains vary, which breaks periods.
    """

    step_size: float = 1.0
    trajectory: float = math.pi / 2
    leapfrogs: int = 0
    wanted: float = 0.8
    jitter: float = 0.2

    def init(self, target: Sloped, x: Tensor) -> State:
        return at_rest(target, x, self.step_size)

    def step(self, target: Sloped, state: State, randomness: Randomness) -> tuple[State, Info]:
        memory: Moving = state.memory
        start = kicked(target, state, randomness)
        luck = randomness.uniform(2)
        scale = memory.scale
        if self.jitter:
            scale = scale * (1 + self.jitter * (2 * luck[:, 1:] - 1))
        counts = self._counts(memory, state.x.shape[0])
        end = self._followed(target, start, scale, counts)
        change = start.total - end.total
        acceptance = torch.exp(change.clamp(max=0.0)).nan_to_num(nan=0.0)
        taken = luck[:, 0] < acceptance
        x, gradient = chosen(taken, (end.x, end.gradient), (state.x, memory.gradient))
        potential = torch.where(taken, end.potential, memory.potential)
        after = replace(memory, potential=potential, gradient=gradient)
        divergent = ~(change > -ASTRAY)
        return State(x, after), Info(acceptance, divergent, counts.expand(x.shape[0]))

    def warm(self, target: Sloped, state: State, info: Info, course: Course) -> State:
        return tuned_state(state, info, course, self.wanted)

    def step_sizes(self, state: State) -> Tensor | None:
        return moving_steps(state)

    @staticmethod
    def scaled(state: State, scale: Tensor) -> State:
        """The state with steps that are known: those of every coordinate, [R or 1, N]."""
        return replace(state, memory=replace(state.memory, scale=scale))

    def _counts(self, memory: Moving, chains: int) -> Tensor:
        """How many leapfrog steps each chain takes, int64 [1] or [R]."""
        if self.leapfrogs:
            return torch.full((1,), self.leapfrogs)
        steps = memory.tuning.step if memory.tuning is not None else memory.scale[:, 0]
        counts = (self.trajectory / steps).ceil().clamp(1, MOST_LEAPFROGS).nan_to_num(nan=1.0).long()
        return counts if len(counts) == 1 else counts.repeat_interleave(chains // len(counts))

    @staticmethod
    def _followed(target: Sloped, phase: Phase, scale: Tensor, counts: Tensor) -> Phase:
        """The ends of trajectories that differ in length by row."""
        least, most = int(counts.min()), int(counts.max())
        phase = leapfrog(target, phase, scale, least)
        for number in range(least, most):
            on = (counts > number)[:, None]
            phase = leapfrog(target, phase, torch.where(on, scale, 0.0))
        return phase


def mala(step_size: float = 1.0) -> Hmc:
    """The Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996): one leapfrog step, and the
    acceptance that is best in many dimensions (Roberts & Rosenthal 1998)."""
    return Hmc(step_size, leapfrogs=1, wanted=0.574, jitter=0.0)
