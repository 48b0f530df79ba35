"""Asking a bound model for an estimate of its normaliser, where no exact one is to be had."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.marginal import Marginal
from ebmlang.runtime.mixed.sums import named_values
from ebmlang.runtime.samplers.asking import Values, Wanted, chain_starts
from ebmlang.runtime.samplers.countable import Part, parts_of
from ebmlang.runtime.samplers.driver import Length
from ebmlang.runtime.samplers.hmc import Hmc
from ebmlang.runtime.samplers.importance import Estimate, weighed
from ebmlang.runtime.samplers.paths import CountablePath, RealPath
from ebmlang.runtime.samplers.randomness import GeneratorPerRow
from ebmlang.runtime.samplers.sampler import Course
from ebmlang.runtime.samplers.target import Target, target_of

LEAST_SHARE = 0.1
"""The share of the chains that has to count for an estimate to be relied upon."""

MOST_ERROR = 0.5
"""The standard error of log Z beyond which the error itself is not known."""

ESTIMATED = "estimated: log Z to {error:.2g}, {effective:,.0f} of {chains:,} weighted chains count"
POOR = "poor: {effective:,.1f} of {chains:,} weighted chains count; more temperatures, or more chains"
LOST = "no estimate: the energy is not finite where the chains go, or its integral is infinite"

_SCOUTING = Length(chains=1, draws=30, warmup=50)
"""How long chains look around before the path to where they have been begins."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much an estimate is worth: chains per row, laws between the first and the last, and steps of a
    trajectory."""

    chains: int = 64
    temperatures: int = 500
    leapfrogs: int = 10

    def check(self) -> None:
        """Raises DataError for numbers that estimate nothing."""
        usual = Effort()
        for name, least in (("chains", 2), ("temperatures", 1), ("leapfrogs", 1)):
            value = getattr(self, name)
            if value < least:
                raise DataError(
                    f"{name} is {value}, and must be at least {least}", f"{name} = {getattr(usual, name)}"
                )


@torch.no_grad()
def estimate(bound: Bound, observed: Values, beta: float, effort: Effort, seed: int) -> Marginal:
    """Free energies, log Z and marginals by annealed importance sampling. Raises DataError for values that
    pose no question, never for a numeric outcome."""
    kinds = {bound.specs[name].kind == "real" for name in bound.module.SOUGHT}
    if len(kinds) > 1:
        raise DataError(
            "countable and real unknowns are not summed out together by ais",
            "give one kind, or leave ais out",
        )
    found = (
        _real(bound, observed, beta, effort, seed)
        if kinds == {True}
        else _countable(bound, observed, beta, effort, seed)
    )
    return _answer(bound, found, beta, effort)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The estimate for the rows of a question, with means or shares of cases by name, [rows, *shape, ...]."""

    estimate: Estimate
    marginals: dict[str, Tensor]
    deviations: dict[str, Tensor] = field(default_factory=dict)


# --- real unknowns ------------------------------------------------------------------------------


def _real(bound: Bound, observed: Values, beta: float, effort: Effort, seed: int) -> _Found:
    wide = posing.in_float64(bound)
    problem = posing.make_problem(wide, observed)
    target, space, chains = target_of(problem, beta), problem.space, effort.chains
    index = torch.arange(space.rows, device=space.device).repeat_interleave(chains)
    many = target.select(index)
    randomness = _randomness(wide, space.rows, chains, seed)
    length = Length(chains, _SCOUTING.draws, _SCOUTING.warmup)
    wanted = Wanted("hmc", "", {}, "", length, beta, seed)
    u, _ = chain_starts(wide, problem, target, many, wanted, randomness)
    mean, deviation = _scouted(many, u, length, effort.leapfrogs, randomness)
    path = RealPath(many, mean, deviation, space.rows, effort.leapfrogs)
    found = weighed(path, space.rows, effort.temperatures, randomness)
    points = many.point(found.x).reshape(space.rows, chains, -1)
    weights = found.weights[..., None]
    centre = (weights * points).sum(1)
    apart = (weights * (points - centre[:, None]).square()).sum(1).sqrt()
    flat = target.problem
    return _Found(found, named_values(flat, centre), named_values(flat, apart))


def _scouted(
    target: Target, u: Tensor, length: Length, leapfrogs: int, randomness: GeneratorPerRow
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every coordinate among short chains that begin at u, for every chain [R, N]."""
    chains = length.chains
    sampler, found = Hmc(leapfrogs=leapfrogs), []
    state = sampler.init(target, u)
    for number in range(length.warmup):
        state, info = sampler.step(target, state, randomness)
        state = sampler.warm(target, state, info, Course(number, length.warmup, chains))
    for _ in range(length.draws):
        state, _ = sampler.step(target, state, randomness)
        found.append(state.x)
    drawn = torch.stack(found, 1)
    each = drawn.reshape(-1, chains * drawn.shape[1], u.shape[1])
    mean, deviation = each.mean(1), each.std(1).clamp(min=1e-6)
    return mean.repeat_interleave(chains, 0), deviation.repeat_interleave(chains, 0)


# --- countable unknowns -------------------------------------------------------------------------


def _countable(bound: Bound, observed: Values, beta: float, effort: Effort, seed: int) -> _Found:
    question = question_of(bound, observed, posing.held_values(bound), {})
    if question.arranged:
        raise DataError("orders and subsets are not summed out by ais", "leave ais out")
    parts, row = [], 0
    for part in parts_of(question, effort.chains, beta, tables=False):
        path = _countable_path(question, part, row, effort.chains)
        randomness = _randomness(bound, part.rows, effort.chains, seed, row)
        parts.append(weighed(path, part.rows, effort.temperatures, randomness))
        row += part.rows
    found = _together(parts)
    return _Found(found, _shares(question, found, effort.chains))


def _countable_path(question: Question, part: Part, first: int, chains: int) -> CountablePath:
    rows, network = part.rows, part.network
    cases, given = torch.from_numpy(question.cases), None
    if question.fixed is not None:
        given = question.fixed[first : first + rows].repeat_interleave(chains, 0)
        if network is not None:
            # Entries that are given in every row have left the tables, and stand at 0 there.
            cases = torch.from_numpy(network.cases)
            given = given.minimum(cases.to(given.device) - 1)
    return CountablePath(part.target, cases.to(question.bound.settings.device), given, rows)


def _together(parts: list[Estimate]) -> Estimate:
    """Estimates of consecutive rows as one."""
    names = ("log_z", "error", "effective", "x", "weights")
    return Estimate(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _shares(question: Question, found: Estimate, chains: int) -> dict[str, Tensor]:
    """The probability of every case, [B, *shape, K], by the weights of the chains."""
    shares = {}
    x = found.x.reshape(-1, chains, found.x.shape[1])
    for own in question.fields:
        part = x[..., own.offset : own.offset + own.count]
        if question.fixed is not None:
            fixed = question.fixed[:, None, own.offset : own.offset + own.count]
            part = torch.where(fixed >= 0, fixed, part)
        hot = torch.nn.functional.one_hot(part, own.cases).double()
        share = (found.weights[..., None, None] * hot).sum(1).reshape(-1, *own.shape, own.cases)
        shares[own.name] = share[0] if question.joint else share
    return shares


# --- answers ------------------------------------------------------------------------------------


def _randomness(bound: Bound, rows: int, chains: int, seed: int, first: int = 0) -> GeneratorPerRow:
    joint = bound.module.JOINT
    numbers = np.zeros(1, dtype=np.int64) if joint else bound.settings.row_numbers(bound.batch)
    own = numbers[first : first + rows]
    return GeneratorPerRow(seed, "ais", own, chains, torch.float64, bound.settings.device)


def _answer(bound: Bound, found: _Found, beta: float, effort: Effort) -> Marginal:
    dtype, batch, estimate = bound.settings.dtype, bound.batch, found.estimate
    log_z, error, effective = (
        value.to(dtype).reshape(-1).expand(batch)
        for value in (estimate.log_z, estimate.error, estimate.effective)
    )
    cast = [{n: v.to(dtype) for n, v in part.items()} for part in (found.marginals, found.deviations)]
    status = tuple(
        _verdict(*numbers, effort.chains)
        for numbers in zip(log_z.tolist(), error.tolist(), effective.tolist(), strict=True)
    )
    because = f"{effort.chains:,} chains over {effort.temperatures:,} temperatures"
    return Marginal(
        log_z / -beta,
        log_z,
        cast[0],
        status,
        "ais",
        because,
        beta,
        cast[1],
        real=frozenset(found.deviations),
        error=error,
        effective=effective,
    )


def _verdict(log_z: float, error: float, effective: float, chains: int) -> str:
    if not math.isfinite(log_z) or not math.isfinite(effective):
        return LOST
    poor = effective < LEAST_SHARE * chains or error > MOST_ERROR
    worded = POOR if poor else ESTIMATED
    return worded.format(error=error, effective=effective, chains=chains)
