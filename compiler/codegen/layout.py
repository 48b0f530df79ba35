"""How typed values lie in tensors, and the small pieces of Python text that follow from it.

A value is a tensor of the dimensions `[examples?][plate axes, outermost first][declared shape]`.
The first is there when the value differs by example. Python numbers have no dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Axes, Expr, Level

ATOM, CALL, POWER, UNARY, PRODUCT, SUM, COMPARE = 9, 9, 8, 7, 6, 5, 4
"""Binding strengths of Python's operators."""


@dataclass(frozen=True, slots=True)
class Code:
    """Python text of a value and its layout. `rank` counts declared dimensions."""

    text: str
    strength: int
    batch: bool
    axes: Axes
    rank: int
    kind: str
    python: bool = False

    @property
    def dims(self) -> int:
        return 0 if self.python else int(self.batch) + len(self.axes) + self.rank

    def at(self, strength: int) -> str:
        """The text, in parentheses when it binds more loosely than asked."""
        return f"({self.text})" if self.strength < strength else self.text

    def renamed(self, name: str) -> Code:
        return replace(self, text=name, strength=ATOM)


@dataclass(frozen=True, slots=True)
class Layout:
    """Target dimensions that operands are brought to."""

    batch: bool
    axes: Axes
    rank: int


def layout_of(node: Expr) -> Layout:
    return Layout(node.level is Level.EXAMPLE, node.axes, node.type.rank)


def size_text(size: Size) -> str:
    """A size as Python arithmetic over local names."""
    return str(size).replace("^", "**")


def wrapped_size(size: Size) -> str:
    text = size_text(size)
    return text if size.name or (size.constant is not None and size.constant >= 0) else f"({text})"


def align(code: Code, target: Layout) -> str:
    """The text of an operand with `None` indices where it lacks dimensions of the target.

    Leading dimensions need nothing: broadcasting adds them.
    """
    if code.dims == 0:
        return code.text
    present = [code.batch] if target.batch else []
    own = {axis.order for axis in code.axes}
    present += [axis.order in own for axis in target.axes]
    if code.rank == target.rank:
        present += [True] * target.rank
    else:
        present += [False] * target.rank
    while present and not present[0]:
        present.pop(0)
    if all(present):
        return code.text
    return f"{code.at(ATOM)}[{', '.join(':' if p else 'None' for p in present)}]"


def comment(code: Code, shape: tuple[Size, ...]) -> str:
    """`[B, t, n]`: the dimensions of a tensor, for a comment."""
    dims = (["B"] if code.batch else []) + [a.label for a in code.axes] + [str(s) for s in shape]
    return f"[{', '.join(dims)}]"
