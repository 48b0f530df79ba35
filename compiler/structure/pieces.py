"""The summands of an expression, and their fixed factors."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.graph import summed
from ebmlang.compiler.sizes import ONE
from ebmlang.compiler.structure.block import Block, Summand
from ebmlang.compiler.typed import Apply, Expr, Level, SizeOf
from ebmlang.compiler.types import INT, REAL, stretched


def pieces(node: Expr) -> list[tuple[int, Expr]]:
    """A sum taken apart: (sign, part) for each part."""
    found: list[tuple[int, Expr]] = []
    stack: list[tuple[int, Expr]] = [(1, node)]
    while stack:
        sign, part = stack.pop()
        match part:
            case Apply(function="add", arguments=(a, b)):
                stack += [(sign, b), (sign, a)]
            case Apply(function="sub", arguments=(a, b)):
                stack += [(-sign, b), (sign, a)]
            case Apply(function="neg", arguments=(a,)):
                stack.append((-sign, a))
            case _:
                found.append((sign, part))
    return found


def one(node: Expr) -> Expr:
    """The number 1, at the place of a node."""
    return SizeOf(INT, (), Level.CONSTANT, False, node.span, ONE)


def is_one(node: Expr) -> bool:
    return isinstance(node, SizeOf) and node.size == ONE


def negated(value: Expr) -> Expr:
    if isinstance(value, SizeOf):
        return SizeOf(INT, (), Level.CONSTANT, False, value.span, -value.size)
    return Apply(value.type, value.axes, value.level, value.coupled, value.span, "neg", (value,))


def times(a: Expr, b: Expr) -> Expr:
    """The product of two values whose shapes go together."""
    return b if is_one(a) else a if is_one(b) else _entrywise("mul", a, b)


def divided(a: Expr, b: Expr) -> Expr:
    return a if is_one(b) else _entrywise("div", a, b)


def _entrywise(function: str, a: Expr, b: Expr) -> Expr:
    shape = stretched(a.type.shape, b.type.shape)
    assert shape is not None
    axes, level = typed.merge_axes((a, b)), max(a.level, b.level)
    return Apply(REAL.with_shape(shape), axes, level, a.coupled or b.coupled, b.span, function, (a, b))


def weighted(depends: Dependence, node: Expr, weight: Expr | None = None) -> tuple[Expr, Expr]:
    """A value taken apart: (fixed factors, the rest), whose product it is."""
    found = one(node) if weight is None else weight
    while True:
        match node:
            case Apply(function="mul", arguments=(a, b)) if not depends(a):
                found, node = times(found, a), b
            case Apply(function="mul", arguments=(a, b)) if not depends(b):
                found, node = times(found, b), a
            case Apply(function="div", arguments=(a, b)) if not depends(b):
                found, node = divided(found, b), a
            case Apply(function="neg", arguments=(a,)):
                found, node = negated(found), a
            case _:
                return found, node


def moving_pieces(block: Block) -> list[tuple[Summand, int, Expr]]:
    """The parts of the summands that depend on the block, each with its summand and sign."""
    return [
        (summand, sign, part)
        for summand in block.touching
        for sign, part in pieces(summand.value)
        if block.depends(part)
    ]


def whole(summand: Summand, sign: int, part: Expr) -> Expr:
    """A part of a summand as it counts in the energy."""
    total = summed(part, summand.axes, summand.mask)
    return total if sign > 0 else negated(total)
