"""A cart on a line: the world of linear-quadratic control."""

from __future__ import annotations

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.spaces import Array, Box
from ebmlang.planning.worlds import Step, World


class Cart(World):
    """A cart on a line that a push between -20 and 20 accelerates, in steps of 0.1.

    The observation [2] is its place and its speed, drawn from a normal distribution at the start. A step
    costs the squares of both as they are before it, and a tenth of the square of the push. It does not end;
    `limit` steps are made.
    """

    name = "the cart"

    def __init__(self, limit: int = 200) -> None:
        if not isinstance(limit, int) or limit < 1:
            raise DataError(f"an episode of {limit} steps", "limit=200")
        self.space = Box(np.array([-20.0]), np.array([20.0]))
        self._limit, self._steps = limit, 0
        self._state = np.zeros(2)

    def begin(self, seed: int) -> Array:
        self._state = np.random.Generator(np.random.PCG64(seed)).standard_normal(2)
        self._steps = 0
        return self._state

    def step(self, action: Array) -> Step:
        push = float(np.asarray(action).reshape(()))
        cost = float(self._state @ self._state) + 0.1 * push**2
        self._state = self._state + 0.1 * np.array([self._state[1], push])
        self._steps += 1
        return Step(self._state, -cost, cut=self._steps >= self._limit)
