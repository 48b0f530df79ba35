"""Worlds of a single moving point: a cart in gusts of wind, and ground with a pit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.palette import AGENT, FLOOR, GOAL, STONE, on_rail
from ebmlang.planning.spaces import Array, Box
from ebmlang.planning.worlds import Step, World, step_limit

_TRAIL = np.array((150, 178, 212), dtype=np.uint8)


class WindyCart(World):
    """A cart on a line, of which the force of the action is the acceleration.

    The observation is its place and its speed, [2]; a step of 0.2 moves the place by the speed and the speed
    by the force [1], and a gust of wind of standard deviation `gusts` is added to the speed. What a step
    costs is near = place^2 + 0.1 speed^2 after it, and 0.1 force^2. The world stops after `limit` steps.
    """

    name = "windy cart"
    step_of = 0.2

    def __init__(self, gusts: float | str = 0.2, limit: int = 40) -> None:
        if isinstance(gusts, str) or gusts < 0:
            raise DataError(f"gusts={gusts} is no standard deviation", "gusts=0.2")
        self.space = Box(np.full(1, -np.inf), np.full(1, np.inf))
        self._gusts, self._limit = gusts, step_limit(limit)

    def begin(self, seed: int) -> Any:
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._at, self._times = self._rng.normal(size=2), 0
        return self._at

    def step(self, action: Array) -> Step:
        place, speed = self._at
        force = float(np.asarray(action, dtype=float)[0])
        blown = self._gusts * self._rng.normal()
        self._at = np.array([place + self.step_of * speed, speed + self.step_of * force + blown])
        self._times += 1
        cost = self._at[0] ** 2 + 0.1 * self._at[1] ** 2 + 0.1 * force**2
        return Step(self._at, -float(cost), cut=self._times >= self._limit)

    def picture(self) -> Array:
        return on_rail(float(self._at[0]))


class Pit(World):
    """A square of 8 by 8 with a round pit of radius 1 in its middle, and a fence of radius 1.5 around that.

    A point is moved by 0.8 times the action, which is at most 1 in each direction. The observation has its
    `position` [2] and the `goal` [2]. Whoever gets into the pit stays there, and the task ends. A step costs
    the squared distance to the goal.

    The point starts on the left and its goal is on the right, so that the way goes over the pit. With
    `explore` it starts anywhere outside of the fence, and the world stops where the point comes to the fence:
    what is collected there knows nothing of the pit.
    """

    name = "pit"
    entries: tuple[str, ...] = ("position", "goal")
    side, radius, fence, stride = 8.0, 1.0, 1.5, 0.8

    def __init__(self, explore: bool = False, limit: int = 16) -> None:
        self.space = Box(-np.ones(2), np.ones(2))
        self._explore, self._limit = explore, step_limit(limit)
        self.position = self.goal = np.zeros(2)
        self._trail: list[Array] = []

    def begin(self, seed: int) -> Any:
        rng = np.random.Generator(np.random.PCG64(seed))
        self.position = np.array([rng.uniform(0.5, 2), rng.uniform(3, 5)])
        self.goal = np.array([rng.uniform(6, 7.5), rng.uniform(3, 5)])
        while self._explore:
            self.position = rng.uniform(0, self.side, 2)
            if self._from_middle() > self.fence:
                break
        self._trail = [self.position]
        return self._seen()

    def step(self, action: Array) -> Step:
        if self._from_middle() > self.radius:
            move = self.stride * np.asarray(action, dtype=float)
            # A way over the pit ends where it first comes to it.
            for share in np.linspace(0.1, 1, 10):
                self.position = self._trail[-1] + share * move
                if self._from_middle() <= self.radius:
                    break
        self._trail.append(self.position)
        fallen = self._from_middle() <= self.radius
        fenced = self._explore and self._from_middle() <= self.fence
        cost = float(((self.position - self.goal) ** 2).sum())
        return Step(self._seen(), -cost, fallen, fenced or len(self._trail) > self._limit)

    def picture(self) -> Array | None:
        scale = 20
        at = (np.arange(int(self.side * scale)) + 0.5) / scale
        x, y = np.meshgrid(at, at)
        drawn = np.broadcast_to(FLOOR, (*x.shape, 3)).copy()
        drawn[np.hypot(x - self.side / 2, y - self.side / 2) < self.radius] = STONE
        for place in self._trail:
            drawn[np.hypot(x - place[0], y - place[1]) < 0.1] = _TRAIL
        drawn[abs(np.hypot(x - self.goal[0], y - self.goal[1]) - 0.3) < 0.08] = GOAL
        drawn[np.hypot(x - self.position[0], y - self.position[1]) < 0.2] = AGENT
        return drawn

    def _from_middle(self) -> float:
        return float(np.hypot(*(self.position - self.side / 2)))

    def _seen(self) -> dict[str, Array]:
        return {"position": self.position, "goal": self.goal}
