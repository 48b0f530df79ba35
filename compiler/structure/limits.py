"""Rule: what the hard constraints are as functions of the sought block."""

from __future__ import annotations

from ebmlang.compiler.graph import Limit
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding


def find_limits(block: Block) -> tuple[Finding, ...]:
    """`hard constraints` with the shape of each, `quadratic program` for a quadratic energy under affine
    ones, and `linear program` where the energy is affine too. Nothing is found where no constraint depends on
    the block."""
    if not block.limits:
        return ()
    names = tuple(v.name for v in block.sought)
    shapes = [(limit.name, _shape(block, limit)) for limit in block.limits]
    because = ", ".join(f"{name} is {shape}" for name, shape in shapes)
    found = [Finding("hard constraints", names, because)]
    degrees = [block.calculus.degrees(s.total) for s in block.touching]
    quadratic = all(d is not None and d <= 2 for d in degrees)
    if quadratic and all(shape == "affine" for _, shape in shapes):
        power = "quadratic" if any(d == 2 for d in degrees) else "affine"
        because = f"the energy is {power} and every constraint is affine"
        found.append(Finding("quadratic program", names, because))
        if power == "affine":
            found.append(Finding("linear program", names, because))
    return tuple(found)


def _shape(block: Block, limit: Limit) -> str:
    if limit.mask is not None and block.depends(limit.mask):
        return "switched by what is sought"
    found = block.calculus.degrees(limit.value)
    if found is not None and found <= 2:
        return ("constant", "affine", "quadratic")[found]
    return {"smooth": "smooth", "piecewise": "smooth apart from a null set", "kink": "with kinks"}.get(
        block.smoothness(limit.value).grade, "piecewise constant"
    )
