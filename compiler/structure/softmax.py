"""Rule: points of a simplex that enter linearly apart from their entropy; their minimiser is a softmax."""

from __future__ import annotations

from ebmlang.compiler import notation, typed
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.derivatives import Adjoint, NoDerivativeError, algebra
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.structure.block import Block, Summand
from ebmlang.compiler.structure.finding import Finding, SoftmaxPart
from ebmlang.compiler.structure.pieces import moving_pieces, negated, one, weighted, whole
from ebmlang.compiler.typed import Apply, Axes, Expr, Fold, Pick, Position, Read, SliceOf
from ebmlang.compiler.types import REAL, Shape

SIMPLEXES = ("simplex", "sparse_simplex")

MOST_SHOWN = 60
"""Letters up to which a formula is shown."""


def find_softmax(block: Block) -> tuple[Finding, ...]:
    """`linear minus entropy`: simplex variables that no term joins, each with an entropy of its points."""
    sought = block.sought
    if not sought or block.joint is not None or any(v.domain.name not in SIMPLEXES for v in sought):
        return ()
    temperatures: dict[str, list[Expr]] = {v.name: [] for v in sought}
    linear: list[Expr] = []
    for summand, sign, part in moving_pieces(block):
        found = _entropy(block, summand, sign, part)
        if found is not None:
            name, temperature = found
            if not block.calculus.ranges(temperature).positive:
                return ()
            temperatures[name].append(temperature)
            continue
        total = whole(summand, sign, part)
        if not block.calculus.degrees.affine(total):
            return ()
        linear.append(total)
    if not all(temperatures.values()):
        return ()
    slopes = _slopes(block, linear)
    if slopes is None:
        return ()
    parts = tuple(
        SoftmaxPart(v.name, tuple(temperatures[v.name]), tuple(linear), _logits(v, slopes, temperatures))
        for v in sought
    )
    names = tuple(v.name for v in sought)
    why = f"{', '.join(names)} {'enters' if len(names) == 1 else 'enter'} linearly apart from the entropy"
    return (Finding("linear minus entropy", names, f"{why}, so that {_shown(parts, sought)}", softmax=parts),)


def _entropy(block: Block, summand: Summand, sign: int, part: Expr) -> tuple[str, Expr] | None:
    """(variable, temperature) of a weighted minus entropy: a scalar for all points, or a table of them."""
    weight, value = weighted(block.depends, part, one(part) if sign > 0 else negated(one(part)))
    over = summand.axes
    if isinstance(value, Fold) and value.function == "sum" and value.guard is None and not over:
        if weight.axes:
            return None
        over = value.over
        weight, value = weighted(block.depends, value.body, weight)
    if summand.mask is not None or not weight.type.scalar:
        return None
    match value:
        case Apply(function="entropy", arguments=(x,)) if value.option("dims") is not None:
            name, weight = _points(block, x, over), algebra.negative(weight)
        case Apply(function="sum", arguments=(Apply(function="xlogy", arguments=(x, y)),)):
            if value.option("dims") is None or not same(x, y):
                return None
            name = _points(block, x, over)
        case _:
            return None
    if not name:
        return None
    return name, _table(weight, over) if over else weight


def _points(block: Block, node: Expr, over: Axes) -> str:
    """The sought variable of which a value is everything, or one point for each position of the plates."""
    match node:
        case Read(name=name) if not over and name in block.names:
            return name
        case Pick(base=Read(name=name) as x, subscripts=(*places, last)) if over and name in block.names:
            if len(places) != len(over) or not isinstance(last, SliceOf):
                return ""
            return name if _covered(x.type.shape, places, last, over) else ""
    return ""


def _table(weight: Expr, over: Axes) -> Expr:
    """A weight as an array with a dimension for every plate, and one more of size 1."""
    if not weight.axes:
        return weight
    sizes = tuple(axis.size for axis in over)
    assert all(size is not None for size in sizes)
    shape = tuple(size for size in sizes if size is not None)
    table = typed.Tabulate(REAL.with_shape(shape), (), weight.level, False, weight.span, weight, over)
    return algebra.kept_dimension(table, -1, len(shape) + 1)


def _slopes(block: Block, linear: list[Expr]) -> dict[str, list[Expr]] | None:
    """The gradient of the linear part, which does not depend on the block."""
    span = block.graph.model.span
    try:
        gradient = Adjoint(block.depends, lambda node: node).gradient(
            [(part, algebra.constant(1.0, span)) for part in linear]
        )
    except NoDerivativeError:
        return None
    if any(block.depends(part) for parts in gradient.values() for part in parts):
        return None
    return gradient


def _logits(v: typed.Variable, slopes: dict[str, list[Expr]], temperatures: dict[str, list[Expr]]) -> Expr:
    """What the softmax is of: minus the slope over the temperature, in the shape of the variable."""
    parts = [typed.mapped(part, _tabulated) for part in slopes.get(v.name, [])]
    slope = algebra.total(parts) if parts else algebra.constant(0.0, v.span)
    value = algebra.over(algebra.negative(slope), algebra.total(temperatures[v.name]))
    return _plain(value)


def _tabulated(slope: Expr) -> Expr | None:
    """What plates give point by point, each to a place of its own, as an array of what they give."""
    match slope:
        case typed.Scatter(value=value, subscripts=(*places, last), over=over) if len(places) == len(over):
            if isinstance(last, SliceOf) and _covered(slope.type.shape, places, last, over):
                return typed.Tabulate(
                    slope.type, slope.axes, slope.level, slope.coupled, slope.span, value, over
                )
    return None


def _covered(shape: Shape, places: list[typed.Subscript], last: SliceOf, over: Axes) -> bool:
    """Whether subscripts are the indices of plates, in order and from end to end, and a whole dimension."""
    if last.start != ZERO or last.stop != shape[-1]:
        return False
    for place, axis, size in zip(places, over, shape[:-1], strict=True):
        own = isinstance(place, Position) and place.axis is axis
        if not own or axis.start != ZERO or axis.size != size:
            return False
    return True


def _plain(node: Expr) -> Expr:
    """`a / b * v` as a person writes it: `a * v / b`."""
    match node:
        case Apply(function="mul", arguments=(Apply(function="div", arguments=(top, bottom)), rest)):
            return algebra.elementwise("div", _plain(algebra.times(top, rest)), bottom)
        case Apply(function="div", arguments=(top, bottom)):
            return algebra.elementwise("div", _plain(top), bottom)
    return node


def softmax_of(logits: Expr, v: typed.Variable) -> Expr:
    """The softmax of logits along the last dimension, over the entries that the domain allows.

    With at most k entries above 0, on any k of them the least energy is minus their log-sum-exp (times the
    temperature), which is least for the k largest logits.
    """
    full = algebra.widened(logits, v.type.shape)
    if v.domain.where is not None:
        nothing = algebra.constant(float("-inf"), logits.span)
        full = algebra.elementwise("where", v.domain.where, full, nothing)
    if v.domain.name == "sparse_simplex":
        most = v.domain.arguments[0]
        assert isinstance(most, typed.SizeOf)
        return algebra.apply("top_softmax", (full,), v.type.shape, (("axis", -1), ("size", most.size)))
    return algebra.apply("softmax", (full,), v.type.shape, (("axis", -1),))


def _shown(parts: tuple[SoftmaxPart, ...], sought: tuple[typed.Variable, ...]) -> str:
    domains = {v.name: v.domain for v in sought}
    texts = []
    for part in parts:
        formula = notation.text(part.logits)
        formula = formula if len(formula) <= MOST_SHOWN else "-slope / temperature"
        most = ", ".join(notation.text(a) for a in domains[part.variable].arguments)
        function = f"top_softmax({formula}, {most})" if most else f"softmax({formula})"
        texts.append(f"{part.variable} = {function}")
    return ", ".join(texts)
