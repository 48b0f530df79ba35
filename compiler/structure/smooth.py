"""Rule: how smooth the energy is in the sought block."""

from __future__ import annotations

from ebmlang.compiler.facts import ROUGHNESS
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.structure.squares import find_squares
from ebmlang.compiler.typed import Apply, Expr, Read, text


def find_smoothness(block: Block) -> tuple[Finding, ...]:
    """`smooth`, `piecewise smooth`, or `kinks` / `steps` with the operation that makes it so.

    The first two count as `differentiable`.
    """
    names = tuple(v.name for v in block.sought)
    if any(v.type.kind != "real" for v in block.sought):
        return ()
    worst, because = "smooth", ""
    for summand in block.touching:
        found = block.smoothness(summand.total)
        if ROUGHNESS.index(found.grade) > ROUGHNESS.index(worst):
            worst, because = found.grade, f"`{found.because}` in {summand.name}"
    for limit in block.limits:
        found = block.smoothness(limit.value)
        if ROUGHNESS.index(found.grade) > ROUGHNESS.index(worst):
            worst, because = found.grade, f"`{found.because}` in the constraint {limit.name}"
    if worst == "kink" and not block.limits:
        turned = _distances(block)
        worst, because = ("piecewise", turned) if turned else (worst, because)
    match worst:
        case "smooth":
            return (Finding("smooth", names, "every operation is twice differentiable"),)
        case "piecewise":
            why = f"twice differentiable apart from a null set: {because}"
            return (Finding("piecewise smooth", names, why),)
        case "kink":
            return (Finding("kinks", names, because),)
    return (Finding("steps", names, f"piecewise constant: {because}"),)


def _distances(block: Block) -> str:
    """Evidence that all kinks are those of lengths in sums of `(||u|| - r)^2` with r >= 0, or of a robust
    loss in place of the square; empty otherwise.

    At u = 0 such a loss falls on every side: no minimiser sits there. Distances that are compared with given
    ones (rings, ranges, the stress of a layout) are of this form.
    """
    found = find_squares(block)
    if not found or found[0].obligations:
        return ""
    shown: list[str] = []
    for part in found[0].losses:
        length, rest = _length_and_rest(block, part.residual)
        if any(block.smoothness(e).grade not in ("smooth", "piecewise") for e in rest):
            return ""
        shown += [] if length is None else [text(length)]
    return f"`{shown[0]}` is compared with a distance in a sum of losses" if shown else ""


def _length_and_rest(block: Block, residual: Expr) -> tuple[Expr | None, tuple[Expr, ...]]:
    """The length of a residual `||u|| - r` with r >= 0, and everything else that must be smooth."""
    match _opened(block, residual):
        case Apply(function="sub", arguments=(a, b)):
            for length, target in ((_opened(block, a), b), (_opened(block, b), a)):
                if _is_length(length) and block.calculus.ranges(target).nonnegative:
                    return length, (*length.children(), target)
    return None, (residual,)


def _is_length(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function == "norm" and node.option("order") == 2.0


def _opened(block: Block, node: Expr) -> Expr:
    """What stands behind the name of a let."""
    while isinstance(node, Read) and node.name in block.graph.lets:
        node = block.graph.lets[node.name].value
    return node
