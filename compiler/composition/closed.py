"""Minimisers of parts as expressions, where the structure of the energy gives one.

A softmax where unknowns enter linearly apart from their entropy. Where the energy is quadratic and joins no
two entries, every entry has its own parabola, and the least point of it is moved towards 0 by an absolute
value (soft thresholding), cut off at bounds, or projected onto the simplex.
"""

from __future__ import annotations

from collections.abc import Mapping

from ebmlang.compiler import typed
from ebmlang.compiler.derivatives import Adjoint, NoDerivativeError, Tangent, algebra
from ebmlang.compiler.elaborate import elaborate
from ebmlang.compiler.facts import direction_name
from ebmlang.compiler.query import Query
from ebmlang.compiler.structure.absolute import find_absolute
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import AbsolutePart
from ebmlang.compiler.structure.pattern import find_pattern
from ebmlang.compiler.structure.softmax import SIMPLEXES, find_softmax, softmax_of
from ebmlang.compiler.typed import Apply, Expr, Read, Variable

_FLAT = ("reals", "nonnegative", "interval", "simplex")
"""Domains onto which a point is brought by a formula."""


def closed_forms(model: typed.Model, sought: list[Variable]) -> dict[str, Expr] | None:
    """The minimisers as expressions of the model's own names, where all of them have one."""
    if model.constraints or any(v.type.kind != "real" for v in sought):
        return None
    block = Block(elaborate(model), Query(tuple(v.name for v in sought)))
    return _softmax(block) or _parabolas(block)


def _softmax(block: Block) -> dict[str, Expr] | None:
    if any(v.domain.name not in SIMPLEXES for v in block.sought):
        return None
    variables = {v.name: v for v in block.sought}
    for finding in find_softmax(block):
        return {p.variable: softmax_of(p.logits, variables[p.variable]) for p in finding.softmax}
    return None


# --- entry by entry ------------------------------------------------------------------------------


def _parabolas(block: Block) -> dict[str, Expr] | None:
    """Of a quadratic energy that joins no entries, with absolute values beside it."""
    flat = all(v.domain.name in _FLAT and v.domain.where is None for v in block.sought)
    if not flat or block.joint is not None or not block.touching:
        return None
    smooth, weights = _split(block)
    if not smooth or not all(block.calculus.quadratic(part) for part in smooth):
        return None
    if not any(f.property == "diagonal Hessian" for f in find_pattern(block)):
        return None
    try:
        gradient = Adjoint(block.depends, lambda node: node).gradient(
            [(part, algebra.constant(1.0, part.span)) for part in smooth]
        )
        tangent = Tangent(block.depends, lambda node: node)
        found = {}
        for v in block.sought:
            slope = algebra.total(gradient[v.name])
            place = _lowest(block, v, slope, tangent(slope), weights.get(v.name))
            if place is None:
                return None
            found[v.name] = place
    except (NoDerivativeError, KeyError):
        return None
    return found


def _split(block: Block) -> tuple[tuple[Expr, ...], dict[str, Expr]]:
    """The energy without absolute values, and the weights of these, proven >= 0; nothing where it has other
    parts without a derivative."""
    for finding in find_absolute(block):
        parts: tuple[AbsolutePart, ...] = finding.absolute
        if finding.obligations or any(p.lead is not None for p in parts):
            return (), {}
        return finding.smooth, {p.variable: p.weight for p in parts}
    return tuple(s.total for s in block.touching), {}


def _lowest(block: Block, v: Variable, slope: Expr, change: Expr, weight: Expr | None) -> Expr | None:
    """Where the energy is least along a variable with a slope that changes by `change` along a direction;
    None where it is not proven to curve upwards."""
    curvature = _at(change, {direction_name(v.name): 1.0})
    start = _at(slope, dict.fromkeys(block.names, 0.0))
    if any(block.depends(x) or _scattered(x) for x in (curvature, start)):
        return None
    if not block.calculus.ranges(curvature).positive:
        return None
    point = algebra.over(algebra.negative(start), curvature)
    if weight is not None:
        limit = algebra.over(weight, curvature)
        cut = algebra.elementwise("clamp", point, algebra.negative(limit), limit)
        point = algebra.minus(point, cut)
    point = algebra.widened(point, v.type.shape)
    match v.domain.name:
        case "nonnegative":
            return algebra.elementwise("relu", point)
        case "interval":
            return algebra.elementwise("clamp", point, *v.domain.arguments)
        case "simplex":
            alike = curvature.type.scalar and not curvature.axes and weight is None
            return _on_simplex(point) if alike else None
    return point


def _on_simplex(point: Expr) -> Expr:
    """The nearest point of the simplex: max(x - t, 0), with the t = max over k of (the sum of the k largest
    entries - 1) / k that makes the sum 1 (Held, Wolfe & Crowder 1974)."""
    shape = point.type.shape
    last: tuple[tuple[str, object], ...] = (("axis", -1),)
    falling = algebra.negative(
        algebra.apply("sort", (algebra.negative(point),), shape, last),
    )
    sums = algebra.apply("cumsum", (falling,), shape, last)
    counts = algebra.apply("cumsum", (algebra.filled("ones", shape, point.span),), shape, last)
    one = algebra.constant(1.0, point.span)
    candidates = algebra.elementwise("div", algebra.minus(sums, one), counts)
    level = algebra.apply("max", (candidates,), shape[:-1], last)
    return algebra.elementwise("relu", algebra.minus(point, algebra.kept_dimension(level, -1, len(shape))))


def _scattered(node: Expr) -> bool:
    return any(isinstance(n, typed.Scatter) for n in typed.walk(node))


def _at(node: Expr, values: Mapping[str, float]) -> Expr:
    """A value with numbers in the place of some variables, without what becomes 0 or 1 by that."""
    match node:
        case Read(name=name) if name in values:
            return algebra.constant(values[name], node.span)
        case Apply(function="add", arguments=(a, b)):
            return algebra.plus(_at(a, values), _at(b, values))
        case Apply(function="sub", arguments=(a, b)):
            return algebra.minus(_at(a, values), _at(b, values))
        case Apply(function="mul", arguments=(a, b)):
            return algebra.times(_at(a, values), _at(b, values))
        case Apply(function="div", arguments=(a, b)):
            return algebra.over(_at(a, values), _at(b, values))
        case Apply(function="neg", arguments=(a,)):
            return algebra.negative(_at(a, values))

    def filled(inner: Expr) -> Expr | None:
        if not isinstance(inner, Read) or inner.name not in values:
            return None
        return algebra.widened(algebra.constant(values[inner.name], inner.span), inner.type.shape)

    return typed.mapped(node, filled)
