"""Adding at subscripts: the counterpart of `picks`, which only derivatives need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, aligned
from ebmlang.compiler.codegen.picks import Picks
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.typed import Axis, Expr, Level, NewAxis, Scatter, SliceOf

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


@dataclass(frozen=True, slots=True)
class Scatters:
    """Writes scatters for one emitter."""

    e: Emitter

    def whole(self, node: Scatter) -> Code:
        """The array of zeros with the value in its places."""
        slots = self.slots(node)
        value = self._value(node)
        shape = self._shape(node)
        lead = int(value.batch) + len(node.axes)
        if slots is not None and set(slots) <= {":"}:
            text = self._ordered(node, value)
            strength = value.strength if text == value.text else ATOM
            return Code(text, strength, value.batch, node.axes, node.type.rank, "real")
        if slots is None:
            index = self._indices(node)
            text = f"functions.scatter({value.text}, {lead}, {shape}, ({', '.join(index)},))"
        else:
            inside = ", ".join(_as_slice(s) for s in slots)
            text = f"functions.place({self._ordered(node, value)}, {lead}, {shape}, ({inside},))"
        return Code(text, ATOM, value.batch, node.axes, node.type.rank, "real")

    def place(self, node: Scatter, batch: bool) -> tuple[str, str] | None:
        """(subscripts, value) when the value can be added to an array in place, by slices alone.

        `batch` tells whether the array has a dimension of examples.
        """
        slots = None if node.axes else self.slots(node)
        if slots is None or set(slots) <= {":"}:
            return None
        value = self._value(node)
        lead = [":"] if batch else []
        return ", ".join([*lead, *slots]), self._ordered(node, value)

    def slots(self, node: Scatter) -> list[str] | None:
        """The subscripts as slices and constants, when each index runs along its own dimension."""
        picks, taken = Picks(self.e), {a.order for a in node.axes}
        found: list[str] = []
        dims = iter(node.type.shape)
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                continue
            size = next(dims)
            if isinstance(s, SliceOf):
                found.append(picks.range_text(s.start, s.stop, size))
                continue
            run = picks.run(s, size, taken)
            if run is None:
                return None
            found.append(run[0])
            if run[1] is not None:
                taken.add(run[1].order)
        return found

    def _value(self, node: Scatter) -> Code:
        axes = tuple(sorted({*node.axes, *node.over}, key=lambda axis: axis.order))
        code = self.e.tensor(self.e.real(node.value))
        return self.e.expanded(code, Layout(node.level is Level.EXAMPLE, axes, code.rank))

    def _shape(self, node: Scatter) -> str:
        sizes = [self.e.size(s) for s in node.type.shape]
        return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"

    def _ordered(self, node: Scatter, value: Code) -> str:
        """The value with its dimensions in the order in which the subscripts name them."""
        lead = int(value.batch)
        axis_at = {axis.order: lead + i for i, axis in enumerate(value.axes)}
        declared = iter(range(lead + len(value.axes), value.dims))
        order = [*range(lead), *(axis_at[a.order] for a in node.axes)]
        new: list[int] = []
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                new.append(next(declared))
            elif isinstance(s, SliceOf):
                order.append(next(declared))
            else:
                order += [axis_at[a.order] for a in _moving(s)]
        text = value.text
        if [*order, *new] != list(range(value.dims)):
            text = f"{value.at(ATOM)}.permute({', '.join(map(str, [*order, *new]))})"
        return f"{text if '.permute' in text else value.at(ATOM)}{'.squeeze(-1)' * len(new)}" if new else text

    def _indices(self, node: Scatter) -> list[str]:
        """One index per dimension: a number, or a tensor that lines up with the value."""
        over = tuple(sorted(node.over, key=lambda axis: axis.order))
        rank = node.value.type.rank
        shown: list[str] = []
        declared, dims = 0, iter(node.type.shape)
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                declared += 1
                continue
            size = next(dims)
            if isinstance(s, SliceOf):
                behind = rank - 1 - declared
                start, stop = self.e.size(s.start), self.e.size(s.stop)
                shown.append(f"functions.along({start}, {stop}, {behind}, self.device)")
                declared += 1
                continue
            code = Picks(self.e).index(s, size)
            if code.python:
                shown.append(code.text)
                continue
            own, before = s.type.rank, declared
            declared += own
            if code.dims:
                code = _within(code, before, rank - declared)
            shown.append(aligned(code, Layout(code.batch, over, rank)).text)
        return shown


def _within(index: Code, before: int, behind: int) -> Code:
    """An index with dimensions of size 1 for those of the value that stand before and behind its own."""
    if not before and not behind:
        return index
    lead = [":"] * (int(index.batch) + len(index.axes)) if before else ["..."]
    inside = [*lead, *["None"] * before, *([":"] * index.rank if before else []), *["None"] * behind]
    while inside[-1] == ":":
        inside.pop()
    text = f"{index.at(ATOM)}[{', '.join(inside)}]"
    return Code(text, ATOM, index.batch, index.axes, before + index.rank + behind, "int")


def _moving(s: Expr) -> list[Axis]:
    form = affine(s)
    return [axis for axis, _ in form[0]] if form is not None else []


def _as_slice(slot: str) -> str:
    if ":" not in slot:
        return slot
    return f"slice({', '.join(part.strip() or 'None' for part in slot.split(':'))})"
