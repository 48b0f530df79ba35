"""Parallel tempering: every chain is a ladder of chains at several temperatures that exchange their places.

Geyer 1991; even and odd pairs in turn, which carries states through the ladder (Syed, Bouchard-Cote,
Deligiannidis & Doucet 2022). Between exchanges each rung takes a short Hamiltonian trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.samplers.hmc import Hmc, Moving, tuned_state
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State
from ebmlang.runtime.samplers.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """The chains of all rungs: `inner` has R T of them, the T rungs of a chain together and the coldest
    first. `info` is that of their last trajectories, `number` counts the exchanges."""

    target: Target
    inner: State
    info: Info | None
    number: int


@dataclass(frozen=True, slots=True)
class _Split:
    """The numbers of a chain dealt out to its rungs."""

    source: Randomness
    rungs: int

    def normal(self, size: int) -> Tensor:
        return self.source.normal(self.rungs * size).reshape(-1, size)

    def uniform(self, size: int) -> Tensor:
        return self.source.uniform(self.rungs * size).reshape(-1, size)


@dataclass(frozen=True, slots=True)
class Tempering(AbstractSampler[Target]):
    """`temperatures` rungs from 1 to `hottest`, in a geometric row; `leapfrogs` steps between exchanges.
    Every rung of every chain learns a step size of its own."""

    temperatures: int = 8
    hottest: float = 100.0
    leapfrogs: int = 5
    step_size: float = 1.0

    def init(self, target: Target, x: Tensor) -> State:
        rungs = self.temperatures
        rows = torch.arange(x.shape[0], device=x.device).repeat_interleave(rungs)
        share = torch.arange(rungs, dtype=x.dtype, device=x.device) / max(rungs - 1, 1)
        beta = (self.hottest**-share).repeat(x.shape[0]) * target.beta
        wide = target.select(rows).at(beta)
        inner = self._mover.init(wide, x.repeat_interleave(rungs, 0))
        return State(x, Ladder(wide, inner, None, 0))

    def step(self, target: Target, state: State, randomness: Randomness) -> tuple[State, Info]:
        ladder: Ladder = state.memory
        rungs = self.temperatures
        inner, info = self._mover.step(ladder.target, ladder.inner, _Split(randomness, rungs))
        order = _exchanged(ladder.target, inner.x, randomness.uniform(rungs), ladder.number % 2)
        inner = _placed(ladder.target, inner, order)
        counts = info.evaluations.expand(inner.x.shape[0]).reshape(-1, rungs).sum(1)
        told = Info(info.acceptance[::rungs], info.divergent[::rungs], counts)
        return State(inner.x[::rungs], Ladder(ladder.target, inner, info, ladder.number + 1)), told

    def warm(self, target: Target, state: State, info: Info, course: Course) -> State:
        ladder: Ladder = state.memory
        assert ladder.info is not None
        alone = replace(course, chains=1)
        inner = tuned_state(ladder.inner, ladder.info, alone, self._mover.wanted)
        return replace(state, memory=replace(ladder, inner=inner))

    def step_sizes(self, state: State) -> Tensor | None:
        return None  # every rung of every chain has its own

    @property
    def _mover(self) -> Hmc:
        return Hmc(self.step_size, leapfrogs=self.leapfrogs)


def _exchanged(target: Target, x: Tensor, luck: Tensor, parity: int) -> Tensor:
    """Which rung's state each rung has after the pairs of one parity may have exchanged theirs, [R, T]."""
    rows, rungs = luck.shape
    energy = target.energy(x).reshape(rows, rungs)
    assert isinstance(target.beta, Tensor)
    beta = target.beta.reshape(rows, rungs)
    order = torch.arange(rungs, device=x.device).expand(rows, rungs).clone()
    lower = torch.arange(parity, rungs - 1, 2, device=x.device)
    change = (beta[:, lower] - beta[:, lower + 1]) * (energy[:, lower] - energy[:, lower + 1])
    taken = luck[:, lower] < torch.exp(change.clamp(max=0.0)).nan_to_num(nan=0.0)
    order[:, lower] += taken.long()
    order[:, lower + 1] -= taken.long()
    return order


def _placed(target: Target, inner: State, order: Tensor) -> State:
    """The states of the rungs in another order, with potentials at their new temperatures."""
    rows, rungs = order.shape
    source = (torch.arange(rows, device=order.device)[:, None] * rungs + order).reshape(-1)
    memory: Moving = inner.memory
    x = inner.x.index_select(0, source)
    potential, gradient = target.potential_and_gradient(x)
    return State(x, replace(memory, potential=potential, gradient=gradient))
