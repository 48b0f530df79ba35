"""Names, numbers and sizes in LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ebmlang.compiler.sizes import Quotient, Size

ALSO, NEXT_ROW, TIMES, SUM_SIGN = ",\\ ", " \\cr ", " \\times ", "\\sum"
"""A comma with a space, the end of a row, the sign between sizes, and of a sum."""

_SMALL = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
)  # fmt: skip
_LARGE = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
GREEK: Mapping[str, str] = {
    **{name: f"\\{name}" for name in (*_SMALL, *_LARGE)},
    "lam": r"\lambda",
    "eps": r"\varepsilon",
}
"""Words that stand for a letter."""

_TALL = ("\\frac", "\\sum", "\\prod", "\\begin", "\\substack", "\\sqrt", "\\left", "\\max_", "\\min_")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name: its letter, or the word that it begins with, and what stands below it."""

    base: str
    below: tuple[str, ...] = ()

    def at(self, indices: Sequence[str] = ()) -> str:
        """The symbol with indices after its own subscripts."""
        below = subscript((*self.below, *indices))
        return f"{self.base}_{{{below}}}" if below else self.base


def symbols(names: Iterable[str]) -> dict[str, Symbol]:
    """A symbol for each name, no two alike, and none like an entry of another one: these are spelled out."""
    found: dict[str, Symbol] = {}
    plain = {name: symbol_of(name) for name in names}
    bases = {symbol.at() for symbol in plain.values()}
    for name, symbol in plain.items():
        entry = symbol.base in bases and any(len(part) == 1 or part.isdigit() for part in symbol.below)
        if entry or symbol.at() in (other.at() for other in found.values()):
            spelled = name.replace("_", "\\_")
            symbol = Symbol(f"\\mathit{{{spelled}}}" if name.isalnum() else f"\\mathtt{{{spelled}}}")
        found[name] = symbol
    return found


def symbol_of(name: str) -> Symbol:
    """`s0` is s with a 0 below, `noise_scale` noise with scale below, `part.W` W with part below."""
    *owners, own = name.split(".")
    first, *rest = [part for part in own.split("_") if part] or [own]
    numbered = re.fullmatch(r"([A-Za-z]+)(\d+)", first)
    base, number = (numbered[1], [numbered[2]]) if numbered else (first, [])
    owned = [part for owner in owners for part in owner.split("_") if part]
    return Symbol(word(base), (*number, *map(word, rest), *map(word, owned)))


def word(text: str) -> str:
    """A Greek or single letter, a number, or a word in upright letters."""
    if text in GREEK:
        return GREEK[text]
    return text if len(text) == 1 or text.isdigit() else f"\\mathrm{{{text}}}"


def label(text: str) -> str:
    """The name of a term as a text beside its formula."""
    return f"\\text{{{text.replace('_', ' ')}}}"


def subscript(parts: Sequence[str]) -> str:
    """Indices side by side where each is one letter, else with commas."""
    return ("" if all(len(p) == 1 and p.isalpha() for p in parts) else ", ").join(parts)


def beside(left: str, right: str) -> str:
    """What stands between two factors: a word is kept apart from its neighbour."""
    words = right.startswith(("\\mathrm", "\\mathit", "\\mathtt")) or re.search(_WORD_AT_END, left)
    return " \\thinspace " if words else " "


_WORD_AT_END = re.compile(r"\\math(rm|it|tt)\{[^{}]*\}(_\{[^{}]*\})?$")


def shifted(index: str, by: Size) -> str:
    """An index plus a size."""
    if by.constant == 0:
        return index
    if index.lstrip("-").isdigit() and by.constant is not None:
        return str(int(index) + by.constant)
    text = size_latex(by)
    return f"{index} - {text[1:]}" if text.startswith("-") else f"{index} + {text}"


def size_latex(size: Size) -> str:
    """A polynomial of names."""
    shown = ""
    for monomial, factor in size.terms:
        atoms = [_atom(atom, power) for atom, power in monomial]
        magnitude = [] if abs(factor) == 1 and atoms else [str(abs(factor))]
        text = " ".join([*magnitude, *atoms])
        sign = " - " if factor < 0 else " + "
        shown += f"{sign}{text}" if shown else f"{'-' if factor < 0 else ''}{text}"
    return shown or "0"


def _atom(atom: str | Quotient, power: int) -> str:
    if isinstance(atom, str):
        body = symbol_of(atom).at()
    else:
        left, right = size_latex(atom.left), size_latex(atom.right)
        plain = atom.right.name is not None or atom.right.constant is not None
        if atom.op == "//":
            body = f"\\lfloor {left} / {right if plain else f'({right})'} \\rfloor"
        else:
            body = f"({left} \\bmod {right})"
    return body if power == 1 else f"{body}^{{{power}}}"


def number_latex(value: float | int | bool) -> str:
    """A number as it was written: decimal, or with a power of ten."""
    if isinstance(value, bool):
        return f"\\mathrm{{{str(value).lower()}}}"
    if isinstance(value, float):
        if math.isinf(value):
            return "\\infty" if value > 0 else "-\\infty"
        if abs(value) == math.pi:
            return "\\pi" if value > 0 else "-\\pi"
    digits, _, power = repr(value).removesuffix(".0").partition("e")
    if not power:
        return digits
    ten = f"10^{{{int(power)}}}"
    return ten if digits == "1" else f"{digits} \\cdot {ten}"


def fenced(text: str, left: str = "(", right: str = ")") -> str:
    """The text between fences that are as tall as it is."""
    if any(mark in text for mark in _TALL):
        return f"\\left{left} {text} \\right{right}"
    space = " " if left.startswith("\\") else ""
    return f"{left}{space}{text}{space}{right}"
