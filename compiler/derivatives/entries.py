"""The entries of the Hessian themselves, where its product with a direction goes entry by entry.

A product is linear in the direction d. Where only arithmetic between entries, subscripts and the sums of
derivatives stand between d and the product, each part of it reads

    product[row(t)] += value(t) * d[column(t)]

for all positions t of its plates, and `value` is an entry of the matrix. Products that sum over d (a matrix
product, a recurrence) have no such form; there the matrix is measured with probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.facts import number
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.typed import Apply, Axes, Expr, Pick, Read, Scatter

MOST = 64
"""More entries at a place of a plate than this are measured instead."""


class _NoEntriesError(Exception):
    """A part of a product that is no sum of single entries."""


@dataclass(frozen=True, slots=True)
class HessianEntry:
    """`value` (subtracted with `minus`) at the places that `row` and `column` hold, once for every position
    along `over`.

    `row` and `column` read the direction of a variable in place of which the numbers of its coordinates
    stand.
    """

    value: Expr
    minus: bool
    row: Expr
    column: Expr
    over: Axes


def hessian_entries(
    products: list[tuple[Read, list[Expr]]], along: Callable[[Expr], bool]
) -> list[HessianEntry]:
    """The entries behind products, each beside the direction of its variable; empty where there are none.

    `along` tells whether a value moves with a direction.
    """
    found: list[HessianEntry] = []
    try:
        for own, parts in products:
            one = algebra.constant(1.0, own.span)
            for part in parts:
                found += islice(_placed(part, one, own, along), MOST + 1)
    except _NoEntriesError:
        return []
    return found if len(found) <= MOST else []


def _placed(part: Expr, factor: Expr, own: Read, along: Callable[[Expr], bool]) -> Iterator[HessianEntry]:
    """The entries of factor * part, which is shaped as the variable."""
    scale, rest = algebra.taken_apart(part)
    if rest is None or part.axes:
        raise _NoEntriesError
    factor = factor if scale is None else algebra.times(factor, scale)
    match rest:
        case Apply(function="add" | "sub" as name, arguments=(a, b)) if along(a) and along(b):
            yield from _placed(a, factor, own, along)
            yield from _placed(b, algebra.negative(factor) if name == "sub" else factor, own, along)
        case Scatter() if not rest.axes:
            row = pick(own, rest.subscripts, rest.span)
            yield from _read(rest.value, factor, row, rest.over, along)
        case _:
            yield from _read(rest, factor, own, (), along)


def _read(
    value: Expr, factor: Expr, row: Expr, over: Axes, along: Callable[[Expr], bool]
) -> Iterator[HessianEntry]:
    for part in _linear(value, along):
        minus, weight = algebra.signed(algebra.times(factor, part.weight))
        known = number(weight)
        if known is not None and known < 0:
            minus, weight = not minus, algebra.negative(weight)
        yield HessianEntry(weight, minus != part.minus, row, part.column, over)


@dataclass(frozen=True, slots=True)
class _Part:
    """weight * direction at `column`, subtracted with `minus`.

    The sign stands apart, so that the two sides of a difference have the same weight.
    """

    weight: Expr
    minus: bool
    column: Expr

    def negated(self, minus: bool = True) -> _Part:
        return replace(self, minus=self.minus != minus)

    def times(self, factor: Expr) -> _Part:
        return replace(self, weight=algebra.times(self.weight, factor))


def _linear(node: Expr, along: Callable[[Expr], bool]) -> Iterator[_Part]:
    """The parts whose sum a value is that is linear in directions."""
    match node:
        case Read() | Pick(base=Read()):
            yield _Part(algebra.constant(1.0, node.span), False, node)
        case Pick(subscripts=subscripts):
            factor, base = algebra.taken_apart(node.base)
            if factor is None or base is None:
                raise _NoEntriesError
            yield from (p.times(factor) for p in _linear(pick(base, subscripts, node.span), along))
        case Apply(function="neg", arguments=(a,)):
            yield from (p.negated() for p in _linear(a, along))
        case Apply(function="add" | "sub" as name, arguments=(a, b)):
            yield from _summand(a, along)
            yield from (p.negated(name == "sub") for p in _summand(b, along))
        case Apply(function="mul", arguments=(a, b)) if not (along(a) and along(b)):
            moving, still = (a, b) if along(a) else (b, a)
            yield from (p.times(still) for p in _linear(moving, along))
        case Apply(function="div", arguments=(a, b)) if not along(b):
            yield from (replace(p, weight=algebra.over(p.weight, b)) for p in _linear(a, along))
        case Apply(function="where", arguments=(condition, a, b)) if not along(condition):
            zero = algebra.constant(0.0, node.span)
            for p in _summand(a, along):
                yield replace(p, weight=algebra.where(condition, p.weight, zero))
            for p in _summand(b, along):
                yield replace(p, weight=algebra.where(condition, zero, p.weight))
        case _:
            raise _NoEntriesError


def _summand(node: Expr, along: Callable[[Expr], bool]) -> Iterator[_Part]:
    """The parts of a summand, which may be nothing."""
    if along(node):
        yield from _linear(node, along)
    elif number(node) != 0:
        # Not linear after all: no part of a derivative along a direction stands still.
        raise _NoEntriesError
