"""Concave-convex steps for a convex quadratic minus log-sum-exps of scores.

A log-sum-exp lies above its tangent, so minus one lies below; with the shares softmax(s(x)) held, the energy
lies below a convex quadratic that touches it at x. Its minimum is the next x, and the energy falls (Yuille
and Rangarajan 2003). Where the scores are products with stored patterns the step is the attention of
Ramsauer et al. 2021; where they are distances it is mean shift (Cheng 1995).

The quadratic is separable or has no bounds, so that within bounds too the step ends at the least point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_dot
from ebmlang.runtime.mixture import MixtureForm, Scores
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers.solver import (
    AbstractSolver,
    Halt,
    Stall,
    State,
    all_active,
    no_stall,
    where_rows,
)

CACHED = 1 << 18
"""Scores that are worked on together: 1 MiB in float32, which stays in the cache of a core."""


@dataclass(frozen=True, slots=True, eq=False)
class ConcaveConvexMemory:
    """`target` [R, N] is the least point of the quadratic above the energy; `stuck` [R]: it is x itself."""

    target: Tensor
    stuck: Tensor
    stall: Stall


@dataclass(frozen=True, slots=True)
class ConcaveConvex(AbstractSolver):
    """For numbers with or without bounds. A row ends after a window of `patience` steps without progress."""

    patience: int = 250

    needs: ClassVar[frozenset[View]] = frozenset({View.MIXTURE})
    handles: ClassVar[frozenset[Kind]] = frozenset({Kind.LINEAR, Kind.BOX})

    def init(self, problem: Problem, x: Tensor) -> State:
        energy, gradient, target = majorised(problem, x)
        optimality = problem.space.optimality(x, gradient)
        nothing = torch.zeros_like(energy, dtype=torch.bool)
        return State(
            energy, optimality, all_active(energy), ConcaveConvexMemory(target, nothing, no_stall(energy))
        )

    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory: ConcaveConvexMemory = state.memory
        moved = memory.target if bool(state.active.all()) else where_rows(state.active, memory.target, x)
        energy, optimality, target = _arrived(problem, moved, state)
        # The step cannot raise the energy: what seems to is rounding.
        level = energy >= state.energy
        energy = torch.minimum(energy, state.energy)
        # Only where the energy has not fallen can the point be the same.
        stuck = level & (moved == x).all(1) if bool(level.any()) else level
        after = ConcaveConvexMemory(target, stuck, memory.stall.after(energy, optimality, self.patience))
        return moved, State(energy, optimality, state.active, after)

    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        memory: ConcaveConvexMemory = state.memory
        ended = memory.stuck | memory.stall.stalled
        return torch.where(ended, int(Halt.PRECISION), int(Halt.RUNNING)).to(torch.int8)


def _arrived(problem: Problem, x: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
    """The energy and the optimality [R] at x, and where the next step leads.

    Rows that are next to a stored pattern, and meet their bound for sure, are not evaluated: they get bounds
    of both, and move no more.
    """
    form = problem.mixture
    assert form is not None
    if form.patterns is None or state.bound is None:
        energy, gradient, target = majorised(problem, x)
        return energy, problem.space.optimality(x, gradient), target
    energy, optimality = form.patterns.near(x)
    energy += form.constant
    sure = optimality <= state.bound
    energy = torch.where(sure, energy, state.energy)
    optimality = torch.where(sure, optimality, state.optimality)
    unsure = (state.active & ~sure).nonzero()[:, 0]
    if 4 * unsure.shape[0] > x.shape[0]:
        energy, gradient, target = majorised(problem, x)
        return energy, problem.space.optimality(x, gradient), target
    if unsure.shape[0] == 0:
        return energy, optimality, x
    part, at = problem.select(unsure), x.index_select(0, unsure)
    exact, gradient, ahead = majorised(part, at)
    energy = energy.index_copy(0, unsure, exact)
    optimality = optimality.index_copy(0, unsure, part.space.optimality(at, gradient))
    return energy, optimality, x.index_copy(0, unsure, ahead)


def majorised(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The energy [R] and its gradient [R, N] at x, and the least point [R, N] of the quadratic above it."""
    form = problem.mixture
    if form is None:
        raise ValueError("this problem is not given as a quadratic minus log-sum-exps")
    pull, bend, value = _pull(form, x)
    space = problem.space
    right = pull.sub_(form.linear)
    if form.factor is not None:
        curved = _times(x, form.quadratic)
        gradient = curved - right
        target = _factored(form.factor, right)
        half = torch.add(form.linear, curved, alpha=0.5)
    else:
        curvature = form.quadratic if bend is None else form.quadratic - bend
        target = right / curvature
        gradient = (x - target).mul_(curvature)
        half = torch.addcmul(form.linear, x, form.quadratic, value=0.5)
    energy = form.constant + row_dot(x, half) - value
    if Kind.BOX in space.kinds or space.mask is not None:
        low, high = space.bounds()
        target = torch.clamp(target, low, high)
    return energy, space.sought(gradient), target


def _pull(form: MixtureForm, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """sum w p slope [R, N], sum w p bend [R, N] and sum w logsumexp [R] with the shares p at x."""
    fused = _fused(form, x)
    if fused is not None:
        return fused
    width = max((p.offset.shape[1] * p.offset.shape[2] for p in form.scores), default=1)
    rows = x.shape[0]
    step = max(1, CACHED // max(width, 1)) if not x.is_cuda else max(rows, 1)
    pull, value = torch.empty_like(x), x.new_empty(rows)
    bent = any(part.bend is not None for part in form.scores)
    bend = torch.zeros_like(x) if bent else None
    buffer = x.new_empty(min(step, rows) * width)
    for first in range(0, rows, step):
        some = slice(first, min(first + step, rows))
        for k, part in enumerate(form.scores):
            found, curve, log = _shares(_sliced(part, some), x[some], buffer)
            pull[some] = found if k == 0 else pull[some] + found
            value[some] = log if k == 0 else value[some] + log
            if bend is not None and curve is not None:
                bend[some] += curve
    return pull, bend, value


_KERNEL: Callable[..., tuple[Tensor, Tensor]] | None = getattr(
    torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None
)
"""PyTorch's attention for the CPU, which also returns the log-sum-exps; not every version has it."""


def _fused(form: MixtureForm, x: Tensor) -> tuple[Tensor, None, Tensor] | None:
    """The same where the scores are products with patterns that all rows share, as one attention in which
    the patterns are keys and values; None elsewhere."""
    if _KERNEL is None or x.device.type != "cpu" or x.shape[0] == 0:
        return None
    part = form.products
    if part is None or part.slope.dtype != x.dtype:
        return None
    patterns = part.slope[None]
    found, log = _KERNEL(x[None, None], patterns, patterns, scale=1.0)
    weight = part.weight[:, 0]
    return found[0, 0] * weight[:, None], None, log.reshape(-1) * weight


def _factored(factor: Tensor, right: Tensor) -> Tensor:
    """[R or 1, N, N] and [R, N] -> [R, N]."""
    if factor.shape[0] == 1:
        return torch.cholesky_solve(right.mT, factor[0]).mT
    return torch.cholesky_solve(right[..., None], factor)[..., 0]


def _sliced(part: Scores, rows: slice) -> Scores:
    def cut(t: Tensor) -> Tensor:
        return t if t.shape[0] == 1 else t[rows]

    bend = None if part.bend is None else cut(part.bend)
    return Scores(cut(part.offset), cut(part.slope), cut(part.weight), bend)


def _shares(part: Scores, x: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """The same for the log-sum-exps of one part and a few rows."""
    groups = part.offset.shape[1]
    scores = _affine(part.offset.flatten(1), x, part.slope, buffer)
    if part.bend is not None:
        scores += _times(x.square() / 2, part.bend)
    scores = scores.view(x.shape[0], groups, -1)
    top = scores.amax(2, keepdim=True)
    shares = scores.sub_(top).exp_()
    total = shares.sum(2, keepdim=True)
    value = ((total.log() + top)[..., 0] * part.weight).sum(1)
    scale = part.weight[..., None] / total
    if groups == 1:
        flat = shares[:, 0]
        pull = _back(flat, part.slope) * scale[:, 0]
        bend = None if part.bend is None else _back(flat, part.bend) * scale[:, 0]
    else:
        flat = shares.mul_(scale).flatten(1)
        pull = _back(flat, part.slope)
        bend = None if part.bend is None else _back(flat, part.bend)
    return pull, bend, value


def _affine(offset: Tensor, x: Tensor, matrix: Tensor, buffer: Tensor) -> Tensor:
    if matrix.shape[0] == 1 and offset.shape[0] == 1:
        size = (x.shape[0], offset.shape[1])
        return torch.addmm(offset, x, matrix[0].mT, out=buffer[: size[0] * size[1]].view(size))
    return offset + _times(x, matrix)


def _times(x: Tensor, matrix: Tensor) -> Tensor:
    """[R, N] and [R or 1, K, N] -> [R, K]."""
    if matrix.shape[0] == 1:
        return x @ matrix[0].mT
    return (matrix @ x[..., None])[..., 0]


def _back(shares: Tensor, matrix: Tensor) -> Tensor:
    """[R, K] and [R or 1, K, N] -> [R, N]."""
    if matrix.shape[0] == 1:
        return shares @ matrix[0]
    return (shares[:, None] @ matrix)[:, 0]
