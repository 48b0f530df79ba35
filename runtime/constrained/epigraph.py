"""Energies with kinks as programs: a height for every kink, under constraints that hold it above.

The energy smooth(x) + sum of w max_j (a_j(x)), with affine a_j and w >= 0, is least where smooth(x) + sum of
w t is under a_j(x) <= t (Boyd & Vandenberghe 2004, section 4.1.3). That is a linear program where the rest is
affine, a quadratic one where it is of degree 2, and smooth in any case. Multipliers of the constraints prove
the minimum: what they leave open is its duality gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.constrained import linear
from ebmlang.runtime.constrained.problem import Constrained, ConstrainedOutcome
from ebmlang.runtime.constrained.solving import solve as solve_constrained
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.domains import Reals
from ebmlang.runtime.driver import Limits, Outcome, Progress, Starts
from ebmlang.runtime.problem import Problem, Values
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers import Lbfgs, ProjectedLbfgs
from ebmlang.runtime.solvers.solver import where_rows
from ebmlang.runtime.space import Unknown, space_of
from ebmlang.runtime.spec import ConstraintSpec, MaximumSpec

HEIGHTS, KINKS = "heights of kinks", "kinks"
"""Names of the added unknown and of its constraints; no variable has a space in its name."""

BY_DEGREE = {1: "linear_program", 2: "interior_point"}
"""The method of the program, by the degree of the energy without its kinks."""


class Kinked(Protocol):
    """What generated code offers for energies with kinks."""

    def maxima(self, unknown: Values, held: Values) -> list[tuple[Tensor, list[Tensor]]]: ...

    def without_kinks(self, unknown: Values, held: Values) -> Tensor: ...

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Lifted:
    """The energy with heights in place of its kinks; takes the place of the generated functions."""

    base: Kinked
    specs: tuple[MaximumSpec, ...]

    def energy(self, unknown: Values, held: Values) -> Tensor:
        heights = unknown[HEIGHTS]
        pairs = zip(self.base.maxima(unknown, held), self.specs, strict=True)
        weights = [_weights(weight, values, spec) for (weight, values), spec in pairs]
        joined = torch.cat([w.expand(heights.shape[0], -1) for w in weights], 1)
        return self.base.without_kinks(unknown, held) + (joined * heights).sum(1)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.base.terms(unknown, held)

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        groups = self.groups(unknown, held)
        heights = unknown[HEIGHTS].split([g.shape[1] for g in groups], 1)
        above = [(g - t[..., None]).flatten(1) for g, t in zip(groups, heights, strict=True)]
        return {KINKS: torch.cat(above, 1)}

    def groups(self, unknown: Values, held: Values) -> list[Tensor]:
        """The values of every kink, [R, kinks, values] for each of the maxima."""
        pairs = zip(self.base.maxima(unknown, held), self.specs, strict=True)
        return [_grouped(values, spec) for (_, values), spec in pairs]

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def absolute(self, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError


def _grouped(values: Sequence[Tensor], spec: MaximumSpec) -> Tensor:
    """[R, kinks, values] of values [R or 1, *plates, *shape]."""
    rows = [value if value.ndim == spec.plates + spec.rank + 1 else value[None] for value in values]
    stacked = torch.stack(torch.broadcast_tensors(*rows), -1)
    if spec.floor:
        stacked = torch.cat([stacked, torch.zeros_like(stacked[..., :1])], -1)
    if spec.whole:
        return stacked.flatten(1 + spec.plates).reshape(
            stacked.shape[0], stacked.shape[1 : 1 + spec.plates].numel(), -1
        )
    return stacked.reshape(stacked.shape[0], -1, stacked.shape[-1])


def _weights(weight: Tensor, values: Sequence[Tensor], spec: MaximumSpec) -> Tensor:
    """[R or 1, kinks] of a weight [R or 1, *plates, *shape], or without a shape."""
    weight = weight if weight.ndim == spec.plates + spec.weight_rank + 1 else weight[None]
    if not spec.whole and spec.rank > spec.weight_rank:
        weight = weight.reshape(*weight.shape, *([1] * (spec.rank - spec.weight_rank)))
    plates = max((tuple(v.shape[v.ndim - spec.plates - spec.rank :]) for v in values), default=())
    shape = plates[: spec.plates] if spec.whole else plates
    return weight.expand(weight.shape[0], *shape).reshape(weight.shape[0], -1)


MOST_UNKNOWNS = 4_000
"""Unknowns and heights together, up to which a program that is not linear is worth its time."""


def solve(
    problem: Problem,
    base: Kinked,
    specs: Sequence[MaximumSpec],
    degree: int | None,
    start: Tensor,
    limits: Limits,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome | str:
    """Minimise every row of a problem in float64 from the points `start` [R, N], or say why that is not worth
    its time. The examples must not form one problem. Never raises for a numeric outcome.
    """
    before = problem.energy(start)
    rows = torch.isfinite(before).nonzero()[:, 0]
    part, functions = problem.select(rows), Lifted(base, tuple(specs))
    lifted = _lifted(part, functions, start[rows])
    constrained = Constrained(lifted, functions, (ConstraintSpec(KINKS, "<=", per_example=True),))
    size = lifted.space.size
    if degree != 1 and size > MOST_UNKNOWNS:
        return f"{size:,} unknowns and kinks are too many"
    if degree == 1 and not linear.fits(constrained, lifted.space.start(0, np.arange(rows.shape[0])).x):
        return "the matrix of the linear program is too large"
    inner = Lbfgs() if problem.space.kinds <= {Kind.LINEAR} else ProjectedLbfgs()
    method = BY_DEGREE.get(degree or 0, "augmented_lagrangian")
    found = solve_constrained(constrained, method, inner, limits, Starts(), progress).outcome
    outcome = _brought_back(part, start[rows], found)
    return outcome if rows.shape[0] == start.shape[0] else _with_others(start, before, rows, outcome)


def _lifted(problem: Problem, functions: Lifted, start: Tensor) -> Problem:
    """The problem over the unknowns and the heights, which begin at their kinks."""
    space = problem.space
    begin = space.values(start)
    with torch.no_grad():
        groups = functions.groups(begin, problem.held)
    rows = start.shape[0]
    heights = torch.cat([g.amax(-1).expand(rows, -1) for g in groups], 1)
    unknowns = tuple(replace(u, start=begin[u.name]) for u in space.unknowns)
    added = Unknown(HEIGHTS, (heights.shape[1],), Reals(), torch.nan_to_num(heights))
    whole = space_of((*unknowns, added), space.batch, space.dtype, space.device, joint=False)
    return Problem(functions, problem.held, problem.row_values, whole)


def _brought_back(problem: Problem, start: Tensor, found: ConstrainedOutcome) -> Outcome:
    """The answer without its heights. Rows that have not converged keep their start where that is lower."""
    x = problem.space.project(found.x[:, : problem.space.size])
    energy, before = problem.energy(x), problem.energy(start)
    status = [_NAMED.get(kind, kind) for kind in found.status]
    converged = torch.tensor([kind is Status.CONVERGED for kind in status], device=x.device)
    worse = ~(energy <= before) & ~converged
    x, energy = where_rows(worse, start, x), torch.where(worse, before, energy)
    said = [
        old if kind is was else kind.sentence()
        for old, was, kind in zip(found.sentences, found.status, status, strict=True)
    ]
    gap = None
    if found.gap is not None:
        gap = torch.where(converged, (found.gap + energy - found.energy).clamp(min=0), torch.nan)
    trace = torch.stack([before, energy])
    optimality = torch.where(converged, found.optimality, torch.inf)
    return Outcome(x, energy, optimality, found.iterations, tuple(status), tuple(said), trace, gap)


def _with_others(start: Tensor, energy: Tensor, rows: Tensor, found: Outcome) -> Outcome:
    """The outcome of some rows beside others [R, N], whose energies are not finite where they start."""
    count = start.shape[0]
    status, words = [Status.NON_FINITE_START] * count, [Status.NON_FINITE_START.sentence()] * count
    for i, row in enumerate(rows.tolist()):
        status[row], words[row] = found.status[i], found.sentences[i]
    nothing = torch.full_like(energy, torch.inf)
    steps = torch.zeros(count, dtype=torch.int64, device=start.device)
    return Outcome(
        start.index_copy(0, rows, found.x),
        energy.index_copy(0, rows, found.energy),
        nothing.index_copy(0, rows, found.optimality),
        steps.index_copy(0, rows, found.iterations),
        tuple(status),
        tuple(words),
        None,
    )


_NAMED: Mapping[Status, Status] = {
    Status.VIOLATED: Status.STEP_LIMIT,
    Status.INFEASIBLE: Status.STEP_LIMIT,
}
"""Heights above their kinks exist for every point, so that nothing is infeasible."""


def specs_of(module: Any) -> tuple[tuple[MaximumSpec, ...], int | None]:
    """The table of the maxima of a generated module, and the degree of the energy without them."""
    found = vars(module)
    return found["MAXIMA"], found["DEGREE"]
