"""The question that rules look at: a graph, the sought variables, and the summands of its energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ebmlang.compiler import notation, typed
from ebmlang.compiler.curvature.calculus import Calculus
from ebmlang.compiler.facts import Dependence, Smoothness, bent, smoothness
from ebmlang.compiler.graph import FactorGraph, Limit, summed
from ebmlang.compiler.query import Query, ordered
from ebmlang.compiler.typed import Expr, Variable

if TYPE_CHECKING:
    from ebmlang.compiler.tables import Tables


@dataclass(frozen=True)
class Summand:
    """One part of the energy that is asked for, scalar over the axes of its factor."""

    name: str
    value: Expr
    axes: typed.Axes
    mask: Expr | None

    @cached_property
    def total(self) -> Expr:
        return summed(self.value, self.axes, self.mask)


@dataclass(frozen=True)
class Block:
    """The sought variables of a query and the energy as a sum, in declaration order."""

    graph: FactorGraph
    query: Query

    @cached_property
    def sought(self) -> tuple[Variable, ...]:
        return ordered(self.graph.model, frozenset(self.query.sought))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.query.sought)

    @cached_property
    def depends(self) -> Dependence:
        return Dependence(self.graph, self.names)

    @cached_property
    def calculus(self) -> Calculus:
        """Proven ranges, degrees and curvature of values as functions of the sought block."""
        return Calculus(self.depends)

    def smoothness(self, value: Expr) -> Smoothness:
        """How smooth a value is in the sought block.

        A function such as relu in a convex part of a sum bends it upwards, and a minimum may sit in the bend:
        there it counts as a kink. Elsewhere, as in a network, it is a null set like any other.
        """
        found = smoothness(self.graph, value, self.depends, lambda x: self.calculus.ranges(x).positive)
        if found.grade != "piecewise" or bent(self.graph, value, self.depends) is None:
            return found
        corner = self._corner(value)
        return found if corner is None else Smoothness("kink", notation.text(corner))

    def _corner(self, value: Expr) -> Expr | None:
        """What bends a convex part of a sum, or a concave one that is subtracted."""
        stack = [(1, value)]
        while stack:
            sign, node = stack.pop()
            match node:
                case typed.Apply(function="add", arguments=(a, b)):
                    stack += [(sign, a), (sign, b)]
                case typed.Apply(function="sub", arguments=(a, b)):
                    stack += [(sign, a), (-sign, b)]
                case typed.Apply(function="neg", arguments=(a,)):
                    stack.append((-sign, a))
                case typed.Apply(function="sum" | "mean", arguments=(a,)):
                    stack.append((sign, a))
                case typed.Fold(function="sum" | "mean", body=a):
                    stack.append((sign, a))
                case typed.Read(name=name) if name in self.graph.lets:
                    stack.append((sign, self.graph.lets[name].value))
                case _:
                    found = bent(self.graph, node, self.depends)
                    upward = self.calculus.convex if sign > 0 else self.calculus.concave
                    if found is not None and upward(node) is not None:
                        return found
        return None

    @cached_property
    def summands(self) -> tuple[Summand, ...]:
        """The factors of the total, or the one expression of `of`."""
        if self.query.of is not None:
            return (Summand("objective", self.query.of, (), None),)
        return tuple(Summand(f.name, f.value, f.axes, f.mask) for f in self.graph.factors)

    @cached_property
    def touching(self) -> tuple[Summand, ...]:
        """The summands that depend on the sought block."""
        return tuple(s for s in self.summands if self.depends(s.total))

    @cached_property
    def discrete(self) -> tuple[Variable, ...]:
        """The sought variables with countable values."""
        return tuple(v for v in self.sought if v.type.kind != "real")

    @cached_property
    def tables(self) -> Tables:
        """The energy as tables over the discrete unknowns."""
        from ebmlang.compiler.tables import tables_of

        return tables_of(self)

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """The constraints that depend on the sought block; the others are checks of the data."""
        return tuple(
            c for c in self.graph.limits if self.depends(c.value) or (c.mask and self.depends(c.mask))
        )

    @cached_property
    def joint(self) -> tuple[str, str] | None:
        """Why all examples form one problem, as (what, reason); None when rows are independent."""
        for variable in self.sought:
            if not variable.per_example:
                kind = "a parameter" if variable.role == "param" else "one value for the batch"
                return variable.name, f"`{variable.name}` is {kind}, shared by all examples"
        for summand in self.touching:
            if summand.value.coupled:
                return summand.name, f"`{summand.name}` looks across the examples of the batch"
        for limit in self.limits:
            if limit.value.coupled or (limit.mask is not None and limit.mask.coupled):
                return limit.name, f"`{limit.name}` looks across the examples of the batch"
        return None
