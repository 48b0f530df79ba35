"""Rule: whether every example is a problem of its own."""

from __future__ import annotations

from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding


def find_reach(block: Block) -> tuple[Finding, ...]:
    """`rows` when examples are independent, `joint` when they form one problem."""
    names = tuple(v.name for v in block.sought)
    joint = block.joint
    if joint is not None:
        return (Finding("joint", names, joint[1]),)
    return (Finding("rows", names, "no term looks across examples"),)
