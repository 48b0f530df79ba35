"""Rule: an entropy that keeps a point of the simplex away from the boundary."""

from __future__ import annotations

from ebmlang.compiler.facts import number
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.structure.pieces import pieces
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
    while True:
        match node:
            case Apply(function="mul", arguments=(a, b)) if not block.depends(a):
                factor, node = _sign(block, a), b
            case Apply(function="mul", arguments=(a, b)) if not block.depends(b):
                factor, node = _sign(block, b), a
            case Apply(function="div", arguments=(a, b)) if not block.depends(b):
                factor, node = _sign(block, b), a
            case Apply(function="neg", arguments=(a,)):
                factor, node = -1, a
            case _:
                break
        sign *= factor
    if (
        sign > 0
        and isinstance(node, Apply)
        and node.function == "entropy"
        and node.option("dims") is not None
    ):
        inner = node.arguments[0]
        if isinstance(inner, Read):
            return inner.name
    return ""


def _sign(block: Block, node: Expr) -> int:
    """1 or -1 when it is proven, else 0."""
    value = number(node)
    if value is not None:
        return (value > 0) - (value < 0)
    if isinstance(node, Read):
        variable = block.graph.model.variable(node.name)
        return int(variable is not None and variable.domain.name == "positive")
    return 0
