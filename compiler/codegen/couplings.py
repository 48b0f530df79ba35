"""The table of couplings in a generated module: which entries the Hessian may have."""

from __future__ import annotations

from collections.abc import Callable

from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.couplings import (
    ROWS,
    Atom,
    Computed,
    Condition,
    Coupling,
    Entry,
    Index,
    LiftedPattern,
    Running,
    Slot,
    Table,
)
from ebmlang.compiler.sizes import ZERO, Size

WIDTH = 100


def couplings_table(pattern: LiftedPattern, size: Callable[[Size], str]) -> list[str]:
    """Lines that build the pattern again; `size` writes a size."""
    running = tuple(dict.fromkeys(r for c in pattern.couplings for r in c.running()))
    writer = _Writer(size, _names(running))
    lines = [f"{writer.names[r]} = {writer.running(r)}" for r in running]
    if lines:
        lines.append("")
    lines += ["COUPLINGS = LiftedPattern(", "    ("]
    lines += [line for c in pattern.couplings for line in writer.coupling(c)]
    lines += ["    ),", f"    along={pattern.along!r},", ")"]
    return lines if pattern.couplings else [f"COUPLINGS = LiftedPattern((), along={pattern.along!r})"]


def _names(running: tuple[Running, ...]) -> dict[Running, str]:
    """A Python name for each index: `at_t`, and `at_t_2` for another one called t."""
    names: dict[Running, str] = {}
    taken: dict[str, int] = {}
    for index in running:
        stem = "at_example" if index.name == ROWS else f"at_{local_name(index.name.replace(' ', '_'))}"
        taken[stem] = taken.get(stem, 0) + 1
        # Two underscores: no index of a program that ends in _2 can meet it.
        names[index] = stem if taken[stem] == 1 else f"{stem}__{taken[stem]}"
    return names


class _Writer:
    """Writes indices as Python."""

    def __init__(self, size: Callable[[Size], str], names: dict[Running, str]) -> None:
        self.size = size
        self.names = names

    def running(self, index: Running) -> str:
        number = f", {index.number}" if index.number else ""
        if index.name == ROWS:
            return f"examples({index.number or ''})"
        return f"Running({index.name!r}, {self.size(index.start)}, {self.size(index.size)}{number})"

    def coupling(self, coupling: Coupling) -> list[str]:
        """One line, or one for each part where that would be long."""
        where = [self.condition(c) for c in coupling.where]
        parts = [repr(coupling.term), self.entry(coupling.first), self.entry(coupling.second)]
        if where:
            parts.append(f"({', '.join(where)},)")
        line = f"        Coupling({', '.join(parts)}),"
        if len(line) <= WIDTH:
            return [line]
        lines = [f"            {part}," for part in parts[:3]]
        if where and len(parts[3]) <= WIDTH - 13:
            lines.append(f"            {parts[3]},")
        elif where:
            lines += ["            (", *(f"                {c}," for c in where), "            ),"]
        return ["        Coupling(", *lines, "        ),"]

    def entry(self, entry: Entry) -> str:
        return f"entry({', '.join([repr(entry.variable), *(self.index(i) for i in entry.index)])})"

    def condition(self, condition: Condition) -> str:
        return f"Condition({condition.op!r}, as_index({self.index(condition.left)}), {condition.right!r})"

    def index(self, index: Index) -> str:
        parts = [self.atom(a) + (f" * {c}" if c != 1 else "") for a, c in index.terms]
        if index.rest != ZERO or not parts:
            constant = index.rest.constant
            parts.append(self.size(index.rest) if constant is None else str(constant))
        return " + ".join(parts)

    def atom(self, atom: Atom) -> str:
        match atom:
            case Running():
                return self.names[atom]
            case Table(name=name, arguments=arguments):
                return f"table({', '.join([repr(name), *(self.index(a) for a in arguments)])})"
            case Computed(function=function, arguments=arguments):
                return f"computed({', '.join([repr(function), *(self.index(a) for a in arguments)])})"
            case Slot():
                raise AssertionError("a slot is left in a coupling")
