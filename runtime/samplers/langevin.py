"""The unadjusted Langevin method: gradient steps with noise (Roberts & Tweedie 1996; Welling & Teh 2011)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.samplers.hmc import Moving, mala, moving_steps, tuned_state
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State, certain
from ebmlang.runtime.samplers.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Steps times scales after a warm-up, [R or 1, N], and the step sizes of rows [B]."""

    scale: Tensor
    steps: Tensor


@dataclass(frozen=True, slots=True)
class Langevin(AbstractSampler[Target]):
    """u' = u - step_size grad U(u) + sqrt(2 step_size) noise, U = beta E in unconstrained coordinates.

    Nothing is rejected, so the law is that of exp(-U) only for steps towards 0: the bias is of the order of
    the step. With `step_size` 0 the warm-up learns one, and scales, at which adjusted steps would be taken
    with probability `wanted`.
    """

    step_size: float = 0.0
    wanted: float = 0.95

    def init(self, target: Target, x: Tensor) -> State:
        return State(x) if self.step_size else mala().init(target, x)

    def step(self, target: Target, state: State, randomness: Randomness) -> tuple[State, Info]:
        if isinstance(state.memory, Moving):
            return mala().step(target, state, randomness)
        x = state.x
        noise, slope = target.moving(randomness.normal(x.shape[1])), target.gradient(x)
        if state.memory is None:
            moved = torch.add(x, slope, alpha=-self.step_size)
            moved.add_(noise, alpha=math.sqrt(2 * self.step_size))
        else:
            scale = state.memory.scale
            moved = torch.addcmul(x, scale, torch.addcmul(noise, scale, slope, value=-0.5))
        return State(moved, state.memory), certain(x)

    def warm(self, target: Target, state: State, info: Info, course: Course) -> State:
        if self.step_size:
            return state
        state = tuned_state(state, info, course, self.wanted)
        if course.number + 1 < course.total:
            return state
        return State(state.x, Scaled(state.memory.scale, moving_steps(state)))

    def step_sizes(self, state: State) -> Tensor | None:
        if isinstance(state.memory, Moving):
            return moving_steps(state)
        return state.x.new_tensor([self.step_size]) if state.memory is None else state.memory.steps
