"""How each node hands its adjoint to its operands.

A rule yields (operand, shape, part): the part of the operand's adjoint that comes from this node,
as an array of the shape to which the node stretched the operand. The part may be narrow. Rules are
asked for one operand at a time, so that an operand that does not move needs no derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.algebra import NoDerivativeError, apply, constant, times, widened
from ebmlang.compiler.derivatives.arrays import ARRAY_RULES, scatter
from ebmlang.compiler.derivatives.slopes import net_share
from ebmlang.compiler.derivatives.templates import partial
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.typed import Apply, Expr, Fold, OverExamples, Pack, Pick, SliceOf, Tabulate
from ebmlang.compiler.types import Shape

Part = tuple[Expr, Shape, Expr]
Rule = Callable[[Apply, Expr, int], Expr]
"""(node, adjoint, number of the operand) to the share of that operand."""


def pulled(node: Expr, adjoint: Expr, depends: Dependence) -> Iterator[Part]:
    """Every operand that moves, with its share. Raises NoDerivativeError."""
    match node:
        case Apply():
            rule = _rule(node)
            stretches = BUILTINS[node.function].form in ("operator", "elementwise")
            for i, child in enumerate(node.arguments):
                if depends(child):
                    shape = node.type.shape if stretches else child.type.shape
                    yield child, shape, rule(node, adjoint, i)
        case Fold():
            yield node.body, node.body.type.shape, _fold(node, adjoint)
        case OverExamples():
            yield node.body, node.body.type.shape, _over_examples(node, adjoint)
        case Pick():
            yield node.base, node.base.type.shape, _pick(node, adjoint, depends)
        case Pack():
            for i, item in enumerate(node.items):
                if depends(item):
                    yield item, node.type.shape[1:], _item(adjoint, i, node)
        case Tabulate():
            yield node.body, node.body.type.shape, _tabulate(node, adjoint)
        case _:
            raise NoDerivativeError(f"{type(node).__name__} has no derivative")


def _rule(node: Apply) -> Rule:
    rule = _BY_NAME.get(node.function) or ARRAY_RULES.get(node.function)
    if rule is None and BUILTINS[node.function].form in ("operator", "elementwise"):
        rule = _elementwise
    if rule is None:
        raise NoDerivativeError(f"`{node.function}` has no derivative row")
    return rule


# --- entry by entry -----------------------------------------------------------------------------


def _elementwise(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return times(adjoint, partial(node, operand))


def _add(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return adjoint


def _sub(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return algebra.negative(adjoint) if operand else adjoint


def _neg(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return algebra.negative(adjoint)


def _mul(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return times(adjoint, node.arguments[1 - operand])


def _div(node: Apply, adjoint: Expr, operand: int) -> Expr:
    bottom = node.arguments[1]
    if operand == 0:
        return algebra.over(adjoint, bottom)
    return algebra.negative(times(adjoint, algebra.over(node, bottom)))


def _where(node: Apply, adjoint: Expr, operand: int) -> Expr:
    zero = constant(0.0, node.span)
    condition = node.arguments[0]
    if operand == 0:
        return zero
    return (
        algebra.where(condition, adjoint, zero) if operand == 1 else algebra.where(condition, zero, adjoint)
    )


def _stop(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return constant(0.0, node.span)


# --- reductions ---------------------------------------------------------------------------------


def spread_back(node: Apply, value: Expr) -> Expr:
    """A value shaped as the result of a reduction, lined up with its operand; it stays narrow."""
    axis = node.option("axis")
    rank = node.arguments[0].type.rank
    if isinstance(axis, int) and not value.type.scalar:
        return algebra.kept_dimension(value, axis, rank)
    return value


def reduced_count(node: Apply) -> Size:
    """How many entries a reduction takes together."""
    shape, axis = node.arguments[0].type.shape, node.option("axis")
    if isinstance(axis, int):
        return shape[len(shape) + axis]
    count = ONE
    for size in shape:
        count = count * size
    return count


def _sum(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return spread_back(node, adjoint)


def _mean(node: Apply, adjoint: Expr, operand: int) -> Expr:
    count = algebra.size_of(reduced_count(node), node.span)
    return spread_back(node, algebra.over(adjoint, count))


def _logsumexp(node: Apply, adjoint: Expr, operand: int) -> Expr:
    (x,) = node.arguments
    share = algebra.elementwise("exp", algebra.minus(x, spread_back(node, node)))
    return times(spread_back(node, adjoint), share)


def _extreme(node: Apply, adjoint: Expr, operand: int) -> Expr:
    """The entries that reach the largest (smallest) value share the adjoint."""
    reaches, count = reached(node)
    return times(spread_back(node, algebra.over(adjoint, count)), reaches)


def reached(node: Apply) -> tuple[Expr, Expr]:
    """1 at the entries that reach the largest (smallest) value and 0 elsewhere; how many there are."""
    (x,) = node.arguments
    one, zero = constant(1.0, node.span), constant(0.0, node.span)
    reaches = algebra.where(algebra.compared("eq", x, spread_back(node, node)), one, zero)
    return reaches, apply("sum", (reaches,), node.type.shape, node.static)


def _entropy(node: Apply, adjoint: Expr, operand: int) -> Expr:
    (x,) = node.arguments
    slope = algebra.plus(algebra.elementwise("log", x), constant(1.0, node.span))
    return algebra.negative(times(spread_back(node, adjoint), slope))


def _var(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return times(spread_back(node, adjoint), variance_slope(node))


def variance_slope(node: Apply) -> Expr:
    """2 (x - mean) / (n - 1): the derivative of a variance along each entry that it takes together."""
    (x,) = node.arguments
    if x.type.scalar:
        raise NoDerivativeError("the variance of one number")
    mean = apply("mean", (x,), node.type.shape, node.static)
    count = algebra.size_of(reduced_count(node) - 1, node.span)
    scale = algebra.over(constant(2.0, node.span), count)
    return times(scale, algebra.minus(x, spread_back(node, mean)))


def _std(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return times(spread_back(node, algebra.over(adjoint, node)), deviation_slope(node))


def deviation_slope(node: Apply) -> Expr:
    """(x - mean) / (n - 1): the derivative of a standard deviation, times that deviation."""
    return times(constant(0.5, node.span), variance_slope(node))


# --- indices, examples, arrays of cells ---------------------------------------------------------


def _fold(node: Fold, adjoint: Expr) -> Expr:
    zero = constant(0.0, node.span)
    part = adjoint
    match node.function:
        case "sum":
            pass
        case "mean" if node.guard is None:
            for axis in node.over:
                if axis.size is None:
                    raise NoDerivativeError("the mean over a selection of indices")
                part = algebra.over(part, algebra.size_of(axis.size, node.span))
        case "logsumexp":
            part = times(part, algebra.elementwise("exp", algebra.minus(node.body, node)))
        case _:
            raise NoDerivativeError(f"`{node.function}` over an index")
    return part if node.guard is None else algebra.where(node.guard, part, zero)


def _over_examples(node: OverExamples, adjoint: Expr) -> Expr:
    if node.function == "sum":
        return adjoint
    raise NoDerivativeError(f"`{node.function}` over the examples")


def _pick(node: Pick, adjoint: Expr, depends: Dependence) -> Expr:
    if any(axis in node.base.axes for s in node.subscripts if isinstance(s, Expr) for axis in s.axes):
        raise NoDerivativeError("an index that also moves what it picks from")
    over = tuple(a for a in node.axes if a not in node.base.axes)
    value = widened(adjoint, node.type.shape)
    return scatter(value, node.subscripts, over, node.base)


def _item(adjoint: Expr, place: int, node: Pack) -> Expr:
    if adjoint.type.scalar:
        return adjoint
    first = algebra.size_of(Size.of(0 if adjoint.type.shape[0] == ONE else place), node.span)
    rest = tuple(SliceOf(ZERO, size) for size in adjoint.type.shape[1:])
    return pick(adjoint, (first, *rest), node.span)


def _tabulate(node: Tabulate, adjoint: Expr) -> Expr:
    if any(axis.size is None for axis in node.over):
        raise NoDerivativeError("an array over a selection of indices")
    if adjoint.type.scalar:
        return adjoint
    subscripts: list[typed.Subscript] = []
    for i, axis in enumerate(node.over):
        if adjoint.type.shape[i] == ONE and axis.size != ONE:
            subscripts.append(algebra.size_of(ZERO, node.span))
        else:
            subscripts.append(algebra.offset(axis, node.span))
    rest = adjoint.type.shape[len(node.over) :]
    return pick(adjoint, (*subscripts, *(SliceOf(ZERO, size) for size in rest)), node.span)


_BY_NAME: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "where": _where,
    "stop": _stop,
    "sum": _sum,
    "mean": _mean,
    "logsumexp": _logsumexp,
    "max": _extreme,
    "min": _extreme,
    "entropy": _entropy,
    "var": _var,
    "std": _std,
    "net": net_share,
    "net_slope": net_share,
}
