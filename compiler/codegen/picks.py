"""Indexing: slices where an index runs along a dimension, gathers elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, align, layout_of
from ebmlang.compiler.indexing import affine, misses
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Axis, Expr, Level, NewAxis, Pick, Position, SliceOf

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


@dataclass(frozen=True, slots=True)
class Picks:
    """Writes subscripts for one emitter."""

    e: Emitter

    # --- plate indices ---

    def position(self, node: Position) -> Code:
        """A plate index as a tensor of integers along its axis."""
        name = self.index_name(node.axis, node.column)
        batch = node.level is Level.EXAMPLE
        return Code(name, ATOM, batch, (node.axis,), 0, node.type.kind)

    def index_name(self, axis: Axis, column: int) -> str:
        """The name of the index tensor of an axis; `prepare` makes it."""
        key = ("axis", axis.order, axis.label, column)
        name = self.e.index_names.get(key)
        if name is None:
            name = self.e.request_index(key, axis, column)
        self.e.used[name] = None
        return name

    # --- subscripts ---

    def pick(self, node: Pick) -> Code:
        base = self.e._emit(node.base)
        if base.python:
            return base
        plan = self._slices(node, base)
        if plan is not None:
            return plan
        return self._gather(node, base)

    def _slices(self, node: Pick, base: Code) -> Code | None:
        """Basic slicing, when every subscript is a slice, a constant, or an index that runs
        along its dimension with step 1 (or a positive step)."""
        taken: set[int] = {a.order for a in base.axes}
        parts: list[str] = [":"] * (base.dims - base.rank)
        order: list[Axis | None] = []
        dims = iter(node.base.type.shape)
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                parts.append("None")
                order.append(None)
                continue
            size = next(dims)
            if isinstance(s, SliceOf):
                parts.append(self._range_text(s.start, s.stop, size, 1))
                order.append(None)
                continue
            found = self._run(s, size, taken)
            if found is None:
                return None
            text, axis = found
            parts.append(text)
            if axis is not None:
                taken.add(axis.order)
                order.append(axis)
        while parts and parts[-1] == ":":
            parts.pop()
        text = f"{base.at(ATOM)}[{', '.join(parts)}]" if parts else base.text
        return self._arranged(node, base, order, text)

    def _run(self, s: Expr, size: Size, taken: set[int]) -> tuple[str, Axis | None] | None:
        form = affine(s)
        if form is None or len(form[0]) > 1:
            return None
        if self.e.clamps and misses(form, size) is not None:
            return None
        if not form[0]:
            return self.e.size(form[1]), None
        (axis, step), offset = form[0][0], form[1]
        if step < 1 or axis.order in taken or axis.size is None:
            return None
        start = axis.start * step + offset
        stop = start + (axis.size - 1) * step + 1
        return self._range_text(start, stop, size, step), axis

    def _range_text(self, start: Size, stop: Size, size: Size, step: int) -> str:
        first = "" if start == ZERO else self.e.size(start)
        last = "" if stop == size else self.e.size(stop)
        return f"{first}:{last}" + (f":{step}" if step != 1 else "")

    def _arranged(self, node: Pick, base: Code, order: list[Axis | None], text: str) -> Code:
        """Dimensions brought to the layout: axes outermost first, then the declared shape."""
        lead = int(base.batch)
        current: list[tuple[int, int]] = [(axis.order, i) for i, axis in enumerate(base.axes)]
        offset = len(base.axes)
        current += [(axis.order if axis is not None else 10**9 + i, offset + i) for i, axis in enumerate(order)]
        wanted = sorted(range(len(current)), key=lambda i: current[i][0])
        if wanted != list(range(len(current))):
            dims = ", ".join(map(str, [*range(lead), *(lead + i for i in wanted)]))
            text = f"{text}.permute({dims})"
        axes = typed.merge_axes((node.base, *(s for s in node.subscripts if isinstance(s, Expr))))
        strength = base.strength if text == base.text else ATOM
        return Code(text, strength, base.batch, axes, node.type.rank, node.type.kind)

    # --- gathers ---

    def _index(self, s: Expr, size: Size) -> Code:
        """An integer subscript as a tensor; inside a guard it is kept in range."""
        code = self.e._emit(s)
        form = affine(s)
        if self.e.clamps and s.type.kind != "class" and (form is None or misses(form, size) is not None):
            limit = self.e.size(size - 1)
            if code.python:
                return Code(f"min(max({code.text}, 0), {limit})", ATOM, False, (), 0, "int", True)
            return Code(f"{code.at(ATOM)}.clamp(0, {limit})", ATOM, code.batch, code.axes, code.rank, "int")
        if code.python or s.type.kind == "class" or (form is not None and misses(form, size) is None):
            return code
        checked = self.e.checked_index(s, code, size)
        return checked

    def _gather(self, node: Pick, base: Code) -> Code:
        where = layout_of(node)
        sizes = iter(node.base.type.shape)
        slots: list[Code | str] = []
        arrays = 0
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                slots.append("None")
                continue
            size = next(sizes)
            if isinstance(s, SliceOf):
                slots.append(self._range_text(s.start, s.stop, size, 1))
            else:
                code = self._index(s, size)
                arrays += code.rank > 0
                slots.append(code)
        direct = self._direct(node, base, slots)
        if direct is not None:
            return direct
        lead = Layout(where.batch, where.axes, 0)
        shown = []
        for slot in slots:
            if isinstance(slot, str):
                shown.append("None" if slot == "None" else f"slice({', '.join(p or 'None' for p in slot.split(':'))})")
            elif slot.python:
                shown.append(slot.text)
            else:
                shown.append(align(slot, Layout(lead.batch, lead.axes, slot.rank)))
        ready = align(base, Layout(lead.batch, lead.axes, base.rank))
        count = int(lead.batch) + len(lead.axes)
        if base.dims - base.rank < count and ready == base.text:
            ready = f"{base.at(ATOM)}[{', '.join(['None'] * (count - (base.dims - base.rank)))}]" if count else ready
        comma = "," if len(shown) == 1 else ""
        text = f"functions.take({ready}, {count}, ({', '.join(shown)}{comma}))"
        return Code(text, ATOM, where.batch, where.axes, where.rank, node.type.kind)

    def _direct(self, node: Pick, base: Code, slots: list[Code | str]) -> Code | None:
        """`x[:, i]` or `M[c, j]`: index tensors side by side right after the examples."""
        codes = [s for s in slots if isinstance(s, Code)]
        tensors = [c for c in codes if not c.python]
        if base.axes or any(c.batch and base.batch for c in tensors) or any(c.rank for c in tensors):
            return None
        adjacent = all(isinstance(s, Code) for s in slots[: len(codes)])
        if not adjacent or "None" in slots or (base.batch and any(c.batch for c in tensors)):
            return None
        where = layout_of(node)
        lead = Layout(any(c.batch for c in tensors), where.axes, 0)
        shown = [":"] if base.batch else []
        shown += [c.text if c.python else align(c, lead) for c in codes]
        shown += [s for s in slots[len(codes) :] if isinstance(s, str)]
        while shown and shown[-1] == ":":
            shown.pop()
        text = f"{base.at(ATOM)}[{', '.join(shown)}]"
        return Code(text, ATOM, where.batch, where.axes, where.rank, node.type.kind)
