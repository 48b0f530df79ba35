"""Rule: a smooth energy plus weighted absolute values of the sought entries.

The energy is taken apart into summands; each is smooth in the block, or `w * |x|` with x a sought
variable as it is declared and w free of the block. Then the proximal map of the absolute part is
soft thresholding, and the sum is minimised by accelerated proximal gradient. Lengths of groups of entries,
`w * ||x[g]||`, count like absolute values: their map shortens every group (Yuan & Lin 2006).
"""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.curvature.obligation import both
from ebmlang.compiler.curvature.signs import nonnegative
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.structure.block import Block, Summand
from ebmlang.compiler.structure.finding import AbsolutePart, Finding
from ebmlang.compiler.structure.majorant import majorant_of
from ebmlang.compiler.structure.pieces import is_one, negated, one, pieces, times, weighted
from ebmlang.compiler.structure.squares import least_squares
from ebmlang.compiler.typed import Apply, Axes, Expr, Fold, Pick, Position, Read
from ebmlang.compiler.types import REAL


def find_absolute(block: Block) -> tuple[Finding, ...]:
    """`smooth plus absolute values`, with the weights as obligations where not proven >= 0."""
    if any(block.smoothness(limit.value).grade not in ("smooth", "piecewise") for limit in block.limits):
        return ()  # what a constraint adds to the energy on the way has to be smooth
    smooth: list[Expr] = []
    smooth_of: list[str] = []
    absolute: list[AbsolutePart] = []
    for summand in block.summands:
        if not block.depends(summand.value):
            continue
        for sign, part in taken_apart(block, summand.value):
            found = None if summand.mask is not None else _absolute(block, part, summand.axes, sign)
            if found is not None:
                absolute.append(AbsolutePart(found[0], found[1], summand.name))
                continue
            lengths = None if summand.mask is not None else _lengths(block, part, summand.axes, sign)
            if lengths is not None:
                absolute.append(AbsolutePart(lengths[0], lengths[1], summand.name, lengths[2]))
                continue
            whole = _total_of(summand, part) if sign > 0 else negated(_total_of(summand, part))
            if block.smoothness(whole).grade not in ("smooth", "piecewise"):
                return ()
            smooth.append(whole)
            smooth_of.append(summand.name)
    if not absolute or len({(a.variable, a.lead) for a in absolute}) > len({a.variable for a in absolute}):
        return ()
    names = tuple(v.name for v in block.sought)
    obligations = both(*(nonnegative(a.weight, block.calculus.ranges) for a in absolute))
    if obligations is None:
        return ()
    terms = ", ".join(dict.fromkeys(a.summand for a in absolute))
    weighed = ", ".join(dict.fromkeys(map(_shown, absolute)))
    because = f"{terms} weighs {weighed}, the rest is {{}}"
    quadratic = all(block.calculus.quadratic(part) for part in smooth)
    majorant, bends = ((), "") if quadratic else majorant_of(block, tuple(smooth))
    because = because.format("quadratic" if quadratic else "smooth")
    because += f", and bends no more than a quadratic: {bends}" if bends else ""
    return (
        Finding(
            "smooth plus absolute values",
            names,
            because,
            obligations,
            absolute=tuple(absolute),
            smooth=tuple(smooth),
            smooth_of=tuple(smooth_of),
            majorant=majorant,
            quadratic=quadratic,
            least_squares=least_squares(block, tuple(smooth)),
        ),
    )


def taken_apart(block: Block, node: Expr) -> list[tuple[int, Expr]]:
    """The parts of a sum. The fixed factor of one with kinks, as in `w * (||z||_1 + ||z||^2)`, goes to
    each."""
    found: list[tuple[int, Expr]] = []
    for sign, part in pieces(node):
        factor, rest = weighted(block.depends, part)
        if (
            is_one(factor)
            or len(pieces(rest)) == 1
            or block.smoothness(rest).grade in ("smooth", "piecewise")
        ):
            found.append((sign, part))
        else:
            found += [(sign * s, times(factor, p)) for s, p in taken_apart(block, rest)]
    return found


def _shown(part: AbsolutePart) -> str:
    if part.lead is None:
        return f"|{part.variable}|"
    groups = f"[{', '.join('ghijkl'[: part.lead])}]" if part.lead else ""
    return f"||{part.variable}{groups}||"


def _total_of(summand: Summand, part: Expr) -> Expr:
    return replace(summand, value=part).total


def _absolute(block: Block, node: Expr, axes: Axes, sign: int) -> tuple[str, Expr] | None:
    """(variable, weight) when the node, summed over the axes, is a weighted sum of |x|."""
    weight, node = weighted(block.depends, node, None if sign > 0 else negated(one(node)))
    match node:
        case Apply(function="norm", arguments=(Read() as x,)) if node.option("order") == 1.0 and not axes:
            return _sought(block, x, weight)
        case Apply(function="sum", arguments=(inner,)) if node.option("dims") is not None and not axes:
            return _entrywise(block, inner, weight)
        case Fold(function="sum", body=body, over=over, guard=None) if not axes and not weight.axes:
            return _plated(block, body, over, weight)
        case Apply(function="abs" | "norm" | "sum") if axes:
            return _plated(block, node, axes, weight)
    if axes == () and node.type.scalar:
        return _entrywise(block, node, weight)
    return None


def _sought(block: Block, x: Expr, weight: Expr) -> tuple[str, Expr] | None:
    if isinstance(x, Read) and x.name in block.names and not weight.axes:
        return x.name, weight
    return None


def _entrywise(block: Block, node: Expr, weight: Expr) -> tuple[str, Expr] | None:
    """`|x|` or `w * |x|` entry by entry."""
    match node:
        case Apply(function="abs", arguments=(Read() as x,)):
            return _sought(block, x, weight)
        case (
            Apply(function="mul", arguments=(w, Apply(function="abs", arguments=(Read() as x,))))
            | Apply(function="mul", arguments=(Apply(function="abs", arguments=(Read() as x,)), w))
        ) if not block.depends(w) and w.type.shape in ((), x.type.shape):
            return _sought(block, x, times(weight, w))
    return None


def _plated(block: Block, node: Expr, axes: Axes, weight: Expr) -> tuple[str, Expr] | None:
    """`w[t] * |x[t]|` over a plate that visits every entry of x once."""
    match node:
        case Apply(function="mul", arguments=(w, inner)) if not block.depends(w):
            return _plated(block, inner, axes, times(weight, w))
        case Apply(function="mul", arguments=(inner, w)) if not block.depends(w):
            return _plated(block, inner, axes, times(weight, w))
        case Apply(function="abs", arguments=(Pick(base=Read() as x, subscripts=subscripts),)):
            if x.name not in block.names or len(subscripts) != len(axes):
                return None
            for s, axis, size in zip(subscripts, axes, x.type.shape, strict=True):
                own = isinstance(s, Position) and s.axis is axis
                if not own or axis.start != ZERO or axis.size != size:
                    return None
            return _weighing(x, weight, axes)
        case Apply(function="norm" | "sum", arguments=(inner,)):
            rows = _all_rows(node, inner, axes)
            return None if rows is None or rows.name not in block.names else _weighing(rows, weight, axes)
    return None


def _all_rows(node: Apply, inner: Expr, axes: Axes) -> Read | None:
    """The x of `||x[t]||_1` or `sum(|x[t]|)` over plates that run through the first dimensions of x."""
    if node.function == "sum":
        if node.option("dims") is None or not isinstance(inner, Apply) or inner.function != "abs":
            return None
        inner = inner.arguments[0]
    elif node.option("order") != 1.0 or node.option("dims") != inner.type.rank:
        return None
    if not isinstance(inner, Pick) or not _numbered(inner, axes):
        return None
    return inner.base if isinstance(inner.base, Read) else None


def _weighing(x: Read, weight: Expr, axes: Axes) -> tuple[str, Expr] | None:
    """The weight as a number, or as one for every entry of the array that the plates number."""
    if not weight.axes:
        return (x.name, weight) if weight.type.scalar else None
    if not weight.type.scalar or any(a not in axes for a in weight.axes):
        return None
    inner = x.type.shape[len(axes) :]
    body = algebra.widened(weight, inner) if inner else weight
    type_ = REAL.with_shape(x.type.shape)
    return x.name, typed.Tabulate(type_, (), weight.level, False, weight.span, body, axes)


# --- lengths of groups ----------------------------------------------------------------------------


def _lengths(block: Block, node: Expr, axes: Axes, sign: int) -> tuple[str, Expr, int] | None:
    """(variable, weight, leading dimensions) where the node, summed over the axes, weighs lengths.

    No two groups share an entry. Bounds would need another proximal map.
    """
    weight, node = weighted(block.depends, node, None if sign > 0 else negated(one(node)))
    if weight.axes or not weight.type.scalar or block.limits:
        return None
    if isinstance(node, Fold) and node.function == "sum" and node.guard is None and not axes:
        over = node.over
        factor, node = weighted(block.depends, node.body, None)
        if factor.axes or not factor.type.scalar:
            return None
        weight, axes = times(weight, factor), over
    if not isinstance(node, Apply) or node.function != "norm" or node.option("order") != 2.0:
        return None
    (inner,) = node.arguments
    if node.option("dims") != inner.type.rank:
        return None
    base = inner.base if isinstance(inner, Pick) and axes else inner
    free = {v.name for v in block.sought if v.domain.rule.geometry == "everywhere"}
    if not isinstance(base, Read) or base.name not in free:
        return None
    if axes and not (isinstance(inner, Pick) and _numbered(inner, axes)):
        return None
    return base.name, weight, len(axes)


def _numbered(node: Pick, axes: Axes) -> bool:
    """Whether the first subscripts run through the axes, each through its whole dimension, and the others
    take everything."""
    shape = node.base.type.shape
    if len(node.subscripts) != len(shape) or len(axes) >= len(shape):
        return False
    for k, (s, size) in enumerate(zip(node.subscripts, shape, strict=True)):
        if k < len(axes):
            axis = axes[k]
            if not (isinstance(s, Position) and s.axis is axis and axis.start == ZERO and axis.size == size):
                return False
        elif not (isinstance(s, typed.SliceOf) and s.start == ZERO and s.stop == size):
            return False
    return True
