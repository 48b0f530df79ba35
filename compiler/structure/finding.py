"""Findings: properties with their evidence."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler import typed
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.typed import Expr


@dataclass(frozen=True, slots=True)
class Obligation:
    """A value that must be >= 0 for the finding to hold; checked when values are bound."""

    value: Expr
    says: str


@dataclass(frozen=True, slots=True)
class AbsolutePart:
    """`weight * |x|` summed over the entries of a sought variable; weight broadcasts to its shape."""

    variable: str
    weight: Expr
    summand: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A property that is true of the energy as a function of the block, and why.

    A split into a smooth part and absolute values carries its parts, and in `smooth_of` the summand
    of every smooth part; `quadratic` says that the smooth part is a polynomial of degree 2.
    """

    property: str
    variables: tuple[str, ...]
    because: str
    obligations: tuple[Obligation, ...] = ()
    absolute: tuple[AbsolutePart, ...] = ()
    smooth: tuple[Expr, ...] = ()
    smooth_of: tuple[str, ...] = ()
    quadratic: bool = False

    def __str__(self) -> str:
        names = ", ".join(self.variables)
        given = f" if {', '.join(o.says for o in self.obligations)}" if self.obligations else ""
        return f"{self.property} in {names}{given}: {self.because}"


@dataclass(frozen=True, slots=True)
class Structure:
    """Everything found about one block."""

    block: Block
    findings: tuple[Finding, ...]

    def find(self, name: str) -> Finding | None:
        return next((f for f in self.findings if f.property == name), None)

    def properties(self) -> frozenset[str]:
        return frozenset(f.property for f in self.findings)


def weight_text(weight: Expr) -> str:
    return f"{typed.text(weight)} >= 0"
