"""Rule: how smooth the energy is in the sought block."""

from __future__ import annotations

from ebmlang.compiler.facts import ROUGHNESS
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding


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
    match worst:
        case "smooth":
            return (Finding("smooth", names, "every operation is twice differentiable"),)
        case "piecewise":
            return (Finding("piecewise smooth", names, f"differentiable apart from a null set: {because}"),)
        case "kink":
            return (Finding("kinks", names, because),)
    return (Finding("steps", names, f"piecewise constant: {because}"),)
