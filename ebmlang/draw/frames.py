"""Which plate frames a model has, how they nest, and which variables stand inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ebmlang.compiler import notation
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.typed import Apply, Axes, Axis, Expr, Pick, Position
from ebmlang.compiler.types import Shape
from ebmlang.draw.picture import Frame


@dataclass(frozen=True, slots=True)
class Place:
    """The plates around something: equal texts mean the same frame."""

    indices: tuple[str, ...]
    guards: frozenset[str]
    axes: Axes
    ordered_guards: tuple[str, ...]

    @property
    def key(self) -> tuple[tuple[str, ...], frozenset[str]]:
        return self.indices, self.guards


def place(axes: Axes, guard: Expr | None) -> Place:
    conditions = tuple(dict.fromkeys(notation.text(c) for c in conjuncts(guard)))
    return Place(tuple(map(str, axes)), frozenset(conditions), axes, conditions)


def conjuncts(guard: Expr | None) -> tuple[Expr, ...]:
    match guard:
        case None:
            return ()
        case Apply(function="and", arguments=(a, b)):
            return (*conjuncts(a), *conjuncts(b))
    return (guard,)


@dataclass(frozen=True, slots=True)
class Frames:
    """All frames, outer ones first."""

    places: tuple[Place, ...]
    frames: tuple[Frame, ...]

    def of(self, where: Place) -> str | None:
        """The frame of something that stands in these plates."""
        found = (f.id for p, f in zip(self.places, self.frames, strict=True) if p.key == where.key)
        return next(found, None)

    def path(self, where: Place) -> tuple[str, ...]:
        """The frames around something, innermost first."""
        parents = {f.id: f.parent for f in self.frames}
        found: list[str] = []
        at = self.of(where)
        while at is not None:
            found.append(at)
            at = parents[at]
        return tuple(found)

    def around(self, shape: Shape, picks: Sequence[tuple[Place, Pick]]) -> tuple[str, tuple[str, ...]] | None:
        """The frame that an array stands in, and the names of its leading indices; None when it
        stands outside.

        It stands inside when the plates run over exactly its leading dimensions and something in
        these plates, or further inside, reads it with exactly their indices. The deepest frame
        wins. Plates with a guard only hold what nothing reads in another way.
        """
        ranked = sorted(zip(self.places, self.frames, strict=True), key=lambda pair: -len(pair[0].axes))
        for own, frame in ranked:
            if not own.axes or not _spans(own.axes, shape):
                continue
            matches = [_reads_cell(own, where, pick) for where, pick in picks]
            if any(matches) and (not own.guards or all(matches)):
                return frame.id, tuple(a.names[0] for a in own.axes)
        return None


def _spans(axes: Axes, shape: Shape) -> bool:
    """Whether the plates run over the leading dimensions, entry by entry."""
    if len(axes) > len(shape):
        return False
    return all(a.rows is None and a.start == ZERO and a.size == d for a, d in zip(axes, shape, strict=False))


def _reads_cell(own: Place, where: Place, pick: Pick) -> bool:
    inside = where.key == own.key or _refines(where, own)
    leading = pick.subscripts[: len(own.axes)]
    if not inside or len(leading) < len(own.axes):
        return False
    return all(isinstance(s, Position) and s.axis is a for s, a in zip(leading, where.axes, strict=False))


def frames_of(places: Sequence[Place]) -> Frames:
    """The frames of everything that stands in plates, each inside the largest other one that it
    refines: by more indices after the same first ones, or by a guard."""
    distinct: dict[tuple[tuple[str, ...], frozenset[str]], Place] = {}
    for p in places:
        if p.indices:
            distinct.setdefault(p.key, p)
    ordered = sorted(distinct.values(), key=lambda p: (len(p.indices), len(p.guards)))
    depths = {p.key: sum(_refines(p, q) for q in ordered) for p in ordered}
    ordered.sort(key=lambda p: depths[p.key])
    ids = {p.key: f"plate{i}" for i, p in enumerate(ordered)}
    frames: list[Frame] = []
    for p in ordered:
        outer = [q for q in ordered if q is not p and _refines(p, q)]
        parent = max(outer, key=lambda q: depths[q.key], default=None)
        label = _label(p, parent)
        guard = " and ".join(p.ordered_guards)
        frames.append(Frame(ids[p.key], label, p.indices, guard, None if parent is None else ids[parent.key]))
    return Frames(tuple(ordered), tuple(frames))


def _refines(inner: Place, outer: Place) -> bool:
    """Whether every position of `inner` lies in one of `outer`, by what is known of all sizes."""
    if inner.key == outer.key or len(inner.axes) < len(outer.axes) or not outer.guards <= inner.guards:
        return False
    pairs = zip(inner.axes, outer.axes, strict=False)
    return all(str(a) == str(b) or _subrange(a, b) for a, b in pairs)


def _subrange(a: Axis, b: Axis) -> bool:
    if a.names != b.names or a.size is None or b.size is None or a.rows is not None or b.rows is not None:
        return False
    rooms = (a.start - b.start, b.start + b.size - a.start - a.size)
    return all(room.known_positive(0) is True for room in rooms)


def _label(p: Place, parent: Place | None) -> str:
    outer = () if parent is None else parent.indices
    indices = [index for i, index in enumerate(p.indices) if index not in outer[i : i + 1]]
    guards = [g for g in p.ordered_guards if parent is None or g not in parent.guards]
    condition = f"if {' and '.join(guards)}" if guards else ""
    return " ".join(part for part in (", ".join(indices), condition) if part)
