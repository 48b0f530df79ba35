"""Subscripts: the shape of what they select, and the proof that they stay inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ebmlang.compiler import typed
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Axis, Expr, Level
from ebmlang.compiler.types import Shape

Affine = tuple[tuple[tuple[Axis, int], ...], Size]
"""`sum of coefficient * index + rest` over range axes."""


def affine(node: Expr) -> Affine | None:
    """An integer expression as a linear form of plate indices, or None."""
    match node:
        case typed.SizeOf():
            return (), node.size
        case typed.Position() if node.axis.size is not None and node.axis.rows is None:
            return ((node.axis, 1),), ZERO
        case typed.Apply(function="add", arguments=(a, b)):
            return _sum(affine(a), affine(b), 1)
        case typed.Apply(function="sub", arguments=(a, b)):
            return _sum(affine(a), affine(b), -1)
        case typed.Apply(function="neg", arguments=(a,)):
            return _sum(((), ZERO), affine(a), -1)
        case typed.Apply(function="mul", arguments=(a, b)):
            return _product(affine(a), affine(b))
    return None


def _sum(a: Affine | None, b: Affine | None, sign: int) -> Affine | None:
    if a is None or b is None:
        return None
    total = dict(a[0])
    for axis, coefficient in b[0]:
        total[axis] = total.get(axis, 0) + sign * coefficient
    rest = a[1] + b[1] if sign > 0 else a[1] - b[1]
    return tuple((axis, c) for axis, c in total.items() if c), rest


def _product(a: Affine | None, b: Affine | None) -> Affine | None:
    if a is None or b is None:
        return None
    for left, right in ((a, b), (b, a)):
        factor = left[1].constant
        if not left[0] and factor is not None:
            return tuple((axis, c * factor) for axis, c in right[0] if c * factor), right[1] * factor
    return None


def _negative(form: Affine) -> Affine:
    return tuple((axis, -c) for axis, c in form[0]), -form[1]


def extent(form: Affine) -> tuple[Size, Size]:
    """The smallest and the largest value of a linear form, each index running over its range."""
    low = high = form[1]
    for axis, coefficient in form[0]:
        assert axis.size is not None
        last = axis.start + (axis.size - 1)
        low = low + (axis.start if coefficient > 0 else last) * coefficient
        high = high + (last if coefficient > 0 else axis.start) * coefficient
    return low, high


@lru_cache(maxsize=4096)
def misses(form: Affine, size: Size) -> tuple[str, bool] | None:
    """`(value reached, certain)` when a subscript may leave 0..size; None when it cannot."""
    low, high = extent(form)
    worst: tuple[str, bool] | None = None
    for value, room in ((low, low), (high, size - 1 - high)):
        inside = room.known_positive(0)
        if inside is False:
            return str(value), True
        if inside is None:
            worst = (str(value), False)
    return worst


# --- proofs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Room:
    """What has to be at least 0 for a subscript that reaches `value` to be inside.

    `holds` is True or False where that is known for all sizes, None where it depends on them;
    `below` tells that the subscript may be negative, and not too large.
    """

    size: Size
    value: Size
    holds: bool | None
    below: bool = False


Rooms = tuple[Room, ...]

_RANK = {False: 0, None: 1, True: 2}


def _worst(rooms: Rooms) -> int:
    return min((_RANK[r.holds] for r in rooms), default=2)


@dataclass(slots=True)
class Prover:
    """Proves that subscripts stay inside.

    `floors` are lower bounds of sizes. `loose` are integer hyperparameters that nothing keeps
    from being negative; those that a proof had to take for at least 0 end up in `assumed`.
    """

    floors: Mapping[str, int]
    loose: frozenset[str] = frozenset()
    assumed: set[str] = field(default_factory=set)
    proven: dict[tuple[Affine, Size], Rooms] = field(default_factory=dict)

    def room(self, size: Size, value: Size, below: bool = False) -> Room:
        holds = size.known_positive(0, self.floors)
        if holds and self.loose:
            self.assumed.update(size.names() & self.loose)
        return Room(size, value, holds, below)

    def inside(self, node: Expr, size: Size, facts: tuple[Affine, ...]) -> Rooms | None:
        """What is left to show for 0 <= node < size; None when nothing is known of its value."""
        form = affine(node)
        if form is None:
            low, high = self._low(node, facts), self._high(node, size, facts)
            return None if low is None or high is None else _open(low + high)
        if facts:
            return _open(self._affine_low(form, facts) + self._affine_high(form, size, facts))
        found = self.proven.get((form, size))
        if found is None:
            found = _open(self._affine_low(form, ()) + self._affine_high(form, size, ()))
            self.proven[form, size] = found
        return found

    def _affine_low(self, form: Affine, facts: tuple[Affine, ...]) -> Rooms:
        reached = extent(form)[0]
        return self._best(form, reached, facts, below=True)

    def _affine_high(self, form: Affine, size: Size, facts: tuple[Affine, ...]) -> Rooms:
        reached = extent(form)[1]
        left = _sum(((), size - 1), form, -1)
        assert left is not None
        return self._best(left, reached, facts, below=False)

    def _best(self, form: Affine, reached: Size, facts: tuple[Affine, ...], *, below: bool) -> Rooms:
        """`form >= 0`: alone, or because the form less one or two facts is at least 0."""
        best = self.room(extent(form)[0], reached, below)
        for count, less in _combinations(facts):
            if best.holds:
                break
            rest = _sum(form, less, -1)
            assert rest is not None
            found = self.room(extent(rest)[0], reached, below)
            # Two facts may together hold only where their plate is empty: proof or nothing.
            if found.holds or (count == 1 and _RANK[found.holds] > _RANK[best.holds]):
                best = found
        return (best,)

    # A minimum is at most each of its sides and at least one of them; a maximum the other way.

    def _low(self, node: Expr, facts: tuple[Affine, ...]) -> Rooms | None:
        """Rooms that together show node >= 0."""
        form = affine(node)
        if form is not None:
            return self._affine_low(form, facts)
        match node:
            case typed.Apply(function="maximum", arguments=(a, b)):
                return _either(self._low(a, facts), self._low(b, facts))
            case typed.Apply(function="minimum", arguments=(a, b)):
                return _both(self._low(a, facts), self._low(b, facts))
            case typed.Apply(function="where", arguments=(_, a, b)):
                return _both(self._low(a, facts), self._low(b, facts))
            case typed.Apply(function="clamp", arguments=(x, low, high)):
                raised = _either(self._low(x, facts), self._low(low, facts))
                return _both(raised, self._low(high, facts))
            case typed.Apply(function="mod", arguments=(_, typed.SizeOf(size=size))):
                return (self.room(size - 1, ZERO, below=True),)
            case typed.Apply(function="floordiv", arguments=(a, typed.SizeOf(size=size))):
                return self._low(a, facts) if size.known_positive(1, self.floors) else None
            case typed.Apply(function="abs" | "argmax" | "argmin"):
                return ()
        return None

    def _high(self, node: Expr, size: Size, facts: tuple[Affine, ...]) -> Rooms | None:
        """Rooms that together show node < size."""
        form = affine(node)
        if form is not None:
            return self._affine_high(form, size, facts)
        match node:
            case typed.Apply(function="maximum", arguments=(a, b)):
                return _both(self._high(a, size, facts), self._high(b, size, facts))
            case typed.Apply(function="minimum", arguments=(a, b)):
                return _either(self._high(a, size, facts), self._high(b, size, facts))
            case typed.Apply(function="where", arguments=(_, a, b)):
                return _both(self._high(a, size, facts), self._high(b, size, facts))
            case typed.Apply(function="clamp", arguments=(x, low, high)):
                raised = _both(self._high(x, size, facts), self._high(low, size, facts))
                return _either(raised, self._high(high, size, facts))
            case typed.Apply(function="mod", arguments=(_, typed.SizeOf(size=divisor))):
                return (self.room(size - divisor, divisor - 1),)
            case typed.Apply(function="floordiv", arguments=(a, typed.SizeOf(size=divisor))):
                known = divisor.constant is not None and divisor.constant > 0
                rooms = self._high(a, size * divisor, facts) if known else None
                return (
                    None if rooms is None else tuple(Room(r.size, r.value // divisor, r.holds) for r in rooms)
                )
            case typed.Apply(function="abs", arguments=(a,)):
                form = affine(a)
                return None if form is None else self._abs_high(form, size, facts)
            case typed.Apply(function="argmax" | "argmin", arguments=(a,)):
                count = _searched(node, a.type.shape)
                return (self.room(size - count, count - 1),)
        return None

    def _abs_high(self, form: Affine, size: Size, facts: tuple[Affine, ...]) -> Rooms:
        return self._affine_high(form, size, facts) + self._affine_high(_negative(form), size, facts)

    # --- guards ---

    def facts(self, guard: Expr) -> tuple[Affine, ...]:
        """Forms that are at least 0 wherever the guard is true; other conditions give nothing."""
        if not isinstance(guard, typed.Apply) or len(guard.arguments) != 2:
            return ()
        a, b = guard.arguments
        if guard.function == "and":
            return (*self.facts(a), *self.facts(b))
        left, right = affine(a), affine(b)
        rise, fall = _sum(right, left, -1), _sum(left, right, -1)
        if rise is None or fall is None:
            return ()
        match guard.function:
            case "lt":
                return (_lowered(rise),)
            case "le":
                return (rise,)
            case "gt":
                return (_lowered(fall),)
            case "ge":
                return (fall,)
            case "eq":
                return rise, fall
            case "ne":
                # Where the two cannot cross, being different means being apart by at least 1.
                return tuple(_lowered(f) for f in (rise, fall) if self.room(extent(f)[0], ZERO).holds)
        return ()


def _lowered(form: Affine) -> Affine:
    return form[0], form[1] - 1


def _combinations(facts: tuple[Affine, ...]) -> Iterator[tuple[int, Affine]]:
    """Each fact, and the sum of each two."""
    yield from ((1, fact) for fact in facts)
    for i, first in enumerate(facts):
        for second in facts[i + 1 :]:
            total = _sum(first, second, 1)
            assert total is not None
            yield 2, total


def _open(rooms: Rooms) -> Rooms:
    return tuple(r for r in rooms if not r.holds)


def _both(a: Rooms | None, b: Rooms | None) -> Rooms | None:
    return None if a is None or b is None else a + b


def _either(a: Rooms | None, b: Rooms | None) -> Rooms | None:
    """The better of two ways; one that is proven wins over one of which nothing is known."""
    if a is None or b is None:
        known = a if a is not None else b
        return known if known is not None and _worst(known) == _RANK[True] else None
    return a if _worst(a) >= _worst(b) else b


def _searched(node: typed.Apply, shape: Shape) -> Size:
    """How many positions an argmax chooses from."""
    axis = node.option("axis")
    if isinstance(axis, int):
        return shape[axis]
    count = Size.of(1)
    for size in shape:
        count = count * size
    return count


# --- shapes -------------------------------------------------------------------------------------


def picked_shape(base: Expr, subscripts: tuple[typed.Subscript, ...]) -> Shape:
    """The shape of a Pick: integers drop a dimension, index arrays put theirs in its place."""
    shape: list[Size] = []
    dims = iter(base.type.shape)
    for s in subscripts:
        if isinstance(s, typed.NewAxis):
            shape.append(Size.of(1))
            continue
        next(dims)
        if isinstance(s, typed.SliceOf):
            shape.append(s.stop - s.start)
        else:
            shape.extend(s.type.shape)
    return tuple(shape)


def pick(base: Expr, subscripts: tuple[typed.Subscript, ...], span: Span) -> typed.Pick:
    parts = (base, *(s for s in subscripts if isinstance(s, Expr)))
    return typed.Pick(
        base.type.with_shape(picked_shape(base, subscripts)),
        typed.merge_axes(parts),
        max((p.level for p in parts), default=Level.CONSTANT),
        any(p.coupled for p in parts),
        span,
        base,
        subscripts,
    )
