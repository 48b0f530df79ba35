"""Curvature and trend of functions of one number on a proven range of their argument."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.curvature.interval import Interval

_INF = float("inf")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What holds of a function on a range, as far as it is defined there.

    `curvature` and `trend` are words of the built-ins table, empty where nothing is proven.
    `total` is false when the function ends inside the range at a point beyond which neither
    infinity continues it monotonically; then only affine arguments compose.
    """

    curvature: str = ""
    trend: str = ""
    total: bool = True


NOTHING = Behaviour()

_EVEN = frozenset({"square", "abs", "cosh", "huber"})

_TURNING = {
    # convex below 0 and concave above it, increasing
    "tanh": ("convex", "concave"),
    "sigmoid": ("convex", "concave"),
    "atan": ("convex", "concave"),
    "erf": ("convex", "concave"),
    "sinh": ("concave", "convex"),
    "asin": ("concave", "convex"),
}


def behaviour(name: str, x: Interval) -> Behaviour:
    """A function of one argument on a range."""
    if name in _EVEN:
        trend = "increasing" if x.nonnegative else "decreasing" if x.nonpositive else ""
        return Behaviour("convex", trend)
    if name in _TURNING:
        below, above = _TURNING[name]
        curvature = above if x.nonnegative else below if x.nonpositive else ""
        return Behaviour(curvature, "increasing")
    if name == "lgamma":
        return Behaviour("convex") if x.positive else NOTHING
    if name == "wrap":
        return Behaviour("affine", "increasing") if x.within(-3.14, 3.14) else NOTHING
    row = BUILTINS.get(name)
    if row is None or row.form != "elementwise" or row.operands != (1, 1):
        return NOTHING
    return Behaviour(row.curvature, row.trend)


def power(exponent: float, x: Interval) -> Behaviour:
    """x ^ exponent for a known exponent."""
    if exponent == 1:
        return Behaviour("affine", "increasing")
    if exponent % 1 == 0 and exponent > 0:
        if exponent % 2 == 0:
            return behaviour("square", x)
        curvature = "convex" if x.nonnegative else "concave" if x.nonpositive else ""
        return Behaviour(curvature, "increasing")
    if exponent > 1:
        return Behaviour("convex", "increasing", total=x.nonnegative)
    if 0 < exponent < 1:
        return Behaviour("concave", "increasing")
    if exponent < 0 and exponent % 1 != 0:
        return Behaviour("convex", "decreasing")
    if exponent < 0 and x.nonnegative:
        return Behaviour("convex", "decreasing")
    if exponent < 0 and x.nonpositive:
        # Even powers are mirrored, odd ones turned.
        return Behaviour("convex", "increasing") if exponent % 2 == 0 else Behaviour("concave", "decreasing")
    return NOTHING
