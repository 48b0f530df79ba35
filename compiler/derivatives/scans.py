"""Derivatives of recurrences, as recurrences: one loop more, never a loop written out.

The gradient along the cells of s[t+1] = f(s[t], ...) runs against the recurrence: with `G` what the total
changes by along each cell by itself, slope[t] = G[t] + (df/ds[t])' slope[t+1] (Bryson & Ho 1975, chapter 2;
Griewank & Walther 2008, section 3.2). Everything else that a step reads gets its share from all slopes at
once, outside of the loop. The change along a direction runs with the recurrence. What a step multiplies
slopes and changes with is read from the arrays of states, so that it is computed for all steps together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ebmlang.compiler import notation, typed
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.algebra import NoDerivativeError, widened
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.lifting import array_type, first_cell, in_one_step
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Axis, Carry, Expr, Level, Position, Read, Scan, SizeOf, SliceOf, State
from ebmlang.compiler.types import INT, REAL

Canonical = Callable[[Expr], Expr]
Key = tuple[object, ...]
Cell = tuple[str, int]
"""A state, and the offset at which a step reads it."""

_FAR = 2**40
_ROLES = {"slope": 0, "share": 1, "change": 2}


@lru_cache(maxsize=4096)
def _axis(axis: Axis, role: str, number: int) -> Axis:
    """An axis of its own for a derivative; equal arguments give the same one, as nodes ask by identity."""
    return replace(axis, order=_FAR + (axis.order * 4096 + number) * 4 + _ROLES[role])


def group_key(scan: Scan) -> Key:
    """Equal for the arrays that one loop computes."""
    return (scan.axis.order, scan.backward, *(id(c) for c in scan.children()))


def _at(axis: Axis, offset: Size | int, span: Span) -> Expr:
    """The index plus a size."""
    offset = Size.of(offset) if isinstance(offset, int) else offset
    position = Position(INT, (axis,), Level.CONSTANT, False, span, axis, 0)
    if offset == ZERO:
        return position
    value = offset.constant
    back = value is not None and value < 0
    size = SizeOf(INT, (), Level.CONSTANT, False, span, ZERO - offset if back else offset)
    function = "sub" if back else "add"
    return typed.Apply(INT, (axis,), Level.CONSTANT, False, span, function, (position, size))


def _cell(array: Expr, dim: int, index: Expr) -> Expr:
    subscripts: list[typed.Subscript] = [SliceOf(ZERO, size) for size in array.type.shape]
    subscripts[dim] = index
    return pick(array, tuple(subscripts), array.span)


def _zero(span: Span) -> Expr:
    return algebra.constant(0.0, span)


@dataclass(slots=True)
class Loop:
    """A recurrence that is differentiated: its arrays, and its steps over stand-ins for cells."""

    scan: Scan
    graph_lets: dict[str, typed.Let]
    canonical: Canonical
    number: int

    def __post_init__(self) -> None:
        if self.scan.axes or self.scan.axis.size is None:
            raise NoDerivativeError("a recurrence for every position of a plate")
        if any(s.body.type.kind != "real" for s in self.scan.states):
            raise NoDerivativeError("a recurrence of whole numbers")

    @property
    def span(self) -> Span:
        return self.scan.span

    def array(self, which: int) -> Expr:
        """The array of a state, by the name of its let where it is one."""
        state, node = self.scan.states[which], self.node(which)
        let = self.graph_lets.get(state.name)
        if let is not None and self.canonical(let.value) is node:
            return Read(node.type, node.axes, node.level, node.coupled, node.span, state.name)
        return node

    def node(self, which: int) -> Expr:
        """The recurrence of a state."""
        scan = self.scan
        if which == scan.which:
            return scan
        return self.canonical(replace(scan, type=array_type(scan, which), which=which))

    def which(self, name: str) -> int:
        return next(i for i, s in enumerate(self.scan.states) if s.name == name)

    def name_of(self, cell: Cell) -> str:
        """A name for one cell that no program can use."""
        return f"{cell[0]} at {cell[1]} in step {self.number} of {self.scan.axis.order}"

    def known_name(self, which: int) -> str:
        """A name for the array of a state as something that does not move."""
        return f"known {self.scan.states[which].name} in loop {self.number} of {self.scan.axis.order}"

    def over_axis(self, body: Expr, axis: Axis, carried: Callable[[Carry], Expr]) -> Expr:
        """A body over another axis, with something else in place of the cells it reads."""
        own = self.scan.axis
        for node in typed.walk(body):
            over = node.over if isinstance(node, typed.Fold | typed.Tabulate) else ()
            if any(own in a.parents or a.rows is not None for a in over if a is not own):
                raise NoDerivativeError("a reduction over what a recurrence selects")

        def change(node: Expr) -> Expr | None:
            if isinstance(node, Carry) and node.axis is own:
                return carried(node)
            if isinstance(node, Position) and node.axis is own:
                return replace(node, axis=axis, axes=(axis,))
            return None

        return self.canonical(typed.mapped(body, change))

    def stand_in(self, axis: Axis, node: Carry) -> Expr:
        """A cell as something to differentiate along: it differs from step to step."""
        name = self.name_of((node.name, node.offset))
        return Read(node.type, (axis,), self.scan.level, self.scan.coupled, node.span, name)

    def from_arrays(self, axis: Axis, arrays: Callable[[int], Expr]) -> Callable[[Carry], Expr]:
        """Cells as entries of arrays."""

        def read(node: Carry) -> Expr:
            return self.cell_of(arrays, axis, node)

        return read

    def cell_of(self, arrays: Callable[[int], Expr], axis: Axis, node: Carry) -> Expr:
        """A cell as an entry of the array of its state."""
        which = self.which(node.name)
        index = _at(axis, ZERO - first_cell(self.scan, which) + node.offset, node.span)
        return _cell(arrays(which), node.dim, index)


def cells_read(body: Expr, axis: Axis) -> dict[Cell, Carry]:
    found = (n for n in typed.walk(body) if isinstance(n, Carry) and n.axis is axis)
    return {(n.name, n.offset): n for n in found}


# --- against the recurrence ----------------------------------------------------------------------

LocalGradient = Callable[[list[tuple[Expr, Expr]], frozenset[str]], dict[str, list[Expr]]]
"""The gradient of a sum of `value * seed` along names."""


@dataclass(slots=True)
class LoopAdjoint:
    """The slopes along all cells of a recurrence, and what they seed."""

    loop: Loop
    depends: Dependence
    bodies: tuple[Expr, ...] = field(init=False)
    lifted: tuple[Expr, ...] = field(init=False)

    def __post_init__(self) -> None:
        loop = self.loop
        self.bodies = in_one_step(loop.scan)
        known = loop.from_arrays(self._share, self.known)
        self.lifted = tuple(loop.over_axis(body, self._share, known) for body in self.bodies)

    @property
    def _share(self) -> Axis:
        return _axis(self.loop.scan.axis, "share", self.loop.number)

    @property
    def _slope(self) -> Axis:
        return _axis(self.loop.scan.axis, "slope", self.loop.number)

    def known(self, which: int) -> Expr:
        """The array of a state that stands still: its slopes are accounted for by the loop."""
        array = self.loop.array(which)
        name = self.loop.known_name(which)
        return Read(array.type, array.axes, array.level, array.coupled, array.span, name)

    def operands(self) -> Iterator[Expr]:
        """What the recurrence is computed from, apart from its own cells."""
        for body in self.lifted:
            if self.depends(body):
                yield body
        for state in self.loop.scan.states:
            for start in state.starts:
                if self.depends(start):
                    yield self.loop.canonical(start)

    def shares(self, along: dict[int, Expr], gradient: LocalGradient) -> Iterator[tuple[Expr, Expr]]:
        """(operand, slope along it); `along` holds by state the derivative of the total along its array."""
        loop, scan = self.loop, self.loop.scan
        slopes = _Slopes(self, along, gradient)
        slopes.build()
        for which, state in enumerate(scan.states):
            body = self.lifted[which]
            if self.depends(body):
                seed = slopes.made_at(which, _at(self._share, self._offset_in(which), loop.span))
                yield body, loop.canonical(seed)
            for k, start in enumerate(state.starts):
                if self.depends(start):
                    yield loop.canonical(start), loop.canonical(slopes.of_start(which, k))

    def _offset_in(self, which: int) -> Size:
        return Size.of(self.loop.scan.states[which].offset)


@dataclass(slots=True)
class _Slopes:
    """Builds the loop of slopes. A state that no later step reads has the slopes it is given.

    A cell that is read several steps later gets those shares in an array of its own, one for each lag.
    """

    owner: LoopAdjoint
    along: dict[int, Expr]
    gradient: LocalGradient
    carried: dict[int, list[int]] = field(default_factory=dict)
    arrays: dict[Cell, Expr] = field(default_factory=dict)
    main: dict[int, Expr] = field(default_factory=dict)

    @property
    def scan(self) -> Scan:
        return self.owner.loop.scan

    def build(self) -> None:
        """Make the arrays of slopes."""
        loop, scan, axis = self.owner.loop, self.scan, self.owner._slope
        cells: dict[Cell, Carry] = {}
        for body in self.owner.bodies:
            cells |= cells_read(body, scan.axis)
        for (name, offset), _ in sorted(cells.items()):
            self.carried.setdefault(loop.which(name), []).append(offset)
        if not self.carried:
            return
        stand_in = lambda node: loop.stand_in(axis, node)  # noqa: E731
        bodies = [loop.over_axis(body, axis, stand_in) for body in self.owner.bodies]
        seeds = [(body, self._seed(which)) for which, body in enumerate(bodies)]
        names = {loop.name_of(cell): cell for cell in cells}
        found = self.gradient(seeds, frozenset(names))
        memo: dict[int, Expr] = {}
        parts = {
            cell: [typed.mapped(p, self._filled_in(names, cells), memo) for p in found.get(name, [])]
            for name, cell in names.items()
        }
        states = [self._state(which, parts) for which in self.carried]
        states += [s for which in self.carried for s in self._lagging(which, parts)]
        for k, state in enumerate(states):
            array = Scan(
                REAL, (), Level.CONSTANT, False, loop.span, axis, tuple(states), k, not scan.backward,
                scan.guarded,
            )  # fmt: skip
            made = typed.settled(replace(array, type=array_type(array, k)))
            self.arrays[state.name, state.offset] = loop.canonical(made)

    # --- where slopes are ---

    def _toward(self) -> int:
        return 1 if self.scan.backward else -1

    def _first(self, which: int) -> Size:
        """The first cell that the array of slopes holds."""
        count = len(self.scan.states[which].starts)
        return ZERO if self.scan.backward else Size.of(count - 1)

    def _slope_name(self, which: int) -> str:
        return f"{self.scan.states[which].name}_slope"

    def made_at(self, which: int, index: Expr) -> Expr:
        """The slope along the cell that a step makes, at the index plus the offset of the state."""
        state = self.scan.states[which]
        if which not in self.carried:
            return self._given(which, index)
        array = self.arrays[self._slope_name(which), state.offset + self._toward()]
        return _cell(array, state.dim, _shifted(index, ZERO - self._first(which)))

    def of_start(self, which: int, k: int) -> Expr:
        """The slope along a cell that the recurrence starts from."""
        scan, state, span = self.scan, self.scan.states[which], self.owner.loop.span
        assert scan.axis.size is not None
        cell = scan.axis.size + k if scan.backward else Size.of(k)
        here = algebra.size_of(cell, span)
        if which not in self.carried:
            return self._given(which, here)
        near = 0 if scan.backward else len(state.starts) - 1
        if k == near:
            return self.made_at(which, here)
        total = [self._given(which, here)]
        for offset in self._lags(which):
            made = scan.axis.start + offset
            first = ZERO if scan.backward else made
            behind = (made - cell + scan.axis.size - 1 if scan.backward else cell - made).constant
            inside = behind is not None and behind >= 0
            if inside:
                array = self.arrays[self._lag_name(which, offset), offset]
                total.append(_cell(array, state.dim, algebra.size_of(cell - first, span)))
        return algebra.total(total)

    def _given(self, which: int, index: Expr) -> Expr:
        """The derivative of the total along a cell by itself; a number where it is the same for all."""
        along = self.along.get(which)
        if along is None:
            return _zero(self.owner.loop.span)
        if along.type.scalar:
            return along
        shape = array_type(self.scan, which).shape
        return _cell(widened(along, shape), self.scan.states[which].dim, index)

    # --- states of the loop ---

    def _lags(self, which: int) -> list[int]:
        direct = self.scan.states[which].offset + self._toward()
        return [o for o in self.carried[which] if o != direct]

    def _lag_name(self, which: int, offset: int) -> str:
        return f"{self.scan.states[which].name}_slope_later_{self.carried[which].index(offset)}"

    def _seed(self, which: int) -> Expr:
        """The slope along the cell that a step makes, as a name or as it is given."""
        state, axis = self.scan.states[which], self.owner._slope
        if which not in self.carried:
            return self.owner.loop.canonical(self._given(which, _at(axis, state.offset, state.body.span)))
        name = self.owner.loop.name_of((self._slope_name(which), state.offset))
        level, coupled = self._level()
        return Read(state.body.type, (axis,), level, coupled, state.body.span, name)

    def _level(self) -> tuple[Level, bool]:
        parts = [self.scan, *self.along.values()]
        return max(p.level for p in parts), any(p.coupled for p in parts)

    def _filled_in(self, names: dict[str, Cell], cells: dict[Cell, Carry]) -> Callable[[Expr], Expr | None]:
        """Stand-ins as what they stand for: cells of the arrays, and carried slopes."""
        loop, axis = self.owner.loop, self.owner._slope
        level, coupled = self._level()
        slopes = {loop.name_of((self._slope_name(w), self.scan.states[w].offset)): w for w in self.carried}

        def change(node: Expr) -> Expr | None:
            if not isinstance(node, Read):
                return None
            if node.name in slopes:
                state = self.scan.states[slopes[node.name]]
                name = self._slope_name(slopes[node.name])
                return Carry(node.type, (), level, coupled, node.span, axis, name, state.offset, state.dim)
            if node.name in names:
                return loop.cell_of(self.owner.known, axis, cells[names[node.name]])
            return None

        return change

    def _state(self, which: int, parts: dict[Cell, list[Expr]]) -> State:
        state, axis = self.scan.states[which], self.owner._slope
        scan = self.scan
        shape, offset = state.body.type.shape, state.offset + self._toward()
        assert scan.axis.size is not None
        total = [self._given(which, _at(axis, offset, state.body.span)), *parts.get((state.name, offset), [])]
        level, coupled = self._level()
        for lag in self._lags(which):
            name = self._lag_name(which, lag)
            total.append(
                Carry(state.body.type, (), level, coupled, state.body.span, axis, name, offset, state.dim)
            )
        last = ZERO if scan.backward else scan.axis.start + scan.axis.size + offset
        start = self._given(which, algebra.size_of(last, state.body.span))
        canonical = self.owner.loop.canonical
        return State(
            self._slope_name(which), state.dim, offset, (canonical(widened(start, shape)),),
            canonical(widened(algebra.total(total), shape)),
        )  # fmt: skip

    def _lagging(self, which: int, parts: dict[Cell, list[Expr]]) -> Iterator[State]:
        state = self.scan.states[which]
        direct, shape = state.offset + self._toward(), state.body.type.shape
        for lag in self._lags(which):
            count = abs(direct - lag) + self.scan.backward
            nothing = widened(_zero(state.body.span), shape)
            found = parts.get((state.name, lag), [])
            body = widened(algebra.total(found), shape) if found else nothing
            canonical = self.owner.loop.canonical
            yield State(
                self._lag_name(which, lag), state.dim, lag, (canonical(nothing),) * count, canonical(body)
            )


def _shifted(index: Expr, by: Size) -> Expr:
    """An index plus a size."""
    if by == ZERO:
        return index
    match index:
        case SizeOf():
            return algebra.size_of(index.size + by, index.span)
        case Position(axis=axis):
            return _at(axis, by, index.span)
        case typed.Apply(function="add" | "sub" as op, arguments=(Position(axis=axis), SizeOf(size=size))):
            return _at(axis, size + by if op == "add" else by - size, index.span)
    raise AssertionError(notation.text(index))


# --- along a direction ---------------------------------------------------------------------------


def changed(
    loop: Loop,
    starts: Callable[[Expr], Expr],
    inside: Callable[[frozenset[str]], Callable[[Expr], Expr]],
    direction: Callable[[str], str],
) -> tuple[Expr, ...]:
    """The changes of all arrays of a recurrence. `inside` gives forward mode with names that move too;
    `direction` is what the change of a name is called."""
    scan = loop.scan
    axis = _axis(scan.axis, "change", loop.number)
    cells: dict[Cell, Carry] = {}
    for state in scan.states:
        cells |= cells_read(state.body, scan.axis)
    names = {loop.name_of(cell): cell for cell in cells}
    moving = {direction(name): cell for name, cell in names.items()}
    tangent = inside(frozenset(names))
    level = max(scan.level, Level.SHARED)
    read = loop.from_arrays(axis, loop.array)

    def filled_in(node: Expr) -> Expr | None:
        if not isinstance(node, Read):
            return None
        if node.name in moving:
            name, offset = moving[node.name]
            state = scan.states[loop.which(name)]
            own = f"{name}_change"
            return Carry(node.type, (), level, scan.coupled, node.span, axis, own, offset, state.dim)
        return read(cells[names[node.name]]) if node.name in names else None

    memo: dict[int, Expr] = {}
    states = []
    for state in scan.states:
        shape = state.body.type.shape
        body = loop.over_axis(state.body, axis, lambda node: loop.stand_in(axis, node))
        change = loop.canonical(widened(typed.mapped(tangent(body), filled_in, memo), shape))
        first = tuple(loop.canonical(widened(starts(s), shape)) for s in state.starts)
        states.append(State(f"{state.name}_change", state.dim, state.offset, first, change))
    return tuple(
        loop.canonical(
            typed.settled(
                Scan(
                    array_type(scan, which), (), Level.CONSTANT, False, scan.span, axis, tuple(states), which,
                    scan.backward, scan.guarded,
                )
            )
        )
        for which in range(len(states))
    )  # fmt: skip
