"""Which entries of the unknowns an energy couples, for plates of any size.

A coupling names two entries by index expressions, as in x[t] and x[t + 1], and holds for every value
of the indices that run in them. Two entries that no coupling names do not meet: the energy is a sum
of functions each of which reads only one of them, so that its mixed second derivative is 0.

The classes are data that generated modules hold and binding evaluates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ebmlang.compiler.sizes import ZERO, Size

ROWS = "examples of the batch"
"""The size that stands for the number of examples; no name in a program has spaces."""


@dataclass(frozen=True, slots=True)
class Running:
    """An index that takes every value start .. start + size - 1.

    `number` tells indices of one name apart. A `bound` one belongs to one reading of an entry: a second
    reading runs over it independently.
    """

    name: str
    start: Size
    size: Size
    number: int = 0
    bound: bool = False

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: Operand) -> Index:
        return as_index(self) + other

    def __sub__(self, other: Operand) -> Index:
        return as_index(self) - other

    def __mul__(self, factor: int) -> Index:
        return as_index(self) * factor


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of dimension `number` of an array value, before an index is put there."""

    number: int

    def __str__(self) -> str:
        return f"_{self.number}"


@dataclass(frozen=True, slots=True)
class Table:
    """An entry of a given array. That of a value that differs by example begins with the example."""

    name: str
    arguments: tuple[Index, ...]

    def __str__(self) -> str:
        # A column of the list that a plate runs over has the name that the plate gives it.
        match self.arguments:
            case (Index(terms=((Running(name=names), 1),)), Index() as column) if " " in names:
                if names != ROWS and column.constant is not None:
                    return names.split()[column.constant]
        shown = [str(a) for a in self.arguments if str(a) != ROWS]
        return f"{self.name}[{', '.join(shown)}]" if shown else self.name


@dataclass(frozen=True, slots=True)
class Computed:
    """A function of whole numbers: floordiv, mod, mul, abs, maximum, minimum."""

    function: str
    arguments: tuple[Index, ...]

    def __str__(self) -> str:
        shown = [str(a) for a in self.arguments]
        sign = {"floordiv": "//", "mod": "%", "mul": "*"}.get(self.function)
        if sign is None:
            return f"{self.function}({', '.join(shown)})"
        return f" {sign} ".join(f"({s})" if " " in s else s for s in shown)


Atom: TypeAlias = "Running | Slot | Table | Computed"


@dataclass(frozen=True, slots=True)
class Index:
    """`sum of coefficient * atom + rest`, atoms in a fixed order, no zeros."""

    terms: tuple[tuple[Atom, int], ...]
    rest: Size

    @staticmethod
    def of(terms: Mapping[Atom, int], rest: Size) -> Index:
        kept = [(atom, c) for atom, c in terms.items() if c]
        if len(kept) > 1:
            kept.sort(key=lambda item: _order(item[0]))
        return Index(tuple(kept), rest)

    def __add__(self, other: Operand) -> Index:
        other = as_index(other)
        total = dict(self.terms)
        for atom, c in other.terms:
            total[atom] = total.get(atom, 0) + c
        return Index.of(total, self.rest + other.rest)

    def __mul__(self, factor: int) -> Index:
        return Index.of({atom: c * factor for atom, c in self.terms}, self.rest * factor)

    def __sub__(self, other: Operand) -> Index:
        return self + as_index(other) * -1

    @property
    def constant(self) -> int | None:
        """The value when nothing runs in it and no size is left, else None."""
        return None if self.terms else self.rest.constant

    @property
    def fixed(self) -> bool:
        """Whether nothing runs in it; it may still be a size such as T - 1."""
        return not self.terms

    def replaced(self, values: Mapping[Atom, Index]) -> Index:
        """The index with atoms replaced, also inside tables."""
        if not self.terms:
            return self
        total = Index((), self.rest)
        for atom, c in self.terms:
            total = total + _replaced(atom, values) * c
        return total

    def running(self) -> Iterator[Running | Slot]:
        """Every index that it depends on; some more than once."""
        for atom, _ in self.terms:
            if isinstance(atom, Running | Slot):
                yield atom
            else:
                for argument in atom.arguments:
                    yield from argument.running()

    def __str__(self) -> str:
        text = ""
        for atom, c in self.terms:
            body = str(atom) if abs(c) == 1 else f"{abs(c)} * {atom}"
            sign = "-" if c < 0 else "+"
            text += f" {sign} {body}" if text else f"-{body}" if c < 0 else body
        if not text:
            return str(self.rest)
        if self.rest == ZERO:
            return text
        rest = str(self.rest)
        return f"{text} - {rest[1:]}" if rest.startswith("-") else f"{text} + {rest}"


Operand: TypeAlias = "Index | Running | Slot | Table | Computed | Size | int"


def as_index(value: Operand) -> Index:
    if isinstance(value, Index):
        return value
    if isinstance(value, int):
        return Index((), Size.of(value))
    if isinstance(value, Size):
        return Index((), value)
    return Index(((value, 1),), ZERO)


def _order(atom: Atom) -> tuple[str, int]:
    return (str(atom), atom.number if isinstance(atom, Running) else 0)


def _replaced(atom: Atom, values: Mapping[Atom, Index]) -> Index:
    found = values.get(atom)
    if found is not None:
        return found
    match atom:
        case Table():
            return as_index(Table(atom.name, tuple(a.replaced(values) for a in atom.arguments)))
        case Computed():
            return as_index(Computed(atom.function, tuple(a.replaced(values) for a in atom.arguments)))
    return as_index(atom)


@dataclass(frozen=True, slots=True)
class Condition:
    """`left OP right`, where an entry or a coupling counts; OP is lt, le, gt, ge, eq or ne."""

    op: str
    left: Index
    right: float = 0

    def replaced(self, values: Mapping[Atom, Index]) -> Condition:
        return Condition(self.op, self.left.replaced(values), self.right)

    @property
    def known(self) -> bool | None:
        """Whether it holds, where that does not depend on any index or size."""
        value = self.left.constant
        return None if value is None else holds(self.op, value, self.right)


def holds(op: str, left: float, right: float) -> bool:
    return {
        "lt": left < right, "le": left <= right, "gt": left > right,
        "ge": left >= right, "eq": left == right, "ne": left != right,
    }[op]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a sought variable, where all conditions hold."""

    variable: str
    index: tuple[Index, ...]
    where: tuple[Condition, ...] = ()

    def replaced(self, values: Mapping[Atom, Index]) -> Entry | None:
        """The entry with indices replaced; None when a condition fails for certain."""
        where = tuple(c.replaced(values) for c in self.where)
        if any(c.known is False for c in where):
            return None
        kept = tuple(c for c in where if c.known is None)
        return Entry(self.variable, tuple(i.replaced(values) for i in self.index), kept)

    def under(self, conditions: tuple[Condition, ...]) -> Entry:
        return Entry(self.variable, self.index, tuple(dict.fromkeys((*self.where, *conditions))))

    def running(self) -> Iterator[Running | Slot]:
        for index in self.index:
            yield from index.running()
        for condition in self.where:
            yield from condition.left.running()

    def __str__(self) -> str:
        shown = [str(i) for i in self.index if str(i) != ROWS]
        return f"{self.variable}[{', '.join(shown)}]" if shown else self.variable


@dataclass(frozen=True, slots=True)
class Coupling:
    """Two entries that a term couples, for all values of the indices that run in them."""

    term: str
    first: Entry
    second: Entry
    where: tuple[Condition, ...] = ()

    @property
    def diagonal(self) -> bool:
        """Whether both are the same entry."""
        return self.first.variable == self.second.variable and self.first.index == self.second.index

    def running(self) -> tuple[Running, ...]:
        """Every index that runs in it, in order of appearance."""
        parts = [self.first.running(), self.second.running()]
        parts += [c.left.running() for c in self.where]
        return tuple(dict.fromkeys(r for part in parts for r in part if isinstance(r, Running)))


@dataclass(frozen=True, slots=True)
class LiftedPattern:
    """The sparsity of a Hessian: every pair of entries that may have a mixed second derivative.

    `along` names dimensions of each variable of a chain: couplings of these variables have distance 0 in all
    but the last one, and a constant distance in that. The others stand beside it. Empty without a chain.
    """

    couplings: tuple[Coupling, ...]
    along: tuple[tuple[str, tuple[int, ...]], ...] = ()


def entry(variable: str, *index: Operand) -> Entry:
    """An entry as generated modules spell it."""
    return Entry(variable, tuple(as_index(i) for i in index))


def table(name: str, *arguments: Operand) -> Index:
    """An entry of a given array as generated modules spell it."""
    return as_index(Table(name, tuple(as_index(a) for a in arguments)))


def computed(function: str, *arguments: Operand) -> Index:
    """A function of whole numbers as generated modules spell it."""
    return as_index(Computed(function, tuple(as_index(a) for a in arguments)))


def examples(number: int = 0) -> Running:
    """The index that runs over the examples of the batch."""
    return Running(ROWS, ZERO, Size.of(ROWS), number)
