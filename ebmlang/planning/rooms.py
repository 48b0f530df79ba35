"""Worlds of rooms: a square with a wall and a door, and a grid of four rooms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.palette import AGENT, FLOOR, GOAL, STONE
from ebmlang.planning.spaces import Array, Box, Choice
from ebmlang.planning.worlds import Step, World, step_limit

_TRAIL = np.array((196, 212, 232), dtype=np.uint8)

_LONGEST_TRAIL = 400
"""Places of the way so far that are drawn."""


class TwoRooms(World):
    """A square of 16 by 16 with a wall of thickness 2 from top to bottom, and a door of width 3 in it.

    A point is moved by up to 1 a step in each direction; it stops where it meets the wall. The
    observation has its `position` [2], the `goal` [2], and where the `wall` and the `door` in it have their
    middles: the one along x, the other along y. With `pixels` it also has `pixels` and `goal_pixels`
    [2, 16, 16] in [0, 1], where the first channel shows the point as a blot of standard deviation 1, at its
    place or at the goal, and the second the wall. Rows of pixels go along y.

    A step costs 1 unless it ends within 1 of the goal. It does not end at
    the goal, but after `limit` steps.

    `wall` and `door` are numbers, or "random": drawn anew in every episode. Start and goal are drawn from the
    rooms, with `apart` one of each room.
    """

    name = "two rooms"
    entries: tuple[str, ...] = ("position", "goal", "wall", "door")
    side = 16
    thickness = 2.0
    opening = 3.0
    reach = 1.0
    """How near to the goal counts as there."""

    def __init__(
        self,
        wall: float | str = 8.0,
        door: float | str = 8.0,
        apart: bool = False,
        pixels: bool = False,
        limit: int = 60,
    ) -> None:
        one = np.ones(2)
        self.space = Box(-one, one)
        self._place = {
            "wall": _middle("wall", wall, 4.0, self.side - 4.0),
            "door": _middle("door", door, self.opening / 2 + 1, self.side - self.opening / 2 - 1),
        }
        self._apart, self._pixels, self._limit = apart, pixels, step_limit(limit)
        if pixels:
            self.entries = (*self.entries, "pixels", "goal_pixels")
        self.wall = self.door = 8.0
        self.position = self.goal = np.full(2, 8.0)
        self._trail: list[Array] = []

    def begin(self, seed: int) -> Any:
        rng = np.random.Generator(np.random.PCG64(seed))
        self.wall, self.door = (float(rng.uniform(*self._place[name])) for name in ("wall", "door"))
        first = int(rng.integers(2))
        second = 1 - first if self._apart else int(rng.integers(2))
        self.position, self.goal = (self._drawn(room, rng) for room in (first, second))
        self._trail = [self.position]
        return self._seen()

    def step(self, action: Array) -> Step:
        self.position = self._moved(self.position, np.asarray(action, dtype=float))
        self._trail.append(self.position)
        there = float(np.linalg.norm(self.position - self.goal)) <= self.reach
        return Step(self._seen(), 0.0 if there else -1.0, cut=len(self._trail) > self._limit)

    def picture(self) -> Array | None:
        scale = 10
        at = (np.arange(self.side * scale) + 0.5) / scale
        x, y = np.meshgrid(at, at)
        drawn = np.broadcast_to(FLOOR, (*x.shape, 3)).copy()
        drawn[self._solid(x, y)] = STONE
        for place in self._trail[-_LONGEST_TRAIL:]:
            drawn[np.hypot(x - place[0], y - place[1]) < 0.25] = _TRAIL
        ring = np.hypot(x - self.goal[0], y - self.goal[1])
        drawn[(ring < self.reach) & (ring > self.reach - 0.25)] = GOAL
        drawn[np.hypot(x - self.position[0], y - self.position[1]) < 0.45] = AGENT
        return drawn

    def _drawn(self, room: int, rng: np.random.Generator) -> Array:
        """A point of the room, at least 1 from its walls."""
        face = self.thickness / 2 + 1
        left = (1.0, self.wall - face) if room == 0 else (self.wall + face, self.side - 1.0)
        return np.array([rng.uniform(*left), rng.uniform(1.0, self.side - 1.0)])

    def _solid(self, x: Array, y: Array) -> Any:
        return (abs(x - self.wall) < self.thickness / 2) & (abs(y - self.door) > self.opening / 2)

    def _moved(self, before: Array, action: Array) -> Array:
        """Where a move ends: at the first of the two stones beside the door that it meets."""
        move = np.clip(before + action, 0.5, self.side - 0.5) - before
        faces = self.wall + self.thickness / 2 * np.array([-1, 1])
        edges = self.door + self.opening / 2 * np.array([-1, 1])
        share = 1.0
        for low, high in ((-math.inf, edges[0]), (edges[1], math.inf)):
            share = min(share, _met(before, move, np.array([faces[0], low]), np.array([faces[1], high])))
        after: Array = before + share * move
        return after

    def _seen(self) -> dict[str, Array]:
        seen = {
            "position": self.position,
            "goal": self.goal,
            "wall": np.array(self.wall),
            "door": np.array(self.door),
        }
        if self._pixels:
            seen |= {"pixels": self._pictured(self.position), "goal_pixels": self._pictured(self.goal)}
        return seen

    def _pictured(self, place: Array) -> Array:
        """What is seen of a point at a place, float32 [2, side, side]."""
        at = np.arange(self.side) + 0.5
        blot = np.exp(-0.5 * ((at[None, :] - place[0]) ** 2 + (at[:, None] - place[1]) ** 2))
        open_ = self._covered(self.door, self.opening)
        wall = (1 - open_)[:, None] * self._covered(self.wall, self.thickness)[None, :]
        return np.stack([blot, wall]).astype(np.float32)

    def _covered(self, middle: float, width: float) -> Array:
        """How much of each pixel of a line an interval covers, in [0, 1]."""
        left = np.arange(self.side)
        reaching = np.minimum(left + 1, middle + width / 2) - np.maximum(left, middle - width / 2)
        covered: Array = np.clip(reaching, 0.0, 1.0)
        return covered


def _met(before: Array, move: Array, low: Array, high: Array) -> float:
    """The share of a move before it enters the box from `low` to `high`; 1 where it does not."""
    # A move along an axis is never quite along it: no 0/0 where it begins at a face.
    move = np.where(move == 0, 1e-30, move)
    ends = np.sort(np.stack([low - before, high - before]) / move, axis=0)
    enters, leaves = float(ends[0].max()), float(ends[1].min())
    # It stops a hair before: rounding must not put it into the stone.
    return max(enters - 1e-9, 0.0) if 0 <= enters < min(leaves, 1.0) else 1.0


class FourRooms(World):
    """A grid of 25 by 25 cells with walls between four rooms, and a door in each of the walls.

    One of four actions moves to the next cell up, right, down or left; at walls nothing moves. With the
    probability `slip` one of the other three is carried out instead. The observation has the numbers of the
    `cell`, of the `goal` and of the four `doors`, row times 25 plus column, and `next` [625, 4]: the cell
    that each action leads to without slipping. A step costs 1; the task ends at the goal, and the world stops
    after `limit` steps.

    The rooms are those of Sutton, Precup and Singh, 1999, twice as fine. `doors` is a seed of where in the
    walls the doors are, or "random": other doors in every episode.
    """

    name = "four rooms"
    entries: tuple[str, ...] = ("cell", "goal", "doors", "next")
    side = 25
    _moves = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])

    def __init__(self, slip: float | str = 0.0, doors: int | str = 0, limit: int = 300) -> None:
        if isinstance(slip, str) or not 0 <= slip <= 1:
            raise DataError(f"slip={slip} is no probability", "slip=0.1")
        if isinstance(doors, str) and doors != "random":
            raise DataError(f"doors={doors}", "a seed such as doors=3, or doors=random")
        self.space = Choice(4)
        self._slip, self._doors, self._limit = slip, doors, step_limit(limit)
        self.cell = self.goal = 0
        self._trail: list[int] = []

    def begin(self, seed: int) -> Any:
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self.free = _four_rooms(self.side, seed if self._doors == "random" else int(self._doors))
        self._next = _table(self.free, self._moves)
        inside, middle = np.flatnonzero(self.free), self.side // 2
        row, column = np.divmod(inside, self.side)
        self._gates = inside[(row == middle) | (column == middle)]
        self.cell, self.goal = (int(cell) for cell in self._rng.choice(inside, 2, replace=False))
        self._trail = [self.cell]
        return self._seen()

    def step(self, action: Any) -> Step:
        if self._rng.random() < self._slip:
            action = (int(action) + int(self._rng.integers(1, 4))) % 4
        self.cell = int(self._next[self.cell, int(action)])
        self._trail.append(self.cell)
        return Step(self._seen(), -1.0, self.cell == self.goal, len(self._trail) > self._limit)

    def picture(self) -> Array | None:
        flat = np.where(self.free.reshape(-1, 1), FLOOR, STONE)
        flat[self._trail] = _TRAIL
        flat[self.goal] = GOAL
        flat[self.cell] = AGENT
        return flat.reshape(self.side, self.side, 3).repeat(6, axis=0).repeat(6, axis=1)

    def _seen(self) -> dict[str, Array]:
        here, there = np.array(self.cell), np.array(self.goal)
        return {"cell": here, "goal": there, "doors": self._gates, "next": self._next}


def _four_rooms(side: int, seed: int) -> Array:
    """Which cells are free, bool [side, side]: two crossing walls in the middle, with a door in each half."""
    rng = np.random.Generator(np.random.PCG64(seed))
    middle = side // 2
    free = np.ones((side, side), dtype=bool)
    free[middle, :] = free[:, middle] = False
    for half in (0, middle + 1):
        free[middle, half + int(rng.integers(middle))] = True
        free[half + int(rng.integers(middle)), middle] = True
    return free


def _table(free: Array, moves: Array) -> Array:
    """The cell that each move leads to, int64 [cells, moves]."""
    side = len(free)
    row, column = np.divmod(np.arange(side * side), side)
    to = np.stack([row, column], axis=1)[:, None, :] + moves[None]
    inside = ((to >= 0) & (to < side)).all(axis=2)
    flat = np.where(inside, to[..., 0] * side + to[..., 1], 0)
    open_ = inside & free.reshape(-1)[flat]
    stays = np.broadcast_to(np.arange(side * side)[:, None], flat.shape)
    return np.where(open_, flat, stays)


def _middle(name: str, given: float | str, lowest: float, highest: float) -> tuple[float, float]:
    """The range that a middle is drawn from; a point for a number. Raises DataError."""
    if given == "random":
        return lowest, highest
    if isinstance(given, str) or not lowest <= given <= highest:
        raise DataError(
            f"{name}={given} is no place for it", f"{name}={lowest:g} to {highest:g}, or {name}=random"
        )
    return float(given), float(given)
