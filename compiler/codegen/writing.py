"""What the writers of built-ins share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, aligned, layout_of
from ebmlang.compiler.typed import Apply

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


def result(e: Emitter, node: Apply, text: str, strength: int = ATOM, kind: str = "") -> Code:
    """The code of a node with the layout that its type and axes give."""
    where = layout_of(node)
    return Code(text, strength, where.batch, where.axes, where.rank, kind or node.type.kind)


def lead(code: Code, node: Apply, rank: int) -> Code:
    """An operand with its leading dimensions lined up, its own last ones untouched."""
    where = layout_of(node)
    return aligned(code, Layout(where.batch, where.axes, rank))
