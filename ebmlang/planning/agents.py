"""What acts: the planner of a goal, the memory of an episode, goals and weights that change on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.errors import DataError
from ebmlang.planning.levels import Levels
from ebmlang.planning.memory import Memory
from ebmlang.planning.planner import Asking, Planned, observed_by
from ebmlang.planning.spaces import Array
from ebmlang.planning.worlds import Observed
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.result import Result

if TYPE_CHECKING:
    from ebmlang.api import Model

Configurator = Callable[[int, Observed], Mapping[str, Any] | None]
"""Called before every plan with the number of actions so far, and with what is observed. What it returns is
changed: "objective", the label of a `plan` line, and values of observed variables by name."""


@dataclass(slots=True)
class Agent:
    """A model that acts in an episode, step by step.

    `fixed` are the values that hold until they are changed. The planners of every line are made once: to
    change a goal or a weight compiles nothing that was asked before.
    """

    model: Model
    asking: Asking
    settings: Settings
    fixed: dict[str, Any]
    memory: Memory
    levels: Levels
    configurator: Configurator | None = None
    steps: int = 0
    _by_goal: dict[str | None, Levels] = field(default_factory=dict)
    _left: list[Array] = field(default_factory=list)

    @staticmethod
    def of(
        model: Model,
        asking: Asking,
        settings: Settings,
        fixed: Mapping[str, Any],
        configurator: Configurator | None = None,
    ) -> Agent:
        """Raises DataError where the model has no such line, or no actions over time."""
        values, memory = dict(fixed), Memory.of(model, settings)
        levels = Levels.of(model, asking, settings, values, memory)
        agent = Agent(model, asking, settings, values, memory, levels, configurator)
        agent._by_goal[asking.objective] = levels
        return agent

    def begin(self, seed: int = 0) -> None:
        """A new episode: memory and plans begin anew, goals and weights stay."""
        self.memory.begin()
        self.levels.begin(seed)
        self.steps = 0
        self._left.clear()

    def configure(self, objective: str | None = None, **values: Any) -> None:
        """Change the goal, and values that hold from now on. Raises DataError for names that do not exist."""
        observed = [v.name for v in self.model.checked.variables if v.role == "observed"]
        for name in values:
            if name not in observed:
                hint = did_you_mean(name, observed) or f"there are {listing(observed, 'and')}"
                raise DataError(f"`{name}` is no observed variable, whose value could change", hint)
        self.fixed.update(values)
        if objective is not None:
            self._turn_to(objective)

    def act(self, observation: Any) -> Array:
        """The next action, given what is observed: the value of the variable that takes observations, or
        several by name. A new plan is made when the actions of the last one are used up. Raises DataError.
        """
        observed = observation
        if not isinstance(observation, Mapping):
            observed = dict.fromkeys(self.takes({}), observation)
        if not self._left:
            self._left = list(self.plan(observed, self.steps).actions)
        self.remember(observed)
        return self._left.pop(0)

    def plan(self, observed: Observed, number: int) -> Planned:
        """What to do, given what is observed now. `number` counts the plans of the episode."""
        changes = self.configurator(self.steps, observed) if self.configurator is not None else None
        if changes:
            self.configure(**changes)
        return self.levels.plan(observed, number)

    def remember(self, observed: Observed) -> None:
        """An action is carried out in what is observed: states of the episode move on."""
        self.memory.step(self.levels.lowest.values(observed))
        self.steps += 1

    def expected(self, observed: Observed, action: Array) -> Result:
        """What the model says of an action that is carried out in a state, and of going on like that."""
        return self.levels.expected(observed, action)

    def takes(self, mapping: Mapping[str, str], entries: Sequence[str] = ()) -> dict[str, str]:
        """Variable -> what of an observation it takes; see `observed_by`. Raises DataError."""
        checked, others = self.model.checked, set(self.memory.reads)
        if self.configurator is not None:
            # Lines that are turned to later may read more.
            others |= {v.name for v in checked.variables if v.role == "observed" and v.name in entries}
        return observed_by(checked, self.levels.questions, mapping, self.fixed, entries, frozenset(others))

    def _turn_to(self, objective: str) -> None:
        """Plan for another line. What was planned for it before is out of date."""
        known = self._by_goal.get(objective)
        if known is None:
            asking = replace(self.asking, objective=objective)
            known = Levels.of(self.model, asking, self.settings, self.fixed, self.memory)
            self._by_goal[objective] = known
        if known is not self.levels:
            self.levels = known
            self.levels.begin(self.settings.seed)
            self._left.clear()
