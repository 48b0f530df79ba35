"""Draws with what is known of their quality: a status per row that says aloud when a diagnostic fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.samplers.diagnostics import LEAST_DRAWS, Diagnostics, diagnose

MOST_RHAT = 1.01
"""R-hat above which chains have not mixed (Vehtari et al. 2021)."""

LEAST_EFFECTIVE = 400.0
"""Effective draws below which R-hat and quantiles are not to be relied upon (Vehtari et al. 2021)."""

ENERGY = "energy"


class Health(Enum):
    """How the sampling of a row ended; the values are sentences."""

    EXACT = "exact: independent draws"
    SAMPLED = "sampled: R-hat at most {rhat:.3f}, at least {ess:,.0f} effective draws"
    NO_START = "no start: the energy is not finite where the chains begin"
    IMPROPER = "no law: {fault}"
    DIVERGENT = (
        "divergent: {count:,} of {total:,} transitions went astray; a smaller step, other coordinates, or a "
        "term that makes exp(-E) integrable, where it is not"
    )
    NOT_MIXED = "not mixed: R-hat is {rhat:.3f} at {place}; more draws, or another sampler"
    FEW = "few effective draws: {ess:,.0f} of {total:,} at {place}; more draws"
    SHORT = "too short to judge: {length} draws in a chain"

    @property
    def good(self) -> bool:
        return self in (Health.EXACT, Health.SAMPLED)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Draws from exp(-beta E) for B rows.

    `samples["z"]` is [B, chains, draws, *shape]; a value that all examples share is [chains, draws, *shape].
    energy: E of every draw [B, chains, draws]. rhat, bulk, tail: R-hat and effective sizes of every entry,
    name -> [B, *shape], with those of the energy under `energy`; NaN where all draws are the same.
    acceptance [B, chains]: mean probability that a proposal was taken. divergences [B, chains]: how many
    transitions went astray after the warm-up. step [B]: the step size, NaN where there is none. converged
    bool [B] and status: a sentence per row. method, because: the sampler, and why it was taken;
    certificate: what its draws are known to be. Entries that are given are in the draws as they are.
    """

    values: Mapping[str, Tensor]
    energy: Tensor
    rhat: Mapping[str, Tensor]
    bulk: Mapping[str, Tensor]
    tail: Mapping[str, Tensor]
    acceptance: Tensor
    divergences: Tensor
    step: Tensor
    converged: Tensor
    status: tuple[str, ...]
    method: str
    because: str
    certificate: str = ""
    beta: float = 1.0
    shared: frozenset[str] = field(default_factory=frozenset)

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.values[name]
        except KeyError:
            known = ", ".join(sorted(self.values))
            raise KeyError(f"no draws of {name!r}; there are: {known}") from None


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What happened while R rows were sampled, besides the draws: tensors [R, chains], `step` [R]; `faults`
    are sentences, "" where nothing is wrong, and `unstarted` bool [R] rows without a finite start."""

    acceptance: Tensor
    divergences: Tensor
    step: Tensor
    faults: tuple[str, ...]
    unstarted: Tensor
    transitions: int
    exact: bool


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Diagnostics by name, [R, *shape], and the verdict on every row."""

    rhat: Mapping[str, Tensor]
    bulk: Mapping[str, Tensor]
    tail: Mapping[str, Tensor]
    health: tuple[Health, ...]
    status: tuple[str, ...]


def judged(values: Mapping[str, Tensor], energy: Tensor, course: Course) -> Judged:
    """Diagnostics and verdicts of draws [R, chains, draws, ...]."""
    found = {name: _of(draws) for name, draws in {**values, ENERGY: energy}.items()}
    rhat, bulk, tail = (
        {n: getattr(d, which).reshape(_entry_shape(n, values, energy)) for n, d in found.items()}
        for which in ("rhat", "bulk", "tail")
    )
    rows, _, length = energy.shape
    verdicts = [
        _verdict(row, course, length, rhat, {n: torch.fmin(bulk[n], tail[n]) for n in bulk})
        for row in range(rows)
    ]
    return Judged(rhat, bulk, tail, tuple(h for h, _ in verdicts), tuple(s for _, s in verdicts))


def _of(draws: Tensor) -> Diagnostics:
    """The diagnostics of every entry of draws [R, chains, draws, ...]."""
    flat = draws.flatten(3) if draws.ndim > 3 else draws[..., None]
    return diagnose(flat.permute(0, 3, 1, 2).flatten(0, 1))


def _entry_shape(name: str, values: Mapping[str, Tensor], energy: Tensor) -> tuple[int, ...]:
    draws = values.get(name, energy)
    return (draws.shape[0], *draws.shape[3:])


def _verdict(
    row: int, course: Course, length: int, rhat: Mapping[str, Tensor], effective: Mapping[str, Tensor]
) -> tuple[Health, str]:
    """The first thing that is wrong with a row, in words."""
    chains = course.acceptance.shape[1]
    if course.faults[row]:
        return _said(Health.IMPROPER, fault=course.faults[row])
    if bool(course.unstarted[row]):
        return _said(Health.NO_START)
    if course.exact:
        return _said(Health.EXACT)
    count = int(course.divergences[row].sum())
    if count:
        return _said(Health.DIVERGENT, count=count, total=chains * course.transitions)
    if length < LEAST_DRAWS:
        return _said(Health.SHORT, length=length)
    worst, place = _extreme(rhat, row, 1.0)
    least, where = _extreme(effective, row, -1.0)
    if worst > MOST_RHAT:
        return _said(Health.NOT_MIXED, rhat=worst, place=place)
    if least < LEAST_EFFECTIVE:
        return _said(Health.FEW, ess=least, total=chains * length, place=where)
    return _said(Health.SAMPLED, rhat=worst, ess=least)


def _said(health: Health, **numbers: object) -> tuple[Health, str]:
    return health, health.value.format(**numbers)


def _extreme(by_name: Mapping[str, Tensor], row: int, sign: float) -> tuple[float, str]:
    """The largest value of a row (with sign -1 the smallest) and where it is; entries without one do not
    count.

    Without any, the value is the best one.
    """
    best, place = -torch.inf, ""
    for name, values in by_name.items():
        own = (sign * values[row].reshape(-1)).nan_to_num(nan=-torch.inf, posinf=torch.inf)
        if own.numel() and float(own.max()) > best:
            best = float(own.max())
            at = np.unravel_index(int(own.argmax()), values.shape[1:]) if values.ndim > 1 else ()
            place = f"{name}[{', '.join(str(int(i)) for i in at)}]" if at else name
    if best == -torch.inf:
        return (1.0 if sign > 0 else torch.inf), ""
    return sign * best, place
