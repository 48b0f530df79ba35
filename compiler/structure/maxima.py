"""Rule: a smooth energy plus weighted maxima of values that are affine in the sought block.

`|u|` is the larger of u and -u, `relu(u)` that of u and 0. With a height for every such kink, bounded from
below by each of its values, the energy becomes smooth under affine constraints (Boyd & Vandenberghe 2004,
section 4.1.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebmlang.compiler.curvature.obligation import both
from ebmlang.compiler.curvature.signs import nonnegative
from ebmlang.compiler.derivatives.algebra import widened
from ebmlang.compiler.notation import text
from ebmlang.compiler.structure.absolute import taken_apart
from ebmlang.compiler.structure.block import Block, Summand
from ebmlang.compiler.structure.finding import Finding, MaximumPart
from ebmlang.compiler.structure.pieces import negated, one, weighted
from ebmlang.compiler.typed import Apply, Axes, Expr, Fold, Read

MOST_SHOWN = 50
"""Letters up to which a kink is shown as it is written."""


def find_maxima(block: Block) -> tuple[Finding, ...]:
    """`maxima of affine values`, with the weights as obligations where not proven >= 0."""
    if block.limits or block.joint is not None or any(v.type.kind != "real" for v in block.sought):
        return ()
    maxima: list[MaximumPart] = []
    smooth: list[Expr] = []
    for summand in block.touching:
        for sign, part in taken_apart(block, summand.value):
            whole = replace(summand, value=part if sign > 0 else negated(part)).total
            if block.smoothness(whole).grade in ("smooth", "piecewise"):
                smooth.append(whole)
                continue
            found = _maximum(block, summand, part, sign)
            if found is None:
                return ()
            maxima.append(found)
    obligations = both(*(nonnegative(m.weight, block.calculus.ranges) for m in maxima))
    if not maxima or obligations is None:
        return ()
    degree = 2 if all(map(block.calculus.quadratic, smooth)) else None
    degree = 1 if all(map(block.calculus.degrees.affine, smooth)) else degree
    rest = "smooth" if degree is None else ("affine", "quadratic")[degree - 1]
    shown = ", ".join(dict.fromkeys(m.shown for m in maxima))
    terms = ", ".join(dict.fromkeys(m.summand for m in maxima))
    return (
        Finding(
            "maxima of affine values",
            tuple(v.name for v in block.sought),
            f"{terms} weighs {shown}, the rest is {rest}",
            obligations,
            smooth=tuple(smooth),
            maxima=tuple(maxima),
            degree=degree,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A kink while it is unwrapped: what it is multiplied by, and the plates around it."""

    node: Expr
    weight: Expr
    axes: Axes
    mask: Expr | None


def _maximum(block: Block, summand: Summand, part: Expr, sign: int) -> MaximumPart | None:
    """A part that is a weighted sum of maxima, or of minima that are subtracted."""
    if summand.mask is not None and block.depends(summand.mask):
        return None
    weight, node = weighted(block.depends, _opened(block, part), None if sign > 0 else negated(one(part)))
    seen = _unwrapped(block, _Seen(node, weight, summand.axes, summand.mask))
    if seen is None:
        return None
    shown = text(seen.node)
    shown = f"`{shown}`" if len(shown) <= MOST_SHOWN else "a kink"
    for flip, names in ((False, ("max", "maximum")), (True, ("min", "minimum"))):
        found = _values(block, seen.node, names)
        if found is not None:
            values, floor, whole = found
            if flip:
                values, weight = tuple(map(negated, values)), negated(seen.weight)
            else:
                weight = seen.weight
            return MaximumPart(values, floor, whole, weight, seen.axes, seen.mask, summand.name, shown)
    return None


def _unwrapped(block: Block, seen: _Seen) -> _Seen | None:
    """The kink inside of sums over plates, indices and entries; None where a sum is of another kind."""
    match seen.node:
        case Fold(function="sum", body=body, over=over, guard=guard):
            outside = guard is not None and (seen.mask is not None or block.depends(guard))
            if outside or any(block.depends.moves(a) for a in over):
                return None
            weight, inner = weighted(block.depends, _opened(block, body), seen.weight)
            mask = seen.mask if guard is None else guard
            return _unwrapped(block, _Seen(inner, weight, (*seen.axes, *over), mask))
        case Apply(function="sum", arguments=(body,)) if seen.node.option("dims") == body.type.rank:
            if seen.weight.type.shape:
                return None
            weight, inner = weighted(block.depends, _opened(block, body), seen.weight)
            return replace(seen, node=inner, weight=weight)
        case Apply(function="norm", arguments=(u,)) if seen.node.option("order") == 1.0:
            if seen.weight.type.shape or seen.node.option("dims") != u.type.rank:
                return None
            kinks = Apply(u.type, u.axes, u.level, u.coupled, u.span, "abs", (u,))
            return replace(seen, node=kinks)
    return seen


Values = tuple[tuple[Expr, ...], bool, bool]
"""Affine values, whether 0 is one more of them, and whether all their entries are compared."""


def _values(block: Block, node: Expr, names: tuple[str, str]) -> Values | None:
    """What a kink is the largest (smallest) of."""
    reduction, of_two = names
    match node:
        case Apply(function="abs", arguments=(u,)) if of_two == "maximum" and _affine(block, u):
            return (u, negated(u)), False, False
        case Apply(function="relu", arguments=(u,)) if of_two == "maximum" and _affine(block, u):
            return (u,), True, False
        case Apply(function=name, arguments=(a, b)) if name == of_two:
            if _affine(block, a, b) and (a.type.shape == b.type.shape or not a.type.rank or not b.type.rank):
                return (widened(a, node.type.shape), widened(b, node.type.shape)), False, False
        case Apply(function=name, arguments=(u,)) if name == reduction and node.type.scalar and u.type.rank:
            inner = _opened(block, u)
            found = _values(block, inner, names)
            if found is not None and not found[2]:
                return found[0], found[1], True
            return ((u,), False, True) if _affine(block, u) else None
    return None


def _affine(block: Block, *values: Expr) -> bool:
    return all(map(block.calculus.degrees.affine, values))


def _opened(block: Block, node: Expr) -> Expr:
    """What stands behind the name of a let."""
    while isinstance(node, Read) and node.name in block.graph.lets:
        node = block.graph.lets[node.name].value
    return node
