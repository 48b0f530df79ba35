"""The loop around a sampler: warm-up, draws, and what is counted on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course

Heard = Callable[[int, int], None]
"""(steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class Length:
    """How much is drawn: `draws` of each of `chains` chains, every `thin`-th step after `warmup` steps."""

    chains: int = 4
    draws: int = 1000
    warmup: int = 1000
    thin: int = 1

    @property
    def steps(self) -> int:
        return self.warmup + self.draws * self.thin

    def check(self) -> None:
        """Raises DataError where nothing would be drawn."""
        for name in ("chains", "draws", "thin"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}, and must be at least 1", f"{name} = 4")
        if self.warmup < 0:
            raise DataError(f"warmup is {self.warmup}, and must not be negative", "warmup = 1000")


class Drawable(Protocol):
    """What the loop asks of a target of any kind."""

    def point(self, x: Tensor, /) -> Tensor:
        """What is kept of the state x [R, N]."""

    def energy(self, x: Tensor, /) -> Tensor:
        """E at the state, [R]."""


T = TypeVar("T", bound=Drawable)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """points [R, draws, N] and their energies [R, draws]; mean acceptance and number of divergences of each
    chain [R]; the step sizes that were used, [B] or [1], or None."""

    points: Tensor
    energy: Tensor
    acceptance: Tensor
    divergences: Tensor
    steps: Tensor | None


def drive(
    sampler: AbstractSampler[T],
    target: T,
    x: Tensor,
    length: Length,
    randomness: Randomness,
    heard: Heard | None = None,
) -> Drawn:
    """Run all chains from x [R, N]."""
    state = sampler.init(target, x)
    for number in range(length.warmup):
        state, info = sampler.step(target, state, randomness)
        state = sampler.warm(target, state, info, Course(number, length.warmup, length.chains))
        _tell(heard, number, length)
    first = target.point(state.x)
    points = first.new_empty(x.shape[0], length.draws, first.shape[1])
    energy = torch.empty(x.shape[0], length.draws, dtype=target.energy(state.x).dtype, device=x.device)
    acceptance = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
    divergences = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    for number in range(length.draws * length.thin):
        state, info = sampler.step(target, state, randomness)
        acceptance += info.acceptance
        divergences += info.divergent
        if (number + 1) % length.thin == 0:
            place = number // length.thin
            points[:, place] = target.point(state.x)
            energy[:, place] = target.energy(state.x)
        _tell(heard, length.warmup + number, length)
    return Drawn(
        points,
        energy,
        acceptance / max(length.draws * length.thin, 1),
        divergences,
        sampler.step_sizes(state),
    )


def _tell(heard: Heard | None, number: int, length: Length) -> None:
    if heard is not None:
        heard(number + 1, length.steps)
