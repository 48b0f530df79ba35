"""Summing unknowns out over all rows of the data, in chunks that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ebmlang.compiler.choose_mixed import why_not_gaussian
from ebmlang.errors import DataError
from ebmlang.inference import Given, Inference, incomplete_names, part_of, real_names
from ebmlang.questions import ask_sums, line_of
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.marginal import Marginal, beta_of, checked_beta, marginal
from ebmlang.runtime.search import Search
from ebmlang.runtime.threads import threads_for

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.compiler.typed import Question
    from ebmlang.questions import Asked


def sums(
    model: Model,
    given: Given,
    masks: Mapping[str, Any],
    settings: Settings,
    asked: Asked,
    incomplete: frozenset[str],
) -> Inference:
    """The question whose unknowns are all summed out. Raises DataError where that is not possible."""
    plan, module = model.compiled(asked, None)
    real = real_names(plan)
    if real:
        own = replace(asked, sought=real)
        reason = why_not_gaussian(model.compiled(own, None)[0].structure)
        if reason:
            raise DataError(f"{', '.join(real)} cannot be integrated out: {reason}", "give these variables")
    elif plan.method is None:
        raise DataError(plan.because, "give these variables")
    part = part_of(model, asked, plan)
    return Inference(model, given, masks, settings, Search(), asked, plan, module, incomplete, part)


@dataclass(frozen=True, slots=True)
class Summing:
    """The question of one call. `beta` overrides the one of the line."""

    run: Inference
    line: Question | None
    beta: float | None

    @staticmethod
    def of(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        *,
        find: Sequence[str] | None = None,
        beta: float | None = None,
    ) -> Summing:
        """Settle what is summed out. Raises DataError where that is not possible."""
        if beta is not None:
            checked_beta(beta)
        incomplete = incomplete_names(model, given, masks, settings.chunk_bytes)
        asked = ask_sums(model.checked, find, given.names(), incomplete)
        run = sums(model, given, masks, settings, asked, incomplete)
        return Summing(run, line_of(model.checked, asked.sought), beta)

    def chunks(self) -> Iterator[Marginal]:
        """Answers for consecutive rows."""
        rows, size = self.run.given.rows, self.run.chunk_size()
        if rows == 0:
            raise DataError("the data holds no examples", "pass at least one row")
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            bound = self.run.bound_rows(start, stop)
            observed = {name: self.run.mask(bound, name, start, stop) for name in self.run.incomplete}
            line = self.line.beta if self.line is not None else None
            beta = self.beta if self.beta is not None else beta_of(line, bound)
            with threads_for(self.run.work(stop - start)):
                found = marginal(bound, posing.held_values(bound), observed, checked_beta(beta))
            yield found

    def all(self) -> Marginal:
        """All rows as one answer."""
        parts = list(self.chunks())
        first = parts[0]
        if len(parts) == 1:
            return first
        return replace(
            first,
            energy=torch.cat([p.energy for p in parts]),
            log_z=torch.cat([p.log_z for p in parts]),
            marginals={n: torch.cat([p.marginals[n] for p in parts]) for n in first.marginals},
            deviations={n: torch.cat([p.deviations[n] for p in parts]) for n in first.deviations},
            covariances={n: torch.cat([p.covariances[n] for p in parts]) for n in first.covariances},
            status=tuple(s for p in parts for s in p.status),
        )
