"""What samplers of countable unknowns draw from: exp(-beta E) over assignments, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.discrete.local import Colour, colour_of_entries, colours_of, local_energies
from ebmlang.runtime.discrete.methods import free_entries
from ebmlang.runtime.discrete.network import Network
from ebmlang.runtime.discrete.question import Question


class Countable(Protocol):
    """Assignments int64 [R, N] of R chains with their energies. Given entries never change."""

    @property
    def rows(self) -> int: ...

    @property
    def beta(self) -> float: ...

    def point(self, x: Tensor, /) -> Tensor:
        """The assignment itself."""

    def energy(self, x: Tensor, /) -> Tensor:
        """E at assignments [R, N], float64 [R]."""

    def groups(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Entries [n] that may change side by side, in the order of a sweep; and which of them are given,
        bool [R, n], None where none is."""

    def conditional(self, number: int, x: Tensor, /) -> Tensor:
        """The energy of every case of the entries of group `number` given all others, up to a constant,
        [R, n, K]."""


@dataclass(frozen=True, eq=False)
class InTables:
    """An energy that is a sum of tables; each row of the network has `repeats` chains, which stand
    together."""

    network: Network
    repeats: int
    beta: float

    @property
    def rows(self) -> int:
        return self.network.batch * self.repeats

    @cached_property
    def colours(self) -> tuple[Colour, ...]:
        return colours_of(self.network)

    @cached_property
    def everything(self) -> tuple[Colour, ...]:
        """All entries that have a choice, grouped by their number of cases alone."""
        cases = self.network.cases
        counts = (int(c) for c in np.unique(cases) if c > 1)
        return tuple(colour_of_entries(self.network, np.flatnonzero(cases == c), c) for c in counts)

    @cached_property
    def row(self) -> Tensor:
        """The row of the network of each chain, [R]."""
        return torch.arange(self.rows, device=self.network.device) // self.repeats

    def point(self, x: Tensor, /) -> Tensor:
        return x

    def energy(self, x: Tensor, /) -> Tensor:
        parts = x.reshape(self.network.batch, self.repeats, -1)
        each = [self.network.energy(parts[:, k]) for k in range(self.repeats)]
        return torch.stack(each, 1).reshape(-1)

    def groups(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        for colour in self.colours:
            yield colour.entries, None

    def conditional(self, number: int, x: Tensor, /) -> Tensor:
        return local_energies(self.colours[number], x, self.row)


@dataclass(frozen=True, eq=False)
class Whole:
    """An energy that does not split into tables: every case of an entry is an evaluation."""

    question: Question
    repeats: int
    beta: float

    @property
    def rows(self) -> int:
        return self.question.rows * self.repeats

    @cached_property
    def row(self) -> Tensor:
        device = self.question.bound.settings.device
        return torch.arange(self.rows, device=device) // self.repeats

    @cached_property
    def free(self) -> list[int]:
        """Entries that are not given in every row."""
        found: list[int] = free_entries(self.question).tolist()
        return found

    def point(self, x: Tensor, /) -> Tensor:
        return x

    def energy(self, x: Tensor, /) -> Tensor:
        return self.question.energies(x, self.row)

    def groups(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        fixed = self.question.fixed
        for entry in self.free:
            where = torch.tensor([entry], device=self.row.device)
            yield where, None if fixed is None else (fixed[:, where] >= 0).index_select(0, self.row)

    def conditional(self, number: int, x: Tensor, /) -> Tensor:
        entry = self.free[number]
        cases = int(self.question.cases[entry])
        trial = x.repeat_interleave(cases, 0)
        trial[:, entry] = torch.arange(cases, device=x.device).repeat(self.rows)
        found = self.question.energies(trial, self.row.repeat_interleave(cases))
        return found.reshape(self.rows, 1, cases)


def countable_of(question: Question, network: Network | None, repeats: int, beta: float) -> InTables | Whole:
    """The target of a question: by a network of its tables where there is one."""
    if network is not None:
        return InTables(network, repeats, beta)
    return Whole(question, repeats, beta)
