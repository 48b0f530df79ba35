"""Acting without a search: the actions that a model predicts are carried out as they are."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from ebmlang.compiler import typed
from ebmlang.compiler.domains import REALS
from ebmlang.compiler.typed import Expr
from ebmlang.computed import Computed
from ebmlang.errors import DataError
from ebmlang.planning.planner import Planned, Planner
from ebmlang.planning.worlds import Observed
from ebmlang.runtime.domains import DOMAINS


@dataclass(slots=True)
class Policy:
    """The actions of a plan line as the model predicts them, brought into their domain.

    `planner` is that of the line: it knows other values, and how many actions are carried out.
    """

    planner: Planner
    computed: Computed
    domain: str

    @staticmethod
    def of(planner: Planner) -> Policy:
        """Raises DataError where nothing predicts the actions of the line."""
        model, name = planner.model.checked, planner.action
        wanted = {_ACTION: _prediction(model, name)}
        variable = model.variable(name)
        domain = variable.domain if variable is not None else REALS
        bounds = (*domain.arguments, *((domain.where,) if domain.where is not None else ()))
        wanted |= {f"{_BOUND}{k}": value for k, value in enumerate(bounds)}
        return Policy(
            planner, Computed(planner.model, wanted, planner.settings, f"policy {name}"), domain.name
        )

    def begin(self, seed: int) -> None:
        """A new episode."""
        self.planner.begin(seed)
        self.computed.begin()

    def plan(self, observed: Observed, number: int, most: int | None = None) -> Planned:
        """The predicted actions, given what is observed now; at most `most` of them are to be carried out."""
        begin = time.perf_counter()
        found = self.computed.values(self.planner.values(observed))
        actions = self._inside(found).cpu().numpy()[0]
        if not self.planner.every:
            self.planner.settle(self.computed.sizes, actions.shape)
        return Planned(None, actions[: self.planner.carried(most)], actions, time.perf_counter() - begin)

    def _inside(self, found: dict[str, Tensor]) -> Tensor:
        bounds = [value for name, value in found.items() if name.startswith(_BOUND)]
        make = DOMAINS[self.domain]
        return (make(*bounds) if bounds else make()).nearest(found[_ACTION])


_ACTION, _BOUND = "amortize.action", "amortize.bound"
"""Names that no declaration has: `amortize` is reserved."""


def _prediction(model: typed.Model, name: str) -> Expr:
    """What an `amortize` line predicts; the value itself where the actions are computed."""
    let = next((let for let in model.lets if let.name == name), None)
    if let is not None:
        return typed.Read(let.value.type, (), let.value.level, False, let.span, name)
    line = next((q for q in model.questions if q.prediction and name in q.targets), None)
    if line is None:
        raise DataError(f"nothing predicts `{name}`", f"add a line: amortize {name} = policy(...)")
    return line.prediction[0]
