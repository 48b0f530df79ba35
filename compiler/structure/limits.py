"""Rule: what the hard constraints are as functions of the sought block."""

from __future__ import annotations

from ebmlang.compiler.graph import Limit
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.typed import Apply, Read


def find_limits(block: Block) -> tuple[Finding, ...]:
    """`hard constraints` with the shape of each, `invertible by elimination` where all are affine equations,
    `quadratic program` for a quadratic energy under affine ones, and `linear program` where the energy is
    affine too. Nothing is found where no constraint depends on the block."""
    if not block.limits:
        return ()
    names = tuple(v.name for v in block.sought)
    shapes = [(limit.name, _shape(block, limit)) for limit in block.limits]
    because = ", ".join(f"{name} is {shape}" for name, shape in shapes)
    found = [Finding("hard constraints", names, because)]
    equations = all(limit.relation == "==" for limit in block.limits)
    if equations and all(shape == "affine" for _, shape in shapes):
        found.append(Finding("invertible by elimination", names, _eliminated(block)))
    degrees = [block.calculus.degrees(s.total) for s in block.touching]
    quadratic = all(d is not None and d <= 2 for d in degrees)
    if quadratic and all(shape == "affine" for _, shape in shapes):
        power = "quadratic" if any(d == 2 for d in degrees) else "affine"
        because = f"the energy is {power} and every constraint is affine"
        found.append(Finding("quadratic program", names, because))
        if power == "affine":
            found.append(Finding("linear program", names, because))
    return tuple(found)


def _eliminated(block: Block) -> str:
    """Which unknown each equation gives by the others: a name where it reads `x == value`, else an entry."""
    shown = []
    for limit in block.limits:
        unknown = _given(block, limit)
        what = f"{unknown} by the others" if unknown else "as many entries by the others as it has"
        shown.append(f"{limit.name} gives {what}")
    return "; ".join(shown)


def _given(block: Block, limit: Limit) -> str:
    """The x of `x == value` where the value is one without x; empty where the equation is of another form."""
    if limit.axes or limit.mask is not None:
        return ""
    match limit.value:
        case Read(name=name) if name in block.names:
            return name
        case Apply(function="sub", arguments=(a, b)):
            for side, other in ((a, b), (b, a)):
                if not isinstance(side, Read) or side.type.shape != limit.value.type.shape:
                    continue
                if side.name in block.names and side.name not in block.graph.inputs(other):
                    return side.name
    return ""


def _shape(block: Block, limit: Limit) -> str:
    if limit.mask is not None and block.depends(limit.mask):
        return "switched by what is sought"
    found = block.calculus.degrees(limit.value)
    if found is not None and found <= 2:
        return ("constant", "affine", "quadratic")[found]
    return {"smooth": "smooth", "piecewise": "smooth apart from a null set", "kink": "with kinks"}.get(
        block.smoothness(limit.value).grade, "piecewise constant"
    )
