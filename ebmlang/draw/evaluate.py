"""Plate indices and subscripts as plain integers, for small graphs that are drawn in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from ebmlang.compiler import notation, typed
from ebmlang.compiler.sizes import Size, SizeError
from ebmlang.compiler.typed import Apply, Axes, Axis, Constant, Expr, Level, Pick, Position, Read, SizeOf
from ebmlang.draw.frames import conjuncts
from ebmlang.errors import DataError

MOST_POSITIONS = 100_000
"""Positions of one plate that are looked at."""

Number = int | float | bool
At = Mapping[Axis, tuple[int, ...]]
"""The value of every index of the plates around an expression."""


class NotKnown(Exception):
    """The value depends on something that has no value here; `name` says what, where it is one thing."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        super().__init__(name)


_OPERATIONS: dict[str, Callable[..., Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "pow": lambda a, b: a**b,
    "neg": lambda a: -a,
    "abs": abs,
    "minimum": min,
    "maximum": max,
    "clamp": lambda x, low, high: min(max(x, low), high),
    "where": lambda condition, a, b: a if condition else b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "not": lambda a: not a,
}


@dataclass(frozen=True, slots=True)
class Values:
    """The sizes, the hyperparameters and the arrays that are known."""

    sizes: Mapping[str, int]
    numbers: Mapping[str, Number]
    arrays: Mapping[str, Any]

    def size(self, size: Size) -> int:
        """Raises DataError for a size without a value."""
        try:
            return size.evaluate(self.sizes)
        except KeyError as error:
            name = error.args[0]
            raise DataError(f"the size `{name}` has no value", f"--set {name}=6") from None
        except SizeError as error:
            raise DataError(f"the size {size} cannot be computed: {error}", "other values of --set") from None

    def number(self, node: Expr, at: At) -> Number:
        """The value of a scalar expression. Raises NotKnown."""
        match node:
            case Constant(value=value):
                return value
            case SizeOf(size=size):
                return self.size(size)
            case Position(axis=axis, column=column) if axis in at:
                return at[axis][column]
            case Read(name=name) if name in self.numbers:
                return self.numbers[name]
            case Read(name=name) if name in self.arrays and node.type.scalar:
                return _plain(self.arrays[name])
            case Read(name=name):
                raise NotKnown(name)
            case Pick(base=Read(name=name), subscripts=parts):
                if name not in self.arrays:
                    raise NotKnown(name)
                index = tuple(int(self.number(p, at)) for p in parts if isinstance(p, Expr))
                if len(index) != len(parts):
                    raise NotKnown
                return _plain(self.arrays[name][index])
            case Apply(function=function, arguments=arguments) if function in _OPERATIONS:
                operands = [self.number(a, at) for a in arguments]
                try:
                    return _OPERATIONS[function](*operands)
                except (ArithmeticError, TypeError):
                    raise NotKnown from None
        raise NotKnown

    def positions(self, axes: Axes, guard: Expr | None, around: At) -> Iterator[dict[Axis, tuple[int, ...]]]:
        """Every position of plates where the guard is true, around it what is fixed already.

        A condition that differs by example counts as true. Raises DataError when there are too
        many, or when they depend on data that is not given.
        """
        count = prod(self._count(axis) for axis in axes)
        if count > MOST_POSITIONS:
            where = ", ".join(map(str, axes))
            raise DataError(
                f"{count:,} positions of {where} are too many to draw", "smaller sizes with --set"
            )
        conditions = [c for c in conjuncts(guard) if c.level is not Level.EXAMPLE]
        for rows in product(*(self._rows(axis) for axis in axes)):
            at = {**around, **dict(zip(axes, rows, strict=True))}
            if all(self._holds(c, at) for c in conditions):
                yield at

    def _count(self, axis: Axis) -> int:
        """How many positions an axis has. Raises DataError for a list that is not given."""
        if axis.rows is None:
            assert axis.size is not None
            return max(self.size(axis.size), 0)
        if isinstance(axis.rows, Read) and axis.rows.name in self.arrays:
            return len(self.arrays[axis.rows.name])
        names = ", ".join(f"`{n}`" for n in sorted(typed.reads(axis.rows) - self.arrays.keys()))
        shown = names or notation.text(axis.rows)
        raise DataError(
            f"the plate {axis} runs over {shown}, which has no value", "--data FILE, or leave out --unroll"
        )

    def _rows(self, axis: Axis) -> list[tuple[int, ...]]:
        if isinstance(axis.rows, Read):
            found = self.arrays[axis.rows.name]
            return [tuple(int(v) for v in (row if len(axis.names) > 1 else [row])) for row in found]
        start = self.size(axis.start)
        return [(start + i,) for i in range(self._count(axis))]

    def _holds(self, condition: Expr, at: At) -> bool:
        try:
            return bool(self.number(condition, at))
        except NotKnown as error:
            shown = f"`{error.name}`, which has no value" if error.name else "what is only known when it runs"
            raise DataError(
                f"the guard {notation.text(condition)} reads {shown}", "--data FILE, or leave out --unroll"
            ) from None


def _plain(value: Any) -> Number:
    found: Number = value.item() if callable(getattr(value, "item", None)) else value
    return found
