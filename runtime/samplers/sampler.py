"""What every sampler is: a start and a step, both pure, with the randomness as an argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ebmlang.runtime.samplers.randomness import Randomness

T = TypeVar("T", contravariant=True)
"""What is drawn from: a `Target` of real unknowns, or a `Countable` of countable ones."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a sampler carries between steps; every tensor has the leading dimension R.

    `x` are the coordinates [R, N] of real unknowns, or the cases int64 [R, N] of countable ones. `memory` is
    the sampler's own frozen dataclass, or None.
    """

    x: Tensor
    memory: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Info:
    """What one step tells of itself, each [R]: the probability with which its proposal was taken, whether its
    energy went astray (a divergence), and how often the energy was evaluated."""

    acceptance: Tensor
    divergent: Tensor
    evaluations: Tensor


class AbstractSampler(ABC, Generic[T]):
    """A transition that leaves its target as it is (or nearly: `langevin`). No chain's step depends on
    another chain; only `warm` looks across the chains of a row.

    A few steps without diagnostics, as training takes them, are `init` and then `step` again and again.
    """

    __slots__ = ()

    @abstractmethod
    def init(self, target: T, x: Tensor) -> State:
        """The state at a start [R, N]."""

    @abstractmethod
    def step(self, target: T, state: State, randomness: Randomness) -> tuple[State, Info]:
        """The next state of every chain. The old one stays as it is."""

    @abstractmethod
    def warm(self, target: T, state: State, info: Info, course: Course) -> State:
        """After a step of the warm-up: the state with what is learnt from it, such as a step size."""

    @abstractmethod
    def step_sizes(self, state: State) -> Tensor | None:
        """The step size of every row, [B], or the one of all of them, [1]; None where there is none."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where the warm-up stands: step `number` of `total`, from 0, with `chains` per row."""

    number: int
    total: int
    chains: int


def moved(sampler: AbstractSampler[T], target: T, x: Tensor, steps: int, randomness: Randomness) -> Tensor:
    """Where `steps` steps from x [R, N] lead, [R, N]: the negatives of contrastive divergence."""
    return walked(sampler, target, x, steps, randomness)[0]


def walked(
    sampler: AbstractSampler[T], target: T, x: Tensor, steps: int, randomness: Randomness
) -> tuple[Tensor, Tensor]:
    """The same, and the probabilities with which the last proposals were taken, [R]."""
    state, info = sampler.init(target, x), certain(x)
    for _ in range(steps):
        state, info = sampler.step(target, state, randomness)
    return state.x, info.acceptance


def certain(x: Tensor) -> Info:
    """Of a step that is always taken, after one evaluation per chain."""
    return _certain(x.shape[0], x.device)


@lru_cache(maxsize=4)
def _certain(rows: int, device: torch.device) -> Info:
    # Of cheap steps of few chains, making these would be a good part.
    return Info(
        torch.ones(rows, device=device),
        torch.zeros(rows, dtype=torch.bool, device=device),
        torch.ones(rows, dtype=torch.int64, device=device),
    )
