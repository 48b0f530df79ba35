"""The cross-entropy method over countable unknowns: the best of many draws say how likely each case is next.

Every entry has probabilities of its own cases (Rubinstein 1999; de Boer et al. 2005). A share of them is kept
from round to round, so that a case that one round has missed can come back. Half of the draws have neighbours
in time that tend to be alike, as courses of actions have that get anywhere (Pinneri et al. 2020): the numbers
behind their cases are noise that lasts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime import seeded
from ebmlang.runtime.discrete.question import Question
from ebmlang.runtime.solvers.sampled import waves

SAMPLES, ELITES = 256, 16
"""Assignments that are drawn in a round, and how many of them count for the next one."""

COLOR = 1.0
"""Of the noise, see `sampled.waves`."""

KEPT = 0.3
"""The part of the probabilities that is kept from one round to the next."""

ROUNDS, PATIENCE = 100, 10
"""Rounds at most, and rounds without a better assignment after which a row ends."""

CERTAIN = 0.99
"""The least probability of the likeliest case of every entry at which a row ends."""

AT_ONCE = 2**14
"""Assignments that are evaluated together."""


def drawn(question: Question, seed: int, first_row: int, steps: int, groups: int) -> tuple[Tensor, Tensor]:
    """The best assignments that were drawn, int64 [rows * groups, N], and the rounds, int64 [rows * groups].

    Each group of a row has probabilities of its own: which courses the first rounds favour is chance.
    """
    entries, rows = len(question.cases), question.rows * groups
    cases = torch.from_numpy(question.cases)
    open_ = torch.arange(int(cases.max())) < cases[:, None]
    chance = (open_.double() / cases[:, None]).expand(rows, -1, -1).clone()
    numbers = (0 if question.joint else first_row * groups) + np.arange(rows, dtype=np.int64)
    best = torch.zeros(rows, entries, dtype=torch.int64)
    least = torch.full((rows,), torch.inf, dtype=torch.float64)
    stale, taken = (torch.zeros(rows, dtype=torch.int64) for _ in range(2))
    running = torch.arange(rows)
    for number in range(min(steps, ROUNDS)):
        if not len(running):
            break
        share = seeded.uniform(seed, f"cross entropy/{number}", numbers[running.numpy()], (SAMPLES, entries))
        found = _by_chance(chance[running], _lasting(question, torch.from_numpy(share)), cases)
        if question.fixed is not None:
            given = question.fixed.cpu()[running // groups, None]
            found = torch.where(given >= 0, given, found)
        energy = _energies(question, found, running // groups)
        lowest = energy.argsort(1)[:, :ELITES]
        chosen = found.gather(1, lowest[..., None].expand(-1, -1, entries))
        often = torch.nn.functional.one_hot(chosen, open_.shape[1]).double().mean(1)
        chance[running] = KEPT * chance[running] + (1 - KEPT) * often
        first = energy.gather(1, lowest[:, :1])[:, 0]
        better = first < least[running]
        least[running] = torch.where(better, first, least[running])
        best[running] = torch.where(better[:, None], chosen[:, 0], best[running])
        stale[running] = torch.where(better, 0, stale[running] + 1)
        taken[running] += 1
        sure = chance[running].amax(2).amin(1) >= CERTAIN
        running = running[~sure & (stale[running] < PATIENCE)]
    return best.to(question.bound.settings.device), taken


def _lasting(question: Question, share: Tensor) -> Tensor:
    """Uniform numbers [R, S, N] of which half depend on those before them, along the first dimension of every
    unknown."""
    half = share.shape[1] // 2
    normal, found = torch.special.ndtri(share[:, :half]), share.clone()
    for own in question.fields:
        examples, (steps, *_) = (own.shape[0], (*own.shape[1:], 1)) if own.rows else (1, (*own.shape, 1))
        part = slice(own.offset, own.offset + own.count)
        if steps > 1:
            mixed = waves(steps, COLOR) @ normal[..., part].unflatten(2, (examples, steps, -1))
            found[:, :half, part] = torch.special.ndtr(mixed).flatten(2)
    return found


def _by_chance(chance: Tensor, share: Tensor, cases: Tensor) -> Tensor:
    """Cases drawn by the probabilities [R, N, K], from uniform numbers [R, S, N]."""
    upto = chance.cumsum(2)[:, None]
    found = (share[..., None] > upto).sum(3)
    return torch.minimum(found, cases - 1)


def _energies(question: Question, found: Tensor, rows: Tensor) -> Tensor:
    """Of assignments [R, S, N] of the given rows, [R, S]; inf where there is none."""
    device = question.bound.settings.device
    which = rows.repeat_interleave(found.shape[1]).to(device)
    flat = found.flatten(0, 1).to(device)
    pairs = zip(flat.split(AT_ONCE), which.split(AT_ONCE), strict=True)
    energy = torch.cat([question.energies(a, r) for a, r in pairs]).cpu()
    return energy.nan_to_num(nan=torch.inf).reshape(found.shape[:2])
