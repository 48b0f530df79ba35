"""Sums over countable and integrals over real unknowns: log Z, and the moments of a mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.eliminate import log_sum_exp
from ebmlang.runtime.discrete.methods import Unfit, listed
from ebmlang.runtime.discrete.question import Question
from ebmlang.runtime.gaussian import Gaussian, Unmeasured, integrate
from ebmlang.runtime.mixed.states import Values, at_states, discrete_question, real_masks
from ebmlang.runtime.pattern import pattern_of
from ebmlang.runtime.problem import Problem

MOST_STATES = 2**16
"""States of the countable unknowns for which a Gaussian is integrated, for each row."""

_AT_ONCE = 2**12


@dataclass(frozen=True, slots=True, eq=False)
class Integral:
    """log_z float64 [rows]. probabilities: [B, *shape, K] of countable unknowns. means and deviations of real
    ones, [B, *shape]; covariances [B, n, n] over the entries of one unknown in row-major order. faults: a
    sentence where a row has no finite integral, else ""."""

    log_z: Tensor
    probabilities: Mapping[str, Tensor]
    means: Mapping[str, Tensor]
    deviations: Mapping[str, Tensor]
    covariances: Mapping[str, Tensor]
    faults: tuple[str, ...]
    because: str


def integrate_out(bound: Bound, held: Values, observed: Values, beta: float) -> Integral:
    """Integrates a bound model over its real unknowns, after summing over its countable ones.

    Raises DataError where that is too large.
    """
    wide = posing.in_float64(bound)
    names = ", ".join(bound.module.SOUGHT)
    try:
        if wide.part is None:
            return _gaussian(wide, observed, beta)
        return _mixture(wide, posing.held_values(wide), observed, beta)
    except (Unfit, Unmeasured) as unfit:
        raise DataError(
            f"{names} cannot be integrated out exactly: {unfit.because}",
            "give some of it, or make it smaller",
        ) from None


def _one(bound: Bound, observed: Values, beta: float) -> tuple[Problem, Gaussian]:
    problem = posing.make_problem(bound, observed)
    pattern = pattern_of(bound, problem.space)
    return problem, integrate(problem, pattern, beta, bound.settings.chunk_bytes)


def _gaussian(bound: Bound, observed: Values, beta: float) -> Integral:
    """Only real unknowns: one Gaussian per row."""
    problem, found = _one(bound, observed, beta)
    means, deviations, covariances = _named(problem, found.mean, found.variance, found.covariance)
    note = f"a Gaussian over {problem.space.size:,} entries"
    return Integral(found.log_z, {}, means, deviations, covariances, found.faults, note)


@dataclass(slots=True)
class _Moments:
    """Weighted sums so far, with weights relative to exp(log_z): one entry per row."""

    log_z: Tensor | None = None
    mean: Tensor | None = None
    square: Tensor | None = None
    product: Tensor | None = None

    def add(self, logs: Tensor, mean: Tensor, variance: Tensor | None, covariance: Tensor | None) -> Tensor:
        """Count states in: logs [rows, S], moments [rows, S, ...]. Returns the scale of what came before."""
        part = log_sum_exp(logs, 1)
        total = part if self.log_z is None else torch.logaddexp(self.log_z, part)
        with torch.no_grad():
            shift = torch.where(torch.isfinite(total), total, 0.0)
            weight = (logs - shift[:, None]).exp()
            before = torch.zeros_like(shift) if self.log_z is None else (self.log_z - shift).exp()
            filled = torch.where(weight[..., None] > 0, mean, 0.0)
            self.mean = _added(self.mean, before, (weight[..., None] * filled).sum(1))
            if covariance is not None:
                own = torch.where(weight[..., None, None] > 0, covariance, 0.0)
                both = own + filled[..., None] * filled[..., None, :]
                added = torch.einsum("rs,rsij->rij", weight, both)
                self.product = _added(self.product, before, added)
            if variance is not None:
                own = torch.where(weight[..., None] > 0, variance, 0.0)
                added = (weight[..., None] * (own + filled.square())).sum(1)
                self.square = _added(self.square, before, added)
        self.log_z = total
        return before


def _added(total: Tensor | None, before: Tensor, part: Tensor) -> Tensor:
    if total is None:
        return part
    return total * before.reshape(-1, *[1] * (part.ndim - 1)) + part


def _mixture(bound: Bound, held: Values, observed: Values, beta: float) -> Integral:
    """A Gaussian for every state of the countable unknowns."""
    question = discrete_question(bound, observed, held)
    moments = _Moments()
    probabilities: dict[str, Tensor] = {}
    faults = [""] * question.rows
    problem: Problem | None = None
    states = 0
    for part, wrong in listed(question, MOST_STATES, 1 if question.joint else _AT_ONCE):
        count = part.shape[1]
        states += count
        problem, found = _one(
            at_states(bound, question, part),
            real_masks(bound, observed, 1 if question.joint else count),
            beta,
        )
        logs, mean, variance, covariance = _shaped(question, problem, found, count, part, beta)
        if wrong is not None:
            logs = logs.masked_fill(wrong, -math.inf)
        if bool(torch.isnan(logs).any()):
            raise DataError("the energy is NaN for some state", "check the values that are given")
        _note_faults(faults, found, logs, part, question)
        before = moments.add(logs, mean, variance, covariance)
        assert moments.log_z is not None
        shift = torch.where(torch.isfinite(moments.log_z), moments.log_z, 0.0).detach()
        weight = (logs.detach() - shift[:, None]).exp()
        for own in question.fields:
            mine = part[:, :, own.offset : own.offset + own.count]
            share = torch.stack([(weight[..., None] * (mine == c)).sum(1) for c in range(own.cases)], 2)
            probabilities[own.name] = _added(probabilities.get(own.name), before, share)
    assert problem is not None
    assert moments.log_z is not None
    assert moments.mean is not None
    return _finished(problem, question, moments, probabilities, faults, states)


def _shaped(
    question: Question, problem: Problem, found: Gaussian, count: int, part: Tensor, beta: float
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """log Z [rows, S] and the moments [rows, S, N] of each state. In a joint problem, whose only row has the
    entries of all examples, terms without examples count once."""
    size = found.mean.shape[1]
    if not question.joint:
        mean = found.mean.unflatten(0, (-1, count))
        variance = None if found.variance is None else found.variance.reshape(-1, count, size)
        cov = found.covariance
        covariance = None if cov is None else cov.reshape(-1, count, size, size)
        return found.log_z.reshape(-1, count), mean, variance, covariance
    log_z = found.log_z.sum()
    if bool(torch.isfinite(log_z)):
        held = question.held
        values = {**question.values(part.flatten(0, 1)), **named_values(problem, found.mean)}
        whole = question.bound.instance.energy(values, held).sum()
        log_z = log_z - beta * (whole - problem.energy(found.mean).sum())
    variance = None if found.variance is None else found.variance.reshape(1, 1, -1)
    return log_z.reshape(1, 1), found.mean.reshape(1, 1, -1), variance, None


def _note_faults(faults: list[str], found: Gaussian, logs: Tensor, part: Tensor, question: Question) -> None:
    """The first state of each row whose integral is infinite, in words."""
    for row, state in torch.nonzero(logs == math.inf).tolist():
        if not faults[row]:
            place = 0 if question.joint else row * logs.shape[1] + state
            own = found.faults if not question.joint else tuple(f for f in found.faults if f)
            why = own[place] if place < len(own) else ""
            faults[row] = f"{why} (where {shown(question, part[row, state])})"


def shown(question: Question, assignment: Tensor) -> str:
    """An assignment [N] in the names of its unknowns; long ones are cut."""
    parts = []
    for own in question.fields:
        values = assignment[own.offset : own.offset + own.count].tolist()
        text = ", ".join(str(bool(v)) if own.kind == "bool" else str(v) for v in values[:8])
        text += ", ..." if len(values) > 8 else ""
        parts.append(f"{own.name} is {text if not own.shape else f'[{text}]'}")
    return " and ".join(parts)


def _finished(
    problem: Problem,
    question: Question,
    moments: _Moments,
    probabilities: Mapping[str, Tensor],
    faults: list[str],
    states: int,
) -> Integral:
    """Moments about the mean, by name."""
    mean, square, product = moments.mean, moments.square, moments.product
    assert moments.log_z is not None
    assert mean is not None
    infinite = moments.log_z == math.inf
    mean = torch.where(infinite[:, None], torch.nan, mean)
    variance = None if square is None else (square - mean.square()).clamp(min=0.0)
    covariance = None if product is None else product - mean[..., None] * mean[..., None, :]
    if question.joint:
        size = problem.space.size
        mean = mean.reshape(-1, size)
        variance = None if variance is None else variance.reshape(-1, size)
    means, deviations, covariances = _named(problem, mean, variance, covariance)
    cases = {}
    for own in question.fields:
        p = torch.where(infinite[:, None, None], torch.nan, probabilities[own.name])
        whole = p.reshape(p.shape[0], *own.shape, own.cases)
        cases[own.name] = whole[0] if question.joint else whole
    note = f"{states:,} states, with a Gaussian over {problem.space.size:,} entries in each"
    return Integral(moments.log_z, cases, means, deviations, covariances, tuple(faults), note)


def named_values(problem: Problem, x: Tensor) -> dict[str, Tensor]:
    """Values by name as answers have them: [B, *shape], or [*shape] of what all examples share."""
    found = problem.space.values(x)
    if not problem.space.joint:
        return found
    shared = {u.name for u in problem.space.unknowns if u.per_batch}
    return {n: v[0, 0] if n in shared else v[0] for n, v in found.items()}


def _named(
    problem: Problem, mean: Tensor, variance: Tensor | None, covariance: Tensor | None
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    space = problem.space
    means = named_values(problem, mean)
    deviations = {} if variance is None else named_values(problem, variance.sqrt())
    covariances = {}
    if covariance is not None and not space.joint:
        start = 0
        for unknown, size in zip(space.unknowns, space.sizes, strict=True):
            covariances[unknown.name] = covariance[:, start : start + size, start : start + size]
            start += size
    return means, deviations, covariances
