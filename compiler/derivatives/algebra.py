"""Building typed expressions: arithmetic that folds numbers, sums over what was stretched.

Derivatives are written with these, so that the generated text reads as a person would write it:
numbers come first in a product and are multiplied when compiling, a factor of 1 or a summand of 0
disappears.

A value may be *narrow*: a scalar, or of size 1 along a dimension, where all entries of the shape it
stands for are equal. Arithmetic stretches it by itself; `widened` and `gathered` are for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.facts import number
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Apply, Axes, Constant, Expr, Fold, Level, OverExamples, SizeOf
from ebmlang.compiler.types import BOOL, INT, REAL, Shape, stretched

Static = tuple[tuple[str, object], ...]


class NoDerivativeError(Exception):
    """An operation has no derivative that can be written down; its text says which one."""


def constant(value: float, span: Span) -> Expr:
    return Constant(REAL, (), Level.CONSTANT, False, span, value)


def size_of(size: Size, span: Span) -> Expr:
    return SizeOf(INT, (), Level.CONSTANT, False, span, size)


def apply(function: str, arguments: tuple[Expr, ...], shape: Shape, static: Static = ()) -> Expr:
    """A built-in whose result is real."""
    return Apply(
        REAL.with_shape(shape),
        typed.merge_axes(arguments),
        max((a.level for a in arguments), default=Level.CONSTANT),
        any(a.coupled for a in arguments),
        arguments[0].span,
        function,
        arguments,
        static,
    )


def elementwise(function: str, *arguments: Expr, static: Static = ()) -> Expr:
    """A function of entries; operands stretch."""
    shape: Shape = ()
    for argument in arguments:
        common = stretched(shape, argument.type.shape)
        assert common is not None, f"{function}: {shape} beside {argument.type.shape}"
        shape = common
    return apply(function, arguments, shape, static)


def compared(function: str, left: Expr, right: Expr) -> Expr:
    found = elementwise(function, left, right)
    return replace(found, type=BOOL.with_shape(found.type.shape))


# --- arithmetic ---------------------------------------------------------------------------------


def _is_number(node: Expr) -> bool:
    """Whether a value is known before any tensor is, so that it costs nothing to compute with."""
    return node.level is Level.CONSTANT and node.type.scalar and not node.axes


def taken_apart(node: Expr) -> tuple[Expr | None, Expr | None]:
    """A product as (number, rest)."""
    if _is_number(node):
        return node, None
    match node:
        case Apply(function="mul", arguments=(a, b)) if _is_number(a) and node.type.kind == "real":
            return a, b
        case Apply(function="neg", arguments=(a,)) if node.type.kind == "real":
            factor, rest = taken_apart(a)
            one = constant(-1.0, node.span)
            return (one if factor is None else _number_times(one, factor)), rest
    return None, node


def _number_times(a: Expr, b: Expr) -> Expr:
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return constant(x * y, a.span)
    if x == 0 or y == 0:
        return constant(0.0, a.span)
    if x is None and y is not None:
        a, b, x = b, a, y
    if x is None:
        return _joined(a, b)
    # Products of numbers keep their constant in front, where the next one finds it.
    match b:
        case Apply(function="mul", arguments=(c, rest)) if (value := number(c)) is not None:
            return _number_times(constant(x * value, a.span), rest)
        case Apply(function="div", arguments=(top, c)) if (value := number(c)) is not None and value:
            return _number_times(constant(x / value, a.span), top)
        case Apply(function="div", arguments=(c, bottom)) if (value := number(c)) is not None:
            return elementwise("div", constant(x * value, a.span), bottom)
        case Apply(function="neg", arguments=(rest,)):
            return _number_times(constant(-x, a.span), rest)
    if x == 1:
        return b
    return elementwise("neg", b) if x == -1 else elementwise("mul", a, b)


def _joined(a: Expr, b: Expr) -> Expr:
    """A product of numbers that are not known yet."""
    for first, second in ((a, b), (b, a)):
        match first:
            case Apply(function="mul", arguments=(c, rest)) if number(c) is not None:
                return _number_times(c, _joined(rest, second))
            case Apply(function="neg", arguments=(rest,)):
                return _number_times(constant(-1.0, a.span), _joined(rest, second))
    return elementwise("mul", a, b)


def times(a: Expr, b: Expr) -> Expr:
    """a * b."""
    (p, x), (q, y) = taken_apart(a), taken_apart(b)
    factor = p if q is None else q if p is None else _number_times(p, q)
    rest = x if y is None else y if x is None else _product(x, y)
    if rest is None:
        assert factor is not None
        return factor
    if factor is None or number(factor) == 1:
        return rest
    if number(factor) == 0:
        return constant(0.0, a.span)
    if number(factor) == -1:
        return elementwise("neg", rest)
    return elementwise("mul", factor, rest)


def _product(a: Expr, b: Expr) -> Expr:
    for mask, other in ((a, b), (b, a)):
        match mask:
            case Apply(function="where", arguments=(condition, one, zero)) if number(zero) == 0:
                if number(one) == 1:
                    return where(condition, other, zero)
    match b:
        case Apply(function="div", arguments=(top, bottom)) if number(top) == 1:
            return elementwise("div", a, bottom)
    match a:
        case Apply(function="div", arguments=(top, bottom)) if number(top) == 1:
            return elementwise("div", b, bottom)
    return elementwise("mul", a, b)


def over(a: Expr, b: Expr) -> Expr:
    """a / b."""
    if number(b) == 1:
        return a
    if number(a) == 0:
        return constant(0.0, a.span)
    factor, rest = taken_apart(a)
    if _is_number(b):
        if rest is None:
            x, y = number(a), number(b)
            if x is not None and y:
                return constant(x / y, a.span)
            return elementwise("div", a, b)
        if factor is None:
            return elementwise("div", rest, b)
        return times(over(factor, b), rest)
    return elementwise("div", a, b)


def negative(a: Expr) -> Expr:
    return times(constant(-1.0, a.span), a)


def plus(a: Expr, b: Expr) -> Expr:
    """a + b."""
    x, y = number(a), number(b)
    if x == 0 and _fits(a, b):
        return b
    if y == 0 and _fits(b, a):
        return a
    if x is not None and y is not None:
        return constant(x + y, a.span)
    match b:
        case Apply(function="neg", arguments=(c,)):
            return elementwise("sub", a, c)
        case Apply(function="mul", arguments=(f, rest)) if (value := number(f)) is not None and value < 0:
            return elementwise("sub", a, times(constant(-value, f.span), rest))
    match a:
        case Apply(function="neg", arguments=(c,)):
            return elementwise("sub", b, c)
    return elementwise("add", a, b)


def _fits(zero: Expr, other: Expr) -> bool:
    return zero.type.scalar or zero.type.shape == other.type.shape


def minus(a: Expr, b: Expr) -> Expr:
    return plus(a, negative(b))


def total(parts: Iterable[Expr]) -> Expr:
    """The sum of at least one part."""
    first, *rest = parts
    for part in rest:
        first = plus(first, part)
    return first


def power(base: Expr, exponent: Expr) -> Expr:
    value = number(exponent)
    if value == 0:
        return constant(1.0, base.span)
    if value == 1:
        return base
    if value is not None and value == int(value):
        exponent = Constant(INT, (), Level.CONSTANT, False, exponent.span, int(value))
    return elementwise("pow", base, exponent)


def where(condition: Expr, a: Expr, b: Expr) -> Expr:
    if number(a) == 0 and number(b) == 0:
        return constant(0.0, condition.span)
    factor, rest = taken_apart(a)
    if number(b) == 0 and factor is not None and rest is not None:
        return times(factor, where(condition, rest, b))
    return elementwise("where", condition, a, b)


def signed(node: Expr) -> tuple[bool, Expr]:
    """A value as (whether it is subtracted, the rest without the sign)."""
    factor, rest = taken_apart(node)
    if factor is None or rest is None:
        return False, node
    value = number(factor)
    minus_sign = isinstance(factor, Apply) and factor.function == "neg"
    if minus_sign or (value is not None and value < 0):
        return True, negative(node)
    return False, node


def offset(axis: typed.Axis, span: Span) -> Expr:
    """How far an index is from the start of its axis."""
    position = typed.Position(INT, (axis,), Level.CONSTANT, False, span, axis, 0)
    if axis.start == ZERO:
        return position
    return replace(elementwise("sub", position, size_of(axis.start, span)), type=INT)


# --- narrow and wide ----------------------------------------------------------------------------


def widened(node: Expr, shape: Shape) -> Expr:
    """The value with every entry of the shape there."""
    if node.type.shape == shape:
        return node
    return elementwise("mul", node, filled("ones", shape, node.span))


def filled(constructor: str, shape: Shape, span: Span) -> Expr:
    """`ones` or `identity` of a shape."""
    static = (("shape", shape),)
    return Apply(REAL.with_shape(shape), (), Level.CONSTANT, False, span, constructor, (), static)


def kept_dimension(node: Expr, axis: int, rank: int) -> Expr:
    """A value that lost a dimension gets it back with size 1; `axis` counts from the end of `rank`."""
    at = rank + axis
    shape = node.type.shape
    subscripts: list[typed.Subscript] = [typed.SliceOf(ZERO, size) for size in shape]
    subscripts.insert(at, typed.NewAxis())
    return pick(node, tuple(subscripts), node.span)


def sum_entries(node: Expr) -> Expr:
    """The sum of all declared entries."""
    if node.type.scalar:
        return node
    factor, rest = taken_apart(node)
    if factor is not None and rest is not None:
        return times(factor, sum_entries(rest))
    return apply("sum", (node,), (), (("dims", node.type.rank),))


def sum_axis(node: Expr, axis: int) -> Expr:
    """The sum along one axis, counted from the end; the axis disappears."""
    factor, rest = taken_apart(node)
    if factor is not None and rest is not None and rest.type.shape == node.type.shape:
        return times(factor, sum_axis(rest, axis))
    shape = node.type.shape
    at = len(shape) + axis
    return apply("sum", (node,), shape[:at] + shape[at + 1 :], (("axis", axis),))


def gathered(node: Expr, wide: Shape, shape: Shape) -> Expr:
    """A value of the shape `wide`, perhaps narrow, summed over what a part of `shape` was stretched along."""
    if wide == shape:
        return node
    own = node.type.shape
    if not shape:
        missing = ONE
        for i, size in enumerate(wide):
            if not own or (own[i] == ONE and size != ONE):
                missing = missing * size
        return times(size_of(missing, node.span), sum_entries(node))
    for i, (have, want) in enumerate(zip(wide, shape, strict=True)):
        if have == want:
            continue
        axis = i - len(wide)
        if own and own[i] == have:
            node = kept_dimension(sum_axis(node, axis), axis, len(wide))
        else:
            node = times(size_of(have, node.span), node)
    return node


def sum_axes(node: Expr, axes: Axes) -> Expr:
    """The sum over plate indices; a value that does not move along one counts once for each position."""
    free = tuple(a for a in axes if a.size is not None and a not in node.axes)
    for axis in free:
        assert axis.size is not None
        node = times(size_of(axis.size, node.span), node)
    rest = tuple(a for a in axes if a not in free)
    if not rest:
        return node
    factor, inner = taken_apart(node)
    if factor is not None and inner is not None:
        return times(factor, sum_axes(inner, rest))
    kept = tuple(a for a in node.axes if a not in rest)
    return Fold(node.type, kept, node.level, node.coupled, node.span, "sum", node, rest, None)


def sum_examples(node: Expr) -> Expr:
    """The sum over all examples of the batch."""
    factor, rest = taken_apart(node)
    if factor is not None and rest is not None:
        return times(factor, sum_examples(rest))
    return OverExamples(node.type, node.axes, Level.SHARED, True, node.span, "sum", node)
