"""Single changes of countable unknowns, proposed by how much they lower the energy.

Gibbs-with-gradients (Grathwohl, Swersky, Hashemi, Duvenaud & Maddison 2021) proposes a change with
probability in proportion to exp(-d / 2), d the change of beta E, which it approximates by a gradient. Where
the energy is a sum of tables, all those changes are read off the tables, so they are exact, as in Zanella
2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.discrete.cases import drawn_cases
from ebmlang.runtime.discrete.local import local_energies
from ebmlang.runtime.samplers.countable import InTables
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State


@dataclass(frozen=True, slots=True)
class Informed(AbstractSampler[InTables]):
    """A step is `flips` proposals, each of another case for one entry; 0: a quarter of the entries."""

    flips: int = 0

    def init(self, target: InTables, x: Tensor) -> State:
        return State(x)

    def step(self, target: InTables, state: State, randomness: Randomness) -> tuple[State, Info]:
        x = state.x
        flips = self.flips or max(1, x.shape[1] // 4)
        luck = randomness.uniform(2 * flips)
        acceptance = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        entries, cases = _changes(target)
        if len(entries):
            logits = _logits(target, x)
            for flip in range(flips):
                x, logits, taken = _flipped(
                    target, x, logits, entries, cases, luck[:, 2 * flip : 2 * flip + 2]
                )
                acceptance += taken / flips
        none = torch.zeros_like(acceptance, dtype=torch.bool)
        return State(x), Info(acceptance, none, torch.full_like(none, flips, dtype=torch.int64))

    def warm(self, target: InTables, state: State, info: Info, course: Course) -> State:
        return state

    def step_sizes(self, state: State) -> Tensor | None:
        return None


def _changes(target: InTables) -> tuple[Tensor, Tensor]:
    """Every entry with every case, in the order of the logits: [M] each."""
    device = target.network.device
    entries = [c.entries.repeat_interleave(c.cases) for c in target.everything]
    cases = [torch.arange(c.cases, device=device).repeat(len(c.entries)) for c in target.everything]
    empty = torch.zeros(0, dtype=torch.int64, device=device)
    return torch.cat([empty, *entries]), torch.cat([empty, *cases])


def _logits(target: InTables, x: Tensor) -> Tensor:
    """-d / 2 for every change, [R, M]; -inf for what is no change, and for what is impossible."""
    parts = []
    for colour in target.everything:
        energies = local_energies(colour, x, target.row)
        own = x[:, colour.entries][..., None]
        change = target.beta * (energies - energies.gather(2, own))
        # From an impossible case to another one the difference is NaN: such a change is not proposed.
        logits = (-change / 2).nan_to_num(nan=-torch.inf, posinf=700.0)
        parts.append(logits.scatter(2, own, -torch.inf).flatten(1))
    return torch.cat(parts, 1)


def _flipped(
    target: InTables, x: Tensor, logits: Tensor, entries: Tensor, cases: Tensor, luck: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One proposal: the next assignments with their logits, and the probabilities of acceptance [R]."""
    rows = torch.arange(x.shape[0], device=x.device)
    none = torch.zeros_like(rows)
    place = drawn_cases(logits, luck[:, 0], none)
    entry = entries[place]
    proposed = x.clone()
    proposed[rows, entry] = cases[place]
    after = _logits(target, proposed)
    # exp(-d) times the ratio of exp(d / 2) and exp(-d / 2), which is 1; what is left are the normalisers.
    change = torch.logsumexp(logits, 1) - torch.logsumexp(after, 1)
    acceptance = torch.exp(change.clamp(max=0.0)).nan_to_num(nan=0.0)
    taken = luck[:, 1] < acceptance
    return torch.where(taken[:, None], proposed, x), torch.where(taken[:, None], after, logits), acceptance
