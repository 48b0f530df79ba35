"""Colours, sizes and marks of a drawing, in one place.

The notation of the energy-based-model literature: circles for variables, filled when observed;
rounded boxes for deterministic values; red squares for energies. The colours stay apart for the
common kinds of colour blindness (Okabe and Ito 2008), and no meaning rests on colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass

FONT = "Helvetica,Arial,sans-serif"
INK = "#1f2933"
QUIET = "#6b7785"
LINE = "#52606d"
RED = "#c8281e"
LET_LINE, LET_FILL = "#3f6f4f", "#eef6ee"
PLATE_LINE = "#9aa5b1"
PLATE_FILL = "#f7f9fb"
PART_FILL = "#fffdf6"
NAME_SIZE, DETAIL_SIZE, TITLE_SIZE = 14, 10, 16


@dataclass(frozen=True, slots=True)
class VariableLook:
    """How a role is drawn; `word` stands in the legend."""

    role: str
    fill: str
    style: str
    rings: int
    word: str


VARIABLES: tuple[VariableLook, ...] = (
    VariableLook("observed", "#cbd2d9", "filled", 1, "given"),
    VariableLook("latent", "#ffffff", "filled", 1, "unknown, per example"),
    VariableLook("param", "#cfe6f7", "filled", 2, "unknown, shared by all examples"),
    VariableLook("random", "#ffffff", "filled,dashed", 1, "drawn at random"),
)


@dataclass(frozen=True, slots=True)
class TermLook:
    """How a kind of term is drawn: a square with this side in points, full or hollow."""

    term: str
    side: int
    hollow: bool
    word: str


TERMS: tuple[TermLook, ...] = (
    TermLook("energy", 20, False, "energy"),
    TermLook("regularizer", 12, False, "regularizer"),
    TermLook("cost", 22, True, "cost"),
)


CONSTRAINT_SIDE = 20
RELATIONS = {"<=": "\N{LESS-THAN OR EQUAL TO}", "==": "="}
"""A hard constraint is a white box with a dark border, and its relation inside."""


def variable_look(role: str) -> VariableLook:
    return next(look for look in VARIABLES if look.role == role)


def term_look(term: str) -> TermLook:
    return next(look for look in TERMS if look.term == term)
