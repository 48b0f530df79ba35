"""Indexing: slices where an index runs along a dimension, gathers elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import notation, typed
from ebmlang.compiler.codegen.apart import constant_index
from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, aligned, layout_of, spread
from ebmlang.compiler.codegen.reach import always_inside, decided
from ebmlang.compiler.codegen.scans import write_cell
from ebmlang.compiler.indexing import affine, misses
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Axis, Expr, NewAxis, Pack, Pick, SliceOf

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter

_DECLARED = 1 << 1000
"""Declared dimensions stand behind all axes, whose orders are small."""

Slot = Code | SliceOf | NewAxis


@dataclass(frozen=True, slots=True)
class Picks:
    """Writes subscripts for one emitter."""

    e: Emitter

    def pick(self, node: Pick) -> Code:
        """Slices alone where that is possible, index tensors otherwise."""
        found = self._of_cell(node)
        if not isinstance(found, Pick):
            return self.e.code(found)
        node = found
        base = self.e.tensor(self.e.code(node.base))
        return self._sliced(node, base) or self._gathered(node, base)

    def _of_cell(self, node: Pick) -> Expr:
        """`s[T, i]` of a recurrence along the first dimension, as `[i]` of one cell."""
        first, rest = node.subscripts[0], node.subscripts[1:]
        form = affine(first) if isinstance(first, Expr) else None
        cell = write_cell(self.e, node.base, form[1]) if form is not None and not form[0] else None
        if cell is None:
            return node
        if not rest:
            return cell
        found = replace(node, base=cell, subscripts=rest)
        number = constant_index(found)
        return cell.items[number] if isinstance(cell, Pack) and number is not None else found

    # --- slices ---

    def _sliced(self, node: Pick, base: Code) -> Code | None:
        """Basic slicing, when every subscript is a slice, a constant, or an index that runs
        along its dimension with a positive step."""
        taken = {a.order for a in base.axes}
        parts = [":"] * (base.dims - base.rank)
        order: list[int] = []
        dims = iter(node.base.type.shape)
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                parts.append("None")
                order.append(_DECLARED)
                continue
            size = next(dims)
            if isinstance(s, SliceOf):
                parts.append(self.range_text(s.start, s.stop, size))
                order.append(_DECLARED)
                continue
            found = self.run(s, size, taken)
            if found is None:
                return None
            parts.append(found[0])
            if found[1] is not None:
                taken.add(found[1].order)
                order.append(found[1].order)
        while parts and parts[-1] == ":":
            parts.pop()
        text = f"{base.at(ATOM)}[{', '.join(parts)}]" if parts else base.text
        return self._arranged(node, base, order, text)

    def run(self, s: Expr, size: Size, taken: set[int]) -> tuple[str, Axis | None] | None:
        """`(text, axis)` of a subscript that is a constant, or an axis from its start in steps."""
        form = affine(s)
        if form is None or len(form[0]) > 1 or (self.e.guards and misses(form, size) is not None):
            return None
        if not form[0]:
            return self.e.size(form[1]), None
        (axis, step), offset = form[0][0], form[1]
        if step < 1 or axis.order in taken or axis.size is None:
            return None
        start = axis.start * step + offset
        # One step past the last entry: an empty axis stays empty, also with steps above 1.
        stop = start + axis.size * step
        return self.range_text(start, stop, size, step), axis

    def range_text(self, start: Size, stop: Size, size: Size, step: int = 1) -> str:
        first = "" if start == ZERO else self.e.size(start)
        last = "" if stop == size else self.e.size(stop)
        return f"{first}:{last}" + (f":{step}" if step != 1 else "")

    def _arranged(self, node: Pick, base: Code, order: list[int], text: str) -> Code:
        """Dimensions brought to the layout: axes outermost first, then the declared shape."""
        lead = int(base.batch)
        current = [axis.order for axis in base.axes] + order
        wanted = sorted(range(len(current)), key=lambda i: (current[i], i))
        if wanted != list(range(len(current))):
            dims = ", ".join(map(str, [*range(lead), *(lead + i for i in wanted)]))
            text = f"{base.at(ATOM) if text == base.text else text}.permute({dims})"
        axes = typed.merge_axes((node.base, *(s for s in node.subscripts if isinstance(s, Expr))))
        strength = base.strength if text == base.text else ATOM
        return Code(text, strength, base.batch, axes, node.type.rank, base.kind)

    # --- gathers ---

    def index(self, s: Expr, size: Size) -> Code:
        """An integer subscript, checked or kept inside its dimension where that is not proven."""
        e = self.e
        code = self._computed(s) or e.converted(e.code(s), "int")
        if s.type.kind == "class" or always_inside(s, size):
            return self._ready(s, size, code, "{}", "index")
        if e.guards:
            # Where the guard is false the entry does not count, but it must exist.
            text = f"functions.limit_index({{}}, {e.size(size)})"
            return self._ready(s, size, code, text, "limited")
        if decided(s, size):
            return self._ready(s, size, code, "{}", "index")
        shown = notation.text(s)
        text = f"functions.check_index({{}}, {e.size(size)}, {shown!r})".replace("{", "{{").replace("}", "}}")
        return self._ready(s, size, code, text.replace("{{}}", "{}", 1), "checked")

    def _computed(self, s: Expr) -> Code | None:
        """The index where it is arithmetic of plate indices: made once, in the function that prepares."""
        if not (isinstance(s, typed.Apply) and s.axes and s.type.kind == "int" and self.e.index_owner):
            return None
        where = layout_of(s)
        code = Code("", ATOM, where.batch, where.axes, where.rank, "int")
        return self.e.indices.kept(("index", id(self.e.canonical(s))), s, "subscript", code, "{}")

    def _ready(self, s: Expr, size: Size, code: Code, text: str, how: str) -> Code:
        """The index in place, or made once where it is more than a name."""
        if text == "{}" and (code.python or (code.strength == ATOM and code.text.isidentifier())):
            return code
        if code.python:
            code = self.e.tensor(code)
            return Code(text.format(code.text), ATOM, False, (), 0, "int")
        key = (how, id(self.e.canonical(s)), size)
        kept = self.e.indices.kept(key, s, "subscript", code, text, size)
        if kept is not None:
            return kept
        return Code(
            text.format(code.text),
            code.strength if text == "{}" else ATOM,
            code.batch,
            code.axes,
            code.rank,
            "int",
        )

    def _slots(self, node: Pick) -> list[Slot]:
        slots: list[Slot] = []
        dims = iter(node.base.type.shape)
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                slots.append(s)
                continue
            size = next(dims)
            if isinstance(s, SliceOf):
                whole = s.start == ZERO and s.stop == size
                slots.append(SliceOf(ZERO, ZERO) if whole else s)
            else:
                slots.append(self.index(s, size))
        return slots

    def _slot_text(self, slot: SliceOf | NewAxis) -> str:
        if isinstance(slot, NewAxis):
            return "None"
        if slot.start == slot.stop == ZERO:
            return ":"
        return f"{'' if slot.start == ZERO else self.e.size(slot.start)}:{self.e.size(slot.stop)}"

    def _gathered(self, node: Pick, base: Code) -> Code:
        where = layout_of(node)
        slots = self._slots(node)
        direct = self._direct(where, base, slots)
        if direct is not None:
            return direct
        lead = Layout(where.batch, where.axes, 0)
        shown = []
        for slot in slots:
            if isinstance(slot, Code):
                shown.append(slot.text if slot.python else spread(slot, lead).text)
            else:
                text = self._slot_text(slot)
                shown.append(
                    text if text == "None" else f"slice({', '.join(p or 'None' for p in text.split(':'))})"
                )
        count = int(lead.batch) + len(lead.axes)
        comma = "," if len(shown) == 1 else ""
        text = f"functions.take({spread(base, lead).text}, {count}, ({', '.join(shown)}{comma}))"
        return Code(text, ATOM, where.batch, where.axes, where.rank, base.kind)

    def _direct(self, where: Layout, base: Code, slots: list[Slot]) -> Code | None:
        """`x[:, i]` or `M[c, j]`: index tensors side by side right after the examples."""
        codes = [s for s in slots if isinstance(s, Code)]
        rest = slots[len(codes) :]
        tensors = [c for c in codes if not c.python]
        if base.axes or (base.batch and any(c.batch for c in tensors)):
            return None
        if any(not isinstance(s, Code) for s in slots[: len(codes)]) or any(
            isinstance(s, NewAxis) for s in rest
        ):
            return None
        ranks = [c.rank for c in tensors]
        if any(ranks) and len(codes) > 1:
            return None
        lead = Layout(any(c.batch for c in tensors), where.axes, 0)
        shown = [":"] if base.batch else []
        shown += [c.text if c.python or c.rank else aligned(c, lead).text for c in codes]
        shown += [self._slot_text(s) for s in rest if isinstance(s, SliceOf)]
        while shown and shown[-1] == ":":
            shown.pop()
        text = f"{base.at(ATOM)}[{', '.join(shown)}]"
        return Code(text, ATOM, where.batch, where.axes, where.rank, base.kind)
