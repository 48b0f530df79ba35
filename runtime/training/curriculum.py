"""A curriculum: the easy examples first, and step by step the harder ones too.

The rows are in the order of their difficulty, and the part that steps draw from grows in a straight line to
all of them (Elman 1993; Bengio, Louradour, Collobert & Weston 2009; its growth: Platanios et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ebmlang.runtime import seeded
from ebmlang.runtime.seeded import Rows


@dataclass(frozen=True, slots=True, eq=False)
class EasyFirst:
    """`rows` from the easiest to the hardest; after `steps` steps all of them take part."""

    rows: Rows
    steps: int
    seed: int

    @staticmethod
    def of(rows: Rows, difficulty: NDArray[np.float64], steps: int, seed: int) -> EasyFirst:
        """Rows with the difficulty of each, [len(rows)]; those that are equally hard stay in their order."""
        return EasyFirst(rows[np.argsort(difficulty, kind="stable")], steps, seed)

    def count(self, step: int, size: int | None) -> int:
        """How many rows a step, counted from 1, draws from: at least a batch, of the given size."""
        share = -(-len(self.rows) * min(step, self.steps) // self.steps)
        return min(len(self.rows), max(share, size or 1))

    def at(self, step: int, size: int | None) -> Rows:
        """The rows of a step: `size` different ones out of those that take part, or all of these. They follow
        from (seed, step) and the difficulties alone."""
        count = self.count(step, size)
        if size is None or size >= count:
            return np.sort(self.rows[:count])
        lots = seeded.uniform(self.seed, f"curriculum of step {step}", self.rows[:count], ())
        return self.rows[np.argsort(lots, kind="stable")[:size]]
