"""Subscripts: their types, and the proof that they stay inside."""

from __future__ import annotations

from functools import lru_cache

from ebmlang.compiler import typed
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Axis, Expr, Level, Requirement
from ebmlang.compiler.types import Shape

Affine = tuple[tuple[tuple[Axis, int], ...], Size]
"""`sum of coefficient * index + rest` over range axes."""


def affine(node: Expr) -> Affine | None:
    """An integer expression as a linear form of plate indices, or None."""
    match node:
        case typed.SizeOf():
            return (), node.size
        case typed.Position() if node.axis.size is not None and node.axis.rows is None:
            return ((node.axis, 1),), ZERO
        case typed.Apply(function="add", arguments=(a, b)):
            return _sum(affine(a), affine(b), 1)
        case typed.Apply(function="sub", arguments=(a, b)):
            return _sum(affine(a), affine(b), -1)
        case typed.Apply(function="neg", arguments=(a,)):
            return _sum(((), ZERO), affine(a), -1)
        case typed.Apply(function="mul", arguments=(a, b)):
            return _product(affine(a), affine(b))
    return None


def _sum(a: Affine | None, b: Affine | None, sign: int) -> Affine | None:
    if a is None or b is None:
        return None
    total = dict(a[0])
    for axis, coefficient in b[0]:
        total[axis] = total.get(axis, 0) + sign * coefficient
    rest = a[1] + b[1] if sign > 0 else a[1] - b[1]
    return tuple((axis, c) for axis, c in total.items() if c), rest


def _product(a: Affine | None, b: Affine | None) -> Affine | None:
    if a is None or b is None:
        return None
    for left, right in ((a, b), (b, a)):
        factor = left[1].constant
        if not left[0] and factor is not None:
            return tuple((axis, c * factor) for axis, c in right[0] if c * factor), right[1] * factor
    return None


@lru_cache(maxsize=4096)
def extent(form: Affine) -> tuple[Size, Size]:
    """The smallest and the largest value of a linear form, each index running over its range."""
    low = high = form[1]
    for axis, coefficient in form[0]:
        assert axis.size is not None
        last = axis.start + (axis.size - 1)
        low = low + (axis.start if coefficient > 0 else last) * coefficient
        high = high + (last if coefficient > 0 else axis.start) * coefficient
    return low, high


@lru_cache(maxsize=4096)
def misses(form: Affine, size: Size) -> tuple[str, bool] | None:
    """`(value reached, certain)` when a subscript may leave 0..size; None when it cannot."""
    low, high = extent(form)
    worst: tuple[str, bool] | None = None
    for value, room in ((low, low), (high, size - 1 - high)):
        inside = room.known_positive(0)
        if inside is False:
            return str(value), True
        if inside is None:
            worst = (str(value), False)
    return worst


def requirement(form: Affine, size: Size, shown: str, span: Span) -> tuple[Requirement, ...]:
    """What must hold once sizes are known, for a subscript that could not be proven inside."""
    low, high = extent(form)
    found = []
    for value, room in ((low, low), (high, size - 1 - high)):
        if room.known_positive(0) is None:
            found.append(Requirement(room, f"the subscript {shown} reaches {value}, outside of 0..{size}", span))
    return tuple(found)


def picked_shape(base: Expr, subscripts: tuple[typed.Subscript, ...]) -> Shape:
    """The shape of a Pick: integers drop a dimension, index arrays put theirs in its place."""
    shape: list[Size] = []
    dims = iter(base.type.shape)
    for s in subscripts:
        if isinstance(s, typed.NewAxis):
            shape.append(Size.of(1))
            continue
        next(dims)
        if isinstance(s, typed.SliceOf):
            shape.append(s.stop - s.start)
        else:
            shape.extend(s.type.shape)
    return tuple(shape)


def pick(base: Expr, subscripts: tuple[typed.Subscript, ...], span: Span) -> typed.Pick:
    parts = (base, *(s for s in subscripts if isinstance(s, Expr)))
    return typed.Pick(
        base.type.with_shape(picked_shape(base, subscripts)),
        typed.merge_axes(parts),
        max((p.level for p in parts), default=Level.CONSTANT),
        any(p.coupled for p in parts),
        span,
        base,
        subscripts,
    )
