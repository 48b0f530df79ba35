"""How built-in functions of numbers are written: `{0}`, `{1}` are the operands, in parentheses where the
entry says so."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.latex.symbols import fenced

SUM, SIGN, BIG, PRODUCT, POWER, ATOM = range(4, 10)
"""How tightly a text binds: a sum; a minus in front of what follows; a big operator, whose body ends where
the product does; a product; a function of an argument or a fraction; a letter."""

NEVER = 0
"""The place of an operand that stands between fences of its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text, and how tightly it binds. After a minus, `behind` is the strength of the rest."""

    text: str
    strength: int
    behind: int = PRODUCT

    def within(self, need: int) -> str:
        return self.text if self.strength >= need else fenced(self.text)


@dataclass(frozen=True, slots=True)
class Spelling:
    """`places` are the strengths that the operands need, `strength` that of the result."""

    form: str
    places: tuple[int, ...]
    strength: int


def _called(name: str) -> Spelling:
    """A function with a name that LaTeX knows."""
    return Spelling(f"\\{name}{{0}}", (ATOM + 1,), POWER)


FENCED = ATOM + 1
"""An operand in parentheses, whatever it is."""

ELEMENTWISE: dict[str, Spelling] = {
    **{name: _called(name) for name in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "asin": _called("arcsin"),
    "acos": _called("arccos"),
    "atan": _called("arctan"),
    "sqrt": Spelling("\\sqrt{{{0}}}", (NEVER,), ATOM),
    "square": Spelling("{0}^2", (ATOM,), POWER),
    "log1p": Spelling("\\log(1 + {0})", (SUM,), POWER),
    "expm1": Spelling("e^{{{0}}} - 1", (NEVER,), SUM),
    "lgamma": Spelling("\\log\\Gamma{0}", (FENCED,), POWER),
    "floor": Spelling("\\lfloor {0} \\rfloor", (NEVER,), ATOM),
    "ceil": Spelling("\\lceil {0} \\rceil", (NEVER,), ATOM),
    "relu": Spelling("\\max({0}, 0)", (NEVER,), POWER),
    "maximum": Spelling("\\max({0}, {1})", (NEVER, NEVER), POWER),
    "minimum": Spelling("\\min({0}, {1})", (NEVER, NEVER), POWER),
    "xlogy": Spelling("{0} \\log{1}", (PRODUCT, FENCED), PRODUCT),
    "floordiv": Spelling("\\lfloor {0} / {1} \\rfloor", (PRODUCT, POWER), ATOM),
    "mod": Spelling("{0} \\bmod {1}", (PRODUCT, POWER), SUM),
}
"""Functions entry by entry that have a notation; every other one is written with its name."""

MATRIX: dict[str, Spelling] = {
    "inverse": Spelling("{0}^{{-1}}", (ATOM,), POWER),
    "linear_solve": Spelling("{0}^{{-1}} {1}", (ATOM, POWER), PRODUCT),
    "det": Spelling("\\det{0}", (FENCED,), POWER),
    "logabsdet": Spelling("\\log \\lvert \\det{0} \\rvert", (FENCED,), POWER),
    "trace": Spelling("\\mathrm{{tr}}{0}", (FENCED,), POWER),
}
"""Functions of whole arrays."""

RELATIONS = {"lt": "\\lt", "le": "\\le", "gt": "\\gt", "ge": "\\ge", "eq": "=", "ne": "\\ne"}
LOGIC = {"and": "\\land", "or": "\\lor"}

BIG_OPERATORS = {
    "sum": "\\sum",
    "prod": "\\prod",
    "max": "\\max",
    "min": "\\min",
    "any": "\\bigvee",
    "all": "\\bigwedge",
}
"""Reductions that are written with an index below."""
