"""Episodes: what is observed, planned, carried out, and answered by the world, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ebmlang.compiler.diagnostics import listing
from ebmlang.errors import DataError
from ebmlang.planning.episodes import Episode, Recorder
from ebmlang.planning.planner import HorizonTooShort, Planned
from ebmlang.planning.spaces import Array
from ebmlang.planning.worlds import Observed, World, require_numbers, short

Heard = Callable[[int, int], None]
"""Called with the number of the episode and of the step."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long a run is: `episodes` of at most `steps` actions, with the seeds seed, seed + 1, and so on.

    `noise` is added to every action, as a share of its range.
    """

    episodes: int = 1
    steps: int | None = None
    seed: int = 0
    pictures: bool = False
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise DataError(f"{self.episodes} episodes", "at least 1")
        if self.steps is not None and self.steps < 1:
            raise DataError(f"episodes of {self.steps} steps", "at least 1")


class Actor(Protocol):
    """What says which actions are carried out."""

    def begin(self, seed: int) -> None:
        """A new episode."""

    def plan(self, observed: Observed, number: int) -> Planned:
        """What to do, given what is observed now. `number` counts the plans of the episode."""

    def remember(self, observed: Observed) -> None:
        """An action is carried out in what is observed."""


@dataclass(slots=True)
class Acting:
    """A planner in a world. `takes` says which variable takes what of an observation, "" for all of it."""

    planner: Actor
    world: World
    takes: Mapping[str, str]
    course: Course
    _noise: np.random.Generator = field(default_factory=np.random.default_rng, init=False)

    def episodes(self, heard: Heard | None = None) -> Iterator[Episode]:
        """One episode after the other.

        An episode that the world breaks off by an error, or by an answer that the model does not take,
        or whose plan has no numbers, is kept as far as it went, and `trouble` says what happened. Raises
        DataError where not even the first action of the run can be carried out: world and model do not fit.
        """
        for number in range(self.course.episodes):
            self.planner.begin(self.course.seed + number)
            self._noise = np.random.Generator(np.random.PCG64([self.course.seed + number, 1]))
            record = Recorder(number, self.course.seed + number)
            try:
                self._play(record, heard)
            except KeyboardInterrupt:
                record.trouble = "interrupted"
                yield record.episode()
                raise
            except DataError as error:
                if not record.number and not record.steps:
                    raise
                record.trouble = f"step {record.steps}: {error.message}{_after(record)}"
            yield record.episode()

    def _play(self, record: Recorder, heard: Heard | None) -> None:
        observation = self._answered(record, lambda: self.world.begin(record.seed))
        if record.trouble:
            return
        require_numbers(self.world.name, observation)
        record.begin(observation)
        self._look(record)
        plans = 0
        while not record.over(self.course.steps):
            planned = self._planned(record, self._observed(observation), plans)
            plans += 1
            record.plan(planned)
            if not np.isfinite(planned.actions.astype(float)).all():
                status = "" if planned.result is None else f" ({planned.result.status[0]})"
                record.trouble = f"step {record.steps}: the plan has no numbers{status}{_after(record)}"
                return
            for action in planned.actions:
                self.planner.remember(self._observed(observation))
                observation = self._act(record, action)
                if heard is not None:
                    heard(record.number, record.steps)
                if record.over(self.course.steps):
                    return

    def _planned(self, record: Recorder, observed: Observed, number: int) -> Planned:
        try:
            return self.planner.plan(observed, number)
        except DataError as error:
            if record.number or number or isinstance(error, HorizonTooShort):
                raise
            shapes = listing([f"{list(value.shape)} for `{name}`" for name, value in observed.items()], "and")
            raise DataError(
                f"the model does not take the observation of {self.world.name}, {shapes}: {error.message}",
                error.hint,
            ) from error

    def _act(self, record: Recorder, action: Array) -> Any:
        if self.course.noise:
            action = self.world.shaken(action, self.course.noise, self._noise)
        fitting, cut = self.world.fit(action)
        step = self._answered(record, lambda: self.world.step(fitting))
        if record.trouble:
            return None
        require_numbers(self.world.name, step.observation, record.last)
        record.step(fitting, step, cut)
        self._look(record)
        return step.observation

    def _answered(self, record: Recorder, ask: Callable[[], Any]) -> Any:
        """What the world answers; an error of the world ends the episode and is noted."""
        try:
            return ask()
        except DataError:
            raise
        except Exception as error:
            said = f"{self.world.name} raised {type(error).__name__}: {error}"
            record.trouble = f"step {record.steps}: {said}{_after(record)}"
            return None

    def _observed(self, observation: Any) -> Observed:
        """Values of the variables. Raises DataError for an observation without what is asked for."""
        found = {}
        for name, key in self.takes.items():
            if not key:
                if isinstance(observation, Mapping):
                    keys = listing(list(observation), "and")
                    raise DataError(
                        f"the observation of {self.world.name} is a dictionary of {keys}",
                        f"--map {name}={next(iter(observation), 'KEY')}",
                    )
                found[name] = np.asarray(observation)
            elif not isinstance(observation, Mapping) or key not in observation:
                there = listing(list(observation), "and") if isinstance(observation, Mapping) else "one array"
                raise DataError(f"the observation of {self.world.name} has no `{key}`", f"it has {there}")
            else:
                found[name] = np.asarray(observation[key])
        return found

    def _look(self, record: Recorder) -> None:
        if self.course.pictures:
            picture = self.world.picture()
            if picture is not None:
                record.pictures.append(picture)


def _after(record: Recorder) -> str:
    return "" if record.last is None else f", after the observation {short(record.last)}"
