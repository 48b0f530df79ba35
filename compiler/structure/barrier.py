"""Rule: an entropy that keeps a point of the simplex away from the boundary."""

from __future__ import annotations

from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.structure.pieces import pieces, weighted
from ebmlang.compiler.typed import Apply, Expr, Read


def find_barrier(block: Block) -> tuple[Finding, ...]:
    """`interior` for simplex variables with a term `-w * entropy(x)`, w > 0.

    The slope of -entropy is infinite at the boundary and that of the other terms is not, so the
    minimiser has no entry 0 and the search may use logits.
    """
    if block.limits:
        return ()  # a constraint may push an entry to 0 against any slope
    found: list[Finding] = []
    simplex = {v.name for v in block.sought if v.domain.name == "simplex"}
    for summand in block.summands:
        if summand.axes or not block.depends(summand.value):
            continue
        for sign, part in pieces(summand.value):
            name = _entropy_of(block, part, -sign)
            if name in simplex:
                found.append(
                    Finding("interior", (name,), f"the entropy in {summand.name} has an infinite slope at 0")
                )
    names = [f.variables[0] for f in found]
    return tuple(f for i, f in enumerate(found) if f.variables[0] not in names[:i])


def _entropy_of(block: Block, node: Expr, sign: int) -> str:
    """The name of x when the node is `w * entropy(x)` over all entries with sign * w > 0."""
    weight, value = weighted(block.depends, node)
    within = block.calculus.ranges(weight)
    if not (within.positive if sign > 0 else within.negative):
        return ""
    match value:
        case Apply(function="entropy", arguments=(Read(name=name),)) if value.option("dims") is not None:
            return name
    return ""
