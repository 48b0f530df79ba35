"""A mixture with softmax weights, written as one call of the fused attention kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, layout_of, permuted, spread
from ebmlang.compiler.codegen.writing import result
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.typed import Apply, Axis, Constant, Expr, Pick, Position, Read, SliceOf, Tabulate

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


@dataclass(frozen=True, slots=True)
class Attention:
    """`V.T @ softmax(K @ q * scale)` over one query, or `softmax(Q @ K.T * scale) @ V` over a matrix of them.

    `query` is q [d] or Q [L, d], `keys` is K [m, d], `values` V [m, dv]; `mask` is true for the entries
    that may be seen; the scores are times `factor` and over `divisor`.
    """

    query: Expr
    keys: Expr
    values: Expr
    mask: Expr | None
    factor: Expr | None
    divisor: Expr | None


def write_attention(e: Emitter, node: Apply) -> Code | None:
    """The code of a product that is an attention; None where it is none, or its weights are wanted too."""
    found = _found(e, node)
    if found is None:
        return None
    scale = _scale(e, found)
    if scale is None:
        return None
    along = _query_axis(e, found)
    single = found.query.type.rank == 1
    lead = tuple(a for a in node.axes if a is not along)
    batch = layout_of(node).batch
    query = _laid_out(e.tensor(e.real(found.query)), batch, (*lead, along) if along is not None else lead)
    keys, values = (_laid_out(e.tensor(e.real(part)), batch, lead) for part in (found.keys, found.values))
    arguments = [_row(query) if single and along is None else query.text, keys.text, values.text]
    if found.mask is not None:
        mask = e.tensor(e.code(found.mask))
        mask = _laid_out(mask, batch, (*lead, along) if along is not None else lead)
        arguments.append(f"mask={_row(mask) if single and along is None else mask.text}")
    arguments.append(f"scale={scale}")
    text = f"functions.scaled_dot_product_attention({', '.join(arguments)})"
    if single and along is None:
        return result(e, node, f"{text}.squeeze(-2)")
    if along is None or along is node.axes[-1]:
        return result(e, node, text)
    # The axis of the queries comes last; it goes back to its place among the plates.
    first, place = int(batch) + len(lead), int(batch) + node.axes.index(along)
    return result(e, node, f"{text}.movedim({first}, {place})")


def _found(e: Emitter, node: Apply) -> Attention | None:
    match [(argument, _own(e, argument)) for argument in node.arguments]:
        case [
            (Apply(function="transpose", arguments=(values,)), _),
            (_, Apply(function="softmax") as weights),
        ]:
            transposed = True
        case [(_, Apply(function="softmax") as weights), (values, _)]:
            transposed = False
        case _:
            return None
    rank = weights.type.rank
    if values.type.rank != 2 or rank > 2 or (transposed and rank != 1):
        return None
    if weights.option("axis") != -1 or not e.written_here(e.canonical(weights)):
        return None
    scores, mask = _unmasked(weights.arguments[0])
    product, factor, divisor = _unscaled(scores)
    match product:
        case Apply(function="matmul", arguments=(keys, query)) if rank == 1 and query.type.rank == 1:
            return Attention(query, keys, values, mask, factor, divisor)
        case Apply(function="matmul", arguments=(query, Apply(function="transpose", arguments=(keys,)))):
            if query.type.rank == rank and keys.type.rank == 2:
                return Attention(query, keys, values, mask, factor, divisor)
    return None


def _own(e: Emitter, node: Expr) -> Expr:
    """A value of which nothing else is wanted: what the let of it says, at the indices that are read."""
    match node:
        case Read(name=name) if name in e.lets and name not in e.available:
            return _own(e, e.lets[name].value) if e.written_here(e.canonical(node)) else node
        case Pick(base=base, subscripts=(*places, SliceOf() as last)) if e.written_here(e.canonical(node)):
            whole = last.start == ZERO and last.stop == base.type.shape[-1]
            if whole and all(isinstance(p, Expr) for p in places):
                return _entry(e, base, tuple(p for p in places if isinstance(p, Expr)))
    return node


def _entry(e: Emitter, array: Expr, places: tuple[Expr, ...]) -> Expr:
    """The vector of an array at the given places: worked out there alone where nothing else is wanted."""
    array = _own(e, array)
    if array.type.scalar:
        return array
    if e.written_here(e.canonical(array)):
        match array:
            case Tabulate(body=body, over=over) if len(over) == len(places):
                at = {axis.order: place for axis, place in zip(over, places, strict=True)}
                if all(axis.start == ZERO and axis.rows is None for axis in over):
                    return typed.mapped(
                        body, lambda n: at.get(n.axis.order) if isinstance(n, Position) else None
                    )
            case Apply(function="softmax", arguments=(scores,)) if array.option("axis") == -1:
                return _over(array, (_entry(e, scores, places),))
            case Apply(function="where" | "div" | "mul" | "neg", arguments=parts):
                if all(a.type.scalar or a.type.shape == array.type.shape for a in parts):
                    return _over(array, tuple(_entry(e, a, places) for a in parts))
    return pick(array, (*places, SliceOf(ZERO, array.type.shape[-1])), array.span)


def _over(array: Apply, arguments: tuple[Expr, ...]) -> Expr:
    """The same function of the entries of an array."""
    shape = array.type.shape[-1:]
    entry = typed.rebuilt(array, arguments)
    return replace(entry, type=array.type.with_shape(shape))


def _unmasked(scores: Expr) -> tuple[Expr, Expr | None]:
    match scores:
        case Apply(function="where", arguments=(mask, inner, Constant(value=value))):
            if value == float("-inf") and mask.type.shape == scores.type.shape:
                return inner, mask
    return scores, None


def _unscaled(scores: Expr) -> tuple[Expr, Expr | None, Expr | None]:
    """(product, factor, divisor): numbers around the product that are the same for all scores."""
    match scores:
        case Apply(function="div", arguments=(inner, divisor)) if _number(divisor):
            product, factor, below = _unscaled(inner)
            return (product, factor, divisor) if below is None else (scores, None, None)
        case Apply(function="mul", arguments=(factor, inner)) if _number(factor):
            product, other, below = _unscaled(inner)
            return (product, factor, below) if other is None else (scores, None, None)
    return scores, None, None


def _number(node: Expr) -> bool:
    return node.type.scalar and not node.axes


def _scale(e: Emitter, found: Attention) -> str | None:
    """The scale as a Python number; None where it is a tensor, which the kernel does not take."""
    codes = [None if part is None else e.code(part) for part in (found.factor, found.divisor)]
    if any(code is not None and not code.python for code in codes):
        return None
    factor, divisor = ("1.0" if code is None else code.at(ATOM) for code in codes)
    return f"{factor} / {divisor}" if found.divisor is not None else factor


def _query_axis(e: Emitter, found: Attention) -> Axis | None:
    """The plate whose positions are queries of the same keys and values: the innermost one."""
    if found.query.type.rank == 2:
        return None
    shared = {a.order for part in (found.keys, found.values) for a in part.axes}
    own = [a for a in found.query.axes if a.order not in shared]
    return own[-1] if own else None


def _laid_out(code: Code, batch: bool, axes: tuple[Axis, ...]) -> Code:
    """The tensor with a dimension for the examples and for each axis, of size 1 where it lacks it."""
    order = {axis.order: i for i, axis in enumerate(axes)}
    wanted = tuple(sorted(code.axes, key=lambda axis: order[axis.order]))
    return spread(permuted(code, wanted), Layout(batch, axes, code.rank))


def _row(code: Code) -> str:
    """A vector as a matrix of one row."""
    return f"{code.at(ATOM)}.unsqueeze(-2)"
