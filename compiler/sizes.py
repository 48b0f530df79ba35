"""Sizes: integer polynomials in a normal form.

A size is a sum of monomials with integer coefficients over atoms. An atom is the name of an
integer hyperparameter, or an opaque quotient or remainder of two sizes. Two sizes are equal when
their normal forms are; sympy is the oracle in the tests, and is not needed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

LARGEST = 2**62
"""Sizes are held below this, so that they fit the integers of a tensor library."""

BATCH = "batch"
"""The name of the number of examples; a reserved word, so that no hyperparameter has it."""

MOST_MONOMIALS = 100
HIGHEST_DEGREE = 64


class SizeError(ArithmeticError):
    """A size that cannot be computed: a division by zero, a value too large, or too many parts."""


@dataclass(frozen=True, slots=True, order=True)
class Quotient:
    """`left // right` or `left % right`, where it does not reduce to a polynomial."""

    op: str
    left: Size
    right: Size

    def __str__(self) -> str:
        return f"{_wrapped(self.left)} {self.op} {_wrapped(self.right)}"

    def evaluate(self, values: Mapping[str, int]) -> int:
        left, right = self.left.evaluate(values), self.right.evaluate(values)
        if right == 0:
            raise SizeError(f"{self} divides by zero")
        return left // right if self.op == "//" else left % right


Atom: TypeAlias = "str | Quotient"
Monomial = tuple[tuple[Atom, int], ...]
"""Atoms with their powers, in order; the empty one is the constant."""


def _key(monomial: Monomial) -> tuple[int, str]:
    return -sum(power for _, power in monomial), " ".join(f"{atom}^{power}" for atom, power in monomial)


@dataclass(frozen=True, slots=True)
class Size:
    """A polynomial: pairs of monomial and coefficient, highest degree first, no zeros."""

    terms: tuple[tuple[Monomial, int], ...]

    # --- making sizes ---

    @staticmethod
    def of(value: int | str | Quotient) -> Size:
        if isinstance(value, int):
            if not -LARGEST < value < LARGEST:
                raise SizeError(f"{_short(value)}, larger than any array")
            return _SMALL[value] if 0 <= value < len(_SMALL) else Size((((), value),))
        return Size(((((value, 1),), 1),))

    @staticmethod
    def _from(terms: Iterable[tuple[Monomial, int]]) -> Size:
        total: dict[Monomial, int] = {}
        for monomial, coefficient in terms:
            total[monomial] = total.get(monomial, 0) + coefficient
        kept = [(m, c) for m, c in total.items() if c]
        if len(kept) > 1:
            if len(kept) > MOST_MONOMIALS:
                raise SizeError(f"a size with more than {MOST_MONOMIALS} parts")
            kept.sort(key=lambda t: _key(t[0]))
        for _, coefficient in kept:
            if not -LARGEST < coefficient < LARGEST:
                raise SizeError(f"a size with the factor {_short(coefficient)}, larger than any array")
        return Size(tuple(kept))

    # --- arithmetic ---

    def __add__(self, other: Size | int) -> Size:
        return Size._from((*self.terms, *_size(other).terms))

    def __neg__(self) -> Size:
        return Size(tuple((m, -c) for m, c in self.terms))

    def __sub__(self, other: Size | int) -> Size:
        return self + -_size(other)

    def __mul__(self, other: Size | int) -> Size:
        other = _size(other)
        return Size._from((_times(a, b), x * y) for a, x in self.terms for b, y in other.terms)

    def __pow__(self, power: int) -> Size:
        if not 0 <= power <= 16:
            raise SizeError(f"a size cannot be raised to the power {power}")
        result = ONE
        for _ in range(power):
            result = result * self
        return result

    def __floordiv__(self, other: Size | int) -> Size:
        return self._divide("//", _size(other))

    def __mod__(self, other: Size | int) -> Size:
        return self._divide("%", _size(other))

    def _divide(self, op: str, other: Size) -> Size:
        a, b = self.constant, other.constant
        if b == 0:
            raise SizeError(f"a division by zero, {self} {op} 0")
        if b is not None and a is not None:
            return Size.of(a // b if op == "//" else a % b)
        exact = self._exact(other)
        if exact is not None:
            return exact if op == "//" else ZERO
        return Size.of(Quotient(op, self, other))

    def _exact(self, other: Size) -> Size | None:
        """The quotient where `other` is one monomial that divides every term, as 2n in 6n^2 + 4n."""
        if len(other.terms) != 1:
            return None
        divisor, factor = other.terms[0]
        terms = []
        for monomial, coefficient in self.terms:
            rest = _without(monomial, divisor)
            if rest is None or coefficient % factor:
                return None
            terms.append((rest, coefficient // factor))
        return Size._from(terms)

    # --- questions ---

    @property
    def constant(self) -> int | None:
        """The value when no atom is left, else None."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def name(self) -> str | None:
        """The name when the size is exactly one name, else None."""
        if len(self.terms) == 1 and self.terms[0][1] == 1:
            monomial = self.terms[0][0]
            if len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], str):
                return monomial[0][0]
        return None

    def names(self) -> frozenset[str]:
        return frozenset(_names(self))

    def known_positive(self, least: int = 1, floors: Mapping[str, int] | None = None) -> bool | None:
        """Whether the value is at least `least`: True, False or unknown (None).

        `floors` holds a lower bound of each name; names without one are at least 0.
        """
        value = self.constant
        if value is not None:
            return value >= least
        coefficients = [c for m, c in self.terms if m]
        rising = all(c > 0 for c in coefficients)
        if not rising and not all(c < 0 for c in coefficients):
            return None
        total = 0
        for monomial, coefficient in self.terms:
            bound = _least(monomial, floors or {})
            if bound is None:
                return None
            total += coefficient * bound
        if rising:
            return True if total >= least else None
        return None if total >= least else False

    def coefficient(self, monomial: Monomial) -> int:
        return next((c for m, c in self.terms if m == monomial), 0)

    def linear_in(self, name: str) -> tuple[int, Size] | None:
        """`(a, rest)` with `self = a * name + rest`, `rest` free of the name; else None."""
        factor, rest = 0, []
        for monomial, coefficient in self.terms:
            if monomial == ((name, 1),):
                factor = coefficient
            elif any(name in _atom_names(atom) for atom, _ in monomial):
                return None
            else:
                rest.append((monomial, coefficient))
        return (factor, Size(tuple(rest))) if factor else None

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The value under the given names.

        Raises KeyError for a name without a value, SizeError for a division by zero or a value
        that no tensor could have.
        """
        total = 0
        for monomial, coefficient in self.terms:
            product = coefficient
            for atom, power in monomial:
                value = values[atom] if isinstance(atom, str) else atom.evaluate(values)
                product *= value**power
            total += product
        if abs(total) >= LARGEST:
            raise SizeError(f"{self} = {_short(total)} is larger than any array")
        return total

    def substitute(self, values: Mapping[str, Size]) -> Size:
        result = ZERO
        for monomial, coefficient in self.terms:
            product = Size.of(coefficient)
            for atom, power in monomial:
                if isinstance(atom, str):
                    part = values.get(atom, Size.of(atom))
                else:
                    left, right = atom.left.substitute(values), atom.right.substitute(values)
                    part = left._divide(atom.op, right)
                product = product * part**power
            result = result + product
        return result

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        alone = self.terms[0][0]
        if len(self.terms) == 1 and alone and alone[0][1] == 1 and self.terms[0][1] == 1 and len(alone) == 1:
            return str(alone[0][0])
        text = ""
        for monomial, coefficient in self.terms:
            sign = "-" if coefficient < 0 else "+"
            body = _monomial_text(monomial, abs(coefficient))
            text += f" {sign} {body}" if text else (f"-{body}" if sign == "-" else body)
        return text

    def __lt__(self, other: Size) -> bool:
        return str(self) < str(other)


def _size(value: Size | int) -> Size:
    return value if isinstance(value, Size) else Size.of(value)


def _times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers: dict[Atom, int] = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    if sum(powers.values()) > HIGHEST_DEGREE:
        raise SizeError(f"a size of a degree above {HIGHEST_DEGREE}")
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _without(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    """The monomial divided by another one, or None where that leaves a fraction."""
    powers: dict[Atom, int] = dict(monomial)
    for atom, power in divisor:
        powers[atom] = powers.get(atom, 0) - power
    if any(power < 0 for power in powers.values()):
        return None
    return tuple((atom, power) for atom, power in powers.items() if power)


def _least(monomial: Monomial, floors: Mapping[str, int]) -> int | None:
    """A lower bound of a product, or None: all factors must be known to be at least 0, or it is one name."""
    product = 1
    for atom, power in monomial:
        if isinstance(atom, str):
            bound = floors.get(atom, 0)
        elif atom.left.known_positive(0, floors) and atom.right.known_positive(1, floors):
            bound = 0
        else:
            return None
        if bound < 0 and len(monomial) + power > 2:
            return None
        product *= bound**power
    return product


def _short(value: int) -> str:
    """The digits of a number, or about how large it is."""
    # bit_length, because Python refuses to print numbers of several thousand digits
    return (
        str(value) if abs(value) < 10**30 else f"about {'-' * (value < 0)}10^{value.bit_length() * 3 // 10}"
    )


def _monomial_text(monomial: Monomial, coefficient: int) -> str:
    factors = [str(coefficient)] if coefficient != 1 or not monomial else []
    for atom, power in monomial:
        text = atom if isinstance(atom, str) else f"({atom})"
        factors.append(text if power == 1 else f"{text}^{power}")
    return " * ".join(factors)


def _wrapped(size: Size) -> str:
    return str(size) if size.name or size.constant is not None else f"({size})"


def _names(size: Size) -> Iterator[str]:
    for monomial, _ in size.terms:
        for atom, _ in monomial:
            yield from _atom_names(atom)


def _atom_names(atom: Atom) -> frozenset[str]:
    return frozenset((atom,)) if isinstance(atom, str) else atom.left.names() | atom.right.names()


ZERO = Size(())
_SMALL = (ZERO, *(Size((((), value),)) for value in range(1, 64)))
"""Most constants in programs are small: one object for each."""

ONE = _SMALL[1]
