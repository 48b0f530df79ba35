"""Rule: how smooth the energy is in the sought block."""

from __future__ import annotations

from ebmlang.compiler.facts import ROUGHNESS
from ebmlang.compiler.notation import text
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding, LossPart
from ebmlang.compiler.structure.squares import find_squares
from ebmlang.compiler.typed import Apply, Expr, Pick, Read

MOST_STEPS = 5000
"""Parts of an expression that are looked at when the uses of a variable are counted."""


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
    radii = _free_radii(block, found[0].losses)
    for part in found[0].losses:
        length, rest = _length_and_rest(block, part.residual, radii)
        if any(block.smoothness(e).grade not in ("smooth", "piecewise") for e in rest):
            return ""
        shown += [] if length is None else [text(length)]
    return f"`{shown[0]}` is compared with a distance in a sum of losses" if shown else ""


def _length_and_rest(
    block: Block, residual: Expr, radii: frozenset[str]
) -> tuple[Expr | None, tuple[Expr, ...]]:
    """The length of a residual `||u|| - r` with r >= 0, and everything else that must be smooth."""
    for length, target in _compared(block, residual):
        if block.calculus.ranges(target).nonnegative or _free(block, target) in radii:
            return length, (*length.children(), target)
    return None, (residual,)


def _compared(block: Block, residual: Expr) -> list[tuple[Expr, Expr]]:
    """The length of a difference and what it is compared with, in either order."""
    match _opened(block, residual):
        case Apply(function="sub", arguments=(a, b)):
            both = ((_opened(block, a), b), (_opened(block, b), a))
            return [(length, target) for length, target in both if _is_length(length)]
    return []


def _free_radii(block: Block, losses: tuple[LossPart, ...]) -> frozenset[str]:
    """Sought numbers without bounds that stand nowhere but as the r of `||u|| - r`.

    Where one is negative, every residual that it stands in is positive and the energy falls as it grows: at
    a minimum, or anywhere that its slope is 0, it is >= 0.
    """
    uses: dict[str, int] = {}
    for part in losses:
        for _, target in _compared(block, part.residual)[:1]:
            name = _free(block, target)
            uses[name] = uses.get(name, 0) + 1
    counts = {name: sum(_uses(block, s.total, name) for s in block.touching) for name in uses if name}
    return frozenset(name for name, count in counts.items() if count == uses[name])


def _free(block: Block, target: Expr) -> str:
    """The sought variable without bounds that a value is an entry of; empty for other values."""
    base = target.base if isinstance(target, Pick) else target
    if not isinstance(base, Read) or base.name not in block.names or not target.type.scalar:
        return ""
    if isinstance(target, Pick) and any(block.depends(s) for s in target.children()[1:]):
        return ""
    variable = next(v for v in block.sought if v.name == base.name)
    # Of an observed one with missing entries the others are given, with any sign.
    whole = variable.role != "observed" and variable.domain.name == "reals"
    return base.name if whole else ""


def _uses(block: Block, root: Expr, name: str) -> int:
    """How often a variable is read, each use of a let counted anew; more than enough when it is too often."""
    count, steps, stack = 0, 0, [root]
    while stack:
        node = stack.pop()
        steps += 1
        if steps > MOST_STEPS:
            return MOST_STEPS
        if isinstance(node, Read):
            count += node.name == name
            if node.name in block.graph.lets:
                stack.append(block.graph.lets[node.name].value)
        elif block.depends(node):
            stack.extend(node.children())
    return count


def _is_length(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function == "norm" and node.option("order") == 2.0


def _opened(block: Block, node: Expr) -> Expr:
    """What stands behind the name of a let."""
    while isinstance(node, Read) and node.name in block.graph.lets:
        node = block.graph.lets[node.name].value
    return node
