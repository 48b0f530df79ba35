"""Couplings evaluated: for all values of their indices at once, the coordinates that they join."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebmlang.compiler.couplings import ROWS, Atom, Computed, Condition, Coupling, Entry, Index, Running, Table
from ebmlang.compiler.sizes import Size
from ebmlang.runtime.space import Space

Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]

_ROUNDING = 1e-6
"""Comparisons with numbers that are not whole hold up to this: the energy compares in its own precision."""


class Unlistable(Exception):
    """Couplings that are too many to list, or that need data which is not there."""


@dataclass(frozen=True, slots=True)
class Places:
    """The coordinates of entries in one row of a space. `sizes` and `tables` hold the numbers by name."""

    sizes: Mapping[str, int]
    tables: Mapping[str, Numbers]
    space: Space

    def size(self, size: Size) -> int:
        return size.evaluate({**self.sizes, ROWS: self.space.batch})

    def count(self, coupling: Coupling) -> int:
        """How many pairs a coupling stands for, before conditions."""
        return math.prod(max(self.size(r.size), 0) for r in coupling.running())

    def pairs(self, coupling: Coupling) -> tuple[Indices, Indices]:
        """The coordinates of both entries, for every value of the indices that meets the conditions."""
        running = coupling.running()
        grid: dict[Running, Numbers] = {}
        for k, r in enumerate(running):
            start = self.size(r.start)
            values = np.arange(start, start + max(self.size(r.size), 0), dtype=np.int64)
            grid[r] = values.reshape([-1 if k == j else 1 for j in range(len(running))])
        evaluation = _Evaluation(self, grid)
        kept = np.ones((1,) * len(running), dtype=np.bool_)
        for condition in coupling.where:
            kept = kept & evaluation.holds(condition)
        first, inside = evaluation.coordinate(coupling.first)
        second, within = evaluation.coordinate(coupling.second)
        shape = tuple(max(self.size(r.size), 0) for r in running)
        mask = np.broadcast_to(kept & inside & within, shape)
        return np.broadcast_to(first, shape)[mask], np.broadcast_to(second, shape)[mask]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Index expressions over a grid of index values; each value comes with where it is defined."""

    places: Places
    grid: Mapping[Running, Numbers]

    def coordinate(self, entry: Entry) -> tuple[Indices, npt.NDArray[np.bool_]]:
        """The flat coordinate of an entry, and where the entry exists."""
        space = self.places.space
        at = next(k for k, u in enumerate(space.unknowns) if u.name == entry.variable)
        shape = space.row_shapes[at]
        # A joint space keeps what all examples share as one row.
        index = [self.index(i) for i in entry.index]
        flat = np.asarray(0, dtype=np.int64)
        good = np.asarray(True)
        for (value, defined), size in zip(index, shape[len(shape) - len(index) :], strict=True):
            flat = flat * size + value
            good = good & defined & (value >= 0) & (value < size)
        return flat + sum(space.sizes[:at]), good

    def index(self, index: Index) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        total: Numbers = np.asarray(self.places.size(index.rest), dtype=np.int64)
        good = np.asarray(True)
        for atom, c in index.terms:
            value, defined = self.atom(atom)
            total = total + c * value
            good = good & defined
        return total, good

    def atom(self, atom: Atom) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        match atom:
            case Running():
                return self.grid[atom], np.asarray(True)
            case Table():
                return self.entry_of(atom)
            case Computed():
                return self.computed(atom)
        raise AssertionError("a slot is left in a coupling")

    def entry_of(self, table: Table) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        try:
            array = self.places.tables[table.name]
        except KeyError:
            raise Unlistable from None
        indices = []
        good = np.asarray(True)
        for k, argument in enumerate(table.arguments):
            value, defined = self.index(argument)
            size = array.shape[k]
            # One row that stands for every example.
            if k == 0 and size == 1 and _over_examples(argument):
                value = np.zeros_like(value)
            inside = (value >= 0) & (value < size)
            indices.append(np.where(inside, value, 0).astype(np.int64))
            good = good & defined & inside
        if any(size == 0 for size in array.shape):
            return np.asarray(0), np.asarray(False)
        found = array[tuple(indices)]
        return found.astype(np.float64 if found.dtype.kind == "f" else np.int64), good

    def computed(self, node: Computed) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        parts = [self.index(a) for a in node.arguments]
        values = [p[0] for p in parts]
        good = np.asarray(True)
        for _, defined in parts:
            good = good & defined
        match node.function, values:
            case "mul", [a, b]:
                return a * b, good
            case "abs", [a]:
                return np.abs(a), good
            case "maximum", [a, b]:
                return np.maximum(a, b), good
            case "minimum", [a, b]:
                return np.minimum(a, b), good
            case "floordiv" | "mod", [a, b]:
                divisor = np.where(b == 0, 1, b)
                result = a // divisor if node.function == "floordiv" else a % divisor
                return result, good & (b != 0)
        raise AssertionError(f"no rule for {node.function}")

    def holds(self, condition: Condition) -> npt.NDArray[np.bool_]:
        """Where a condition may hold. What cannot be compared counts as holding."""
        left, defined = self.index(condition.left)
        right = condition.right
        slack = 0.0 if float(right).is_integer() else _ROUNDING * (1.0 + abs(right))
        with np.errstate(invalid="ignore"):
            match condition.op:
                case "lt" | "le":
                    found = left < right + slack if condition.op == "lt" else left <= right + slack
                case "gt" | "ge":
                    found = left > right - slack if condition.op == "gt" else left >= right - slack
                case "eq":
                    found = np.abs(left - right) <= slack
                case _:
                    found = (left != right) | (slack > 0)
            return np.asarray(defined & (found | np.isnan(left)))


def _over_examples(index: Index) -> bool:
    return len(index.terms) == 1 and isinstance(index.terms[0][0], Running) and index.terms[0][0].name == ROWS
