"""Small worlds whose best actions are known."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

A = np.array([[1.0, 0.1], [0.0, 1.0]])
B = np.array([[0.0], [0.1]])

REGULATOR = """model regulator(T: int = 12) {
  observed s0 : real[2]
  latent   a  : real[T, 1]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * a[t, 0]]
    cost running[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }
  plan a
}
"""


def best_first_action(s0: np.ndarray, times: int = 12) -> np.ndarray:
    """The first input of the linear-quadratic problem of REGULATOR, by least squares over all inputs."""
    free = [np.linalg.matrix_power(A, t + 1) @ s0 for t in range(times)]
    forced = np.zeros((times, 2, times))
    for t in range(times):
        for k in range(t + 1):
            forced[t, :, k] = (np.linalg.matrix_power(A, t - k) @ B)[:, 0]
    matrix = np.concatenate([forced.reshape(-1, times), np.sqrt(0.1) * np.eye(times)])
    target = -np.concatenate([np.concatenate(free), np.zeros(times)])
    found: np.ndarray = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return found[:1]


class Cart(gymnasium.Env[Any, Any]):
    """The system of REGULATOR; raises at step `breaks`, and ends where it is near 0."""

    observation_space = spaces.Box(-10, 10, (2,), np.float64)

    def __init__(self, breaks: int = -1, limit: float = 5.0, dictionary: bool = False) -> None:
        self.action_space = spaces.Box(-limit, limit, (1,), np.float64)
        self._breaks, self._dictionary = breaks, dictionary

    def _seen(self) -> Any:
        return {"state": self._s.copy(), "time": np.array(self._t)} if self._dictionary else self._s.copy()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._s, self._t = self.np_random.uniform(-1, 1, 2), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._t == self._breaks:
            raise RuntimeError("the wheel came off")
        assert self.action_space.contains(action)
        self._s = A @ self._s + B @ action
        self._t += 1
        return self._seen(), -float(self._s @ self._s), bool(np.abs(self._s).max() < 0.02), False, {}


class Signs(gymnasium.Env[Any, Any]):
    """One of three actions is right: 1 plus the sign of what is seen."""

    observation_space = spaces.Box(-1, 1, (), np.float64)

    def __init__(self, start: int = 0) -> None:
        self.action_space = spaces.Discrete(3, start=start)
        self._start = start

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._x = self.np_random.uniform(-1, 1)
        return np.array(self._x), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        right = int(action) - self._start == 1 + int(np.sign(self._x))
        self._x = self.np_random.uniform(-1, 1)
        return np.array(self._x), float(right), False, False, {}
