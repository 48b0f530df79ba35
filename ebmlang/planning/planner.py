"""Plans one after the other: each begins with the rest of the one before it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler import typed
from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.training import term_parts
from ebmlang.compiler.typed import Question
from ebmlang.errors import DataError
from ebmlang.inference import Inference, given_arrays
from ebmlang.planning.memory import Memory
from ebmlang.planning.spaces import Array
from ebmlang.planning.worlds import Observed
from ebmlang.questions import Asked, ask_line
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.result import Result
from ebmlang.runtime.search import Search

if TYPE_CHECKING:
    from ebmlang.api import Model


PLAN, POLICY = "plan", "policy"

BY = (PLAN, POLICY)
"""What actions may come from: a search, or what an `amortize` line predicts of what it would find."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a caller wants plans to be made; None leaves the choice to the file, or to the compiler.

    `every` actions are carried out before a new plan is made; `within` seconds a plan is to be ready, the
    best one found by then is taken. Without `warm` every plan begins at the declared start. `by` says whether
    plans are searched, or are what the model predicts of them.
    """

    objective: str | None = None
    using: str | None = None
    every: int | None = None
    within: float | None = None
    steps: int | None = None
    tol: float | None = None
    restarts: int | None = None
    warm: bool = True
    by: str = PLAN

    def __post_init__(self) -> None:
        if self.by not in BY:
            raise DataError(f"actions by `{self.by}`", f"by {listing(BY, 'or')}")
        if self.every is not None and self.every < 1:
            raise DataError(f"every {self.every} actions a plan is made", "at least 1")

    def answer(
        self,
        model: Model,
        asked: Asked,
        values: Mapping[str, Any],
        settings: Settings,
        starts: Mapping[str, Tensor] | None = None,
    ) -> tuple[Inference, Result]:
        """One search for every row of the values. Raises DataError."""
        search = Search("", self.steps, self.tol, self.restarts, settings.seed, within=self.within)
        given = given_arrays(model.ranks, values)
        run = Inference.settled(model, given, {}, settings, search, asked, frozenset(), self.using, starts)
        return run, run.all()


class HorizonTooShort(DataError):
    """More actions are to be carried out than a plan has: nothing that is observed can mend it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One plan. `actions` [n, *shape] are those that are to be carried out before the next one, and `whole`
    [T, *shape] all of them; `seconds` is the time that it took. `result` is None where nothing was searched,
    and both it and `seconds` where actions come by chance. `above` holds the plans of upper levels that were
    made for it, by the names of their actions."""

    result: Result | None
    actions: Array
    whole: Array
    seconds: float | None
    above: Mapping[str, Planned] = field(default_factory=dict)


@dataclass(slots=True)
class Planner:
    """Answers a `plan` line again and again.

    The variable `action` has the time steps in its first dimension; `every` of them are carried out, a number
    that the first plan settles. `begun` holds what the next plan begins with, by name. Actions that are
    `lasting` are those of an upper level: each of them lasts until the next plan.
    """

    model: Model
    line: Question
    asked: Asked
    asking: Asking
    settings: Settings
    action: str
    fixed: Observed
    memory: Memory
    lasting: bool = False
    every: int = 0
    begun: dict[str, Tensor] = field(default_factory=dict)
    _action_shape: tuple[int, ...] = ()

    @staticmethod
    def of(
        model: Model,
        line: Question,
        asking: Asking,
        settings: Settings,
        fixed: Observed,
        known: frozenset[str],
        memory: Memory,
        lasting: bool = False,
    ) -> Planner:
        """The planner of a line of the model; `fixed` are values that are the same in every plan, and `known`
        the names of those and of what is decided above this line.

        Raises DataError where the line has no actions over time.
        """
        asked = ask_line(model.checked, line, known)
        action = _action_of(model.checked, line)
        return Planner(model, line, asked, asking, settings, action, fixed, memory, lasting)

    @property
    def searches(self) -> bool:
        """Whether there is anything to search; actions that are a `let` may follow from what is observed."""
        return bool(self.asked.sought)

    def begin(self, seed: int) -> None:
        """A new episode, whose first plan begins at the declared start."""
        self.begun.clear()

    def plan(self, observed: Observed, number: int, most: int | None = None) -> Planned:
        """The plan from what is observed now. `number` counts plans: it moves the seed of random starts. At
        most `most` actions of it are to be carried out."""
        begin = time.perf_counter()
        settings = replace(self.settings, seed=self.settings.seed + number)
        values = self._read(observed)
        run, result = self.asking.answer(self.model, self.asked, values, settings, self.begun)
        actions = result[self.action].detach().cpu().numpy()[0]
        if not self.every:
            self.settle(run.bound_rows(0, 1).sizes, actions.shape)
        carried = self.carried(most)
        if self.asking.warm:
            self._move_on(result, actions.shape[0], carried)
        return Planned(result, actions[:carried], actions, time.perf_counter() - begin)

    def carried(self, most: int | None) -> int:
        """How many rows of a plan are over when the next one is made."""
        return 1 if self.lasting else min(self.every, most or self.every)

    def answers(self, planned: Planned) -> dict[str, Array]:
        """What the line names, as a plan has it."""
        result, others = planned.result, self.line.targets[1:]
        found = {} if result is None else {n: result[n].detach().cpu().numpy()[0] for n in others}
        return {self.action: planned.whole, **found}

    def expected(self, observed: Observed, action: Array) -> Result:
        """What the model says of an action that is carried out in a state, and of going on like that."""
        values, shape = self._read(observed), self._action_shape
        whole = torch.as_tensor(np.asarray(action)).reshape(shape[1:]).expand(shape)
        if self.action in self.asked.sought:
            values |= {**self.begun, self.action: whole[None]}
        given = given_arrays(self.model.ranks, values)
        run = Inference.settled(
            self.model, given, {}, self.settings, Search(""), replace(self.asked, sought=()), frozenset()
        )
        return run.all()

    def values(self, observed: Observed) -> dict[str, Any]:
        """Everything that is given in one plan, as one example."""
        rows = {name: _row(value) for name, value in observed.items()}
        return {**self.fixed, **rows, **self.memory.now}

    def _read(self, observed: Observed) -> dict[str, Any]:
        """What the question takes of it; other levels read other observations."""
        names = {v.name for v in self.asked.model.variables}
        return {name: value for name, value in self.values(observed).items() if name in names}

    def settle(self, sizes: Mapping[str, int], shape: tuple[int, ...]) -> None:
        """How many actions of a plan are carried out, as the caller or the file says; else 1."""
        size = self.line.turn.every
        every = self.asking.every or (1 if size is None else size.evaluate(sizes))
        if every > shape[0] and not self.lasting:
            raise HorizonTooShort(
                f"{every} actions are to be carried out, and a plan has {shape[0]}",
                f"every at most {shape[0]}",
            )
        self.every, self._action_shape = every, shape

    def _move_on(self, result: Result, times: int, by: int) -> None:
        """Begin the next plan with this one, moved on in time; what comes after its end repeats its end.

        Unknowns without a time stay as they are. A plan that is not finite is no start.
        """
        for variable in self.model.checked.variables:
            name = variable.name
            if name not in self.asked.sought or variable.type.kind != "real" or name in self.asked.summed:
                continue
            found = result[name].detach()
            if not bool(torch.isfinite(found).all()):
                self.begun.pop(name, None)
                continue
            # States have one more time than actions.
            timed = found.ndim > 1 and found.shape[1] in (times, times + 1)
            self.begun[name] = _shifted(found, by) if timed else found


def _shifted(values: Tensor, by: int) -> Tensor:
    """Values [1, T, ...] `by` steps later; the last ones are repeated."""
    index = torch.arange(values.shape[1], device=values.device) + by
    return values.index_select(1, index.clamp(max=values.shape[1] - 1))


def _row(value: Any) -> Any:
    """A value as one example."""
    return value[None] if isinstance(value, Tensor) else np.asarray(value)[None]


def _action_of(model: typed.Model, line: Question) -> str:
    """The variable whose rows are carried out: the first one that the line names."""
    variables = {v.name: v for v in model.variables}
    name = line.targets[0]
    values = {let.name: let.value for let in model.lets}
    declared = values[name].type if name in values else variables[name].type
    if not declared.shape:
        raise DataError(f"`{name}` is a single number: a plan has actions over time", f"{name} : real[T]")
    if name in variables and not variables[name].per_example:
        raise DataError(f"`{name}` is the same for all examples", "an unknown of each example")
    return name


def observed_by(
    model: typed.Model,
    questions: Sequence[Asked],
    mapping: Mapping[str, str],
    fixed: Observed,
    entries: Sequence[str] = (),
    others: frozenset[str] = frozenset(),
) -> dict[str, str]:
    """Variable -> what of an observation it takes: "" for the whole, else the entry of a dictionary.

    It is about the variables that the questions read, one question for every level of the plan, and `others`
    that are read beside them. By `mapping`,
    else the variables that are called like `entries` of the observation, else the variable `obs`, else the
    only observed one that has no value yet. Raises DataError.
    """
    read = {
        v.name for asked in questions for v in asked.model.variables if v.name not in asked.sought
    } | others
    open_ = [v.name for v in model.variables if v.role == "observed" and v.name in read - fixed.keys()]
    for name in mapping:
        if name not in open_:
            hint = did_you_mean(name, open_) or f"there are {listing(open_, 'and')}"
            raise DataError(f"`{name}` is no observed variable without a value", hint)
    taken = dict(mapping) or {name: name for name in open_ if name in entries}
    if not taken and "obs" in open_:
        taken = {"obs": ""}
    needed = [v.name for v in model.variables if v.name in open_ and v.init is None]
    if taken:
        for asked in questions:
            read = {v.name for v in asked.model.variables}
            _require_others(asked, [name for name in needed if name not in taken and name in read])
        return taken
    if len(needed) == 1:
        return {needed[0]: ""}
    if not needed:
        raise DataError("no observed variable takes the observation of the world", "observed obs : real[n]")
    raise DataError(
        f"which variable takes the observation: {listing(needed, 'or')}?",
        f"call it obs, or --map {needed[0]}=observation; give the others a value",
    )


def _require_others(asked: Asked, lacking: Sequence[str]) -> None:
    """Raises DataError where a plan reads more than the observation, and nobody gives it."""
    if not lacking:
        return
    graph, name = FactorGraph(asked.model, ()), lacking[0]
    reading = [
        t.name for t in asked.model.terms if any(graph.depends(p, frozenset((name,))) for p in term_parts(t))
    ]
    others = [t.name for t in asked.model.terms if t.name not in reading]
    because = f", and {listing(reading, 'and')} cannot do without" if reading else ""
    spared = f"plan {asked.sought[0]} of {' + '.join(others)}" if others and asked.objective is None else ""
    raise DataError(f"`{name}` has no value in the world{because}", spared or "a value that holds: --data")
