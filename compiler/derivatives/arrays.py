"""Shares of the operands of built-ins of vectors and matrices, and of those that rearrange entries."""

from __future__ import annotations

from collections.abc import Callable

from ebmlang.compiler import typed
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.algebra import NoDerivativeError, apply, constant, times, widened
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Apply, Expr, SliceOf
from ebmlang.compiler.types import REAL

Rule = Callable[[Apply, Expr, int], Expr]


# --- products -----------------------------------------------------------------------------------


def transposed(node: Expr) -> Expr:
    if isinstance(node, Apply) and node.function == "transpose":
        return node.arguments[0]
    return apply("transpose", (node,), (node.type.shape[1], node.type.shape[0]))


def matmul(a: Expr, b: Expr) -> Expr:
    """a @ b of a vector or matrix with a vector or matrix, its number in front."""
    match a:
        case Apply(function="mul", arguments=(f, rest)) if f.level is typed.Level.CONSTANT and f.type.scalar:
            return times(f, matmul(rest, b))
        case Apply(function="neg", arguments=(rest,)):
            return algebra.negative(matmul(rest, b))
    if a.type.rank == 1 and b.type.rank == 2 and isinstance(b, Apply) and b.function == "transpose":
        return matmul(b.arguments[0], a)
    return apply("matmul", (a, b), (*a.type.shape[:-1], *b.type.shape[1:]))


def outer(a: Expr, b: Expr) -> Expr:
    """The outer product of two vectors, its number in front."""
    factor, rest = algebra.taken_apart(a)
    if factor is not None and rest is not None:
        return times(factor, outer(rest, b))
    return apply("outer", (a, b), (a.type.shape[0], b.type.shape[0]))


def _matmul(node: Apply, adjoint: Expr, operand: int) -> Expr:
    a, b = node.arguments
    match a.type.rank, b.type.rank:
        case 1, 1:
            return times(adjoint, node.arguments[1 - operand])
        case 2, 1:
            slope = widened(adjoint, node.type.shape)
            return outer(slope, b) if operand == 0 else matmul(slope, a)
        case 1, 2:
            slope = widened(adjoint, node.type.shape)
            return matmul(b, slope) if operand == 0 else outer(a, slope)
        case 2, 2:
            slope = widened(adjoint, node.type.shape)
            return matmul(slope, transposed(b)) if operand == 0 else matmul(transposed(a), slope)
    raise NoDerivativeError("`@` of arrays of higher rank")


def _dot(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return times(adjoint, node.arguments[1 - operand])


def _outer(node: Apply, adjoint: Expr, operand: int) -> Expr:
    a, b = node.arguments
    slope = widened(adjoint, node.type.shape)
    return matmul(slope, b) if operand == 0 else matmul(a, slope)


def _einsum(node: Apply, adjoint: Expr, operand: int) -> Expr:
    """The einsum with the result in the place of the operand."""
    spec = node.option("spec")
    assert isinstance(spec, str)
    inputs, output = spec.split("->")
    letters = inputs.split(",")
    own = letters[operand]
    others = [(x, a) for i, (x, a) in enumerate(zip(letters, node.arguments, strict=True)) if i != operand]
    reached = set(output).union(*(set(x) for x, _ in others))
    if any(len(set(x)) < len(x) for x in letters) or not set(own) <= reached:
        raise NoDerivativeError("an `einsum` with a repeated or a lonely index")
    names = ",".join([output, *(x for x, _ in others)])
    operands = (widened(adjoint, node.type.shape), *(a for _, a in others))
    return apply("einsum", operands, node.arguments[operand].type.shape, (("spec", f"{names}->{own}"),))


# --- norms and matrices -------------------------------------------------------------------------


def _norm_squared(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return times(times(constant(2.0, node.span), adjoint), node.arguments[0])


def _norm(node: Apply, adjoint: Expr, operand: int) -> Expr:
    """x / ||x||, and 0 at 0, which is a subgradient."""
    (x,) = node.arguments
    order = node.option("order")
    if order == 1.0:
        return times(adjoint, algebra.elementwise("sign", x))
    if order != 2.0:
        raise NoDerivativeError(f"a norm of order {order}")
    one = constant(1.0, node.span)
    length = algebra.where(algebra.compared("gt", node, constant(0.0, node.span)), node, one)
    return times(algebra.over(adjoint, length), x)


def _trace(node: Apply, adjoint: Expr, operand: int) -> Expr:
    shape = node.arguments[0].type.shape
    identity = algebra.filled("identity", shape, node.span)
    return times(adjoint, identity)


def _diag(node: Apply, adjoint: Expr, operand: int) -> Expr:
    slope = widened(adjoint, node.type.shape)
    make = not node.option("make")
    return apply("diag", (slope,), node.arguments[0].type.shape, (("make", make),))


def _transpose(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return adjoint if adjoint.type.scalar else transposed(adjoint)


def _inverse(node: Apply, adjoint: Expr, operand: int) -> Expr:
    slope = widened(adjoint, node.type.shape)
    across = transposed(node)
    return algebra.negative(matmul(matmul(across, slope), across))


def _logabsdet(node: Apply, adjoint: Expr, operand: int) -> Expr:
    (a,) = node.arguments
    return times(adjoint, transposed(apply("inverse", (a,), a.type.shape)))


def _det(node: Apply, adjoint: Expr, operand: int) -> Expr:
    return _logabsdet(node, times(adjoint, node), operand)


def _linear_solve(node: Apply, adjoint: Expr, operand: int) -> Expr:
    a, b = node.arguments
    slope = widened(adjoint, node.type.shape)
    back = apply("linear_solve", (transposed(a), slope), b.type.shape, node.static)
    if operand == 1:
        return back
    grown = outer(back, node) if node.type.rank == 1 else matmul(back, transposed(node))
    return algebra.negative(grown)


# --- along an axis ------------------------------------------------------------------------------


def _softmax(node: Apply, adjoint: Expr, operand: int) -> Expr:
    # Of the k largest entries too: what is 0 in the result gets and gives nothing.
    axis = node.option("axis")
    assert isinstance(axis, int)
    weighted = times(adjoint, node)
    mean = algebra.kept_dimension(algebra.sum_axis(weighted, axis), axis, node.type.rank)
    return algebra.minus(weighted, times(mean, node))


def _cumsum(node: Apply, adjoint: Expr, operand: int) -> Expr:
    """The sum from each place to the end."""
    axis = node.option("axis")
    assert isinstance(axis, int)
    slope = widened(adjoint, node.type.shape)
    everything = algebra.kept_dimension(algebra.sum_axis(slope, axis), axis, node.type.rank)
    before = apply("cumsum", (slope,), node.type.shape, node.static)
    return algebra.plus(algebra.minus(everything, before), slope)


# --- indexing -----------------------------------------------------------------------------------


def scatter(value: Expr, subscripts: tuple[typed.Subscript, ...], over: typed.Axes, like: Expr) -> Expr:
    """Zeros shaped as `like`, with the value added at the subscripts, summed over the axes `over`."""
    moving = [s for s in subscripts if isinstance(s, Expr)]
    if any(s.level > like.level for s in moving):
        raise NoDerivativeError("subscripts that differ by example, of a value shared by all")
    used = typed.merge_axes(tuple(moving))
    value = algebra.sum_axes(value, tuple(a for a in over if a not in used))
    over = tuple(a for a in over if a in used)
    whole = [s for s in subscripts if isinstance(s, SliceOf)]
    if not moving and all(
        s.start == ZERO and s.stop == size for s, size in zip(whole, like.type.shape, strict=True)
    ):
        if value.type.shape == like.type.shape:
            return value
        return apply("reshape", (value,), like.type.shape, (("shape", like.type.shape),))
    factor, rest = algebra.taken_apart(value)
    if factor is not None and rest is not None:
        return times(factor, scatter(rest, subscripts, over, like))
    parts = (value, *moving)
    axes = tuple(a for a in typed.merge_axes(parts) if a not in over)
    level, coupled = max(p.level for p in parts), any(p.coupled for p in parts)
    return typed.Scatter(
        REAL.with_shape(like.type.shape), axes, level, coupled, value.span, value, subscripts, over
    )


# --- rearranging --------------------------------------------------------------------------------


def _concat(node: Apply, adjoint: Expr, operand: int) -> Expr:
    if adjoint.type.scalar:
        return adjoint
    axis = node.option("axis")
    assert isinstance(axis, int)
    slope = widened(adjoint, node.type.shape)
    at = node.type.rank + axis
    start = ZERO
    for before in node.arguments[:operand]:
        start = start + before.type.shape[at]
    stop = start + node.arguments[operand].type.shape[at]
    shape = node.type.shape
    subscripts = [SliceOf(start, stop) if i == at else SliceOf(ZERO, size) for i, size in enumerate(shape)]
    return pick(slope, tuple(subscripts), node.span)


def _stack(node: Apply, adjoint: Expr, operand: int) -> Expr:
    if adjoint.type.scalar:
        return adjoint
    slope = widened(adjoint, node.type.shape)
    rest = tuple(SliceOf(ZERO, size) for size in node.type.shape[1:])
    return pick(slope, (algebra.size_of(Size.of(operand), node.span), *rest), node.span)


def _reshape(node: Apply, adjoint: Expr, operand: int) -> Expr:
    shape = node.arguments[0].type.shape
    if adjoint.type.scalar:
        return adjoint
    slope = widened(adjoint, node.type.shape)
    return apply("reshape", (slope,), shape, (("shape", shape),)) if shape else algebra.sum_entries(slope)


def _gather(node: Apply, adjoint: Expr, operand: int) -> Expr:
    array, index = node.arguments
    rest = tuple(SliceOf(ZERO, size) for size in array.type.shape[1:])
    over = tuple(a for a in node.axes if a not in array.axes)
    return scatter(widened(adjoint, node.type.shape), (index, *rest), over, array)


ARRAY_RULES: dict[str, Rule] = {
    "matmul": _matmul,
    "dot": _dot,
    "outer": _outer,
    "einsum": _einsum,
    "norm_squared": _norm_squared,
    "norm": _norm,
    "trace": _trace,
    "diag": _diag,
    "transpose": _transpose,
    "inverse": _inverse,
    "logabsdet": _logabsdet,
    "det": _det,
    "linear_solve": _linear_solve,
    "softmax": _softmax,
    "top_softmax": _softmax,
    "cumsum": _cumsum,
    "concat": _concat,
    "stack": _stack,
    "reshape": _reshape,
    "gather": _gather,
}
