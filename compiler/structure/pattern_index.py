"""Integer expressions and guards of a program as index expressions and conditions."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.couplings import ROWS, Atom, Computed, Condition, Index, Running, Slot, Table, as_index
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.typed import Apply, Axis, Expr, NewAxis, Pick, SliceOf

ROW = Running(ROWS, ZERO, Size.of(ROWS))
"""The example that a value belongs to."""

EXAMPLE = as_index(ROW)

_COMPUTED = frozenset({"floordiv", "mod", "abs", "maximum", "minimum"})
_COMPARED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
"""Comparisons, with what holds where they do not."""


@dataclass(slots=True)
class Indices:
    """Translates what is computed from indices, sizes and given arrays.

    Dimensions of a value are `Slot`s. None stands for what has no translation.
    """

    block: Block
    _axes: dict[int, Running] = field(default_factory=dict)

    def running(self, axis: Axis) -> Running:
        """The index that stands for an axis; over the rows of a list it counts the rows."""
        found = self._axes.get(axis.order)
        if found is None:
            if axis.rows is not None:
                name, start, size = " ".join(axis.names), ZERO, axis.rows.type.shape[0]
            else:
                assert axis.size is not None
                name, start, size = axis.names[0], axis.start, axis.size
            found = self._axes[axis.order] = Running(name, start, size, axis.order + 1)
        return found

    def position(self, node: typed.Position) -> Index | None:
        axis = node.axis
        if axis.guard is not None:
            return None
        if axis.rows is None:
            return as_index(self.running(axis))
        rows = self(axis.rows)
        if rows is None:
            return None
        return rows.replaced({Slot(0): as_index(self.running(axis)), Slot(1): as_index(node.column)})

    def __call__(self, node: Expr) -> Index | None:
        if self.block.depends(node):
            return None
        match node:
            case typed.SizeOf(size=size):
                return as_index(size)
            case typed.Constant(value=value) if float(value).is_integer():
                return as_index(int(value))
            case typed.Position():
                return self.position(node)
            case typed.Read(name=name) if name in self.block.graph.lets:
                return self(self.block.graph.lets[name].value)
            case typed.Read():
                return self._table(node)
            case Pick():
                base, values = self(node.base), self.subscripts(node)
                if base is None or any(v is None for v in values):
                    return None
                return base.replaced({Slot(k): v for k, v in enumerate(values) if v is not None})
            case Apply():
                return self._apply(node)
            case typed.Tabulate():
                return self._tabulated(node)
        return None

    def _table(self, node: typed.Read) -> Index | None:
        variable = self.block.graph.model.variable(node.name)
        if variable is None or (variable.role == "hyper" and variable.type.scalar):
            return None
        first = (EXAMPLE,) if variable.per_example else ()
        return as_index(Table(node.name, (*first, *(as_index(Slot(k)) for k in range(node.type.rank)))))

    def _apply(self, node: Apply) -> Index | None:
        parts = [self.stretched(self(a), a, node) for a in node.arguments]
        if any(p is None for p in parts):
            return None
        known = [p for p in parts if p is not None]
        match node.function, known:
            case "add", [a, b]:
                return a + b
            case "sub", [a, b]:
                return a - b
            case "neg", [a]:
                return a * -1
            case "mul", [a, b]:
                for x, y in ((a, b), (b, a)):
                    if x.constant is not None:
                        return y * x.constant
                return as_index(Computed("mul", (a, b)))
        if node.function in _COMPUTED and node.type.integral:
            return as_index(Computed(node.function, tuple(known)))
        return None

    def _tabulated(self, node: typed.Tabulate) -> Index | None:
        body = self(node.body)
        count = len(node.over)
        if body is None:
            return None
        values: dict[Atom, Index] = {Slot(k): as_index(Slot(k + count)) for k in range(node.body.type.rank)}
        for k, axis in enumerate(node.over):
            values[self.running(axis)] = as_index(Slot(k)) + axis.start
        return body.replaced(values)

    def stretched(self, value: Index | None, operand: Expr, result: Expr) -> Index | None:
        """An operand's entry at an entry of the result that it is stretched to."""
        if value is None:
            return None
        return value.replaced(stretching(operand, result))

    def subscripts(self, node: Pick) -> list[Index | None]:
        """For each dimension of the base the entry that is read; None where it cannot be told."""
        values: list[Index | None] = []
        place = 0
        for s in node.subscripts:
            match s:
                case NewAxis():
                    place += 1
                case SliceOf(start=start):
                    values.append(as_index(Slot(place)) + start)
                    place += 1
                case _:
                    assert isinstance(s, Expr)
                    value = self(s)
                    if value is not None and place:
                        shifts: dict[Atom, Index] = {
                            Slot(k): as_index(Slot(k + place)) for k in range(s.type.rank)
                        }
                        value = value.replaced(shifts)
                    values.append(value)
                    place += s.type.rank
        return values

    # --- guards ---

    def conditions(self, guard: Expr | None) -> tuple[Condition, ...]:
        """Conditions that hold wherever the guard does. What has no translation is left out."""
        if guard is None or self.block.depends(guard):
            return ()
        match guard:
            case Apply(function="and", arguments=(a, b)):
                return (*self.conditions(a), *self.conditions(b))
            case Apply(function="not", arguments=(a,)):
                inner = self.conditions(a)
                whole = not isinstance(a, Apply) or a.function in _COMPARED
                return (_opposite(inner[0]),) if whole and len(inner) == 1 else ()
            case Apply(function=op, arguments=(a, b)) if op in _COMPARED:
                return self._compared(op, a, b)
            case typed.Read() | Pick() if guard.type.kind == "bool":
                value = self(guard)
                return () if value is None else (Condition("ne", value, 0),)
        return ()

    def _compared(self, op: str, a: Expr, b: Expr) -> tuple[Condition, ...]:
        reals = [x for x in (a, b) if x.type.kind == "real"]
        if any(isinstance(x, Apply) for x in reals):
            return ()  # rounded arithmetic may decide otherwise than exact numbers do
        left, right = self(a), self(b)
        if left is not None and right is not None:
            return (Condition(op, left - right, 0),)
        if left is not None and isinstance(b, typed.Constant):
            return (Condition(op, left, float(b.value)),)
        return ()


def _opposite(condition: Condition) -> Condition:
    return Condition(_COMPARED[condition.op], condition.left, condition.right)


def stretching(operand: Expr, result: Expr) -> dict[Atom, Index]:
    """Where an operand of size 1 is stretched, its only entry is read."""
    if operand.type.rank != result.type.rank:
        return {}
    return {
        Slot(k): as_index(0)
        for k, (own, whole) in enumerate(zip(operand.type.shape, result.type.shape, strict=True))
        if own == ONE and whole != ONE
    }


__all__ = ["EXAMPLE", "ROW", "Indices", "stretching"]
