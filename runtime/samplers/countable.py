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


@dataclass(frozen=True, eq=False)
class Affine:
    """An energy that is affine in the entries of each unknown given the others, as in Boltzmann machines with
    layers: a gradient says what every entry of a layer costs, side by side."""

    question: Question
    repeats: int
    beta: float

    @property
    def rows(self) -> int:
        return self.question.rows * self.repeats

    @cached_property
    def row(self) -> Tensor | None:
        """The row of each chain, [R]; None where each row has one."""
        if self.repeats == 1:
            return None
        device = self.question.bound.settings.device
        return torch.arange(self.rows, device=device) // self.repeats

    def point(self, x: Tensor, /) -> Tensor:
        return x

    def energy(self, x: Tensor, /) -> Tensor:
        return self.question.slopes(x, self.row)[0]

    def groups(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        device = self.question.bound.settings.device
        for own in self.question.fields:
            yield torch.arange(own.offset, own.offset + own.count, device=device), None

    def conditional(self, number: int, x: Tensor, /) -> Tensor:
        own = self.question.fields[number]
        _, slopes = self.question.slopes(x, self.row)
        cost = slopes[:, own.offset : own.offset + own.count]
        return torch.stack((torch.zeros_like(cost), cost), -1)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The target of `rows` consecutive rows of a question. `network` is that of its tables, if it has one."""

    target: InTables | Whole | Affine
    rows: int
    network: Network | None = None


def parts_of(question: Question, repeats: int, beta: float, *, tables: bool) -> list[Part]:
    """The targets of a question: by slopes where these say enough, else by networks of its tables where there
    are some. `tables`: tables are wanted wherever there are some."""
    if question.affine and not tables and _finite(question):
        return [Part(Affine(question, repeats, beta), question.rows)]
    if not question.bound.module.TABLES:
        return [Part(Whole(question, repeats, beta), question.rows)]
    return [Part(InTables(n, repeats, beta), n.batch, n) for n in question.networks()]


def _finite(question: Question) -> bool:
    """Whether slopes are finite; where they are not, tables say in which term."""
    return bool(torch.isfinite(question.slopes(question.some_assignment())[1]).all())
