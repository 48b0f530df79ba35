"""Signs of second derivatives of scalar compositions, by computer algebra.

sympy differentiates; the sign is then proven factor by factor: by its rules for positive and
negative symbols, or by counting real roots of a polynomial (Sturm). Nothing is sampled.
"""

from __future__ import annotations

import math
from typing import Any

import sympy
from sympy import Expr as Formula

from ebmlang.compiler.curvature.interval import Interval
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.curvature.scalars import Composition
from ebmlang.compiler.facts import number
from ebmlang.compiler.typed import Apply, Expr, Read

MOST_OPERATIONS = 150
HIGHEST_DEGREE = 24


class _Unknown(Exception):
    """A part that has no formula here."""


def curvature(found: Composition) -> str:
    """`convex`, `concave`, `affine` or an empty text when nothing is proven."""
    return {"+": "convex", "-": "concave", "0": "affine"}.get(_derivative_sign(found, 2), "")


def trend(found: Composition) -> int:
    """1 when a composition is proven nondecreasing in its argument, -1 for nonincreasing, else 0."""
    return {"+": 1, "-": -1}.get(_derivative_sign(found, 1), 0)


def _derivative_sign(found: Composition, order: int) -> str:
    try:
        u = _symbol("u", found.within)
        derivative = sympy.diff(_Formulas(found, u).of(found.value), u, order)
        if sympy.count_ops(derivative) > MOST_OPERATIONS:
            return ""
        return _sign(derivative, u, found.within)
    except (_Unknown, NotImplementedError, sympy.PolynomialError, ValueError, TypeError):
        return ""


class _Formulas:
    """Typed expressions to formulas; fixed parts become symbols that know their sign."""

    def __init__(self, found: Composition, u: Formula) -> None:
        self.found = found
        self.u = u
        self.fixed: list[tuple[Expr, Formula]] = []

    def of(self, node: Expr) -> Formula:
        if self.found.leaf(node):
            return self.u
        if not self.found.depends.depends(node):
            return self._fixed(node)
        if isinstance(node, Read):
            return self.of(self.found.depends.depends.graph.lets[node.name].value)
        if not isinstance(node, Apply):
            raise _Unknown
        return _applied(node, [self.of(a) for a in node.arguments])

    def _fixed(self, node: Expr) -> Formula:
        value = number(node)
        if value is not None:
            if not math.isfinite(value):
                raise _Unknown
            return sympy.Rational(repr(value))
        for known, symbol in self.fixed:
            if same(known, node):
                return symbol
        symbol = _symbol(f"c{len(self.fixed)}", self.found.ranges(node))
        self.fixed.append((node, symbol))
        return symbol


def _symbol(name: str, within: Interval) -> Formula:
    if within.positive:
        return sympy.Symbol(name, positive=True)
    if within.nonnegative:
        return sympy.Symbol(name, nonnegative=True)
    if within.negative:
        return sympy.Symbol(name, negative=True)
    if within.nonpositive:
        return sympy.Symbol(name, nonpositive=True)
    return sympy.Symbol(name, real=True)


def _applied(node: Apply, a: list[Formula]) -> Formula:
    exp, log = sympy.exp, sympy.log
    match node.function:
        case "add":
            return a[0] + a[1]
        case "sub":
            return a[0] - a[1]
        case "mul":
            return a[0] * a[1]
        case "div":
            return a[0] / a[1]
        case "neg":
            return -a[0]
        case "pow":
            return a[0] ** a[1]
        case "square":
            return a[0] ** 2
        case "sqrt":
            return sympy.sqrt(a[0])
        case "exp":
            return exp(a[0])
        case "expm1":
            return exp(a[0]) - 1
        case "log":
            return log(a[0])
        case "log1p":
            return log(1 + a[0])
        case "xlogy":
            return a[0] * log(a[1])
        case "sinh":
            return (exp(a[0]) - exp(-a[0])) / 2
        case "cosh":
            return (exp(a[0]) + exp(-a[0])) / 2
        case "tanh":
            return 1 - 2 / (exp(2 * a[0]) + 1)
        case "sigmoid":
            return 1 / (1 + exp(-a[0]))
        case "silu":
            return a[0] / (1 + exp(-a[0]))
        case "softplus":
            return log(1 + exp(a[0]))
        case "atan":
            return sympy.atan(a[0])
        case "erf":
            return sympy.erf(a[0])
    raise _Unknown


def _sign(formula: Formula, u: Formula, within: Interval) -> str:
    """`+` (>= 0), `-` (<= 0), `0`, or an empty text, for u in a range."""
    t = sympy.Symbol("t", positive=True)
    formula = sympy.together(_rational(formula, u, t))
    if formula.is_zero or sympy.expand(formula) == 0:
        return "0"
    above, below = sympy.fraction(formula)
    return _times(_factors(above, u, t, within), _factors(below, u, t, within))


def _rational(formula: Formula, u: Formula, t: Formula) -> Formula:
    """Exponentials of whole multiples of u as powers of t > 0."""

    def power(argument: Formula) -> Formula:
        slope = sympy.diff(argument, u)
        if slope.is_Integer:
            return t**slope * sympy.exp(sympy.expand(argument - slope * u))
        return sympy.exp(argument)

    return formula.replace(sympy.exp, power)


def _times(a: str, b: str) -> str:
    if not a or not b:
        return ""
    if "0" in (a, b):
        return "0"
    return "+" if a == b else "-"


def _factors(formula: Formula, u: Formula, t: Formula, within: Interval) -> str:
    sign = "+"
    for factor in sympy.Mul.make_args(sympy.factor(formula)):
        base, exponent = factor.as_base_exp()
        if exponent.is_Integer and exponent % 2 == 0:
            own = "+" if base.is_real else ""
        else:
            own = _factor(base if exponent.is_Integer else factor, u, t, within)
        sign = _times(sign, own)
        if not sign:
            return ""
    return sign


def _factor(factor: Formula, u: Formula, t: Formula, within: Interval) -> str:
    for candidate in (factor, sympy.expand(factor)):
        if candidate.is_nonnegative:
            return "+"
        if candidate.is_nonpositive:
            return "-"
    moving = factor.free_symbols & {u, t}
    if len(moving) == 1:
        (symbol,) = moving
        low, high = (within.low, within.high) if symbol == u else (0.0, math.inf)
        if factor.free_symbols == moving and factor.is_polynomial(symbol):
            return _polynomial(sympy.Poly(factor, symbol), low, high)
        if symbol == u and math.isfinite(within.low):
            return _shifted(factor, u, within.low)
    return ""


def _shifted(factor: Formula, u: Formula, low: float) -> str:
    """The sign for u >= low, from the signs of the coefficients around low."""
    rest = sympy.Symbol("v", nonnegative=True)
    moved = sympy.expand(factor.subs(u, rest + sympy.Rational(repr(low))))
    return "+" if moved.is_nonnegative else "-" if moved.is_nonpositive else ""


def _polynomial(p: Any, low: float, high: float) -> str:
    """The sign of a polynomial with rational coefficients on [low, high], by counting its roots."""
    if p.degree() > HIGHEST_DEGREE or (not p.domain.is_QQ and not p.domain.is_ZZ):
        return ""
    if low >= high:
        return ""
    ends = tuple(None if math.isinf(x) else sympy.Rational(repr(x)) for x in (low, high))
    for factor, multiplicity in p.sqf_list()[1]:
        # Roots of even multiplicity, and those at an end, change no sign inside.
        at_ends = sum(1 for e in ends if e is not None and factor.eval(e) == 0)
        if multiplicity % 2 and factor.count_roots(*ends) > at_ends:
            return ""
    inside = _between(*ends)
    value = p.eval(inside)
    while value == 0:  # a root of even multiplicity
        inside = (inside + ends[1]) / 2 if ends[1] is not None else inside + 1
        value = p.eval(inside)
    return "+" if value > 0 else "-"


def _between(low: Any, high: Any) -> Any:
    if low is None and high is None:
        return sympy.Integer(0)
    if low is None:
        return high - 1
    return low + 1 if high is None else (low + high) / 2
