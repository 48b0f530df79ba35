"""Proven bounds of the entries of every value, from domains, kinds and the rows of built-ins.

Domains of hyperparameters and observed values are checked when values are bound, those of sought
values hold at every step of a search; nothing else is relied on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ebmlang.compiler import typed
from ebmlang.compiler.curvature.interval import (
    EVERYTHING,
    NONNEGATIVE,
    POSITIVE,
    UNIT,
    Interval,
    exactly,
)
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.typed import (
    Apply,
    Constant,
    Expr,
    Fold,
    Pack,
    Pick,
    Position,
    Read,
    SizeOf,
    Tabulate,
    Variable,
)

_INF = math.inf


class Ranges:
    """Bounds of values, worked out once per node. `sought` names the unknowns of the question."""

    def __init__(self, graph: FactorGraph, sought: frozenset[str]) -> None:
        self.graph = graph
        self.sought = sought
        self._memo: dict[int, tuple[Expr, Interval]] = {}

    def __call__(self, node: Expr) -> Interval:
        found = self._memo.get(id(node))
        if found is None:
            found = (node, _with_kind(node, self._range(node)))
            self._memo[id(node)] = found
        return found[1]

    def _range(self, node: Expr) -> Interval:
        match node:
            case Constant():
                return exactly(float(node.value))
            case SizeOf():
                value = node.size.constant
                if value is not None:
                    return exactly(float(value))
                if node.size.known_positive(1):
                    return Interval(1.0, nonzero=True)
                return NONNEGATIVE if node.size.known_positive(0) else EVERYTHING
            case Position():
                return NONNEGATIVE if _from_zero(node.axis) else EVERYTHING
            case Read():
                return self._read(node.name)
            case Pick(base=base) | Tabulate(body=base):
                return self(base)
            case Pack(items=items):
                return self._union(items)
            case Fold(function=name, body=body):
                # Over no entries at all, the largest one is -inf.
                some = node.guard is None and all(a.size is not None for a in node.over)
                return self._reduced(name, body) if some or name in _OF_NONE else EVERYTHING
            case typed.OverExamples(function=name, body=body):
                return self._reduced(name, body)
            case Apply():
                return self._apply(node)
        return EVERYTHING

    def _read(self, name: str) -> Interval:
        let = self.graph.lets.get(name)
        if let is not None:
            return self(let.value)
        variable = self.graph.model.variable(name)
        return EVERYTHING if variable is None else self._declared(variable)

    def _declared(self, v: Variable) -> Interval:
        if v.type.kind == "bool":
            return UNIT
        if v.type.kind == "class":
            return NONNEGATIVE
        # Given latents are not checked against their domain, nor is the given part of an
        # observed value with missing entries.
        known = v.role in ("hyper", "observed") if v.name not in self.sought else v.role != "observed"
        if not known or v.missing:
            return EVERYTHING
        match v.domain.name:
            case "nonnegative":
                return NONNEGATIVE
            case "positive":
                return POSITIVE
            case "simplex" | "sparse_simplex":
                return UNIT
            case "interval":
                low, high = (self(a) for a in v.domain.arguments)
                return Interval(low.low, high.high)
        return EVERYTHING

    def _union(self, items: tuple[Expr, ...]) -> Interval:
        joined = self(items[0])
        for item in items[1:]:
            joined = joined.joined(self(item))
        return joined

    def _reduced(self, name: str, body: Expr) -> Interval:
        inner = self(body)
        match name:
            case "sum":
                return inner.summed()
            case "mean" | "max" | "min" | "stack":
                return inner
            case "prod":
                return _product_of(inner)
            case "std" | "var" | "norm" | "norm_squared":
                return NONNEGATIVE
            case "logsumexp":
                return Interval(inner.low, _INF)
            case "entropy":
                return NONNEGATIVE if inner.within(0, 1) else EVERYTHING
            case "all" | "any":
                return UNIT
        return EVERYTHING

    def _apply(self, node: Apply) -> Interval:
        name, arguments = node.function, node.arguments
        if name in _SAME_ENTRIES:
            return self(arguments[0])
        if name in _JOINED:
            return self._union(arguments)
        if name in _OF_ONE:
            return _OF_ONE[name](self(arguments[0]))
        if name in _FIXED:
            return _FIXED[name]
        if name in _PAIRS:
            a, b = arguments
            if name in ("mul", "dot", "matmul") and same(a, b) and (name == "mul" or a.type.rank == 1):
                return self(a).square() if name == "mul" else NONNEGATIVE
            return _PAIRS[name](self(a), self(b))
        match name:
            case "sum" | "mean" | "max" | "min" | "prod" | "std" | "var" | "norm" | "norm_squared":
                return self._reduced(name, arguments[0])
            case "logsumexp" | "entropy" | "all" | "any":
                return self._reduced(name, arguments[0])
            case "where":
                return self._union(arguments[1:])
            case "clamp":
                x, low, high = (self(a) for a in arguments)
                return Interval(min(max(x.low, low.low), high.low), min(max(x.high, low.high), high.high))
            case "einsum":
                found = Interval(1.0, 1.0)
                for argument in arguments:
                    found = found * self(argument)
                return found.summed()
            case "cumsum" | "trace":
                return self(arguments[0]).summed()
            case "diag":
                inner = self(arguments[0])
                return inner if node.type.rank == 1 else inner.joined(exactly(0.0))
            case "huber":
                inner = self(arguments[0]).magnitude()
                if len(arguments) == 1 or self(arguments[1]).nonnegative:
                    return Interval(0.0, inner.high * inner.high / 2 if inner.high < 1e100 else _INF)
                return EVERYTHING
            case "xlogy":
                return EVERYTHING
            case "atan2" | "wrap":
                return Interval(-math.pi, math.pi)
        return EVERYTHING


def _with_kind(node: Expr, found: Interval) -> Interval:
    return (
        Interval(max(found.low, 0.0), min(found.high, 1.0), found.nonzero)
        if node.type.kind == "bool"
        else found
    )


def _from_zero(axis: typed.Axis) -> bool:
    if axis.parents:
        return all(_from_zero(p) for p in axis.parents)
    return axis.rows is not None or bool(axis.start.known_positive(0))


def _product_of(inner: Interval) -> Interval:
    if inner.within(0, 1):
        return UNIT
    return NONNEGATIVE if inner.nonnegative else EVERYTHING


def _power(base: Interval, exponent: Interval) -> Interval:
    power = exponent.low if exponent.low == exponent.high else None
    if power is not None and power >= 0 and power % 2 == 0:
        return _whole(base.magnitude(), power)
    if base.nonnegative and power is not None and power > 0:
        return _whole(base, power)
    if power is not None and power > 0 and power % 1 == 0:
        return Interval(base.rising(lambda x: x**power).low, base.rising(lambda x: x**power).high)
    if base.positive:
        return POSITIVE
    return NONNEGATIVE if base.nonnegative or (power is not None and power % 2 == 0) else EVERYTHING


def _whole(base: Interval, power: float) -> Interval:
    if power == 0:
        return Interval(1.0, 1.0, True)
    image = base.rising(lambda x: x**power)
    return Interval(max(image.low, 0.0), image.high, base.nonzero or base.low > 0)


def _root(x: Interval) -> Interval:
    inside = Interval(max(x.low, 0.0), max(x.high, 0.0))
    return Interval(inside.rising(math.sqrt).low, inside.rising(math.sqrt).high, x.positive)


def _logarithm(x: Interval) -> Interval:
    low = math.log(x.low) if 0 < x.low < _INF else -_INF
    high = math.log(x.high) if 0 < x.high < _INF else (_INF if x.high > 0 else -_INF)
    return Interval(low, max(low, high), x.low > 1)


def _exponential(x: Interval) -> Interval:
    image = x.rising(math.exp)
    return Interval(max(image.low, 0.0), image.high, True)


def _hyperbolic_cosine(x: Interval) -> Interval:
    image = x.magnitude().rising(math.cosh)
    return Interval(max(image.low, 1.0), image.high, True)


def _clipped(low: float, high: float, function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    """An increasing function whose values stay between two bounds."""

    def image(x: Interval) -> Interval:
        found = x.rising(function)
        return Interval(max(found.low, low), min(found.high, high), x.positive or x.negative)

    return image


def _sigmoid(x: Interval) -> Interval:
    return Interval(0.0, 1.0, True) if not x.nonnegative else Interval(0.5, 1.0, True)


def _softplus(x: Interval) -> Interval:
    high = x.high + 1.0 if x.high >= 0 else 1.0
    return Interval(max(x.low, 0.0), high, True)


def _modulo(_: Interval, divisor: Interval) -> Interval:
    return Interval(0.0, divisor.high) if divisor.positive else EVERYTHING


def _like_relu(least: float) -> Callable[[Interval], Interval]:
    return lambda x: Interval(0.0 if x.nonnegative else least, max(x.high, 0.0))


_OF_NONE = frozenset({"sum", "mean", "prod", "std", "var", "all", "any"})
"""Reductions whose bounds also hold over no entries."""

_SAME_ENTRIES = frozenset({"transpose", "reshape", "gather", "sort"})
_JOINED = frozenset({"concat", "stack"})

_FIXED: dict[str, Interval] = {
    "sin": Interval(-1.0, 1.0),
    "cos": Interval(-1.0, 1.0),
    "sign": Interval(-1.0, 1.0),
    "softmax": UNIT,
    "top_softmax": UNIT,
    "onehot": UNIT,
    "identity": UNIT,
    "zeros": Interval(0.0, 0.0),
    "ones": Interval(1.0, 1.0, True),
    "argmax": NONNEGATIVE,
    "argmin": NONNEGATIVE,
    "not": UNIT,
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne", "and", "or"), UNIT),
}

_OF_ONE: dict[str, Callable[[Interval], Interval]] = {
    "neg": lambda x: -x,
    "exp": _exponential,
    "log": _logarithm,
    "log1p": lambda x: _logarithm(x + Interval(1.0, 1.0)),
    "expm1": lambda x: Interval(max(x.rising(math.expm1).low, -1.0), x.rising(math.expm1).high, x.positive),
    "sqrt": _root,
    "square": lambda x: x.square(),
    "abs": lambda x: x.magnitude(),
    "floor": lambda x: Interval(x.rising(math.floor).low, x.high),
    "ceil": lambda x: Interval(x.low, x.rising(math.ceil).high),
    "round": lambda x: Interval(x.low - 0.5, x.high + 0.5) if not x.nonnegative else NONNEGATIVE,
    "asin": _clipped(-math.pi / 2, math.pi / 2, math.asin),
    "acos": lambda x: Interval(0.0, math.pi),
    "atan": _clipped(-math.pi / 2, math.pi / 2, math.atan),
    "sinh": lambda x: x.rising(math.sinh),
    "cosh": _hyperbolic_cosine,
    "tanh": _clipped(-1.0, 1.0, math.tanh),
    "erf": _clipped(-1.0, 1.0, math.erf),
    "lgamma": lambda x: Interval(-0.125) if x.positive else EVERYTHING,
    "sigmoid": _sigmoid,
    "relu": lambda x: Interval(max(x.low, 0.0), max(x.high, 0.0), x.positive),
    "softplus": _softplus,
    "gelu": _like_relu(-0.171),
    "silu": _like_relu(-0.279),
}

_PAIRS: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "outer": lambda a, b: a * b,
    "div": lambda a, b: a * b.reciprocal(),
    "dot": lambda a, b: (a * b).summed(),
    "matmul": lambda a, b: (a * b).summed(),
    "pow": _power,
    "mod": _modulo,
    "maximum": lambda a, b: Interval(max(a.low, b.low), max(a.high, b.high), a.positive or b.positive),
    "minimum": lambda a, b: Interval(min(a.low, b.low), min(a.high, b.high), a.positive and b.positive),
    "floordiv": lambda a, b: NONNEGATIVE if a.nonnegative and b.nonnegative else EVERYTHING,
}
