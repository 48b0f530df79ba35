"""Paths of laws, from one that is known to the one that is asked for.

Along a path the potential is (1 - share) U_0 + share U, where U_0 is of a law whose normaliser is known (Neal
2001).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.samplers.countable import Affine, InTables, Whole
from ebmlang.runtime.samplers.gibbs import sweep
from ebmlang.runtime.samplers.hmc import Hmc
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.target import Target

WANTED = 0.8
"""The acceptance that step sizes are to reach (Hoffman & Gelman 2014)."""


class Path(Protocol):
    """Laws of R chains, several for each of B rows; chains of a row stand together."""

    @property
    def log_base(self) -> Tensor:
        """The logarithm of the normaliser where the path begins, float64 [B]."""

    def begin(self, randomness: Randomness, /) -> Tensor:
        """Draws of the law where the path begins, [R, N]."""

    def change(self, x: Tensor, /) -> Tensor:
        """The derivative of the potential by the share, U - U_0, float64 [R]."""

    def moved(
        self, x: Tensor, share: Tensor, step: Tensor, randomness: Randomness, /
    ) -> tuple[Tensor, Tensor]:
        """A transition that keeps the law at a share [R], with a step size [R] where it has one: the next
        states, and the probability with which each was taken [R]."""


@dataclass(frozen=True, slots=True, eq=False)
class _Between:
    """The law at a share [R] of the way from a Gaussian to a target."""

    path: RealPath
    share: Tensor

    def moving(self, vector: Tensor, /) -> Tensor:
        return self.path.target.moving(vector)

    def slope(self) -> Callable[[Tensor], Tensor]:
        return lambda u: self.potential_and_gradient(u)[1]

    def potential_and_gradient(self, u: Tensor, /) -> tuple[Tensor, Tensor]:
        path, share = self.path, self.share
        off = self.moving(u - path.mean) / path.deviation
        potential, gradient = path.target.potential_and_gradient(u)
        here = share * potential + (1 - share) * off.square().sum(1) / 2
        return here, share[:, None] * gradient + (1 - share)[:, None] * off / path.deviation


@dataclass(frozen=True, slots=True, eq=False)
class RealPath:
    """From a Gaussian of the given mean and deviation [R, N], by Hamiltonian trajectories.

    `rows` is B.
    """

    target: Target
    mean: Tensor
    deviation: Tensor
    rows: int
    leapfrogs: int = 10

    @property
    def log_base(self) -> Tensor:
        chains = self.mean.shape[0] // self.rows
        log = self.deviation[::chains].double().log() + math.log(2 * math.pi) / 2
        moves = self.target.moving(torch.ones_like(self.mean))[::chains]
        return (log * moves).sum(1) - self.target.surplus()[::chains]

    def begin(self, randomness: Randomness, /) -> Tensor:
        noise = self.target.moving(randomness.normal(self.mean.shape[1]))
        return self.mean + self.deviation * noise

    def change(self, x: Tensor, /) -> Tensor:
        off = self.target.moving(x - self.mean) / self.deviation
        return (self.target.potential(x) - off.square().sum(1) / 2).double()

    def moved(
        self, x: Tensor, share: Tensor, step: Tensor, randomness: Randomness, /
    ) -> tuple[Tensor, Tensor]:
        law = _Between(self, share.to(x.dtype))
        mover = Hmc(leapfrogs=self.leapfrogs)
        state = mover.init(law, x)
        scaled = mover.scaled(state, step.to(x.dtype)[:, None] * self.deviation)
        after, info = mover.step(law, scaled, randomness)
        return after.x, info.acceptance


@dataclass(frozen=True, slots=True, eq=False)
class CountablePath:
    """From all cases of every entry alike, by Gibbs sweeps. `cases` are the numbers of cases [N]; `given`
    int64 [R, N] the case of entries that are given and -1 elsewhere, None where none is."""

    target: InTables | Whole | Affine
    cases: Tensor
    given: Tensor | None
    rows: int

    @property
    def log_base(self) -> Tensor:
        log = self.cases.double().log()
        if self.given is None:
            return log.sum().expand(self.rows)
        chains = self.given.shape[0] // self.rows
        return torch.where(self.given[::chains] < 0, log, 0.0).sum(1)

    def begin(self, randomness: Randomness, /) -> Tensor:
        lots = randomness.uniform(len(self.cases))
        x = (lots * self.cases).long().minimum(self.cases - 1)
        return x if self.given is None else torch.where(self.given < 0, x, self.given)

    def change(self, x: Tensor, /) -> Tensor:
        return self.target.beta * self.target.energy(x)

    def moved(
        self, x: Tensor, share: Tensor, step: Tensor, randomness: Randomness, /
    ) -> tuple[Tensor, Tensor]:
        after = sweep(self.target, x, randomness, share=share[:, None, None])
        return after, torch.ones_like(share)
