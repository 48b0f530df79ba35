"""Problems written by hand, in the form that generated code has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebmlang.runtime.domains import Domain, Reals
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.space import Unknown, space_of

Values = Mapping[str, Tensor]
Term = Callable[[Values, Values], Tensor]


@dataclass(frozen=True)
class Fake:
    """An energy that is the sum of named terms."""

    parts: Mapping[str, Term]

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {name: part(unknown, held) for name, part in self.parts.items()}

    def energy(self, unknown: Values, held: Values) -> Tensor:
        terms = list(self.terms(unknown, held).values())
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


@dataclass(frozen=True)
class FakeSplit:
    """A smooth part plus weighted absolute values of x; a held value `weight` comes before the fixed one."""

    part: Term
    weight: Tensor
    name: str = "x"
    calls: list[int] = field(default_factory=list)

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        self.calls.append(unknown[self.name].shape[0])
        return self.part(unknown, held)

    def absolute(self, held: Values) -> dict[str, Tensor]:
        return {self.name: held.get("weight", self.weight)}

    def rough(self, unknown: Values, held: Values) -> Tensor:
        x = unknown[self.name]
        return (held.get("weight", self.weight) * x.abs()).reshape(x.shape[0], -1).sum(1)

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.part(unknown, held) + self.rough(unknown, held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {"smooth": self.part(unknown, held), "rough": self.rough(unknown, held)}


def problem(
    term: Term | Mapping[str, Term],
    start: Tensor,
    domain: Domain | None = None,
    held: Values | None = None,
    row_values: tuple[str, ...] = (),
    free: Tensor | None = None,
    fixed: Tensor | None = None,
    joint: bool = False,
) -> Problem:
    """A problem in one unknown x with the given start [B, *shape]."""
    parts = term if isinstance(term, Mapping) else {"energy": term}
    shape = tuple(start.shape[1:])
    unknown = Unknown("x", shape, domain or Reals(), start=start, free=free, fixed=fixed)
    space = space_of((unknown,), start.shape[0], start.dtype, joint=joint)
    return Problem(Fake(parts), held or {}, frozenset(row_values), space)


def split_problem(
    part: Term,
    weight: Tensor,
    start: Tensor,
    domain: Domain | None = None,
    held: Values | None = None,
    row_values: tuple[str, ...] = (),
) -> Problem:
    """A problem in one unknown x: a smooth part plus weighted absolute values."""
    functions = FakeSplit(part, weight)
    unknown = Unknown("x", tuple(start.shape[1:]), domain or Reals(), start=start)
    space = space_of((unknown,), start.shape[0], start.dtype)
    return Problem(functions, held or {}, frozenset(row_values), space, functions)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rosenbrock(unknown: Values, held: Values) -> Tensor:
    """Rosenbrock 1960, in chained form; minimum 0 at ones."""
    x = unknown["x"]
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def least_squares(unknown: Values, held: Values) -> Tensor:
    """1/2 |A x - b|^2 with A shared and b per row."""
    rest = unknown["x"] @ held["A"].T - held["b"]
    return 0.5 * (rest * rest).sum(1)
