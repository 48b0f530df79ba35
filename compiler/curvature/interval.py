"""Intervals that contain every entry of a value, with the arithmetic that keeps them so.

An interval says nothing about NaN: it bounds the values where the expression is defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_INF = math.inf


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` <= value <= `high`; `nonzero` says that 0 itself is not among the values."""

    low: float = -_INF
    high: float = _INF
    nonzero: bool = False

    @property
    def nonnegative(self) -> bool:
        return self.low >= 0

    @property
    def nonpositive(self) -> bool:
        return self.high <= 0

    @property
    def positive(self) -> bool:
        return self.low > 0 or (self.low == 0 and self.nonzero)

    @property
    def negative(self) -> bool:
        return self.high < 0 or (self.high == 0 and self.nonzero)

    @property
    def bounded(self) -> bool:
        return self.low > -_INF and self.high < _INF

    def within(self, low: float, high: float) -> bool:
        return self.low >= low and self.high <= high

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low, self.nonzero)

    def __add__(self, other: Interval) -> Interval:
        low, high = _down(self.low + other.low), _up(self.high + other.high)
        same = (self.nonnegative and other.nonnegative) or (self.nonpositive and other.nonpositive)
        return Interval(low, high, same and (self.nonzero or other.nonzero))

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        ends = [_product(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        nonzero = (self.nonzero or self._apart) and (other.nonzero or other._apart)
        return Interval(min(ends), max(ends), nonzero)

    @property
    def _apart(self) -> bool:
        return self.low > 0 or self.high < 0

    def reciprocal(self) -> Interval:
        """1 / value, where the sign is known; 0 gives an infinity of that sign."""
        if self.nonnegative:
            return Interval(_inverse(self.high), _inverse(self.low), True)
        if self.nonpositive:
            return -(-self).reciprocal()
        return EVERYTHING

    def joined(self, other: Interval) -> Interval:
        """The smallest interval around both."""
        nonzero = (self.nonzero or self._apart) and (other.nonzero or other._apart)
        return Interval(min(self.low, other.low), max(self.high, other.high), nonzero)

    def rising(self, function: Callable[[float], float]) -> Interval:
        """The image under an increasing function."""
        return Interval(_safe(function, self.low, -_INF), _safe(function, self.high, _INF))

    def square(self) -> Interval:
        ends = (_product(self.low, self.low), _product(self.high, self.high))
        low = min(ends) if self.nonnegative or self.nonpositive else 0.0
        return Interval(low, max(ends), self.nonzero or self._apart)

    def magnitude(self) -> Interval:
        if self.nonnegative:
            return self
        if self.nonpositive:
            return -self
        return Interval(0.0, max(-self.low, self.high), self.nonzero)

    def summed(self) -> Interval:
        """Any number of such values added, also none."""
        return Interval(0.0 if self.low >= 0 else -_INF, 0.0 if self.high <= 0 else _INF)


EVERYTHING = Interval()
NONNEGATIVE = Interval(0.0)
POSITIVE = Interval(0.0, nonzero=True)
UNIT = Interval(0.0, 1.0)


def exactly(value: float) -> Interval:
    return EVERYTHING if math.isnan(value) else Interval(value, value, value != 0)


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _inverse(x: float) -> float:
    return 0.0 if math.isinf(x) else (_INF if x == 0 else 1 / x)


def _down(x: float) -> float:
    return -_INF if math.isnan(x) else x


def _up(x: float) -> float:
    return _INF if math.isnan(x) else x


def _safe(function: Callable[[float], float], x: float, otherwise: float) -> float:
    try:
        found = function(x)
    except (ValueError, OverflowError):
        return otherwise
    return otherwise if math.isnan(found) else found
