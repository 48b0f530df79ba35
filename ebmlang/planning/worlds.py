"""Worlds that actions are carried out in: environments of gymnasium, Python functions, the model itself."""

from __future__ import annotations

import os
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebmlang.errors import DataError
from ebmlang.planning.spaces import Array, Space, shown, space_of

GYMNASIUM = "gymnasium:"
GENERATED = "generated:"


@dataclass(frozen=True, slots=True)
class Step:
    """What a world answers to an action. `ended` says that an end of the task was reached, `cut` that the
    world stops for another reason, such as its limit of steps. `reward` is nan where the world gives none."""

    observation: Any
    reward: float
    ended: bool = False
    cut: bool = False


class World(ABC):
    """Something that can be begun anew from a seed, and answers to actions."""

    name: str
    space: Space | None = None
    """The actions that it takes; None where that is not known before one is carried out."""
    entries: tuple[str, ...] = ()
    """The names in an observation that is a dictionary, where they are known."""

    @abstractmethod
    def begin(self, seed: int) -> Any:
        """The first observation of an episode: an array, a number, or a dictionary of these."""

    @abstractmethod
    def step(self, action: Array) -> Step:
        """Carry out one action."""

    def fit(self, action: Array) -> tuple[Any, bool]:
        """An action as the world takes it, and whether it had to be cut to the world's bounds.

        Raises DataError for a shape that the world does not take.
        """
        return (action, False) if self.space is None else self.space.fit(self.name, action)

    def random(self, rng: np.random.Generator) -> Array | None:
        """An action by chance, as a plan would have it; None where the world has no bounds to draw from."""
        return None if self.space is None else self.space.random(rng)

    def shaken(self, action: Array, share: float, rng: np.random.Generator) -> Array:
        """The action with noise, whose deviation is a share of the range of actions: a choice is another
        one with this probability. Raises DataError where actions have no range."""
        drawn = self.random(rng)
        if self.space is None or drawn is None:
            raise DataError(f"the actions of {self.name} have no range", "leave out the noise")
        return self.space.shaken(action, share, drawn, rng)

    def picture(self) -> Array | None:
        """The world as it looks now, uint8 [height, width, 3]; None where it has no looks."""
        return None

    def close(self) -> None:  # noqa: B027 - most worlds hold nothing
        """Give back what the world holds."""


class GymnasiumWorld(World):
    """An environment of gymnasium (Towers et al. 2024), made already or by its name."""

    def __init__(self, env: Any, name: str, owned: bool) -> None:
        self._env, self.name, self._owned = env, name, owned
        self.space = space_of(getattr(env, "action_space", None))
        seen: Any = getattr(env, "observation_space", None)
        self.entries = tuple(seen.spaces) if type(seen).__name__ == "Dict" else ()

    def begin(self, seed: int) -> Any:
        observation, _ = self._env.reset(seed=seed)
        return observation

    def step(self, action: Any) -> Step:
        observation, reward, ended, cut, _ = self._env.step(action)
        return Step(observation, _reward(self.name, reward), bool(ended), bool(cut))

    def picture(self) -> Array | None:
        if self._env.render_mode != "rgb_array":
            return None
        from gymnasium.error import Error

        try:
            return np.asarray(self._env.render())
        except Error as error:
            raise DataError(
                f"{self.name} shows no pictures: {error}", "pip install 'ebmlang[plan]'"
            ) from error

    def close(self) -> None:
        if self._owned:
            self._env.close()


class FunctionWorld(World):
    """A Python function from a state and an action to the next state, or to the pair (next state, reward),
    or to (next state, reward, ended). `first` is the state that every episode begins at, or a function of
    the seed."""

    name = "the function"

    def __init__(self, function: Callable[[Any, Any], Any], first: Any) -> None:
        self._function, self._first = function, first
        self._state: Any = None

    def begin(self, seed: int) -> Any:
        self._state = self._first(seed) if callable(self._first) else self._first
        return self._state

    def step(self, action: Array) -> Step:
        answer = self._function(self._state, action)
        parts = answer if isinstance(answer, tuple) else (answer,)
        if len(parts) > 3:
            raise DataError(
                f"the function returns {len(parts)} values",
                "the next state, a reward, and whether it has ended",
            )
        self._state = parts[0]
        reward = _reward(self.name, parts[1]) if len(parts) > 1 else float("nan")
        return Step(self._state, reward, bool(parts[2]) if len(parts) > 2 else False)


def _reward(world: str, value: Any) -> float:
    """A reward as a number. Raises DataError."""
    try:
        return float(np.asarray(value, dtype=float).reshape(()))
    except (TypeError, ValueError):
        raise DataError(f"{world} returns the reward {short(value)}", "a single number") from None


def require_numbers(world: str, observation: Any, before: Any = None) -> None:
    """That an observation is an array of numbers, or a dictionary of them, of the shape of the one before.

    Raises DataError.
    """
    if isinstance(observation, Mapping):
        for key, value in observation.items():
            require_numbers(world, value, before.get(key) if isinstance(before, Mapping) else None)
        return
    try:
        array = np.asarray(observation)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{world} returns the observation {short(observation)}", "an array of numbers")
    if before is not None and not isinstance(before, Mapping) and array.shape != np.shape(before):
        raise DataError(
            f"{world} returns an observation of the shape {shown(array.shape)} after one of "
            f"{shown(np.shape(before))}",
            "the same shape at every step",
        )


def short(value: Any) -> str:
    """An observation or a reward on one line."""
    if isinstance(value, Mapping):
        parts = ", ".join(f"{key} {short(entry)}" for key, entry in value.items())
        return textwrap.shorten(parts, 200, placeholder="...")
    with np.printoptions(precision=4, threshold=8):
        try:
            text = str(np.asarray(value))
        except ValueError:
            text = str(value)
    return textwrap.shorten(text, 200, placeholder="...")


def world_of(given: Any, first: Any = None, pictures: bool = False) -> World:
    """The world that a caller means: `gymnasium:NAME`, an environment, or a function. Raises DataError."""
    if isinstance(given, World):
        return given
    if isinstance(given, str):
        return _named(given, pictures)
    if hasattr(given, "reset") and hasattr(given, "step"):
        return GymnasiumWorld(given, getattr(getattr(given, "spec", None), "id", type(given).__name__), False)
    if callable(given):
        if first is None:
            raise DataError("a function needs a state to begin at", "first=[...]")
        return FunctionWorld(given, first)
    raise DataError(
        f"{type(given).__name__} is no world to act in",
        'a name such as "gymnasium:Pendulum-v1", or a function',
    )


def _named(spec: str, pictures: bool) -> World:
    """`gymnasium:NAME,OPTION=VALUE`, or the same of a generated world. Raises DataError."""
    kind = next((kind for kind in (GYMNASIUM, GENERATED) if spec.startswith(kind)), None)
    if kind is None:
        hint = "gymnasium:NAME, such as gymnasium:Pendulum-v1, or generated:two_rooms"
        raise DataError(f"there is no environment `{spec}`", hint)
    name, *pairs = spec.removeprefix(kind).split(",")
    options = dict(_option(pair) for pair in pairs)
    if kind == GENERATED:
        # It imports this module.
        from ebmlang.planning.generated import generated_world

        return generated_world(name, options)
    return _of_gymnasium(spec, name, options, pictures)


def _of_gymnasium(spec: str, name: str, options: Mapping[str, Any], pictures: bool) -> World:
    try:
        import gymnasium
    except ImportError as error:
        raise DataError(f"{spec} needs gymnasium", "pip install 'ebmlang[plan]'") from error
    from gymnasium.error import Error

    if pictures:
        # What draws is never shown: without a display nothing else works, and nothing is to be said.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        env = gymnasium.make(name, render_mode="rgb_array" if pictures else None, **options)
    except (Error, ImportError, TypeError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"gymnasium does not make `{name}`: {text}", "check its name and options") from error
    return GymnasiumWorld(env, name, True)


def _option(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not equals or not name.isidentifier():
        raise DataError(f"`{pair}` is no option of an environment", "gymnasium:Pendulum-v1,g=9.8")
    for value in ({"true": True, "false": False}.get(text), _number(text)):
        if value is not None:
            return name, value
    return name, text


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return None


Observed = Mapping[str, Any]
"""Values of observed variables by name, each without a dimension of the rows."""


def step_limit(limit: Any) -> int:
    """How many steps a world makes. Raises DataError for what is no such number."""
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise DataError(f"limit={limit} is no number of steps", "limit=60")
    return int(limit)
