"""The training loss of a batch: a number that is differentiable in the parameters.

It is the mean over the examples of the terms of an example, each batch term once, each term of parameters
alone once. The total energy of a row counts what is one number in every row, so the mean over rows is that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime import ask, posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.gathering import shared
from ebmlang.runtime.marginal import marginal
from ebmlang.runtime.mixed.free import summed_names
from ebmlang.runtime.nested.watching import heard
from ebmlang.runtime.report import energy_rows, rows_of
from ebmlang.runtime.search import Search

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """loss: [], differentiable. terms: the mean of each term over the rows, [] without gradients; empty where
    unknowns are summed out. unconverged: rows in which a search inside, or a nested one, ended early."""

    loss: Tensor
    terms: dict[str, Tensor]
    unconverged: int = 0

    def less(self, other: Evaluated) -> Evaluated:
        """The difference to another loss; terms are those of the first one."""
        return replace(self, loss=self.loss - other.loss, unconverged=self.unconverged + other.unconverged)

    def times(self, share: float) -> Evaluated:
        """As it counts in the loss of more rows."""
        return replace(self, loss=self.loss * share, terms={n: v * share for n, v in self.terms.items()})


@dataclass(frozen=True, slots=True)
class Form:
    """What the loss is made of. `sums`: everything the module seeks is summed out; `own`: the objective is
    not the sum of the terms; `value` names the value of the model that is the loss, where it is not what the
    search lowers. `half`: products of matrices in bfloat16, where torch holds it to be safe; the
    search inside keeps its precision."""

    sums: bool = False
    own: bool = False
    value: str = ""
    half: bool = False


def evaluate(bound: Bound, search: Search, observed: Values, form: Form) -> Evaluated:
    """The loss of a bound batch.

    What the module seeks, and does not sum out, is minimised with everything else held, and the loss is the
    energy at the minimum, not differentiated through the search (envelope theorem).
    """
    unknown: Values = {}
    early = torch.zeros(bound.batch, dtype=torch.bool)
    if not form.sums:
        unknown, early = _minimum(bound, search, observed)
    half = torch.autocast(bound.settings.device.type, torch.bfloat16) if form.half else nullcontext()
    with heard(bound) as notes, half:
        rows, terms = _rows(bound, unknown, observed, form)
        loss = rows.mean()
    for note in notes:
        early = early | note.rows
    return Evaluated(loss, {n: v.detach().mean() for n, v in terms.items()}, int(early.sum()))


def _rows(bound: Bound, unknown: Values, observed: Values, form: Form) -> tuple[Tensor, dict[str, Tensor]]:
    """What is lowered in every row, [B], with what is minimised at given values; and its terms."""
    held = posing.held_values(bound)
    if form.sums:
        return marginal(bound, held, observed, bound.beta).energy, {}
    if summed_names(bound):
        free, known = posing.free_of(bound, held, observed)
        return rows_of(free.energy(unknown, known), bound.batch), {}
    terms = bound.instance.terms(unknown, held)
    if form.value:
        return rows_of(bound.instance.lets(unknown, held)[form.value], bound.batch), terms
    if form.own:
        return rows_of(bound.instance.energy(unknown, held), bound.batch), terms
    return energy_rows(bound, unknown, held, terms), terms


def _minimum(bound: Bound, search: Search, observed: Values) -> tuple[dict[str, Tensor], Tensor]:
    """What the module seeks, without gradients, and which rows did not converge, bool [B]."""
    sought = [name for name in bound.module.SOUGHT if name not in summed_names(bound)]
    if not sought:
        return {}, torch.zeros(bound.batch, dtype=torch.bool)
    still = replace(bound, values={n: v.detach() for n, v in bound.values.items()})
    with shared(1):  # rows are searched on their own, in every process as long as it takes
        found = ask.infer(still, search, observed, brief=True)
    return {n: found.values[n].detach() for n in sought}, ~found.converged.cpu()
