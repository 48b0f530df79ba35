"""The augmented Lagrangian of Powell, Hestenes and Rockafellar around any method for the energy.

For multipliers y and a penalty r > 0 per row, the energy

    energy(x) + sum over equations    y c + r/2 c^2
              + sum over inequalities (max(0, y + r c)^2 - y^2) / (2 r)

is minimised over the domain; then y <- y + r c (not below 0 for inequalities), which makes the gradient of
the Lagrangian at the new y that of the energy above (Nocedal & Wright 2006, section 17.3). The safeguards
are those of Birgin & Martinez 2014: y is kept bounded, r grows only where feasibility and complementarity
together have not fallen enough. Rows are independent: each has its own y, r and end.

A row whose violation does not fall is handed to the minimisation of the violation alone: a stationary point
of that which is not feasible ends the row as infeasible, with the constraint that is violated most.

Everything is computed in float64; see `ask`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.constrained.augmented import Search
from ebmlang.runtime.constrained.endless import falls_where_constraints_hold
from ebmlang.runtime.constrained.problem import (
    Constrained,
    ConstrainedOutcome,
    excess,
    feasible_within,
    largest,
    sentence,
    stacked,
)
from ebmlang.runtime.driver import Limits, Outcome, Progress
from ebmlang.runtime.falling import falls_without_end, floor_under, named_fall
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.solver import AbstractSolver, where_rows

MOST_OUTER = 60
MOST_INNER = 2_000
LARGEST_MULTIPLIER = 1e12
LARGEST_PENALTY = 1e12
GROWTH = 10.0
SUFFICIENT = 0.25
"""The penalty of a row grows unless its measure has fallen to this share."""

PATIENCE = 4
"""Outer steps in a row without progress towards feasibility before the violation alone is minimised."""

MOST_TIRED = 4
"""Times that the inner method may stop short of its tolerance where the constraints hold: new multipliers
often let it go on."""

MOST_FALLS = 5
"""Times that energy and penalty together may fall without end, under a penalty that grows a hundredfold each
time: a larger one may hold the energy."""

FAR = 1e-3
"""With a violation of less than this share of it, the way to a far point may keep the constraints."""

DISTANT = 1e6
"""A point this many times as far out as the start is looked at for an energy without end."""

MOST_RESTORATIONS = 2
CLEAR = 1e3
"""A violation counts as proof of infeasibility only above this many tolerances."""


@dataclass(slots=True, eq=False)
class _Rows:
    """The state of the rows in play, leading dimension R.

    `measure` is feasibility and complementarity together, `violation` feasibility alone, both relative to the
    scales. `stuck` counts outer steps without progress, `tired` those in which the inner method could not
    reach its tolerance, `falls` those in which energy and penalty fell without end. `words` are sentences
    that name a term, by row.
    """

    x: Tensor
    y: Tensor
    r: Tensor
    measure: Tensor
    violation: Tensor
    stuck: Tensor
    restored: Tensor
    iterations: Tensor
    tired: Tensor
    falls: Tensor
    optimality: Tensor
    status: list[Status]
    words: dict[int, str]


def solve(
    constrained: Constrained,
    x: Tensor,
    solver: AbstractSolver,
    limits: Limits,
    multipliers: Tensor | None = None,
    progress: Callable[[Progress], None] | None = None,
    trace: bool = False,
) -> ConstrainedOutcome:
    """Minimise every row under its constraints from the feasible-in-domain points x [R, N].

    `limits.steps` bounds the steps of the inner method over all outer ones. Never raises for a numeric
    outcome: it is in the status of the row.
    """
    constrained = constrained.detached()
    if constrained.problem.space.joint and x.shape[0] > 1:
        # Values that all rows hold cannot differ by row, and multipliers do.
        each = [
            solve(constrained.select(torch.tensor([i])), x[i : i + 1], solver, limits, None, None, trace)
            for i in range(x.shape[0])
        ]
        return stacked(each)
    search = _search(constrained, solver, x, limits)
    state = _first(search, x, multipliers)
    lines = [constrained.problem.energy(x)]
    running = torch.tensor([s is Status.STEP_LIMIT for s in state.status], device=x.device)
    running = running & (state.iterations < limits.steps)
    for outer in range(MOST_OUTER):
        index = running.nonzero()[:, 0]
        if index.shape[0] == 0 or limits.passed:
            break
        if progress is not None:
            done = x.shape[0] - index.shape[0]
            progress(Progress(int(state.iterations.max()), done, x.shape[0], limits.steps))
        _outer_step(search, state, index, outer)
        lines.append(constrained.problem.energy(state.x))
        spent = state.iterations >= limits.steps
        running = torch.tensor([s is Status.STEP_LIMIT for s in state.status], device=x.device) & ~spent
    if progress is not None:
        progress(Progress(int(state.iterations.max()), x.shape[0], x.shape[0], limits.steps))
    return _outcome(search, state, torch.stack(lines) if trace else None)


def _search(constrained: Constrained, solver: AbstractSolver, x: Tensor, limits: Limits) -> Search:
    tol = limits.tolerance(x.dtype)
    first = solver.init(constrained.problem, x)
    usual = torch.nan_to_num(first.optimality, nan=0.0, posinf=0.0)
    with torch.no_grad():
        c = constrained.values(x)
    scale = 1 + torch.nan_to_num(c.abs(), nan=0.0, posinf=0.0)
    return Search(
        constrained,
        solver,
        limits,
        constrained.equal(x),
        tol * (1 + usual),
        scale,
        tol,
        feasible_within(tol),
        x.clone(),
    )


def _first(search: Search, x: Tensor, multipliers: Tensor | None) -> _Rows:
    """Where the search begins; the penalty balances energy and violation (Birgin & Martinez 2014)."""
    energy = search.constrained.problem.energy(x)
    with torch.no_grad():
        c = search.constrained.values(x)
    beyond = excess(c, search.equal)
    size = torch.nan_to_num(energy.abs(), nan=1.0, posinf=1.0).clamp(min=1)
    r = (10 * size / (beyond.square().sum(1) / 2).clamp(min=1)).clamp(1e-3, 1e3)
    r = torch.nan_to_num(r, nan=10.0)
    rows = x.shape[0]
    broken = search.constrained.failed_checks(x, search.near)
    status = [Status.INFEASIBLE if bad else Status.STEP_LIMIT for bad in broken.tolist()]
    counts = torch.zeros(rows, dtype=torch.int64, device=x.device)
    return _Rows(
        x=x.clone(),
        y=torch.zeros_like(c) if multipliers is None else multipliers.clone(),
        r=r,
        measure=torch.full_like(energy, torch.inf),
        violation=largest(beyond / search.scale),
        stuck=counts.clone(),
        restored=counts.clone(),
        iterations=counts,
        tired=counts.clone(),
        falls=counts.clone(),
        optimality=torch.full_like(energy, torch.inf),
        status=status,
        words={},
    )


def _outer_step(search: Search, state: _Rows, index: Tensor, outer: int) -> None:
    """Minimise, move the multipliers, judge: for the rows `index` of the state, which is changed in place."""
    left = search.limits.steps - int(state.iterations[index].max())
    tol = max(search.tol / 2, 10.0 ** -(2 + outer))
    x, y, r = state.x[index], state.y[index], state.r[index]
    found = search.minimise(index, x, y, r, tol, min(left, MOST_INNER))
    state.iterations[index] += found.iterations
    fell = torch.tensor([kind is Status.UNBOUNDED for kind in found.status], device=x.device)
    if bool(fell.any()):
        _fallen(search, state, index[fell], found, fell)
    x = where_rows(torch.isfinite(found.x).all(1) & ~fell, found.x, x)
    with torch.no_grad():
        c = search.constrained.select(index).values(x)
    scale = search.scale[index]
    moved = y + r[:, None] * c
    moved = torch.where(search.equal, moved, moved.clamp(min=0))
    # How far c is from feasible and complementary: |c|, or max(c, -y/r) where y may still be given back.
    both = torch.where(search.equal, c.abs(), torch.maximum(c, -y / r[:, None]).abs())
    measure, violated = largest(both / scale), largest(excess(c, search.equal) / scale)
    state.x[index], state.optimality[index] = x, found.optimality
    ended = _judged(search, state, index, found, measure)
    moved = where_rows(fell, y, moved)
    slow = measure > SUFFICIENT * state.measure[index]
    state.y[index] = moved.clamp(-LARGEST_MULTIPLIER, LARGEST_MULTIPLIER)
    growth = torch.where(fell, GROWTH**2, GROWTH)
    state.r[index] = torch.where((slow | fell) & ~ended, (r * growth).clamp(max=LARGEST_PENALTY), r)
    lagging = ~fell & (violated > search.near) & (violated > SUFFICIENT * state.violation[index])
    state.stuck[index] = torch.where(lagging, state.stuck[index] + 1, 0)
    state.measure[index], state.violation[index] = measure, violated
    ended = ended | _without_end(search, state, index)
    hopeless = (state.stuck[index] >= PATIENCE) & ~ended
    if bool(hopeless.any()):
        _restore(search, state, index[hopeless])


def _judged(search: Search, state: _Rows, index: Tensor, found: Outcome, measure: Tensor) -> Tensor:
    """Enter the status of rows that have come to an end; bool [len(index)]."""
    held = measure <= search.near
    stationary = found.optimality <= search.bound[index]
    ended = torch.zeros_like(held)
    tired = torch.tensor([kind in _TIRED for kind in found.status], device=held.device)
    state.tired[index] = torch.where(held & tired, state.tired[index] + 1, 0)
    given_up = state.tired[index] >= MOST_TIRED
    for i, (row, kind) in enumerate(zip(index.tolist(), found.status, strict=True)):
        new = Status.STEP_LIMIT
        if kind is Status.UNBOUNDED:
            new = state.status[row]
        elif kind in _BROKEN:
            new = kind
            state.words[row] = found.sentences[i]
        elif bool(held[i]) and bool(stationary[i]):
            new = Status.CONVERGED
        elif bool(given_up[i]):
            new = kind
        state.status[row] = new
        ended[i] = new is not Status.STEP_LIMIT
    return ended


def _fallen(search: Search, state: _Rows, index: Tensor, found: Outcome, fell: Tensor) -> None:
    """Count rows whose energy and penalty fall without end; after several it is the energy that does, if it
    falls where the constraints hold."""
    state.falls[index] += 1
    often = state.falls[index] >= MOST_FALLS
    along = torch.zeros_like(often)
    if bool(often.any()):
        along[often] = falls_where_constraints_hold(search, index[often], found.x[fell][often])
    for i, row in enumerate(index.tolist()):
        if not bool(often[i]):
            continue
        state.status[row] = Status.UNBOUNDED if bool(along[i]) else Status.VIOLATED
        if bool(along[i]):
            state.words[row] = _endless(search, row, found.x[fell][i : i + 1])


def _without_end(search: Search, state: _Rows, index: Tensor) -> Tensor:
    """Enter rows that have gone far while the constraints hold in proportion, if the energy falls without end
    along their way, and where the constraints hold; bool [len(index)]."""
    way = state.x[index].abs().amax(1) if state.x.shape[1] else state.measure[index] * 0
    far = (way > DISTANT * (1 + search.start[index].abs().sum(1))) & (state.violation[index] <= FAR * way)
    found = torch.zeros_like(far)
    if not bool(far.any()):
        return found
    rows = index[far]
    problem, start, x = search.constrained.problem.select(rows), search.start[rows], state.x[rows]
    falls = falls_without_end(problem, start, x, floor_under(problem.energy(start)))
    if bool(falls.any()):
        falls[falls.clone()] = falls_where_constraints_hold(search, rows[falls], x[falls])
    found[far] = falls
    for i, (row, does) in enumerate(zip(rows.tolist(), falls.tolist(), strict=True)):
        if does:
            state.words[row] = _endless(search, row, x[i : i + 1])
            state.x[row] = search.start[row]
            state.status[row] = Status.UNBOUNDED
    return found


def _endless(search: Search, row: int, x: Tensor) -> str:
    """The sentence of a row whose energy falls without end on the way to x [1, N]."""
    index = torch.tensor([row], device=x.device)
    fall = named_fall(search.constrained.problem.select(index), search.start[index], x)
    return Status.UNBOUNDED.sentence(f": {fall}" if fall else "")


_TIRED = (Status.SETTLED, Status.PRECISION)
_BROKEN = (Status.NON_FINITE, Status.NON_FINITE_START, Status.NON_FINITE_GRADIENT, Status.OUTSIDE)


def _restore(search: Search, state: _Rows, index: Tensor) -> None:
    """Minimise the violation alone: rows where it stays are infeasible, the others go on from there."""
    left = search.limits.steps - int(state.iterations[index].max())
    if left <= 0:
        return
    x, rows = state.x[index], index.shape[0]
    zeros = torch.zeros_like(state.y[index])
    unit = torch.ones(rows, dtype=x.dtype, device=x.device)
    found = search.minimise(index, x, zeros, unit, search.tol * 1e-3, min(left, MOST_INNER), True)
    state.iterations[index] += found.iterations
    with torch.no_grad():
        c = search.constrained.select(index).values(found.x)
    violated = largest(excess(c, search.equal) / search.scale[index])
    better = violated <= state.violation[index]
    still = violated > CLEAR * search.near
    ended = [kind in (Status.CONVERGED, Status.PRECISION, Status.SETTLED) for kind in found.status]
    stationary = torch.tensor(ended, device=x.device)
    infeasible = still & (stationary | (state.restored[index] >= MOST_RESTORATIONS - 1))
    spent = (state.restored[index] >= MOST_RESTORATIONS) & ~infeasible
    state.x[index] = where_rows(better, found.x, x)
    state.violation[index] = torch.where(better, violated, state.violation[index])
    state.restored[index] += 1
    state.stuck[index] = 0
    state.measure[index] = torch.inf
    for row, none, over in zip(index.tolist(), infeasible.tolist(), spent.tolist(), strict=True):
        if none:
            state.status[row] = Status.INFEASIBLE
        elif over:
            state.status[row] = Status.VIOLATED
    again = ~infeasible
    state.y[index] = torch.where(again[:, None], zeros, state.y[index])


def _outcome(search: Search, state: _Rows, trace: Tensor | None) -> ConstrainedOutcome:
    constrained = search.constrained
    worst = constrained.worst(state.x)
    with torch.no_grad():
        c = constrained.values(state.x)
    slack = torch.where(search.equal, 0.0, torch.minimum(-c, state.y).abs())
    held = largest(excess(c, search.equal) / search.scale) <= search.near
    ran_out = Status.TIME_LIMIT if search.limits.passed else Status.STEP_LIMIT
    status = [
        kind if kind is not Status.STEP_LIMIT else ran_out if ok else Status.VIOLATED
        for kind, ok in zip(state.status, held.tolist(), strict=True)
    ]
    sentences = tuple(state.words.get(row, sentence(kind, worst[row])) for row, kind in enumerate(status))
    return ConstrainedOutcome(
        state.x,
        constrained.problem.energy(state.x),
        state.optimality,
        state.y,
        state.x.new_tensor([violation.by for violation in worst]),
        largest(slack),
        state.iterations,
        tuple(status),
        sentences,
        trace,
    )
