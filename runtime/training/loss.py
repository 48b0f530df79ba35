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
from ebmlang.runtime.training.look import ENERGIES, Look

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """loss: [], differentiable. terms: the mean of each term over the rows, [] without gradients; empty where
    unknowns are summed out. unconverged: rows in which a search inside, or a nested one, ended early. rows:
    the loss of each row, [B], of which it is the mean."""

    loss: Tensor
    terms: dict[str, Tensor]
    unconverged: int = 0
    rows: Tensor | None = None

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


def evaluate(
    bound: Bound, search: Search, observed: Values, form: Form, look: Look | None = None
) -> Evaluated:
    """The loss of a bound batch; `look` hears what happens on the way.

    What the module seeks, and does not sum out, is minimised with everything else held, and the loss is the
    energy at the minimum, not differentiated through the search (envelope theorem).
    """
    unknown, early = ({}, None) if form.sums else _minimum(bound, search, observed)
    half = torch.autocast(bound.settings.device.type, torch.bfloat16) if form.half else nullcontext()
    heeded = nullcontext(bound) if look is None else look.listening(bound)
    with heard(bound) as notes, half, heeded as some:
        rows, terms = _rows(some, unknown, observed, form)
        loss = rows.mean()
    if look is not None:
        _show(look, bound, unknown, observed, form)
    for note in notes:
        early = note.rows.expand(bound.batch) if early is None else early | note.rows
    means = {n: v.detach().mean() for n, v in terms.items()}
    return Evaluated(loss, means, 0 if early is None else int(early.sum()), rows.detach())


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


@torch.no_grad()
def _show(look: Look, bound: Bound, unknown: Values, observed: Values, form: Form) -> None:
    """Tell a look what was found, and which cases were chosen."""
    found, codes = dict(unknown), [name for name, _ in look.vitals.codes]
    if form.sums and any(name in bound.module.SOUGHT for name in codes):
        shares = marginal(bound, posing.held_values(bound), observed, bound.beta).marginals
        found = {name: shares[name].argmax(-1) for name in codes if name in shares}
    elif not form.sums and (look.vitals.contrast or any(name not in bound.specs for name in codes)):
        found |= bound.instance.lets(unknown, posing.held_values(bound))
    for of, name in zip(ENERGIES, look.vitals.contrast, strict=False):
        if name in found:
            look.energy(of, rows_of(found[name], bound.batch))
    look.found(bound, found)


def _minimum(bound: Bound, search: Search, observed: Values) -> tuple[dict[str, Tensor], Tensor | None]:
    """What the module seeks, without gradients, and which rows did not converge, bool [B]; None where nothing
    is sought."""
    sought = [name for name in bound.module.SOUGHT if name not in summed_names(bound)]
    if not sought:
        return {}, None
    still = replace(bound, values={n: v.detach() for n, v in bound.values.items()})
    with shared(1):  # rows are searched on their own, in every process as long as it takes
        found = ask.infer(still, search, observed, brief=True)
    return {n: found.values[n].detach() for n in sought}, ~found.converged.cpu()
