"""Spaces of actions: what a world takes, and what can be drawn from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebmlang.errors import DataError

Array = NDArray[Any]


class Space(ABC):
    """The actions of a world. `world` is its name, for messages."""

    @abstractmethod
    def fit(self, world: str, action: Array) -> tuple[Any, bool]:
        """An action as the world takes it, and whether it had to be cut to the bounds. Raises DataError."""

    @abstractmethod
    def random(self, rng: np.random.Generator) -> Array | None:
        """An action by chance, as a plan would have it; None where there are no bounds to draw from."""

    @abstractmethod
    def shaken(self, action: Array, share: float, drawn: Array, rng: np.random.Generator) -> Array:
        """The action with noise; `drawn` is an action by chance."""


@dataclass(frozen=True, eq=False)
class Box(Space):
    """Numbers between bounds, which are arrays of one shape."""

    low: Array
    high: Array

    def fit(self, world: str, action: Array) -> tuple[Any, bool]:
        shape = self.low.shape
        if action.shape != shape and (action.ndim or shape != (1,)):
            raise DataError(
                f"an action of the plan has the shape {shown(action.shape)}, and {world} takes "
                f"{shown(shape)}",
                f"declare the actions with {shown(('T', *shape))}",
            )
        wanted = action.reshape(shape).astype(self.low.dtype)
        inside = np.clip(wanted, self.low, self.high)
        return inside, bool((inside != wanted).any())

    def random(self, rng: np.random.Generator) -> Array | None:
        if not (np.isfinite(self.low) & np.isfinite(self.high)).all():
            return None
        return np.asarray(rng.uniform(self.low, self.high), dtype=self.low.dtype)

    def shaken(self, action: Array, share: float, drawn: Array, rng: np.random.Generator) -> Array:
        noise: Array = share * (self.high - self.low) * rng.standard_normal(self.low.shape)
        return np.add(action, noise.reshape(action.shape))


@dataclass(frozen=True)
class Choice(Space):
    """One of n actions, which the world counts from `start`, and a plan from 0."""

    n: int
    start: int = 0

    def fit(self, world: str, action: Array) -> tuple[int, bool]:
        hint = f"declare the actions as class[{self.n}][T]"
        if action.size != 1 or action.dtype.kind not in "iub":
            raise DataError(
                f"{world} takes one of {self.n} actions, and the plan has {action.dtype} of the shape "
                f"{shown(action.shape)}",
                hint,
            )
        chosen = int(action.reshape(()))
        if not 0 <= chosen < self.n:
            raise DataError(f"{world} has {self.n} actions, and the plan chooses number {chosen}", hint)
        return chosen + self.start, False

    def random(self, rng: np.random.Generator) -> Array | None:
        return np.asarray(rng.integers(self.n))

    def shaken(self, action: Array, share: float, drawn: Array, rng: np.random.Generator) -> Array:
        return drawn.reshape(action.shape) if rng.random() < share else action


@dataclass(frozen=True)
class Foreign(Space):
    """Actions of another kind, which no plan has."""

    kind: str

    def fit(self, world: str, action: Array) -> tuple[Any, bool]:
        hint = "wrap it: its actions have to be numbers in a box, or one choice"
        raise DataError(f"{world} takes actions of the kind {self.kind}", hint)

    def random(self, rng: np.random.Generator) -> Array | None:
        return None

    def shaken(self, action: Array, share: float, drawn: Array, rng: np.random.Generator) -> Array:
        return action


def space_of(space: Any) -> Space:
    """A space of gymnasium as one of these. gymnasium itself is not imported: it may be absent."""
    kind = type(space).__name__
    if kind == "Box":
        return Box(space.low, space.high)
    return Choice(int(space.n), int(space.start)) if kind == "Discrete" else Foreign(kind)


def shown(shape: tuple[Any, ...]) -> str:
    """A shape as messages have it."""
    return f"[{', '.join(map(str, shape))}]"
