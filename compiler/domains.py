"""Domains: where a variable may lie. Facts only; projections and retractions live in the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ebmlang.compiler.typed import Expr

Geometry = Literal["everywhere", "closed convex", "closed", "open", "manifold", "discrete"]


@dataclass(frozen=True, slots=True)
class DomainRule:
    """A row of the table of domains.

    `arguments` counts the expressions in parentheses, `rank` the dimensions that one set takes
    (an interval binds every entry, a simplex the last dimension, a matrix domain the last two).
    """

    name: str
    geometry: Geometry
    rank: int
    arguments: int
    kinds: tuple[str, ...]
    masked: bool
    built: bool
    meaning: str


_REAL = ("real",)

DOMAINS: tuple[DomainRule, ...] = (
    DomainRule(
        "reals",
        "everywhere",
        0,
        0,
        ("real", "bool", "class", "int"),
        False,
        True,
        "any value",
    ),
    DomainRule("interval", "closed convex", 0, 2, ("real", "int"), False, True, "every entry in [lo, hi]"),
    DomainRule("nonnegative", "closed convex", 0, 0, ("real", "int"), False, True, "every entry >= 0"),
    DomainRule("positive", "open", 0, 0, ("real", "int"), False, True, "every entry > 0"),
    DomainRule(
        "simplex", "closed convex", 1, 0, _REAL, True, True, "the last dimension nonnegative with sum 1"
    ),
    DomainRule(
        "sparse_simplex",
        "closed",
        1,
        1,
        _REAL,
        True,
        True,
        "the last dimension nonnegative with sum 1, at most k entries above 0",
    ),
    DomainRule("sphere", "manifold", 1, 0, _REAL, False, True, "the last dimension of length 1"),
    DomainRule("unit_columns", "manifold", 2, 0, _REAL, False, True, "every column of length 1"),
    DomainRule("stiefel", "manifold", 2, 0, _REAL, False, True, "orthonormal columns"),
    DomainRule("psd", "closed convex", 2, 0, _REAL, False, True, "symmetric with eigenvalues >= 0"),
    DomainRule("positive_definite", "open", 2, 0, _REAL, False, True, "symmetric with eigenvalues > 0"),
    DomainRule("SO3", "manifold", 2, 0, _REAL, False, True, "rotations of space"),
    DomainRule("SE2", "manifold", 1, 0, _REAL, False, True, "poses (x, y, angle) in the plane"),
    DomainRule("subset", "discrete", 1, 1, ("bool",), False, True, "exactly k entries true"),
    DomainRule("permutation", "discrete", 1, 0, ("class",), False, True, "each case once"),
)

UNSPELLED = ("interval", "sparse_simplex", "permutation")
"""Domains without a name of their own after `in`: an interval is written with its bounds, a sparse simplex
as `simplex(k)`, a permutation as a type."""


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A domain with its arguments, as declared. `where` masks entries of a simplex."""

    name: str
    arguments: tuple[Expr, ...] = ()
    where: Expr | None = None

    @property
    def rule(self) -> DomainRule:
        return next(rule for rule in DOMAINS if rule.name == self.name)

    @property
    def written(self) -> bool:
        """Whether it follows `in` in the text."""
        return self.name not in ("reals", "permutation")


REALS = Domain("reals")
PERMUTATION = Domain("permutation")


def find_domain(name: str, arguments: int = 0) -> DomainRule | None:
    """The row of the name that is written with so many arguments."""
    name = "sparse_simplex" if name == "simplex" and arguments else name
    return next((rule for rule in DOMAINS if rule.name == name), None)
