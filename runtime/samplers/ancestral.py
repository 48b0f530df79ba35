"""Independent draws of countable unknowns: by elimination where tables allow it, else from a list of
states."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.discrete.eliminate import drawn
from ebmlang.runtime.discrete.methods import Unfit, assignments, described, planned
from ebmlang.runtime.discrete.question import Question
from ebmlang.runtime.samplers.randomness import Randomness


def draw(
    question: Question, beta: float, count: int, randomness: Randomness
) -> tuple[Tensor, tuple[str, ...], str]:
    """`count` independent assignments for each row, int64 [rows, count, N]; a fault for each row, "" where
    nothing is wrong; and what was learnt from the sizes. `randomness` is for rows * count chains.

    Raises Unfit where neither fits into memory.
    """
    luck = randomness.uniform(len(question.cases)).double().reshape(question.rows, count, -1)
    if question.bound.module.TABLES and not question.arranged:
        try:
            return _by_elimination(question, beta, luck)
        except Unfit as unfit:
            try:
                return _from_states(question, beta, luck)
            except Unfit:
                raise unfit from None
    return _from_states(question, beta, luck)


def _by_elimination(question: Question, beta: float, luck: Tensor) -> tuple[Tensor, tuple[str, ...], str]:
    memory = question.bound.settings.chunk_bytes
    parts, faults, note, row = [], [], "", 0
    for network in question.networks():
        plan = planned(network, memory)
        note = described(network, plan.order)
        # A row at a time where all rows together would not fit; draws of a row share its tables.
        step = max(1, int(memory / (64 * (plan.order.total + luck.shape[1] * plan.order.largest))))
        for first in range(0, network.batch, step):
            own = network.rows(first, min(first + step, network.batch))
            found = drawn(own, plan, beta, luck[row : row + own.batch])
            impossible = torch.isinf(own.energy(found[:, 0]))
            parts.append(found)
            faults += [_IMPOSSIBLE if bad else "" for bad in impossible.tolist()]
            row += own.batch
    found = torch.cat(parts)
    if question.fixed is not None:
        fixed = question.fixed[:, None]
        found = torch.where(fixed >= 0, fixed, found)
    return found, tuple(faults), note


_IMPOSSIBLE = "every assignment has the energy inf"


def _from_states(question: Question, beta: float, luck: Tensor) -> tuple[Tensor, tuple[str, ...], str]:
    states, energies = zip(*assignments(question), strict=True)
    every, energy = torch.cat(states, 1), torch.cat(energies, 1)
    impossible = torch.isinf(energy).all(1) | torch.isnan(energy).any(1)
    least = energy.amin(1, keepdim=True)
    upper = torch.exp(-beta * (energy - torch.where(torch.isfinite(least), least, 0.0))).cumsum(1)
    total = upper[:, -1:]
    # A state takes one uniform number of those of its entries. One next to 1 may round up to the total.
    place = torch.searchsorted(upper, luck[..., 0].contiguous() * total, right=True)
    place = torch.minimum(place, every.shape[1] - (upper == total).sum(1, keepdim=True))
    found = every.gather(1, place[..., None].expand(-1, -1, every.shape[2]))
    faults = tuple(_IMPOSSIBLE if bad else "" for bad in impossible.tolist())
    return found, faults, f"{every.shape[1]:,} assignments"
