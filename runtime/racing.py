"""Starts of one row side by side: those that will not catch up are left behind."""

from __future__ import annotations

import torch
from torch import Tensor

FIRST = 3
"""Steps before anybody is left behind: early on a bad start may fall fastest. After 2, four of five plans of
the acrobot end in the worse minimum of their declared start; after 4 a short plan takes a third more time."""


class Race:
    """Follows the energies of all starts; start k of row i is row k * groups + i.

    A start is left behind when it is above the lowest one of its row by more than it has fallen in the later
    half of its steps: searches that converge fall less and less.
    """

    def __init__(self, groups: int, energy: Tensor) -> None:
        self.groups = groups
        self.history = [energy.nan_to_num(nan=torch.inf)]

    def losers(self, index: Tensor, energy: Tensor) -> Tensor:
        """Which of the starts in play, numbers `index` [P] with energies [P] after one more step, are left
        behind, bool [P]."""
        now = self.history[-1].index_copy(0, index, energy.nan_to_num(nan=torch.inf))
        self.history.append(now)
        steps = len(self.history) - 1
        if steps < FIRST:
            return torch.zeros_like(energy, dtype=torch.bool)
        lowest = now.reshape(-1, self.groups).amin(0)[index % self.groups]
        fallen = self.history[steps // 2][index] - energy
        return energy - fallen > lowest
