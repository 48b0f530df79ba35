"""Groups of unknowns that take turns: a plan for each, with the other groups given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebmlang.compiler.query import Query
from ebmlang.compiler.structure import Block, Structure

if TYPE_CHECKING:
    from ebmlang.compiler.choose import Plan

IN_TURN = "block_coordinate"
"""The method whose steps are those of the plans of its groups."""


def grouped(structure: Structure) -> tuple[Block, ...]:
    """The questions over each group, in the order in which they take turns."""
    found = structure.find("convex by blocks")
    assert found is not None
    block = structure.block
    return tuple(Block(block.graph, Query(names, block.query.of)) for names in found.blocks)


def moving_condition(structure: Structure, parts: tuple[Plan, ...]) -> str:
    """What a plan of a group takes for granted although it changes from turn to turn, or ""."""
    for part in parts:
        names = ", ".join(part.block.query.sought)
        if part.method is None:
            return f"no method fits {names}: {part.because}"
        moving = [o.says for o in part.obligations if structure.block.depends(o.value)]
        if moving:
            return f"{part.method.name} for {names} needs {moving[0]}, which other unknowns decide"
    return ""


def in_turn(parts: tuple[Plan, ...]) -> str:
    """`W by quadratic, H by projected_newton`."""
    return ", ".join(f"{_names(part)} by {part.method.name}" for part in parts if part.method is not None)


def _names(part: Plan) -> str:
    return " and ".join(part.block.query.sought)
