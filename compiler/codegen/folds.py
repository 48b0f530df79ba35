"""Reductions over indices and over the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.codegen.layout import ATOM, PRODUCT, Code, Layout, aligned, layout_of
from ebmlang.compiler.typed import Apply, Fold, Level

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter

_NEUTRAL = {
    "prod": "1",
    "max": "-math.inf",
    "min": "math.inf",
    "logsumexp": "-math.inf",
    "all": "True",
    "any": "False",
}
"""What stands for an entry that does not count; 0 elsewhere."""

_HELPERS = frozenset({"prod", "all", "any", "std", "var"})
"""Reductions that PyTorch does not offer over several dimensions, or not without a warning."""


def over_examples(e: Emitter, node: typed.OverExamples) -> Code:
    """A reduction over the rows of the batch."""
    product = _summed_products(e, node.body, node.function, ())
    if product is not None:
        return product
    body = e.tensor(e.real(node.body))
    where = layout_of(node)
    if not body.batch:
        body = Code(f"{body.at(ATOM)}[None]", ATOM, True, body.axes, body.rank, body.kind)
    text = f"functions.over_examples_{node.function}({body.text}, self.batch)"
    if node.function == "stack" and where.axes:
        text = f"{text}.movedim(0, {len(where.axes)})"
    return Code(text, ATOM, False, where.axes, where.rank, "real")


def write_fold(e: Emitter, node: Fold) -> Code:
    """A reduction over indices; where the guard is false an entry does not count."""
    merged = _merged_sum(e, node)
    if merged is None and node.guard is None:
        merged = _summed_products(e, node.body, node.function, node.over)
    if merged is not None:
        return merged
    parts = (node.body,) if node.guard is None else (node.body, node.guard)
    axes = tuple(sorted({*typed.merge_axes(parts), *node.over}, key=lambda axis: axis.order))
    rank = node.body.type.rank
    if node.function in ("all", "any"):
        kind = "bool"
    else:
        exact = node.type.kind == "int" and node.function in ("sum", "prod")
        kind = "int" if exact else "real"
    with e.guarded(node.guard):
        body = e.of_kind(node.body, kind)  # type: ignore[arg-type]
        mask = e.code(node.guard) if node.guard is not None else None
    code, shown = _masked(e, node, body, mask, axes)
    over = {axis.order for axis in node.over}
    dims = tuple(i - len(axes) - rank for i, axis in enumerate(axes) if axis.order in over)
    text = _reduced(node.function, code, dims[0] if len(dims) == 1 else dims, shown)
    kept = tuple(axis for axis in axes if axis.order not in over)
    return Code(text, ATOM, code.batch, kept, rank, code.kind)


def _summed_products(e: Emitter, body: typed.Expr, function: str, over: typed.Axes) -> Code | None:
    """A sum of outer products, over the examples or over one index, as one product of matrices."""
    if function != "sum" or len(over) > 1 or not e.written_here(body):
        return None
    if not (isinstance(body, Apply) and body.function == "outer" and body.axes == over):
        return None
    left, right = (e.tensor(e.real(a)) for a in body.arguments)
    lead = not over
    if any(c.batch != left.batch or c.axes != over or (lead and not c.batch) for c in (left, right)):
        return None
    text = f"{left.at(ATOM)}.mT @ {right.at(ATOM)}"
    return Code(text, PRODUCT, left.batch and not lead, (), 2, "real")


def _masked(e: Emitter, node: Fold, body: Code, mask: Code | None, axes: typed.Axes) -> tuple[Code, str]:
    """The body over all axes, with neutral values where the mask is false, and the mask."""
    batch = node.level is Level.EXAMPLE
    if mask is None:
        return e.expanded(body, Layout(body.batch, axes, body.rank)), ""
    target = Layout(batch, axes, body.rank)
    shown = aligned(e.tensor(mask), target).text
    inner = e.tensor(body)
    covered = {axis.order for axis in (*body.axes, *mask.axes)}
    if any(axis.order not in covered for axis in axes):
        inner = e.expanded(inner, Layout(inner.batch, axes, inner.rank))
    fill = _NEUTRAL.get(node.function, "0")
    text = f"torch.where({shown}, {aligned(inner, target).text}, {fill})"
    return Code(text, ATOM, batch, axes, body.rank, body.kind), shown


def _reduced(function: str, code: Code, dim: int | tuple[int, ...], mask: str) -> str:
    if function == "mean" and mask:
        return f"functions.masked_mean({code.text}, {mask}, {dim})"
    if function in _HELPERS:
        return f"functions.fold_{function}({code.text}, {dim})"
    return BUILTINS[function].torch.format(code.at(ATOM), dim=dim)


def _merged_sum(e: Emitter, node: Fold) -> Code | None:
    """The sum of sums as one sum over all their dimensions."""
    body = node.body
    if node.function != "sum" or node.guard is not None or not isinstance(body, Apply):
        return None
    dims = body.option("dims")
    if body.function not in ("sum", "norm_squared") or not isinstance(dims, int) or dims == 0:
        return None
    if body.axes != node.over or body.type.kind != "real":
        return None
    inner = e.expanded(e.real(body.arguments[0]), Layout(body.level is Level.EXAMPLE, node.over, dims))
    square = ".square()" if body.function == "norm_squared" else ""
    text = f"{inner.at(ATOM)}{square}.sum({tuple(range(-dims - len(node.over), 0))})"
    return Code(text, ATOM, inner.batch, (), 0, "real")
