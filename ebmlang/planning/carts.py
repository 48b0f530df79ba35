"""A cart on a line: the world of linear-quadratic control."""

from __future__ import annotations

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.palette import on_rail
from ebmlang.planning.spaces import Array, Box
from ebmlang.planning.worlds import Step, World, step_limit

_SENSORS = np.linspace(-4, 4, 12)
"""Where each sensor of a number answers most."""


class Cart(World):
    """A cart on a line that a push accelerates, in steps of 0.1; pushes are between -`push` and `push`.

    The observation [2] is its place and its speed, drawn from a normal distribution at the start. With
    `sensors` it is [24]: 12 sensors of the place and 12 of the speed, whose answers are Gaussians of
    deviation 1 around numbers from -4 to 4. A step costs the squares of place and speed as they are before
    it, and a tenth of the square of the push. It does not end; `limit` steps are made.
    """

    name = "the cart"

    def __init__(self, push: float = 20.0, sensors: bool = False, limit: int = 200) -> None:
        if not push > 0:
            raise DataError(f"pushes up to {push}", "push=20")
        self.space = Box(np.array([-float(push)]), np.array([float(push)]))
        self._sensors, self._limit, self._steps = sensors, step_limit(limit), 0
        self.state = np.zeros(2)

    def begin(self, seed: int) -> Array:
        self.state = np.random.Generator(np.random.PCG64(seed)).standard_normal(2)
        self._steps = 0
        return self.seen(self.state)

    def step(self, action: Array) -> Step:
        push = float(np.asarray(action).reshape(()))
        cost = float(self.state @ self.state) + 0.1 * push**2
        self.state = self.state + 0.1 * np.array([self.state[1], push])
        self._steps += 1
        return Step(self.seen(self.state), -cost, cut=self._steps >= self._limit)

    def seen(self, state: Array) -> Array:
        """What is observed of a place and a speed."""
        if not self._sensors:
            return state
        answers: Array = np.exp(-0.5 * (state[:, None] - _SENSORS) ** 2)
        return answers.reshape(-1)

    def picture(self) -> Array:
        return on_rail(float(self.state[0]))
