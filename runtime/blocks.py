"""A problem by groups of its unknowns: each group is a problem of its own while the others are held.

Every group comes with the module and the solver that its own plan picked. What the module prepares from the
values that are held (a Gram matrix, say) is prepared again whenever the other groups have moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ebmlang.runtime.problem import Problem
    from ebmlang.runtime.solvers.solver import AbstractSolver

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One group. `problem` holds the others at some values, which do not count; `prepare` makes what its
    functions read besides values by name."""

    problem: Problem
    solver: AbstractSolver
    prepare: Callable[[Values], dict[str, Tensor]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(unknown.name for unknown in self.problem.space.unknowns)

    def at(self, whole: Problem, x: Tensor) -> Problem:
        """The problem of the group with the other unknowns held at x [R, N]; in a joint space R is 1."""
        own, shared = self.names, {u.name for u in whole.space.unknowns if u.per_batch}
        with torch.no_grad():
            seen = {n: v.squeeze(0) if n in shared else v for n, v in whole.unknown(x).items()}
            held = {**whole.held, **{n: v for n, v in seen.items() if n not in own}}
            held.update(self.prepare(held))
        return replace(self.problem, held=held)

    def of(self, whole: Problem, x: Tensor) -> Tensor:
        """The coordinates of the group in x [R, N]; where only `whole` is joint, a row for each example."""
        space = whole.space
        pieces = {u.name: p for u, p in zip(space.unknowns, space.split(x), strict=True)}
        own = [pieces[name] for name in self.names]
        if space.joint and not self.problem.space.joint:
            own = [piece[0] for piece in own]
        return self.problem.space.join(own)

    def put(self, whole: Problem, x: Tensor, own: Tensor) -> Tensor:
        """x [R, N] with the coordinates of the group replaced."""
        space, part = whole.space, self.problem.space
        found = {u.name: p for u, p in zip(part.unknowns, part.split(own), strict=True)}
        if space.joint and not part.joint:
            found = {name: piece[None] for name, piece in found.items()}
        columns = zip(space.unknowns, space.split(x), strict=True)
        return space.join([found.get(unknown.name, piece) for unknown, piece in columns])

    def select(self, rows: Tensor) -> Part:
        """The group of the given rows of a problem that is not joint."""
        return replace(self, problem=self.problem.select(rows))


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """All groups, in the order in which they take turns."""

    parts: tuple[Part, ...]

    def select(self, rows: Tensor, joint: bool) -> Blocks:
        """Rows of a joint problem are whole searches, and its groups the same in each."""
        return self if joint else Blocks(tuple(part.select(rows) for part in self.parts))
