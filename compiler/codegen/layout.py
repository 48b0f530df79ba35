"""How typed values lie in tensors, and the small pieces of Python text that follow from it.

A value is a tensor of the dimensions `[examples?][plate axes, outermost first][declared shape]`.
The first is there when the value differs by example. Python numbers have no dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.sizes import Quotient, Size
from ebmlang.compiler.typed import Axes, Expr, Level

ATOM, POWER, UNARY, PRODUCT, SUM, COMPARE = 9, 8, 7, 6, 5, 4
"""Binding strengths of Python's operators."""


@dataclass(frozen=True, slots=True)
class Code:
    """Python text of a value and its layout. `rank` counts declared dimensions; `kind` is that of
    the tensor's entries, whatever the type of the expression was."""

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


def python_number(text: str, kind: str, strength: int = ATOM) -> Code:
    """A number that is known before any tensor is."""
    return Code(text, strength, False, (), 0, kind, True)


@dataclass(frozen=True, slots=True)
class Layout:
    """Target dimensions that operands are brought to."""

    batch: bool
    axes: Axes
    rank: int


def layout_of(node: Expr) -> Layout:
    return Layout(node.level is Level.EXAMPLE, node.axes, node.type.rank)


# --- sizes --------------------------------------------------------------------------------------


def size_text(size: Size) -> str:
    """A size as Python arithmetic over local names."""
    if not size.terms:
        return "0"
    text = ""
    for monomial, coefficient in size.terms:
        factors = [_atom_text(atom) + (f"**{power}" if power != 1 else "") for atom, power in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        body = " * ".join(factors)
        if text:
            text += f" {'-' if coefficient < 0 else '+'} {body}"
        else:
            text = f"-{body}" if coefficient < 0 else body
    return text


def _atom_text(atom: str | Quotient) -> str:
    if isinstance(atom, str):
        return local_name(atom)
    return f"(({size_text(atom.left)}) {atom.op} ({size_text(atom.right)}))"


def size_strength(size: Size) -> int:
    if size.name is not None or (size.constant is not None and size.constant >= 0):
        return ATOM
    if size.constant is not None:
        return UNARY
    return SUM if len(size.terms) > 1 or size.terms[0][1] < 0 else PRODUCT


# --- lining up ----------------------------------------------------------------------------------


def aligned(code: Code, target: Layout) -> Code:
    """The operand with `None` indices where it lacks dimensions of the target.

    Leading dimensions need nothing: broadcasting adds them.
    """
    if code.dims == 0:
        return code
    present = _present(code, target)
    present += [code.rank == target.rank] * target.rank
    while present and not present[0]:
        present.pop(0)
    return _indexed(code, present)


def spread(code: Code, target: Layout) -> Code:
    """The operand with every leading dimension of the target there, of size 1 where it lacks it."""
    return _indexed(code, _present(code, target))


def _present(code: Code, target: Layout) -> list[bool]:
    own = {axis.order for axis in code.axes}
    return ([code.batch] if target.batch else []) + [axis.order in own for axis in target.axes]


def _indexed(code: Code, present: list[bool]) -> Code:
    if all(present):
        return code
    parts = [":" if p else "None" for p in present]
    while parts[-1] == ":":
        parts.pop()
    return code.renamed(f"{code.at(ATOM)}[{', '.join(parts)}]")


def permuted(code: Code, axes: Axes) -> Code:
    """The axes of a value in another order."""
    place = {axis.order: i for i, axis in enumerate(code.axes)}
    wanted = [place[axis.order] for axis in axes]
    if wanted == sorted(wanted):
        return code
    lead = int(code.batch)
    dims = [*range(lead), *(lead + i for i in wanted), *range(lead + len(wanted), code.dims)]
    text = f"{code.at(ATOM)}.permute({', '.join(map(str, dims))})"
    return Code(text, ATOM, code.batch, axes, code.rank, code.kind)


def trailing(code: Code, rank: int) -> Code:
    """A number per example brought beside values of a declared rank."""
    if not code.batch or code.rank or not rank:
        return code
    text = f"{code.at(ATOM)}[:, {', '.join(['None'] * rank)}]"
    return Code(text, ATOM, True, code.axes, rank, code.kind)


def comment(code: Code, shape: tuple[Size, ...]) -> str:
    """`[B, t, n]`: the dimensions of a tensor, for a comment."""
    dims = (["B"] if code.batch else []) + [a.label for a in code.axes] + [str(s) for s in shape]
    return f"[{', '.join(dims)}]"
