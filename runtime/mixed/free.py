"""The free energy that is left when countable unknowns are summed out, as an energy of the others.

F(x) = -1/beta log sum_c exp(-beta E(x, c)), by elimination on the tables of E at x. All of it is torch, so
its slope, the mean of dE/dx over the states, comes by differentiating the elimination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.eliminate import log_sum
from ebmlang.runtime.discrete.methods import Unfit, planned
from ebmlang.runtime.discrete.network import Network
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.discrete.schedule import Schedule
from ebmlang.runtime.discrete.sums import sum_networks

Values = Mapping[str, Tensor]

GIVEN = "given cases"
"""Among the held values: the cases of entries that are given in part, int64 [B, N]. No variable has a space
in its name."""


def summed_names(bound: Bound) -> tuple[str, ...]:
    """The unknowns that a bound question sums out before it searches the others."""
    found: tuple[str, ...] = vars(bound.module).get("SUMMED", ())
    return found


@dataclass(frozen=True, slots=True, eq=False)
class FreeEnergy:
    """An energy for `Problem`. Elimination orders are found once for each set of scopes."""

    bound: Bound
    question: Question
    orders: dict[tuple[bytes, ...], Schedule] = field(default_factory=dict)

    def energy(self, unknown: Values, held: Values) -> Tensor:
        """[R], or [1] in a joint problem."""
        logs = [log_sum(n, self._plan(n), self.bound.beta) for n in self._at(unknown, held).networks()]
        log_z = logs[0] if len(logs) == 1 else torch.cat(logs)
        return (log_z / -self.bound.beta).to(self.bound.settings.dtype)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {"free energy": self.energy(unknown, held)}

    def probabilities(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The probability of every case of what is summed out, name -> [B, *shape, K]."""
        question = self._at(unknown, held)
        return dict(sum_networks(question, question.networks(), self.bound.beta).marginals)

    def _at(self, unknown: Values, held: Values) -> Question:
        rows = max((v.shape[0] for v in unknown.values() if v.ndim), default=1)
        bound = self.bound if self.question.joint else replace(self.bound, batch=rows)
        return replace(self.question, bound=bound, held=held, other=unknown, fixed=held.get(GIVEN))

    def _plan(self, network: Network) -> Schedule:
        key = (network.cases.tobytes(), *(p.scope.tobytes() for p in network.potentials))
        plan = self.orders.get(key)
        if plan is None:
            try:
                plan = self.orders[key] = planned(network, self.bound.settings.chunk_bytes)
            except Unfit as unfit:
                names = ", ".join(summed_names(self.bound))
                raise DataError(
                    f"{names} cannot be summed out exactly: {unfit.because}",
                    "give some of it, or make it smaller",
                ) from None
        return plan


def free_energy(bound: Bound, held: Values, observed: Values) -> tuple[FreeEnergy, dict[str, Tensor]]:
    """The free energy of a bound question, and the held values that it reads."""
    known = {n: m for n, m in observed.items() if bound.specs[n].kind != "real"}
    question = replace(question_of(bound, known, held, {}), strict=False)
    kept = dict(held)
    if question.fixed is not None:
        kept[GIVEN] = question.fixed
    return FreeEnergy(bound, question), kept
