"""A road with two lanes and other cars on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.palette import AGENT, STONE
from ebmlang.planning.spaces import Array, Box
from ebmlang.planning.worlds import Step, World, step_limit


class Driving(World):
    """A car among others on a straight road with two lanes, whose middles are 0 and 3.5 metres across.

    The observation has the `car` [4]: metres along and across, metres per second, heading in radians; and
    the `others` [cars, 3]: metres along and across, metres per second along. An action [2] in [-1, 1] is a
    share of 4 m/s^2 forwards and of a curvature of 0.05 per metre to the left, held for `dt` seconds
    (kinematics of a single track).

    The others hold their lanes. Those of the first lane want to drive at 10 to 14 m/s, those of the second
    at 13 to 17 m/s, and each keeps 1.2 seconds and 8 metres behind what is ahead of it, the car too. A step
    costs the difference to 20 m/s as a share of it. The episode ends with a collision, which costs 100, and
    is cut after `limit` steps. Cars are 4.5 by 1.8 metres.
    """

    name = "driving"
    entries: tuple[str, ...] = ("car", "others")
    lanes = (0.0, 3.5)
    length, width = 4.5, 1.8
    dt = 0.2
    wanted = 20.0

    def __init__(self, cars: int | str = 6, limit: int = 60) -> None:
        if isinstance(cars, str) or cars < 0:
            raise DataError(f"cars={cars} is no number of cars", "cars=6")
        self.space = Box(-np.ones(2), np.ones(2))
        self._count, self._limit, self._steps = cars, step_limit(limit), 0
        self.car, self.others, self._speeds = np.zeros(4), np.zeros((cars, 3)), np.zeros(cars)

    def begin(self, seed: int) -> Any:
        rng = np.random.Generator(np.random.PCG64(seed))
        self._steps = 0
        self.car = np.array([0.0, rng.choice(self.lanes), rng.uniform(13, 18), 0.0])
        lane = np.arange(self._count) % 2
        gaps = rng.uniform(28, 60, self._count)
        along = np.zeros(self._count)
        for k in range(2):
            along[lane == k] = np.cumsum(gaps[lane == k])
        self._speeds = rng.uniform(10, 14, self._count) + 3.0 * lane
        self.others = np.stack([along, np.array(self.lanes)[lane], self._speeds], 1)
        return self._seen()

    def step(self, action: Array) -> Step:
        self._steps += 1
        forwards, turn = np.asarray(action, dtype=float)
        v, heading = self.car[2:]
        moved = [v * np.cos(heading), v * np.sin(heading), 4 * forwards, 0.05 * v * turn]
        speeds = self._kept()
        self.car = self.car + self.dt * np.array(moved)
        self.others[:, 0] += self.dt * speeds
        self.others[:, 2] = speeds
        hit = self.collided()
        off = abs(self.car[2] - self.wanted) / self.wanted
        return Step(self._seen(), -off - 100.0 * hit, ended=hit, cut=self._steps >= self._limit)

    def collided(self) -> bool:
        """Whether the car overlaps with another one."""
        apart = np.abs(self.others[:, :2] - self.car[:2])
        return bool(((apart[:, 0] < self.length) & (apart[:, 1] < self.width)).any())

    def _kept(self) -> Array:
        """The speeds of the others, as what is ahead allows; they brake at 6 m/s^2 at most."""
        everyone = np.concatenate([self.others[:, :2], self.car[None, :2]])
        ahead = everyone[None, :, 0] - self.others[:, None, 0]
        beside = np.abs(everyone[None, :, 1] - self.others[:, None, 1]) < self.width + 0.4
        room = np.where(beside & (ahead > 0), ahead, np.inf).min(1) - 8.0
        wanted = np.minimum(self._speeds, np.maximum(room, 0.0) / 1.2)
        now = self.others[:, 2]
        kept: Array = np.clip(wanted, now - 6 * self.dt, now + 2 * self.dt)
        return kept

    def _seen(self) -> dict[str, Array]:
        return {"car": self.car.copy(), "others": self.others.copy()}

    def picture(self) -> Array | None:
        """The road around the car, ten pixels for a metre across and four along."""
        along, across = np.meshgrid(np.arange(-80, 320) / 4, np.arange(-30, 65) / 10)
        drawn = np.full((*along.shape, 3), 205, dtype=np.uint8)
        drawn[(np.abs(across - 1.75) < 0.08) & (((along + self.car[0]) % 8) < 4)] = 250
        for place, colour in ((self.others[:, :2], STONE), (self.car[None, :2], AGENT)):
            for x, y in place:
                inside = np.abs(along - x + self.car[0]) < self.length / 2
                drawn[inside & (np.abs(across - y) < self.width / 2)] = colour
        return drawn[::-1]
