"""Plans on several levels: what an upper `plan` line finds is given to the line below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ebmlang.compiler import hierarchy, typed
from ebmlang.compiler.diagnostics import listing
from ebmlang.compiler.typed import Question
from ebmlang.errors import DataError
from ebmlang.planning.memory import Memory
from ebmlang.planning.planner import POLICY, Asking, Planned, Planner
from ebmlang.planning.policies import Policy
from ebmlang.planning.spaces import Array
from ebmlang.planning.worlds import Observed
from ebmlang.questions import Asked, ask_line, plan_line
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.result import Result

if TYPE_CHECKING:
    from ebmlang.api import Model


@dataclass(slots=True)
class Levels:
    """The planner of a line with the planners of those that it rests on, `upper`, the top one first.

    An upper line is asked again after its `every` actions in the world. One row of what it plans lasts that
    long: its next plan begins with the rest of this one, a row later. What it finds, `decided`, is a value of
    all lines below until then, and none of their plans is carried out beyond that time.
    """

    lowest: Planner
    actor: Planner | Policy
    """What answers the lowest line: its planner, or a policy in its place."""
    upper: tuple[Planner, ...]
    decided: dict[str, dict[str, Array]] = field(default_factory=dict)
    """What each upper line found last, by the action of the line."""
    left: dict[str, int] = field(default_factory=dict)
    """How many actions in the world there are before each upper line is asked again."""

    @staticmethod
    def of(
        model: Model, asking: Asking, settings: Settings, fixed: Observed, memory: Memory | None = None
    ) -> Levels:
        """The planners of the line that is asked for. What a caller says of the search is about that line;
        upper ones search as the file says. Raises DataError where a line takes what nothing plans."""
        line = plan_line(model.checked, asking.objective)
        own = Asking(within=asking.within, warm=asking.warm)
        memory = memory or Memory.of(model, settings)
        known, upper = frozenset(fixed), list[Planner]()
        for q in _above(model.checked, line, known):
            upper.append(Planner.of(model, q, own, settings, fixed, known, memory, lasting=True))
            known |= frozenset(q.targets)
        lowest = Planner.of(model, line, asking, settings, fixed, known, memory)
        predicted = asking.by == POLICY or not lowest.searches
        return Levels(lowest, Policy.of(lowest) if predicted else lowest, tuple(upper))

    @property
    def questions(self) -> tuple[Asked, ...]:
        """What is asked, the top level first."""
        return tuple(planner.asked for planner in (*self.upper, self.lowest))

    def begin(self, seed: int) -> None:
        """A new episode."""
        for planner in (*self.upper, self.actor):
            planner.begin(seed)
        self.decided.clear()
        self.left.clear()

    def plan(self, observed: Observed, number: int) -> Planned:
        """The plan of the lowest line, after those upper lines were asked again whose time has come, or which
        take something new as given."""
        known, found = dict(observed), dict[str, Planned]()
        for planner in self.upper:
            new = {name for action in found for name in self.decided[action]}
            if not self.left.get(planner.action) or new & set(planner.line.given):
                planned = planner.plan(known, number)
                found[planner.action] = planned
                self.decided[planner.action] = planner.answers(planned)
                self.left[planner.action] = planner.every
            known |= self.decided[planner.action]
        planned = self.actor.plan(known, number, min(self.left.values(), default=None))
        self.left = {action: n - len(planned.actions) for action, n in self.left.items()}
        return replace(planned, above=found)

    def expected(self, observed: Observed, action: Array) -> Result:
        """What the model says of an action that is carried out in a state, and of going on like that."""
        known = dict(observed)
        for found in self.decided.values():
            known |= found
        return self.lowest.expected(known, action)


def planned(model: Model, given: Mapping[str, Any], asking: Asking, settings: Settings) -> Result:
    """One plan for every row of the given values, level by level. What upper levels found is among its
    values. Raises DataError.
    """
    line = plan_line(model.checked, asking.objective)
    upper = _above(model.checked, line, frozenset(given))
    own, decided = Asking(within=asking.within), dict[str, Any]()
    for q in upper:
        asked = ask_line(model.checked, q, frozenset({*given, *decided}))
        found = own.answer(model, asked, {**given, **decided}, settings)[1]
        decided |= {name: found[name].detach() for name in q.targets}
    asked = ask_line(model.checked, line, frozenset({*given, *decided}))
    result = asking.answer(model, asked, {**given, **decided}, settings)[1]
    return replace(result, values={**decided, **result.values})


def _above(model: typed.Model, line: Question, given: frozenset[str]) -> tuple[Question, ...]:
    """The lines to ask before this one. Raises DataError for a given unknown that no line plans."""
    upper = hierarchy.above(model, line, given)
    latents = {v.name for v in model.variables if v.role == "latent"}
    for q in (*upper, line):
        names = [n for n in q.given if n in latents - given]
        open_ = [n for n in names if hierarchy.planned_by(model, n) is None]
        if open_:
            names_ = listing([f"`{n}`" for n in open_], "and")
            raise DataError(
                f"`{q.text}` takes {names_} as given, and no line plans it",
                f"add the line `plan {open_[0]}`, or give it a value: {open_[0]}=...",
            )
    return upper
