"""What a generated module says about its variables and terms; binding works from these tables."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.couplings import (
    Condition,
    Coupling,
    LiftedPattern,
    Running,
    as_index,
    computed,
    entry,
    examples,
    table,
)
from ebmlang.compiler.sizes import Size

__all__ = [
    "Condition",
    "ConstraintSpec",
    "Coupling",
    "LiftedPattern",
    "MaximumSpec",
    "Requirement",
    "Running",
    "Size",
    "TableSpec",
    "TermSpec",
    "VariableSpec",
    "as_index",
    "computed",
    "entry",
    "examples",
    "table",
]


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """One declared variable. `shape` is of one example; `classes` counts the cases of a class.

    `domain_values` tells that the module computes bounds or a mask, `start` that it computes a
    default, a start or a draw; `needs` are the sizes that the default of a size is computed from.
    """

    name: str
    role: str
    kind: str
    shape: tuple[Size, ...]
    classes: Size | None = None
    per_example: bool = False
    missing: bool = False
    domain: str = "reals"
    domain_values: bool = False
    start: bool = False
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        shape = self.shape[:-1] if self.domain == "permutation" else self.shape
        dims = ", ".join(map(str, shape))
        if self.domain == "permutation":
            return f"permutation[{self.classes}]" + (f"[{dims}]" if dims else "")
        kind = self.kind if self.classes is None else f"{self.kind}[{self.classes}]"
        return f"{kind}[{dims}]" if dims else kind


@dataclass(frozen=True, slots=True)
class TermSpec:
    """One energy term. `per_example` tells that its value differs by example."""

    name: str
    kind: str
    per_example: bool
    batch: bool = False
    plated: bool = False


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table of `tables`: a summand of `term` that joins entries of `variables` at each position of
    its `plates` plate axes. `per_example`: the term counts once for every example."""

    key: int
    term: str
    variables: tuple[str, ...]
    plates: int
    per_example: bool


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """One hard constraint: its values are <= 0, or == 0, entry by entry. `given` tells that it reads nothing
    sought, so that it is a check of the data."""

    name: str
    relation: str
    per_example: bool
    given: bool = False


@dataclass(frozen=True, slots=True)
class MaximumSpec:
    """One sum of maxima: how many `plates` are around it, the `rank` of the values that are compared, and
    that of their weight. The largest of several values is taken entry by entry, or with `whole` of all
    entries together; `floor` tells that 0 is one of them."""

    plates: int
    rank: int
    weight_rank: int
    whole: bool = False
    floor: bool = False


@dataclass(frozen=True, slots=True)
class Requirement:
    """A size that must be at least 0, and what goes wrong otherwise."""

    size: Size
    reason: str
