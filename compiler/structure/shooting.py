"""Hard equations that give the states of a rollout, one after the other (multiple shooting).

`subject to next[t] : s[t+1] == f(s[t], a[t])` with `subject to first : s[0] == s0` says of unknown states
what `let s[t+1] = f(s[t], a[t])` says of named values (Bock & Plitt 1984). Such equations are read as that
recurrence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.graph import Limit
from ebmlang.compiler.indexing import Affine, affine, pick
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Tie
from ebmlang.compiler.structure.pieces import pieces
from ebmlang.compiler.typed import (
    Axis,
    Carry,
    Expr,
    Level,
    Pick,
    Position,
    Read,
    Scan,
    SliceOf,
    State,
    Variable,
)
from ebmlang.compiler.types import Type


@dataclass(frozen=True, slots=True)
class Steps:
    """A recurrence of states under one array of actions; `ties` are the equations that it was read from,
    which no longer count as constraints. There are none where states are named values."""

    scan: Scan
    action: Variable
    ties: tuple[Tie, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the ties."""
        return tuple(tie.name for tie in self.ties)


@dataclass(slots=True)
class _Cells:
    """What equations say of one array: the cells at t + 1, and at 0. The key is the number of an entry of the
    cell, None for all of it."""

    after: dict[int | None, Expr] = field(default_factory=dict)
    first: dict[int | None, Expr] = field(default_factory=dict)


def steps_in_equations(block: Block) -> Steps | None:
    """The recurrence that equations of the block stand for, if every sought array but one follows from it."""
    arrays = {v.name: v for v in block.sought if v.type.kind == "real" and v.type.shape}
    if len(block.sought) < 2 or len(arrays) < len(block.sought) or _lets(block):
        return None
    axis = _axis(block)
    if axis is None:
        return None
    found: dict[str, _Cells] = {}
    ties = []
    for limit in block.limits:
        if limit.relation != "==" or limit.mask is not None:
            continue
        tie = _read(block, limit, axis, arrays, found)
        if tie is not None:
            ties.append(tie)
    actions = [v for v in block.sought if v.name not in found]
    states = [_state(arrays[name], axis, cells) for name, cells in found.items()]
    if len(actions) != 1 or not states or any(s is None for s in states):
        return None
    made = tuple(s for s in states if s is not None)
    scan = Scan(
        arrays[made[0].name].type, (), Level.EXAMPLE, False, made[0].body.span, axis, made, 0, False, False
    )
    whole = _as_steps(scan)
    return None if whole is None else Steps(whole, actions[0], tuple(ties))


def _lets(block: Block) -> bool:
    """Whether named values that depend on the block stand in its energy or constraints."""
    parts = [s.value for s in block.touching] + [c.value for c in block.limits]
    names = frozenset().union(*map(typed.reads, parts))
    return any(name in block.graph.lets and block.depends.reads(name) for name in names)


def _axis(block: Block) -> Axis | None:
    """The time: what the first plate of equations from 0 runs over."""
    for limit in block.limits:
        if limit.relation == "==" and len(limit.axes) == 1:
            (axis,) = limit.axes
            if axis.start == ZERO and axis.size is not None and axis.rows is None and axis.guard is None:
                return axis
    return None


def _read(
    block: Block, limit: Limit, axis: Axis, arrays: dict[str, Variable], found: dict[str, _Cells]
) -> Tie | None:
    """Enter what an equation says of a cell that nothing else has said; None where it does not."""
    own = limit.axes[0] if limit.axes else axis
    if len(limit.axes) > 1 or own.start != ZERO or own.size != axis.size or own.guard is not None:
        return None
    step = bool(limit.axes)
    form: Affine = (((own, 1),), ONE) if step else ((), ZERO)
    solved = _solved(limit.value, form, arrays)
    if solved is None:
        return None
    sign, cell, rest = solved
    assert isinstance(cell.base, Read)
    assert axis.size is not None
    name, entry = cell.base.name, _entry(cell)
    if arrays[name].type.shape[0] != axis.size + 1 or (not step and block.depends(rest)):
        return None
    if limit.value.type.shape != cell.type.shape:
        return None
    cells = found.get(name) or _Cells()
    table = cells.after if step else cells.first
    if entry in table or None in table or (entry is None and table):
        return None
    table[entry] = algebra.widened(_along(rest, own, axis), cell.type.shape)
    found[name] = cells
    return Tie(limit.name, name, entry, step, sign)


def _solved(value: Expr, form: Affine, arrays: dict[str, Variable]) -> tuple[int, Pick, Expr] | None:
    """`value == 0` as (sign, cell at this index, what it equals); None where it gives none, or two."""
    parts = pieces(value)
    at = [k for k, (_, part) in enumerate(parts) if _is_cell(part, form, arrays)]
    if len(at) != 1:
        return None
    sign, cell = parts[at[0]]
    assert isinstance(cell, Pick)
    rest: Expr | None = None
    for k, (own, part) in enumerate(parts):
        if k == at[0]:
            continue
        # sign * cell + own * part + ... == 0
        plus = own != sign
        if rest is None:
            rest = part if plus else algebra.elementwise("neg", part)
        else:
            rest = algebra.elementwise("add" if plus else "sub", rest, part)
    if rest is None:
        rest = algebra.constant(0.0, cell.span)
    return sign, cell, rest


def _is_cell(node: Expr, form: Affine, arrays: dict[str, Variable]) -> bool:
    """Whether a value is a cell of an array at this index, or one entry of a cell that is a vector."""
    if not (isinstance(node, Pick) and isinstance(node.base, Read) and node.base.name in arrays):
        return False
    first, *others = node.subscripts
    if not isinstance(first, Expr) or affine(first) != form:
        return False
    sizes = arrays[node.base.name].type.shape[1:]
    pairs = zip(others, sizes, strict=True) if len(others) == len(sizes) else None
    if pairs is None:
        return False
    if all(isinstance(s, SliceOf) and s.start == ZERO and s.stop == size for s, size in pairs):
        return True
    return len(sizes) == 1 and _entry(node) is not None


def _entry(cell: Pick) -> int | None:
    """The number of the entry that is picked of a cell; None for the whole cell."""
    match cell.subscripts[1:]:
        case (typed.SizeOf(size=size),):
            return size.constant
    return None


def _along(value: Expr, own: Axis, axis: Axis) -> Expr:
    """A value over the index of one plate as one over that of another."""
    if own is axis:
        return value

    def moved(node: Expr) -> Expr | None:
        if isinstance(node, Position) and node.axis is own:
            return Position(node.type, (axis,), node.level, node.coupled, node.span, axis, node.column)
        return None

    return typed.mapped(value, moved)


def _state(array: Variable, axis: Axis, cells: _Cells) -> State | None:
    """The state of a recurrence, once every entry of its cells is said."""
    shape = array.type.shape[1:]
    after, first = (
        _whole(cells.after, shape[0] if shape else ONE),
        _whole(cells.first, shape[0] if shape else ONE),
    )
    if after is None or first is None:
        return None
    return State(array.name, 0, 1, (first,), after)


def _whole(parts: dict[int | None, Expr], size: Size) -> Expr | None:
    """A cell, from what is said of it or of its entries; None where an entry is left out."""
    if None in parts:
        return parts[None]
    count = size.constant
    if not parts or count != len(parts):
        return None
    items = tuple(parts[k] for k in sorted(parts, key=lambda k: -1 if k is None else k))
    type_ = items[0].type.with_shape((size,))
    level, coupled = max(i.level for i in items), any(i.coupled for i in items)
    return typed.Pack(type_, typed.merge_axes(items), level, coupled, items[0].span, items)


def _as_steps(scan: Scan) -> Scan | None:
    """The recurrence with its states as carries; None where a step reads cells of other times."""
    types = {state.name: state.body.type for state in scan.states}
    missed = False

    def carried(node: Expr) -> Expr | None:
        nonlocal missed
        match node:
            case Pick(base=Read(name=name), subscripts=(first, *rest)) if name in types:
                now = isinstance(first, Expr) and affine(first) == (((scan.axis, 1),), ZERO)
                # An entry that is read may be chosen by nothing that moves.
                moving = any(typed.reads(s) & types.keys() for s in rest if isinstance(s, Expr))
                missed = missed or not now or moving
                return _cell(types[name], node, scan.axis, name, tuple(rest))
            case Read(name=name) if name in types:
                missed = True
                return node
        return None

    states = tuple(
        State(s.name, s.dim, s.offset, s.starts, typed.mapped(s.body, carried)) for s in scan.states
    )
    made = Scan(scan.type, (), scan.level, False, scan.span, scan.axis, states, 0, False, False)
    return None if missed else typed.settled(made)


def _cell(cell: Type, node: Pick, axis: Axis, name: str, rest: tuple[typed.Subscript, ...]) -> Expr:
    """What the subscripts of other dimensions select of a state."""
    carry = Carry(cell, (), Level.EXAMPLE, False, node.span, axis, name, 0, 0)
    sizes = zip(rest, cell.shape, strict=False)
    whole = len(rest) == len(cell.shape) and all(
        isinstance(s, SliceOf) and s.start == ZERO and s.stop == size for s, size in sizes
    )
    return carry if whole else pick(carry, rest, node.span)
