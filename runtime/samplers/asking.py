"""Asking a bound model for draws: the target, the chains, and the result a person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.samplers import find_sampler
from ebmlang.errors import DataError
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.methods import Effort, Unfit, drawn_starts
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.gaussian import Unmeasured
from ebmlang.runtime.mixed.free import summed_names
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.samplers import ancestral, gaussian, make_sampler
from ebmlang.runtime.samplers.countable import parts_of
from ebmlang.runtime.samplers.driver import Drawn, Heard, Length, drive
from ebmlang.runtime.samplers.gibbs import Gibbs
from ebmlang.runtime.samplers.mixed import Both, MixedGibbs, both_of
from ebmlang.runtime.samplers.randomness import GeneratorPerRow
from ebmlang.runtime.samplers.samples import Course, Judged, Samples, judged
from ebmlang.runtime.samplers.target import Target, target_of
from ebmlang.runtime.space import Space

Values = Mapping[str, Tensor]

_SPREADS = (1.0, 0.3, 0.1, 0.01, 0.0)
"""Standard deviations of starts around the declared one, tried in turn until the energy is finite."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: the sampler with its options and the one to take where it does not work, how much,
    the inverse temperature, the seed, and where chains begin (values by name, [B, *shape]; empty: the
    declared start)."""

    method: str
    fallback: str
    options: Mapping[str, Any]
    because: str
    length: Length
    beta: float
    seed: int
    start: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """Draws by name [R, chains, draws, ...] with their energies, before they are judged."""

    values: Values
    energy: Tensor
    course: Course
    method: str
    because: str


def sample(bound: Bound, observed: Values, wanted: Wanted, heard: Heard | None = None) -> Samples:
    """Draws for every row. Raises DataError for values that pose no question, never for a numeric outcome."""
    with torch.no_grad():
        if bound.part is not None and not summed_names(bound):
            raw = _mixed(bound, observed, wanted, heard)
        elif any(bound.specs[n].kind != "real" for n in bound.module.SOUGHT if n not in summed_names(bound)):
            raw = _countable(bound, observed, wanted, heard)
        else:
            raw = _real(bound, observed, wanted, heard)
        return _result(bound, raw, wanted, judged(raw.values, raw.energy, raw.course))


# --- real unknowns ------------------------------------------------------------------------------


def _real(bound: Bound, observed: Values, wanted: Wanted, heard: Heard | None) -> _Raw:
    because = wanted.because
    name = wanted.method
    if name == "gaussian":
        try:
            return _gaussian(bound, observed, wanted)
        except Unmeasured as unmeasured:
            name, because = wanted.fallback, f"{unmeasured.because}, so {wanted.fallback} instead"
    problem = posing.make_problem(bound, observed)
    target = target_of(problem, wanted.beta)
    chains = wanted.length.chains
    rows = problem.space.rows
    wide = target.select(torch.arange(rows, device=problem.space.device).repeat_interleave(chains))
    randomness = _randomness(bound, wanted, rows, chains, problem.space.dtype)
    u, unstarted = chain_starts(bound, problem, target, wide, wanted, randomness)
    sampler = make_sampler(name, wanted.options if name == wanted.method else {})
    drawn = drive(sampler, wide, u, wanted.length, randomness, heard)
    course = _course(drawn, rows, wanted, unstarted)
    values = _named(target.problem.space, drawn.points, chains)
    return _Raw(values, _by_chain(drawn.energy, chains), course, name, because)


def _gaussian(bound: Bound, observed: Values, wanted: Wanted) -> _Raw:
    wide = posing.in_float64(bound)
    problem = posing.make_problem(wide, observed)
    rows, count = problem.space.rows, wanted.length.chains * wanted.length.draws
    randomness = _randomness(bound, wanted, rows, count, torch.float64)
    found, faults = gaussian.draw(problem, wanted.beta, count, randomness)
    many = problem.select(torch.arange(rows, device=found.device).repeat_interleave(count))
    energy = many.energy(found.flatten(0, 1)).reshape(rows, wanted.length.chains, -1)
    dtype, chains = bound.settings.dtype, wanted.length.chains
    points = found.to(dtype).reshape(rows * chains, -1, problem.space.size)
    values = _named(problem.space, points, chains)
    return _Raw(values, energy.to(dtype), _at_once(rows, wanted, faults), "gaussian", wanted.because)


def chain_starts(
    bound: Bound, problem: Problem, target: Target, wide: Target, wanted: Wanted, randomness: GeneratorPerRow
) -> tuple[Tensor, Tensor]:
    """Where the chains begin, [R, N], spread around the start; and rows without a finite start, bool."""
    space = problem.space
    numbers = bound.settings.row_numbers(bound.batch)
    x = space.start(wanted.seed, numbers).x
    if wanted.start:
        shared = posing.shared_names(bound)
        given = {n: v[None] if n in shared else v for n, v in wanted.start.items()}
        given = {n: v[None] for n, v in given.items()} if space.joint else given
        x = space.pack({u.name: given[u.name].to(space.dtype) for u in space.unknowns})
    values = target.problem.space.project(space.join(list(space.values(x).values())))
    centre = target.coordinates(values).repeat_interleave(wanted.length.chains, 0)
    noise = wide.moving(randomness.normal(target.size))
    u, good = centre, torch.zeros(centre.shape[0], dtype=torch.bool, device=centre.device)
    for spread in _SPREADS:
        trial = centre + spread * noise
        potential, gradient = wide.potential_and_gradient(trial)
        fine = torch.isfinite(potential) & torch.isfinite(gradient).all(1)
        u = torch.where((fine & ~good)[:, None], trial, u)
        good |= fine
        if bool(good.all()):
            break
    return u, ~good.reshape(space.rows, -1).all(1)


# --- countable unknowns -------------------------------------------------------------------------


def _countable(bound: Bound, observed: Values, wanted: Wanted, heard: Heard | None) -> _Raw:
    held = posing.held_values(bound)
    question = question_of(bound, observed, held, {})
    name, because = wanted.method, wanted.because
    if name == "ancestral":
        try:
            return _ancestral(question, wanted)
        except Unfit as unfit:
            if question.arranged:
                shown = ", ".join(own.name for own in question.fields)
                raise DataError(
                    f"{shown} cannot be sampled: {unfit.because}, "
                    "and no chain is built for orders and subsets",
                    "make it smaller, or give some of it",
                ) from None
            name, because = wanted.fallback, f"{unfit.because}, so {wanted.fallback} instead"
    sampler = make_sampler(name, wanted.options if name == wanted.method else {})
    chains = wanted.length.chains
    start = _assignments(question, wanted)
    parts, row = [], 0
    for part in parts_of(question, chains, wanted.beta, tables=not isinstance(sampler, Gibbs)):
        own, network = part.rows, part.network
        begun = start[row : row + own].flatten(0, 1)
        if network is not None and question.fixed is not None:
            # Entries that are given in every row have left the tables, and stand at 0 there.
            begun = torch.minimum(begun, torch.from_numpy(network.cases - 1).to(begun.device))
        randomness = _randomness(bound, wanted, own, chains, torch.float64, row)
        parts.append(drive(sampler, part.target, begun, wanted.length, randomness, heard))
        row += own
    drawn = Drawn(
        torch.cat([p.points for p in parts]),
        torch.cat([p.energy for p in parts]),
        torch.cat([p.acceptance for p in parts]),
        torch.cat([p.divergences for p in parts]),
        None,
    )
    rows = question.rows
    lost = ~torch.isfinite(drawn.energy.reshape(rows, -1)).any(1)
    values = _cases(question, _by_chain(drawn.points, chains))
    return _Raw(values, _by_chain(drawn.energy, chains), _course(drawn, rows, wanted, lost), name, because)


def _ancestral(question: Question, wanted: Wanted) -> _Raw:
    length, rows = wanted.length, question.rows
    count = length.chains * length.draws
    randomness = _randomness(question.bound, wanted, rows, count, torch.float64)
    found, faults, note = ancestral.draw(question, wanted.beta, count, randomness)
    row = torch.arange(rows, device=found.device).repeat_interleave(count)
    energy = question.energies(found.flatten(0, 1), row).reshape(rows, length.chains, -1)
    values = _cases(question, found.reshape(rows, length.chains, length.draws, -1))
    because = f"{wanted.because}; {note}"
    return _Raw(values, energy, _at_once(rows, wanted, faults), "ancestral", because)


def _assignments(question: Question, wanted: Wanted) -> Tensor:
    """Starts int64 [rows, chains, N]: drawn, or what was given to begin with."""
    settings = question.bound.settings
    if not wanted.start:
        effort = Effort(0, wanted.length.chains, wanted.seed, settings.first_row, settings.chunk_bytes)
        return drawn_starts(question, effort)
    parts = [wanted.start[own.name].long().reshape(question.rows, -1) for own in question.fields]
    return torch.cat(parts, 1)[:, None].expand(-1, wanted.length.chains, -1)


def _cases(question: Question, points: Tensor) -> dict[str, Tensor]:
    """Assignments [rows, chains, draws, N] by name, [rows, chains, draws, *shape]."""
    found = {}
    for own in question.fields:
        part = points[..., own.offset : own.offset + own.count].long()
        value = part.reshape(*part.shape[:3], *own.shape)
        if question.fixed is not None:
            fixed = question.fixed[:, own.offset : own.offset + own.count].reshape(-1, 1, 1, *own.shape)
            value = torch.where(fixed >= 0, fixed, value)
        found[own.name] = value.bool() if own.kind == "bool" else value
    return found


# --- both ---------------------------------------------------------------------------------------


def _mixed(bound: Bound, observed: Values, wanted: Wanted, heard: Heard | None) -> _Raw:
    chains = wanted.length.chains
    wide = posing.in_float64(bound)
    both = both_of(wide, observed, chains, wanted.beta)
    randomness = _randomness(bound, wanted, bound.batch, chains, torch.float64)
    x, unstarted = _both_starts(both, wide, observed, wanted, randomness)
    drawn = drive(MixedGibbs(), both, x, wanted.length, randomness, heard)
    points = drawn.points
    values = {
        **_cases(replace(both.question, fixed=None), _by_chain(points[..., : both.entries], chains)),
        **{
            n: v.to(bound.settings.dtype)
            for n, v in _named(both.first.problem.space, points[..., both.entries :], chains).items()
        },
    }
    course = _course(drawn, bound.batch, wanted, unstarted)
    how = "exact draws" if both.exact else "trajectories"
    because = f"{wanted.because}; {how} of the real ones"
    return _Raw(values, _by_chain(drawn.energy, chains), course, "gibbs", because)


def _both_starts(
    both: Both, bound: Bound, observed: Values, wanted: Wanted, randomness: GeneratorPerRow
) -> tuple[Tensor, Tensor]:
    known = {n: m for n, m in observed.items() if bound.specs[n].kind != "real"}
    cases = _assignments(question_of(bound, known, posing.held_values(bound), {}), wanted).flatten(0, 1)
    problem = both.problem(cases)
    target = both.target(cases)
    alone = replace(wanted, length=replace(wanted.length, chains=1))
    repeated = {n: v.repeat_interleave(wanted.length.chains, 0) for n, v in wanted.start.items()}
    begun = replace(
        alone, start={u.name: repeated[u.name] for u in problem.space.unknowns} if repeated else {}
    )
    u, bad = chain_starts(both.bound, problem, target, target, begun, randomness)
    bad = bad.reshape(bound.batch, -1).any(1)
    return torch.cat((cases.to(u.dtype), u), 1), bad


# --- results ------------------------------------------------------------------------------------


def _randomness(
    bound: Bound, wanted: Wanted, rows: int, chains: int, dtype: torch.dtype, first: int = 0
) -> GeneratorPerRow:
    joint = bound.module.JOINT
    numbers = np.zeros(1, dtype=np.int64) if joint else bound.settings.row_numbers(bound.batch)
    own = numbers[first : first + rows]
    return GeneratorPerRow(wanted.seed, "sample", own, chains, dtype, bound.settings.device)


def _by_chain(draws: Tensor, chains: int) -> Tensor:
    """[R, draws, ...] -> [rows, chains, draws, ...]."""
    return draws.reshape(-1, chains, *draws.shape[1:])


def _named(space: Space, points: Tensor, chains: int) -> dict[str, Tensor]:
    """Points [R, draws, N] by name, [rows, chains, draws, *row_shape]; what all examples share has no
    dimension for them."""
    found = {}
    for unknown, part in zip(space.unknowns, points.split(space.sizes, 2), strict=True):
        shape = unknown.shape if unknown.per_batch else space.row_shape(unknown)
        found[unknown.name] = part.reshape(-1, chains, points.shape[1], *shape)
    return found


def _course(drawn: Drawn, rows: int, wanted: Wanted, unstarted: Tensor) -> Course:
    transitions = wanted.length.draws * wanted.length.thin
    return Course(
        drawn.acceptance.reshape(rows, -1).cpu(),
        drawn.divergences.reshape(rows, -1).cpu(),
        _row_steps(drawn.steps, rows),
        ("",) * rows,
        unstarted.cpu(),
        transitions,
        exact=False,
    )


def _row_steps(steps: Tensor | None, rows: int) -> Tensor:
    if steps is None:
        return torch.full((rows,), torch.nan, dtype=torch.float64)
    return steps.double().cpu().expand(rows)


def _at_once(rows: int, wanted: Wanted, faults: tuple[str, ...]) -> Course:
    chains = wanted.length.chains
    return Course(
        torch.ones(rows, chains, dtype=torch.float64),
        torch.zeros(rows, chains, dtype=torch.int64),
        torch.full((rows,), torch.nan, dtype=torch.float64),
        faults,
        torch.zeros(rows, dtype=torch.bool),
        wanted.length.draws,
        exact=True,
    )


def _result(bound: Bound, raw: _Raw, wanted: Wanted, found: Judged) -> Samples:
    """The draws as a caller has them: by example, what all share without that dimension."""
    batch, joint = bound.batch, bound.module.JOINT
    shared = frozenset(n for n in raw.values if not bound.specs[n].per_example)

    def laid(name: str, value: Tensor, lead: int) -> Tensor:
        """[rows, ..., *row_shape] with `lead` dimensions of chains and draws."""
        if not joint:
            return value
        if name not in bound.specs:
            return value.expand(batch, *value.shape[1:])
        return value[0].movedim(lead, 0) if bound.specs[name].per_example else value[0]

    def every(values: Values) -> dict[str, Tensor]:
        return {n: laid(n, v, 0) for n, v in values.items()}

    row = find_sampler(raw.method)
    assert row is not None
    converged = torch.tensor([h.good for h in found.health])
    repeat: Callable[[Tensor], Tensor] = lambda t: t.expand(batch, *t.shape[1:])  # noqa: E731
    return Samples(
        values={n: laid(n, v, 2) for n, v in raw.values.items()},
        energy=repeat(raw.energy),
        rhat=every(found.rhat),
        bulk=every(found.bulk),
        tail=every(found.tail),
        acceptance=repeat(raw.course.acceptance),
        divergences=repeat(raw.course.divergences),
        step=repeat(raw.course.step),
        converged=repeat(converged),
        status=found.status if len(found.status) == batch else found.status * batch,
        method=raw.method,
        because=raw.because,
        certificate=row.certificate,
        beta=wanted.beta,
        shared=shared,
    )
