"""Summing unknowns out over all rows of the data, in chunks that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ebmlang.compiler.choose_mixed import why_not_gaussian
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.summers import find_summer, summer_names
from ebmlang.errors import DataError
from ebmlang.inference import Given, Inference, incomplete_names, part_of, real_names
from ebmlang.questions import ask_sums, line_of
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.marginal import Marginal, beta_of, checked_beta, marginal
from ebmlang.runtime.samplers.estimating import Effort, estimate
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
    *,
    exact: bool = True,
) -> Inference:
    """The question whose unknowns are all summed out. Raises DataError where that is not possible, or not
    `exact` where it has to be."""
    plan, module = model.compiled(asked, None)
    real = real_names(plan)
    if real and exact:
        own = replace(asked, sought=real)
        reason = why_not_gaussian(model.compiled(own, None)[0].structure)
        if reason:
            raise DataError(f"{', '.join(real)} cannot be integrated out: {reason}", "give these variables")
    elif plan.method is None:
        raise DataError(plan.because, "give these variables")
    part = part_of(model, asked, plan)
    return Inference(model, given, masks, settings, Search(), asked, plan, module, incomplete, part)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller says about how unknowns are summed out; None leaves it to the line of the file, or to the
    defaults. `using` names a way to sum; without one sums are exact."""

    using: str | None = None
    chains: int | None = None
    temperatures: int | None = None
    leapfrogs: int | None = None

    def effort(self, line: Question | None) -> Effort | None:
        """How much an estimate is worth, None where the sum is to be exact. Raises DataError."""
        named = line.using if line is not None else None
        options = dict(named.options) if named is not None else {}
        own = {n: getattr(self, n) for n in ("chains", "temperatures", "leapfrogs")}
        options |= {name: value for name, value in own.items() if value is not None}
        name = self.using or (named.name if named is not None else None)
        if name is None:
            if options:
                raise DataError(f"exact sums take no {next(iter(options))}", "estimate them: using ais")
            return None
        if find_summer(name) is None:
            hint = did_you_mean(name, summer_names()) or f"ways are {', '.join(summer_names())}"
            raise DataError(f"there is no way to sum `{name}`", hint)
        effort = Effort(**{name: int(value) for name, value in options.items()})
        effort.check()
        return effort


EXACTLY = Wish()


@dataclass(frozen=True, slots=True)
class Summing:
    """The question of one call. `beta` overrides the one of the line; with an `effort` the sum is
    estimated."""

    run: Inference
    line: Question | None
    beta: float | None
    effort: Effort | None = None

    @staticmethod
    def of(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        *,
        find: Sequence[str] | None = None,
        beta: float | None = None,
        wish: Wish = EXACTLY,
    ) -> Summing:
        """Settle what is summed out. Raises DataError where that is not possible."""
        if beta is not None:
            checked_beta(beta)
        incomplete = incomplete_names(model, given, masks, settings.chunk_bytes)
        asked = ask_sums(model.checked, find, given.names(), incomplete)
        line = line_of(model.checked, asked.sought)
        effort = wish.effort(line)
        run = sums(model, given, masks, settings, asked, incomplete, exact=effort is None)
        return Summing(run, line, beta, effort)

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
                if self.effort is None:
                    found = marginal(bound, posing.held_values(bound), observed, checked_beta(beta))
                else:
                    found = estimate(bound, observed, checked_beta(beta), self.effort, self.run.settings.seed)
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
            error=_joined([p.error for p in parts]),
            effective=_joined([p.effective for p in parts]),
        )


def _joined(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Numbers of consecutive rows as one tensor, where there are any."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
