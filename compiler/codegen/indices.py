"""Index tensors of plates and reductions: made once, in the function that prepares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, comment
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Axis, Expr, Level, Position

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Indices:
    """Names of index tensors, for one emitter."""

    e: Emitter

    def position(self, node: Position, real: bool = False) -> Code:
        """A plate index as a tensor along its axis: integers, or the same as real numbers."""
        name = self.name(node.axis, node.column, real)
        kind = "real" if real else node.type.kind
        return Code(name, ATOM, node.level is Level.EXAMPLE, (node.axis,), 0, kind)

    def name(self, axis: Axis, column: int, real: bool = False) -> str:
        """The name of the index tensor of an axis."""
        key = ("real" if real else "index", *_identity(axis), column)
        name = self.e.index_names.get(key)
        if name is None:
            owner = self._owner(axis)
            name = owner.index_names.get(key) or self._make(owner, key, axis, column, real)
            self._know(key, name)
        self.e.used[name] = None
        return name

    def count(self, axis: Axis) -> str:
        """How many positions an axis has."""
        if axis.size is not None:
            return self.e.size(axis.size)
        return f"{self.name(axis, 0)}.shape[0]"

    def kept(self, key: Key, node: Expr, stem: str, code: Code, text: str, size: Size = ZERO) -> Code | None:
        """A value computed from indices and what is known, made once; None where it moves with the
        unknowns.

        `code` tells how the result lies; `text` has `{}` where the value of the node stands, and
        may name `size`.
        """
        if self.e.depends(node):
            return None
        owner = self._owner(None)
        name = owner.index_names.get(key)
        if name is None:
            inner = owner.code(node)
            owner.size(size)
            name = owner.fresh("_".join([*(axis.label for axis in node.axes), stem]))
            owner.line(
                (name,),
                text.format(inner.at(ATOM) if "{}." in text else inner.text),
                comment(code, node.type.shape),
            )
            owner.index_names[key] = name
            owner.kept_codes[name] = code
        self._know(key, name)
        self.e.used[name] = None
        return code.renamed(name)

    # --- making them ---

    def _know(self, key: Key, name: str) -> None:
        self.e.index_names[key] = name
        self.e.names.add(name)

    def _owner(self, axis: Axis | None) -> Emitter:
        owner = self.e.index_owner
        if owner is None or (axis is not None and self.e.depends.moves(axis)):
            return self.e
        return owner

    def _make(self, owner: Emitter, key: Key, axis: Axis, column: int, real: bool) -> str:
        if real:
            index = owner.indices.name(axis, column)
            name = owner.fresh(f"{axis.names[column]}_real")
            owner.line((name,), f"{index}.to(self.dtype)", f"[{axis.label}]")
        elif axis.guard is not None:
            _select(owner, axis)
            return owner.index_names[key]
        else:
            name = owner.fresh(f"{axis.names[column]}_index")
            owner.line((name,), _positions(owner, axis, column), f"[{axis.label}]")
        owner.index_names[key] = name
        return name


def _identity(axis: Axis) -> Key:
    return (axis.order, *(parent.order for parent in axis.parents))


def _positions(owner: Emitter, axis: Axis, column: int) -> str:
    if axis.rows is None:
        assert axis.size is not None
        start = f"{owner.size(axis.start)}, " if axis.start != ZERO else ""
        return f"torch.arange({start}{owner.size(axis.start + axis.size)}, device=self.device)"
    rows = owner.code(axis.rows)
    return f"{rows.at(ATOM)}[:, {column}]" if axis.rows.type.rank == 2 else rows.text


def _select(owner: Emitter, axis: Axis) -> None:
    """All index tuples for which the guard holds, one tensor per index."""
    assert axis.guard is not None
    with owner.guarded(axis.guard):
        guard = owner.expanded(owner.code(axis.guard), Layout(False, axis.parents, 0))
    positions = [owner.fresh(f"{parent.label}_at") for parent in axis.parents]
    owner.line(tuple(positions), f"torch.nonzero({guard.text}, as_tuple=True)")
    column = 0
    for parent, position in zip(axis.parents, positions, strict=True):
        for own in range(len(parent.names)):
            name = owner.fresh(f"{parent.names[own]}_index")
            source = owner.indices.name(parent, own)
            owner.line((name,), f"{source}[{position}]", f"[{axis.label}]")
            owner.index_names["index", *_identity(axis), column] = name
            column += 1
