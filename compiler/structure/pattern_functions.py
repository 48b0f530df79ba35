"""What each built-in function reads and couples: the rows of the pattern calculus.

A function without a row may do anything: it couples everything that it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.couplings import Atom, Condition, Index, Slot, as_index
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ONE, ZERO
from ebmlang.compiler.structure.pattern_index import stretching
from ebmlang.compiler.structure.pattern_reach import LETTERS, Reach, joined, whole
from ebmlang.compiler.typed import Apply, Expr

if TYPE_CHECKING:
    from ebmlang.compiler.structure.pattern_calculus import Calculus

_SUMMED = 1000
"""Slots from here on are indices that a product of arrays sums over; no array has as many dimensions."""


def apply_reach(calculus: Calculus, node: Apply) -> Reach:
    """What a call reads and couples."""
    rule = _RULES.get(node.function)
    if rule is not None:
        return rule(calculus, node)
    match BUILTINS[node.function].form:
        case "operator" | "comparison" | "elementwise":
            return calculus.mixed(*_stretched(calculus, node))
        case "reduction":
            return _reduction(calculus, node)
    return calculus.opaque(node)


def _at(operand: Expr, result: Expr, reach: Reach) -> Reach:
    return reach.replaced(stretching(operand, result))


def _stretched(calculus: Calculus, node: Apply) -> list[Reach]:
    """The operands at an entry of the result."""
    return [_at(a, node, calculus(a)) for a in node.arguments]


# --- entry by entry -----------------------------------------------------------------------------


def _sum(calculus: Calculus, node: Apply) -> Reach:
    """A sum, however long: its parts are collected in one go."""
    parts: list[Expr] = []
    stack: list[Expr] = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, Apply) and part.function in ("add", "sub", "neg"):
            stack.extend(reversed(part.arguments))
        elif calculus.block.depends(part):
            parts.append(part)
    return joined(_at(p, node, calculus(p)) for p in parts)


def _product(calculus: Calculus, node: Apply) -> Reach:
    a, b = _stretched(calculus, node)
    return calculus.product(a, b)


def _quotient(calculus: Calculus, node: Apply) -> Reach:
    a, b = _stretched(calculus, node)
    return calculus.product(a, calculus.mixed(b))


def _where(calculus: Calculus, node: Apply) -> Reach:
    condition, a, b = _stretched(calculus, node)
    return calculus.product(calculus.mixed(condition), joined((a, b)))


# --- reductions ---------------------------------------------------------------------------------


def _reduced_dims(node: Apply) -> range:
    """The dimensions of the operand that go away."""
    rank = node.arguments[0].type.rank
    axis = node.option("axis")
    return range(rank) if not isinstance(axis, int) else range(rank + axis, rank + axis + 1)


def _bound(node: Apply, dims: range, kept: bool = False) -> dict[Atom, Index]:
    """Slots of the operand: those in `dims` run, the others are slots of the result.

    With `kept` the result has the reduced dimensions too.
    """
    operand = node.arguments[0].type
    values: dict[Atom, Index] = {}
    place = 0
    for k, size in enumerate(operand.shape):
        values[Slot(k)] = whole(LETTERS[k % 6], size) if k in dims else as_index(Slot(place))
        place += k not in dims or kept
    return values


def _reduction(calculus: Calculus, node: Apply) -> Reach:
    inner = calculus(node.arguments[0])
    return calculus.reduced(node.function, inner.replaced(_bound(node, _reduced_dims(node))))


def _entrywise_sum(calculus: Calculus, node: Apply) -> Reach:
    inner = calculus.mixed(calculus(node.arguments[0]))
    return inner.replaced(_bound(node, _reduced_dims(node)))


def _norm(calculus: Calculus, node: Apply) -> Reach:
    if node.option("order") == 1.0:
        return _entrywise_sum(calculus, node)
    return calculus.mixed(calculus(node.arguments[0]).replaced(_bound(node, _reduced_dims(node))))


def _along(calculus: Calculus, node: Apply) -> Reach:
    """softmax, sort: every entry of the result reads a whole line of the operand."""
    return calculus.mixed(_cumsum(calculus, node))


def _cumsum(calculus: Calculus, node: Apply) -> Reach:
    inner = calculus(node.arguments[0])
    return inner.replaced(_bound(node, _reduced_dims(node), kept=True))


# --- products of arrays -------------------------------------------------------------------------


def _contracted(calculus: Calculus, operands: tuple[Expr, ...], inputs: list[str], output: str) -> Reach:
    """A sum of products over named indices: only operands with each other, at one place of the sum."""
    places = {letter: Slot(k) for k, letter in enumerate(output)}
    running: dict[Atom, Index] = {}
    found: Reach | None = None
    for operand, letters in zip(operands, inputs, strict=True):
        for letter, size in zip(letters, operand.type.shape, strict=True):
            if letter not in places:
                places[letter] = Slot(_SUMMED + len(running))
                running[places[letter]] = whole(letter, size)
        values: dict[Atom, Index] = {Slot(k): as_index(places[letter]) for k, letter in enumerate(letters)}
        part = calculus(operand).replaced(values)
        found = part if found is None else calculus.product(found, part)
    assert found is not None
    return found.replaced(running)


def _matmul(calculus: Calculus, node: Apply) -> Reach:
    a, b = (x.type.rank for x in node.arguments)
    lead = "abcdefgh"[: max(a, b) - 2]
    left = "k" if a == 1 else f"{lead}ik"
    right = "k" if b == 1 else f"{lead}kj"
    output = lead + ("" if a == 1 else "i") + ("" if b == 1 else "j")
    return _contracted(calculus, node.arguments, [left, right], output)


def _dot(calculus: Calculus, node: Apply) -> Reach:
    return _contracted(calculus, node.arguments, ["i", "i"], "")


def _outer(calculus: Calculus, node: Apply) -> Reach:
    return _contracted(calculus, node.arguments, ["i", "j"], "ij")


def _einsum(calculus: Calculus, node: Apply) -> Reach:
    spec = node.option("spec")
    assert isinstance(spec, str)
    inputs, output = spec.split("->")
    return _contracted(calculus, node.arguments, inputs.split(","), output)


def _trace(calculus: Calculus, node: Apply) -> Reach:
    size = node.arguments[0].type.shape[0]
    entry = whole("i", size)
    return calculus(node.arguments[0]).replaced({Slot(0): entry, Slot(1): entry})


def _diag(calculus: Calculus, node: Apply) -> Reach:
    inner = calculus(node.arguments[0])
    if not node.option("make"):
        return inner.replaced({Slot(1): as_index(Slot(0))})
    same = Condition("eq", as_index(Slot(0)) - Slot(1), 0)
    return inner.under((same,))


def _linear_solve(calculus: Calculus, node: Apply) -> Reach:
    """With a known matrix every entry of the solution is a sum over a column of the right side."""
    matrix, right = node.arguments
    if calculus.block.depends(matrix):
        return calculus.opaque(node)
    return calculus(right).replaced({Slot(0): whole("i", right.type.shape[0])})


# --- rearranging --------------------------------------------------------------------------------


def _transpose(calculus: Calculus, node: Apply) -> Reach:
    rank = node.type.rank
    last, other = Slot(rank - 1), Slot(rank - 2)
    return calculus(node.arguments[0]).replaced({last: as_index(other), other: as_index(last)})


def stacked(calculus: Calculus, items: tuple[Expr, ...]) -> Reach:
    """Items along a new first dimension."""
    parts = []
    for k, item in enumerate(items):
        shifted: dict[Atom, Index] = {Slot(d): as_index(Slot(d + 1)) for d in range(item.type.rank)}
        here = Condition("eq", as_index(Slot(0)), k)
        parts.append(calculus(item).replaced(shifted).under((here,)))
    return joined(parts)


def _stack(calculus: Calculus, node: Apply) -> Reach:
    return stacked(calculus, node.arguments)


def _concat(calculus: Calculus, node: Apply) -> Reach:
    axis = node.option("axis")
    assert isinstance(axis, int)
    place = Slot(node.type.rank + axis)
    parts, offset = [], ZERO
    for item in node.arguments:
        size = item.type.shape[axis]
        here = as_index(place) - offset
        inside = (Condition("ge", here, 0), Condition("lt", here - size, 0))
        parts.append(calculus(item).replaced({place: here}).under(inside))
        offset = offset + size
    return joined(parts)


def _reshape(calculus: Calculus, node: Apply) -> Reach:
    """Where only dimensions of size 1 come and go, entries keep their place; else any may be meant."""
    operand = node.arguments[0]
    before, after = operand.type.shape, node.type.shape
    places = [k for k, size in enumerate(after) if size != ONE]
    values: dict[Atom, Index] = {}
    if [s for s in before if s != ONE] == [after[k] for k in places]:
        rest = iter(places)
        for k, size in enumerate(before):
            values[Slot(k)] = as_index(0) if size == ONE else as_index(Slot(next(rest)))
    else:
        values = {Slot(k): whole(LETTERS[k % 6], size) for k, size in enumerate(before)}
    return calculus(operand).replaced(values)


def _gather(calculus: Calculus, node: Apply) -> Reach:
    array, index = node.arguments
    rest = tuple(typed.SliceOf(ZERO, size) for size in array.type.shape[1:])
    return calculus(pick(array, (index, *rest), node.span))


Rule = Callable[["Calculus", Apply], Reach]

_RULES: dict[str, Rule] = {
    "add": _sum,
    "sub": _sum,
    "neg": _sum,
    "mul": _product,
    "div": _quotient,
    "where": _where,
    "norm_squared": _entrywise_sum,
    "entropy": _entrywise_sum,
    "norm": _norm,
    "softmax": _along,
    "top_softmax": _along,
    "sort": _along,
    "cumsum": _cumsum,
    "matmul": _matmul,
    "dot": _dot,
    "outer": _outer,
    "einsum": _einsum,
    "transpose": _transpose,
    "diag": _diag,
    "trace": _trace,
    "linear_solve": _linear_solve,
    "concat": _concat,
    "stack": _stack,
    "reshape": _reshape,
    "gather": _gather,
}
