"""Sampling over all rows of the data, in chunks that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ebmlang.compiler.choose_sampler import SamplerPlan, choose_sampler
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.samplers import LENGTHS, find_sampler, sampler_names
from ebmlang.errors import DataError
from ebmlang.inference import Given, Inference, incomplete_names
from ebmlang.questions import ask_samples
from ebmlang.runtime import ask
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.marginal import beta_of, checked_beta
from ebmlang.runtime.memory import rows_that_fit
from ebmlang.runtime.samplers.asking import Wanted, sample
from ebmlang.runtime.samplers.driver import Length
from ebmlang.runtime.samplers.samples import Samples
from ebmlang.runtime.search import Search

if TYPE_CHECKING:
    from ebmlang.api import Model

STARTS = ("declared", "infer")
"""Where chains begin: around the declared start, or around the answer of `infer`."""

_BYTES_PER_DRAW = 64
"""Per number that is kept: the draw itself, and what its diagnostics need for a while."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller says about the draws; None leaves it to the line of the file, or to the defaults."""

    using: str | None = None
    chains: int | None = None
    draws: int | None = None
    warmup: int | None = None
    thin: int | None = None
    step: float | None = None
    temperature: float | None = None
    start: str = "declared"

    def check(self) -> None:
        """Raises DataError for numbers that make no sense."""
        if self.start not in STARTS:
            raise DataError(f"there is no start `{self.start}`", f"starts are {', '.join(STARTS)}")
        for name in ("step", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise DataError(f"{name} is {value:g}, not a positive number", f"{name} = 1")


@dataclass(frozen=True, slots=True)
class Sampling:
    """The question of one call."""

    run: Inference
    chosen: SamplerPlan
    request: Request
    length: Length
    options: Mapping[str, Any]
    temperature: float

    @staticmethod
    def of(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        request: Request,
        *,
        find: Sequence[str] | None = None,
        of: str | None = None,
        objective: str | None = None,
    ) -> Sampling:
        """Settle what is drawn and how. Raises DataError where nothing fits."""
        request.check()
        if request.using is not None and find_sampler(request.using) is None:
            known = f"samplers are {', '.join(sampler_names())}"
            hint = did_you_mean(request.using, sampler_names()) or known
            raise DataError(f"there is no sampler `{request.using}`", hint)
        incomplete = incomplete_names(model, given, masks, settings.chunk_bytes)
        roles = ask_samples(model.checked, find, given.names(), of, objective, incomplete)
        run = Inference.settled(model, given, masks, settings, Search(), roles, incomplete)
        line = roles.question.using if roles.question is not None else None
        name = request.using or (line.name if line is not None else None)
        chosen = choose_sampler(run.plan, name)
        if chosen.row is None:
            hint = "give these variables, or ask for others with find"
            raise DataError(chosen.because, hint if name is None else "leave the sampler to the compiler")
        options = dict(line.options) if line is not None else {}
        if line is not None and line.name != chosen.row.name:
            # How much is drawn is said of any sampler; the rest is about the one of the line.
            options = {name: value for name, value in options.items() if name in dict(LENGTHS)}
        length, temperature = _length(request, options), options.pop("temperature", 1.0)
        if request.step is not None:
            if "step" not in (option for option, _ in chosen.row.options):
                raise DataError(
                    f"{chosen.row.name} takes no step size", "leave it out, or name another sampler"
                )
            options["step"] = request.step
        temperature = request.temperature if request.temperature is not None else float(temperature)
        return Sampling(run, chosen, request, length, options, temperature)

    @property
    def rows(self) -> int:
        return self.run.given.rows

    def chunks(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Samples]:
        """Draws for consecutive rows."""
        rows = self.rows
        if rows == 0:
            raise DataError("the data holds no examples", "pass at least one row")
        size = self._chunk_size()
        for start in range(0, rows, size):
            yield self._answer(start, min(start + size, rows), progress)

    def all(self, progress: Callable[[int, int], None] | None = None) -> Samples:
        """All rows as one answer."""
        return joined(list(self.chunks(progress)))

    def _chunk_size(self) -> int:
        run, length = self.run, self.length
        if run.module.JOINT or self.rows <= 1:
            return max(self.rows, 1)
        bound = run.bound_rows(0, 1)
        entries = sum(torch.Size(bound.shapes[name]).numel() for name in run.asked.sought)
        kept = _BYTES_PER_DRAW * length.chains * length.draws * max(entries, 1)
        beside = replace(run, search=Search(restarts=length.chains)).chunk_size()
        return min(beside, rows_that_fit(kept, run.settings.chunk_bytes))

    def _answer(self, start: int, stop: int, progress: Callable[[int, int], None] | None) -> Samples:
        run, row = self.run, self.chosen.row
        assert row is not None
        bound = run.bound_rows(start, stop)
        observed = {name: run.mask(bound, name, start, stop) for name in run.incomplete}
        line = run.asked.question
        beta = beta_of(line.beta if line is not None else None, bound)
        begun = {}
        if self.request.start == "infer":
            found = ask.infer(bound, Search(seed=run.settings.seed), observed)
            begun = {n: found.values[n] for n in run.asked.sought if n not in run.asked.summed}
        wanted = Wanted(
            row.name,
            row.otherwise,
            self.options,
            self.chosen.because,
            self.length,
            checked_beta(beta / self.temperature),
            run.settings.seed,
            begun,
        )
        heard = None if progress is None else lambda done, steps: progress(start, done)
        return sample(bound, observed, wanted, heard)


def _length(request: Request, options: dict[str, Any]) -> Length:
    """How much is drawn: by the call, else by the line of the file, else by default. Takes it from
    options."""
    plain, found = Length(), {}
    for name in ("chains", "draws", "warmup", "thin"):
        by_line = options.pop(name, None)
        by_call = getattr(request, name)
        default = getattr(plain, name)
        found[name] = int(by_call if by_call is not None else default if by_line is None else by_line)
    length = Length(**found)
    length.check()
    return length


def joined(parts: list[Samples]) -> Samples:
    """Draws of consecutive rows as one answer."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def each(of: Callable[[Samples], Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {
            n: v if n in first.shared else torch.cat([of(p)[n] for p in parts]) for n, v in of(first).items()
        }

    return replace(
        first,
        values=each(lambda p: p.values),
        energy=torch.cat([p.energy for p in parts]),
        rhat=each(lambda p: p.rhat),
        bulk=each(lambda p: p.bulk),
        tail=each(lambda p: p.tail),
        acceptance=torch.cat([p.acceptance for p in parts]),
        divergences=torch.cat([p.divergences for p in parts]),
        step=torch.cat([p.step for p in parts]),
        converged=torch.cat([p.converged for p in parts]),
        status=tuple(s for p in parts for s in p.status),
    )
