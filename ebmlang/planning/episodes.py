"""What happened: the record of episodes, as a table, as arrays, as a plot and as moving pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ebmlang.compiler.tables import SLACK
from ebmlang.errors import DataError
from ebmlang.planning.planner import Planned
from ebmlang.planning.spaces import Array
from ebmlang.planning.worlds import Step, short


@dataclass(frozen=True, slots=True)
class UpperPlans:
    """The plans of an upper level in an episode: how long each took, whether its search converged, the step
    it was made at, each [plans], and the actions of the level that it found [plans, K, *shape]."""

    seconds: Array
    converged: Array
    steps: Array
    actions: Array


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of n steps.

    observations: [n + 1, *shape], or a dictionary of such. actions: [n, *shape], as the world took them.
    rewards [n], nan where the world gives none. ended: the task came to an end; cut: the world stopped
    otherwise. plans: how many plans were made; seconds [plans], energies [plans], iterations [plans],
    converged bool [plans] are theirs, `violations` by how much each constraint was violated at most. A plan
    that was predicted, not searched, has the energy nan, no iterations, and is no trouble. whole: the actions
    of every plan, [plans, T, *shape], and begun [plans] the steps that they begin at. outside: actions that
    had to be cut to the bounds of the world. trouble: what broke the episode off. above: the plans of upper
    levels, by the names of what they plan. broken: how many plans broke each constraint. failure: the first
    plan that did not converge, in words, with its step and observation.
    """

    number: int
    seed: int
    observations: Any
    actions: Array
    rewards: Array
    ended: bool
    cut: bool
    seconds: Array
    energies: Array
    iterations: Array
    converged: Array
    violations: Mapping[str, float]
    whole: Array
    begun: Array
    outside: int
    trouble: str
    pictures: tuple[Array, ...] = field(default=(), repr=False)
    above: Mapping[str, UpperPlans] = field(default_factory=dict)
    broken: Mapping[str, int] = field(default_factory=dict)
    failure: str = ""

    @property
    def steps(self) -> int:
        """How many actions were carried out."""
        return len(self.rewards)

    @property
    def plans(self) -> int:
        """How many plans were made."""
        return len(self.seconds)

    @property
    def searched(self) -> bool:
        """Whether plans were searched; predicted ones have no energies, and are no trouble."""
        return not (np.isnan(self.energies) & self.converged).all()

    @property
    def total(self) -> float:
        """The return: the sum of the rewards."""
        return float(self.rewards.sum())

    @property
    def outcome(self) -> str:
        """How the episode ended, in a word or two."""
        return "broken off" if self.trouble else "ended" if self.ended else "cut" if self.cut else "steps"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is kept of one plan: numbers, so that a long run does not grow."""

    seconds: float
    energy: float
    iterations: int
    converged: bool
    violations: Mapping[str, float]
    whole: Array
    begun: int
    status: str = ""

    def breaks(self, name: str) -> bool:
        """Whether a constraint does not hold. The tolerance of a plan that has converged is its own."""
        return not self.converged and self.violations.get(name, 0.0) > SLACK

    @staticmethod
    def of(planned: Planned, begun: int) -> _Plan:
        result, seconds = planned.result, planned.seconds or 0.0
        if result is None:
            return _Plan(seconds, math.nan, 0, True, {}, planned.whole, begun)
        return _Plan(
            seconds,
            float(result.energy[0].detach()),
            int(result.iterations[0]),
            bool(result.converged[0]),
            {name: float(value.max()) for name, value in result.violations.items()},
            planned.whole,
            begun,
            result.status[0],
        )


def _upper(plans: Sequence[_Plan]) -> UpperPlans:
    """All plans of an upper level."""
    return UpperPlans(
        np.array([plan.seconds for plan in plans]),
        np.array([plan.converged for plan in plans]),
        np.array([plan.begun for plan in plans]),
        np.stack([plan.whole for plan in plans]),
    )


@dataclass(slots=True)
class Recorder:
    """An episode while it goes on."""

    number: int
    seed: int
    trouble: str = ""
    pictures: list[Array] = field(default_factory=list)
    _observations: list[Any] = field(default_factory=list)
    _actions: list[Array] = field(default_factory=list)
    _steps: list[Step] = field(default_factory=list)
    _plans: list[_Plan] = field(default_factory=list)
    _above: dict[str, list[_Plan]] = field(default_factory=dict)
    _outside: int = 0

    @property
    def steps(self) -> int:
        """How many actions were carried out."""
        return len(self._steps)

    @property
    def last(self) -> Any:
        """The observation before the next action; None before the first."""
        return self._observations[-1] if self._observations else None

    def begin(self, observation: Any) -> None:
        """The first observation."""
        self._observations.append(_copied(observation))

    def plan(self, planned: Planned) -> None:
        """A plan was made, or an action was drawn."""
        for name, upper in planned.above.items():
            self._above.setdefault(name, []).append(_Plan.of(upper, self.steps))
        if planned.seconds is not None:
            self._plans.append(_Plan.of(planned, self.steps))

    def step(self, action: Any, step: Step, cut: bool) -> None:
        """An action was carried out."""
        self._actions.append(np.array(action))
        self._steps.append(step)
        self._observations.append(_copied(step.observation))
        self._outside += cut

    def over(self, steps: int | None) -> bool:
        """Whether no action follows."""
        last = self._steps[-1] if self._steps else None
        full = steps is not None and self.steps >= steps
        return bool(self.trouble) or full or (last is not None and (last.ended or last.cut))

    def episode(self) -> Episode:
        """The record as it is now."""
        names = dict.fromkeys(name for plan in self._plans for name in plan.violations)
        last = self._steps[-1] if self._steps else None
        return Episode(
            self.number,
            self.seed,
            _stacked(self._observations),
            np.stack(self._actions) if self._actions else np.zeros((0,)),
            np.array([step.reward for step in self._steps], dtype=float),
            last is not None and last.ended,
            last is not None and last.cut,
            np.array([plan.seconds for plan in self._plans]),
            np.array([plan.energy for plan in self._plans]),
            np.array([plan.iterations for plan in self._plans], dtype=np.int64),
            np.array([plan.converged for plan in self._plans], dtype=bool),
            {n: max(plan.violations[n] for plan in self._plans if n in plan.violations) for n in names},
            np.stack([plan.whole for plan in self._plans]) if self._plans else np.zeros((0, 0)),
            np.array([plan.begun for plan in self._plans], dtype=np.int64),
            self._outside,
            self.trouble,
            tuple(self.pictures),
            {name: _upper(plans) for name, plans in self._above.items()},
            {n: sum(plan.breaks(n) for plan in self._plans) for n in names},
            next((self._said(plan) for plan in self._plans if not plan.converged), ""),
        )

    def _said(self, plan: _Plan) -> str:
        """Why a plan did not converge, with its step and what was observed there."""
        return f"step {plan.begun}: {plan.status}, at the observation {short(self._observations[plan.begun])}"


@dataclass(frozen=True, slots=True)
class Episodes(Sequence[Episode]):
    """Episodes of one run in one world; prints as a table.

    With constraints it has a column for how many plans broke one, counted once for each that a plan broke.
    """

    world: str
    found: tuple[Episode, ...]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, at: Any) -> Any:
        return self.found[at]

    @property
    def returns(self) -> Array:
        """The sum of the rewards of each episode, [episodes]."""
        return np.array([episode.total for episode in self.found])

    @property
    def seconds(self) -> Array:
        """The time of every plan."""
        return np.concatenate([episode.seconds for episode in self.found]) if self.found else np.zeros(0)

    @property
    def above(self) -> dict[str, Array]:
        """The time of every plan of the upper levels, by the names of what they plan."""
        names = dict.fromkeys(name for episode in self.found for name in episode.above)
        return {n: np.concatenate([e.above[n].seconds for e in self.found if n in e.above]) for n in names}

    @property
    def trouble(self) -> tuple[str, ...]:
        """What broke episodes off."""
        return tuple(f"episode {e.number}, {e.trouble}" for e in self.found if e.trouble)

    def transitions(self) -> dict[str, Array]:
        """Every step as a row: obs, action, next_obs, reward, ended (the task came to its end), episode, t.

        `to_go` is what the rest of the episode cost, the step among it: minus the sum of its rewards. Where
        there were plans, `plan` [rows, T, *shape] is the one that the step is of, from this step on; what
        comes after its end repeats its end. Entries of observations that are dictionaries are obs.KEY and
        next_obs.KEY.
        """
        parts: list[dict[str, Array]] = []
        for e in (e for e in self.found if e.steps):
            n = e.steps
            whole = e.observations if isinstance(e.observations, Mapping) else {"": e.observations}
            row = {"action": e.actions, "reward": e.rewards}
            for key, values in whole.items():
                dotted = f".{key}" if key else ""
                row |= {f"obs{dotted}": values[:-1], f"next_obs{dotted}": values[1:]}
            ended = np.zeros(n, dtype=bool)
            ended[-1] = e.ended
            row |= {"ended": ended, "episode": np.full(n, e.number), "t": np.arange(n), "to_go": _to_go(e)}
            if e.plans:
                row["plan"] = _rests(e)
            parts.append(row)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def windows(self, steps: int) -> dict[str, Array]:
        """Every episode in pieces of so many steps, a row for each: obs, action, reward, ended, episode, t.

        obs is [rows, steps + 1, *shape], action [rows, steps, *shape], reward [rows, steps]; `ended`,
        `episode` and `t`, the first step of the piece, are one number for each row. Pieces do not overlap,
        and what is left at the end of an episode is left out. Raises DataError where none is long enough.
        """
        pieces = [(e, t) for e in self.found for t in range(0, e.steps - steps + 1, steps)]
        if not pieces:
            longest = max((e.steps for e in self.found), default=0)
            raise DataError(
                f"no episode has {steps} steps: the longest has {longest}", f"windows of at most {longest}"
            )
        rows = {
            "action": np.stack([e.actions[t : t + steps] for e, t in pieces]),
            "reward": np.stack([e.rewards[t : t + steps] for e, t in pieces]),
            "ended": np.array([e.ended and t + steps == e.steps for e, t in pieces]),
            "episode": np.array([e.number for e, _ in pieces]),
            "t": np.array([t for _, t in pieces]),
        }
        first = pieces[0][0].observations
        for key in first if isinstance(first, Mapping) else ("",):
            whole = [(e.observations[key] if key else e.observations, t) for e, t in pieces]
            rows[f"obs.{key}" if key else "obs"] = np.stack([seen[t : t + steps + 1] for seen, t in whole])
        return rows

    def to_json(self) -> dict[str, Any]:
        """The table as values that JSON has."""
        return {
            "world": self.world,
            "episodes": [
                {
                    "seed": e.seed,
                    "steps": e.steps,
                    "return": _finite(e.total),
                    "ended": e.outcome,
                    "plans": e.plans,
                    "converged": int(e.converged.sum()),
                    "seconds_per_plan": _finite(float(np.median(e.seconds))) if e.plans else None,
                    "upper": {
                        name: {"plans": len(p.seconds), "seconds_per_plan": float(np.median(p.seconds))}
                        for name, p in e.above.items()
                    },
                    "violations": dict(e.violations),
                    "violated": dict(e.broken),
                    "failure": e.failure,
                    "outside": e.outside,
                    "trouble": e.trouble,
                }
                for e in self.found
            ],
            "mean_return": _finite(float(self.returns.mean())) if self.found else None,
        }

    def __str__(self) -> str:
        limited = any(e.violations for e in self.found)
        head = f"{'episode':>7}  {'seed':>6}  {'steps':>6}  {'return':>10}  {'ms a plan':>9}  {'worst':>7}  "
        lines = [f"{head}{'broken  ' if limited else ''}end"]
        for e in self.found:
            typical, worst = (np.median(e.seconds), e.seconds.max()) if e.plans else (math.nan, math.nan)
            lines.append(
                f"{e.number:>7}  {e.seed:>6}  {e.steps:>6}  {e.total:>10.5g}  {1e3 * typical:>9.3g}  "
                f"{1e3 * worst:>7.3g}  {f'{sum(e.broken.values()):>6}  ' if limited else ''}{e.outcome}"
            )
        if len(self.found) > 1:
            seconds = self.seconds
            typical = np.median(seconds) if len(seconds) else math.nan
            lines.append(
                f"{'mean':>7}  {'':>6}  {'':>6}  {self.returns.mean():>10.5g}  {1e3 * typical:>9.3g}"
            )
        for name, spent in self.above.items():
            typical, worst = 1e3 * np.median(spent), 1e3 * spent.max()
            lines.append(f"above: {name}, {len(spent):,} plans, {typical:.3g} ms each, {worst:.3g} at worst")
        return "\n".join(lines)

    def plot(self, path: str | Path | None = None, force: bool = False) -> Any:
        """Rewards, actions and observations over time, a line per episode. Needs matplotlib.

        Returns the figure; writes it to `path` where that is given, as its ending says. Raises DataError.
        """
        from ebmlang.planning.pictures import figure

        return figure(self, path, force)

    def gif(self, path: str | Path, force: bool = False) -> None:
        """The pictures of all episodes one after the other, as a GIF. Needs Pillow. Raises DataError."""
        from ebmlang.planning.pictures import write_gif

        write_gif(self, Path(path), force)


def _copied(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: np.array(value) for key, value in observation.items()}
    return np.array(observation)


def _stacked(observations: list[Any]) -> Any:
    if not observations:
        return np.zeros((0,))
    if isinstance(observations[0], Mapping):
        return {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)


def _to_go(episode: Episode) -> Array:
    """Minus the sum of the rewards from each step to the end, [n]."""
    return -np.cumsum(episode.rewards[::-1])[::-1]


def _rests(episode: Episode) -> Array:
    """The plan of every step from that step on, its end repeated, [n, T, *shape]."""
    steps = np.arange(episode.steps)
    plan = np.searchsorted(episode.begun, steps, side="right") - 1
    times = np.arange(episode.whole.shape[1]) + (steps - episode.begun[plan])[:, None]
    found: Array = episode.whole[plan[:, None], np.minimum(times, episode.whole.shape[1] - 1)]
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
