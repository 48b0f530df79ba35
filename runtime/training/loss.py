"""The training loss of a batch: a number that is differentiable in the parameters.

It is the mean over the examples of the terms of an example, each batch term once, each term of parameters
alone once. The total energy of a row counts what is one number in every row, so the mean over rows is that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime import ask, posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.marginal import marginal
from ebmlang.runtime.mixed.free import summed_names
from ebmlang.runtime.report import energy_rows, rows_of
from ebmlang.runtime.search import Search

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """loss: [], differentiable. terms: the mean of each term over the rows, [] without gradients; empty where
    unknowns are summed out. unconverged: rows whose search inside ended early."""

    loss: Tensor
    terms: dict[str, Tensor]
    unconverged: int = 0

    def times(self, share: float) -> Evaluated:
        """As it counts in the loss of more rows."""
        return replace(self, loss=self.loss * share, terms={n: v * share for n, v in self.terms.items()})


@dataclass(frozen=True, slots=True)
class Form:
    """What the loss is made of. `sums`: everything the module seeks is summed out; `own`: the objective is
    not the sum of the terms. `half`: products of matrices in bfloat16, where torch holds it to be safe; the
    search inside keeps its precision."""

    sums: bool = False
    own: bool = False
    half: bool = False


def evaluate(bound: Bound, search: Search, observed: Values, form: Form) -> Evaluated:
    """The loss of a bound batch.

    What the module seeks, and does not sum out, is minimised with everything else held, and the loss is the
    energy at the minimum, not differentiated through the search (envelope theorem).
    """
    if form.sums:
        found = marginal(bound, posing.held_values(bound), observed, bound.beta)
        return Evaluated(found.energy.mean(), {})
    unknown, unconverged = _minimum(bound, search, observed)
    with torch.autocast(bound.settings.device.type, torch.bfloat16, enabled=form.half):
        found = _at(bound, unknown, observed, form)
    return replace(found, unconverged=unconverged)


def _at(bound: Bound, unknown: Values, observed: Values, form: Form) -> Evaluated:
    """The loss with what is minimised at given values."""
    held = posing.held_values(bound)
    if summed_names(bound):
        free, known = posing.free_of(bound, held, observed)
        rows = rows_of(free.energy(unknown, known), bound.batch)
        return Evaluated(rows.mean(), {})
    terms = bound.instance.terms(unknown, held)
    if form.own:
        rows = rows_of(bound.instance.energy(unknown, held), bound.batch)
    else:
        rows = energy_rows(bound, unknown, held, terms)
    return Evaluated(rows.mean(), {n: v.detach().mean() for n, v in terms.items()})


def _minimum(bound: Bound, search: Search, observed: Values) -> tuple[dict[str, Tensor], int]:
    """What the module seeks, without gradients, and how many rows did not converge."""
    sought = [name for name in bound.module.SOUGHT if name not in summed_names(bound)]
    if not sought:
        return {}, 0
    still = replace(bound, values={n: v.detach() for n, v in bound.values.items()})
    found = ask.infer(still, search, observed, brief=True)
    return {n: found.values[n].detach() for n in sought}, int((~found.converged).sum())
