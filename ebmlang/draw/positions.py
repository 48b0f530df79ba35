"""Where the nodes of an unrolled chain or grid stand: by their indices, as in a textbook.

One array of unknowns is laid out along a line or in a grid. Terms between neighbours stand half
way; terms at one place, and what they read there, stand above it (chain) or beside it (grid).
Every other graph is left to Graphviz.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ebmlang.draw.picture import LetNode, Mark, Picture, VariableNode

STEP, GRID_STEP = 108, 132
"""Points between neighbours."""

Point = tuple[float, float]
Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Anchor:
    """The array that everything else is placed by."""

    cells: Mapping[str, Cell]
    rank: int

    def point(self, cell: Cell) -> Point:
        if self.rank == 2:
            return (cell[1] * GRID_STEP, -cell[0] * GRID_STEP)
        return (cell[0] * STEP, 0.0)


def positions(picture: Picture) -> dict[str, Point] | None:
    """The place of every node in points, or None for a graph that is no chain and no grid."""
    if picture.view != "unrolled" or any(isinstance(n, LetNode) for n in picture.nodes):
        return None
    anchor = _anchor(picture)
    if anchor is None:
        return None
    touched: dict[str, list[str]] = {n.id: [] for n in picture.nodes if isinstance(n, Mark)}
    readers: dict[str, list[str]] = {n.id: [] for n in picture.nodes if isinstance(n, VariableNode)}
    for edge in picture.edges:
        touched[edge.reader].append(edge.read)
        readers[edge.read].append(edge.reader)
    found = {name: anchor.point(cell) for name, cell in anchor.cells.items()}
    tracks = _Tracks(anchor, found, {})
    for factor, names in touched.items():
        if not tracks.place_factor(factor, names, readers):
            return None
    points = list(found.values())
    complete = len(found) == len(picture.nodes) and len(set(points)) == len(points)
    return found if complete else None


def _anchor(picture: Picture) -> _Anchor | None:
    """The largest array of unknowns whose entries are drawn one by one."""
    arrays: dict[str, dict[str, Cell]] = {}
    for node in picture.nodes:
        if isinstance(node, VariableNode) and node.role in ("latent", "param"):
            name, cell = split(node.label)
            if cell:
                arrays.setdefault(name, {})[node.id] = cell
    if not arrays:
        return None
    cells = max(arrays.values(), key=len)
    rank = len(next(iter(cells.values())))
    return _Anchor(cells, rank) if rank <= 2 and len(cells) > 1 else None


def split(label: str) -> tuple[str, Cell]:
    """`x[1, 2]` as a name and its indices."""
    name, bracket, inside = label.partition("[")
    return name, tuple(map(int, inside[:-1].split(", "))) if bracket else ()


@dataclass(frozen=True, slots=True)
class _Tracks:
    """Places found so far; each name that hangs on single entries has a track of its own."""

    anchor: _Anchor
    found: dict[str, Point]
    tracks: dict[tuple[str, bool], int]

    def place_factor(self, factor: str, names: list[str], readers: Mapping[str, list[str]]) -> bool:
        """Place a term and what it alone reads. False when it ties more than neighbours."""
        held = [self.anchor.cells[n] for n in names if n in self.anchor.cells]
        others = [n for n in names if n not in self.anchor.cells]
        if len(held) == 2 and not others:
            (a, b), distance = held, sum(abs(x - y) for x, y in zip(*held, strict=True))
            if distance != 1:
                return False
            (ax, ay), (bx, by) = self.anchor.point(a), self.anchor.point(b)
            self.found[factor] = ((ax + bx) / 2, (ay + by) / 2)
            return True
        if len(held) != 1 or len(others) > 1 or any(len(readers[o]) > 1 for o in others):
            return False
        x, y = self.anchor.point(held[0])
        dx, dy = self._direction(split(factor)[0], bool(others))
        self.found[factor] = (x + dx, y + dy)
        for other in others:
            self.found[other] = (x + 2 * dx, y + 2 * dy)
        return True

    def _direction(self, name: str, given: bool) -> Point:
        """From an entry to a term that hangs on it: given values above, the rest below."""
        track = self.tracks.setdefault((name, given), sum(g == given for _, g in self.tracks))
        sign = 1 if given else -1
        if self.anchor.rank == 2:
            # Between the lines of the grid; a second track takes the other diagonal.
            return (0.26 * GRID_STEP * (-1) ** track, 0.26 * GRID_STEP * sign)
        # Further tracks lean to the side, so that their lines stay apart.
        return (0.32 * STEP * track, 0.62 * STEP * sign)
