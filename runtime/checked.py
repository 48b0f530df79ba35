"""Answers that are computed without a search, and what they are checked by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Outright:
    """An answer x [R, N].

    `sure`: the energies are finite and every row meets the tolerance, whatever the report says. Otherwise
    `stands` tells which rows meet it, bool [R], from the values of the variables that `reads` names, as the
    generated code computes them.
    """

    x: Tensor
    sure: bool
    stands: Callable[[Values], Tensor] | None = None
    reads: frozenset[str] = frozenset()
