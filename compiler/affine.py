"""Energies that are affine in bools as numbers 0 and 1: their slopes say what a change of an entry costs.

Where E is affine in the entries of a variable, its derivative along one of them is E with the entry true less
E with it false, whatever the others are. So the entries are independent given everything else, and what
tables would say of each of them is in one gradient, a product with a matrix where couplings are one.
"""

from __future__ import annotations

from typing import Literal

from ebmlang.compiler.degrees import Degrees
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.structure.block import Block

Affine = Literal["", "each", "together"]


def affine_in(block: Block) -> Affine:
    """`together`: the energy is affine in all sought entries at once; `each`: in those of each variable,
    with the others held; "" where neither is proven, or other kinds of unknowns are sought."""
    plain = all(v.type.kind == "bool" and not v.arranged for v in block.sought)
    if not block.sought or not plain or block.limits or block.joint is not None:
        return ""
    names = [v.name for v in block.sought]
    if _affine(block, names):
        return "together"
    return "each" if all(_affine(block, [name]) for name in names) else ""


def _affine(block: Block, names: list[str]) -> bool:
    degrees = Degrees(Dependence(block.graph, frozenset(names)))
    return all(degrees.affine(summand.total) for summand in block.summands)
