"""How steep an energy still is at an answer, entry by entry, in the units of the energy and of the entry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_norm
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.concave_convex import majorised
from ebmlang.runtime.solvers.fista import proximal_point
from ebmlang.runtime.solvers.solver import rounding

SHRINK = (1.0, 1e-2, 1e-4)
"""Shares of the length tried in turn where the energy is not finite further out."""

SHORTER = 12
"""Times that such a length is made shorter by a factor of 4 at most."""

PERIOD = 4093
"""Entries after which the directions in which one looks around repeat: a prime, which no picture is wide."""

EXACT = 16
"""A slope counts as none up to this many times what rounding makes of a usual one."""

NEARBY = 1e-4
"""The step along which the curvature is measured where nothing else tells a length."""


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """What is left of the slope at x, all [R, N]: `gradient`; `residual`, its part within the domain, is 0
    where x is stationary; `usual` is the largest slope at x and half a `length` around it; `length` is the
    size that an entry's variable has. energy [R].
    """

    x: Tensor
    energy: Tensor
    gradient: Tensor
    residual: Tensor
    usual: Tensor
    length: Tensor

    def below(self, share: float) -> Tensor:
        """Whether every entry's slope is at most this share of the usual one, bool [R]."""
        if self.x.shape[1] == 0:
            return torch.ones_like(self.energy, dtype=torch.bool)
        # A largest number is found much quicker than flags are made and joined.
        return torch.sub(self.residual, self.usual, alpha=share).amax(1) <= 0

    def negligible(self, tol: float) -> Tensor:
        """Whether a row may be called stationary, bool [R].

        An error in a slope counts with its square in the energy. So each slope is at most the root of `tol`
        of the usual one, or what a parabola through these slopes has left to fall drowns in the energy's
        rounding.
        """
        small = self.below(math.sqrt(tol))
        if bool(small.all()):
            return small
        return small | (self.left <= 4 * rounding(self.energy))

    @property
    def left(self) -> Tensor:
        """What a parabola through these slopes has left to fall, [R], where they were looked at a whole
        length away."""
        left = self.residual.square() * self.length / self.usual.clamp(min=torch.finfo(self.x.dtype).tiny)
        return left.sum(1)

    def bound(self, tol: float, optimality: Tensor) -> Tensor:
        """The norm of the slope at which the steep entries are small on their own scale, below that of
        now."""
        steep = self.residual > math.sqrt(tol) * self.usual
        wanted = tol * row_norm(torch.where(steep, self.usual, 0.0))
        return torch.minimum(torch.where(wanted > 0, wanted, torch.inf), optimality / 10)

    def idle(self, start: Tensor) -> Tensor:
        """Entries without any slope within the domain that have stayed where they were, bool [R, N]: they may
        sit on a ridge."""
        noise = EXACT * torch.finfo(self.x.dtype).eps * self.usual
        return (self.x == start) & (self.residual <= noise)


@torch.no_grad()
def slopes_at(
    problem: Problem,
    start: Tensor,
    x: Tensor,
    proximal: bool,
    enough: float | None = None,
    reach: float = 1.0,
) -> Slopes:
    """The slopes at x [R, N], which a search from `start` has reached. With `proximal` absolute values stand
    apart from the slope, as in `Problem.smooth`. Nothing more is looked at around x once all rows are
    negligible at the tolerance `enough`. `reach` is how far around, as a share of half the length."""
    smooth = proximal and problem.split is not None
    energy, gradient = _evaluated(problem, x, smooth)
    length = _lengths(problem, start, x, gradient)
    weights = problem.absolute() if smooth else None
    if weights is not None:
        energy = energy + problem.penalty(x, weights)

    def known(usual: Tensor) -> Slopes:
        usual = usual if weights is None else usual + weights
        return Slopes(
            x, energy, gradient, _residual(problem, x, gradient, length, usual, smooth), usual, length
        )

    usual = gradient.abs()
    step = problem.space.sought(reach * length * _uneven(x))
    heard = torch.zeros_like(energy, dtype=torch.bool)
    for share in SHRINK:
        some = torch.zeros_like(heard)
        for side in (1, -1):
            there = _slope(problem, _moved(problem, x, side * share * step), smooth).abs()
            finite = torch.isfinite(there.sum(1))
            if not bool(finite.all()):
                # A sum of finite numbers may overflow.
                finite = torch.isfinite(there).all(1)
            taken = finite & ~heard
            larger = torch.maximum(usual, there)
            usual = larger if bool(taken.all()) else torch.where(taken[:, None], larger, usual)
            some = some | finite
            if enough is not None and bool(some.all()):
                found = known(usual)
                if bool(found.negligible(enough).all()):
                    return found
        heard = heard | some
        if bool(heard.all()):
            break
    return known(usual)


def _uneven(x: Tensor) -> Tensor:
    """Shares between a quarter and three quarters of either sign, the same for all rows, [N]; they repeat
    after `PERIOD` entries, because draws for each of many entries cost more than a gradient."""
    made, size = torch.Generator().manual_seed(0), x.shape[1]
    drawn = torch.rand(min(size, PERIOD), generator=made, dtype=x.dtype)
    shares = torch.where(drawn < 0.5, -0.25 - drawn, drawn - 0.25).to(x.device)
    return shares if size <= PERIOD else shares.repeat(-(-size // PERIOD))[:size]


def _evaluated(problem: Problem, x: Tensor, smooth: bool) -> tuple[Tensor, Tensor]:
    """The energy [R] and the slope [R, N], by what is quickest."""
    if smooth:
        return problem.smooth_and_gradient(x)
    return problem.energy_and_gradient(x) if problem.mixture is None else majorised(problem, x)[:2]


def _slope(problem: Problem, x: Tensor, smooth: bool) -> Tensor:
    """The slope alone, [R, N]."""
    alone = not smooth and problem.mixture is None
    return problem.gradient(x) if alone else _evaluated(problem, x, smooth)[1]


def _moved(problem: Problem, x: Tensor, step: Tensor) -> Tensor:
    """The point of the domain that a step from x leads to."""
    space = problem.space
    return space.retract(x, space.tangent(x, step))


def _residual(
    problem: Problem, x: Tensor, gradient: Tensor, length: Tensor, usual: Tensor, smooth: bool
) -> Tensor:
    """The size of what is left of the gradient where steps of the usual length meet the domain, [R, N]."""
    if problem.space.linear and not smooth:
        return gradient.abs().nan_to_num_(nan=torch.inf, posinf=torch.inf)
    tiny = torch.finfo(x.dtype).tiny
    reach = (row_norm(length) / row_norm(usual).clamp(min=tiny)).clamp(min=tiny, max=1 / tiny)
    wide = reach[:, None]
    if smooth:
        left = x - proximal_point(problem, x - wide * gradient, reach, problem.absolute())
    else:
        left = problem.space.residual(x, wide * gradient)
    left = problem.space.sought(left) / wide
    return torch.where(torch.isfinite(left), left.abs(), torch.inf)


def _lengths(problem: Problem, start: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
    """The size of each entry's variable at x or at the start, whichever is larger, [R, N]; coordinates of
    open domains are counted in units of their own. Where both are 0, how far the slope leads by its
    curvature."""
    space, sizes = problem.space, []
    pairs = zip(x.split(space.sizes, 1), start.split(space.sizes, 1), strict=True)
    for unknown, (part, begin) in zip(space.unknowns, pairs, strict=True):
        size = torch.maximum(_largest(part), _largest(begin))
        sizes.append(size.clamp(min=1) if unknown.domain.kind is Kind.OPEN else size)
    parts = [size.expand(-1, count) for size, count in zip(sizes, space.sizes, strict=True)]
    length = parts[0] if len(parts) == 1 else torch.cat(parts, 1) if parts else torch.zeros_like(x)
    if all(bool((size > 0).all()) for size in sizes):
        return length
    zero = length == 0
    if not bool((zero & (gradient != 0)).any()):
        return torch.where(zero, 1.0, length)
    return torch.where(zero, _cauchy(problem, x, torch.where(zero, gradient, 0.0))[:, None], length)


def _largest(part: Tensor) -> Tensor:
    """The size of the largest entry of each row, [R, n] -> [R, 1]."""
    if part.shape[1] == 0:
        return part.new_zeros(part.shape[0], 1)
    # Each by itself is several times quicker than `aminmax` along a dimension.
    return torch.maximum(part.amax(1, keepdim=True), -part.amin(1, keepdim=True))


def _cauchy(problem: Problem, x: Tensor, along: Tensor) -> Tensor:
    """How far down the slope `along` [R, N] the least point of a parabola lies, [R]; 1 where none does.

    Where the slope turns out to be steeper there than at x, the parabola has gone too far.
    """
    size = row_norm(along)
    unit = along / size.clamp(min=torch.finfo(x.dtype).tiny)[:, None]

    noise = 8 * torch.finfo(x.dtype).eps

    def slope(far: Tensor) -> Tensor:
        return problem.energy_and_gradient(_moved(problem, x, -far[:, None] * unit))[1]

    near = torch.full_like(size, NEARBY)
    for _ in range(2):
        fall = size - (slope(near) * unit).sum(1)
        found = size * near / fall
        # A straight line bends by its last digits.
        usable = torch.isfinite(found) & (fall > noise * size)
        near = torch.where(usable, torch.minimum(near, NEARBY * found), near)
    found = torch.where(usable, found, 1.0)
    for _ in range(SHORTER):
        steep = ~(row_norm(slope(found)) <= 2 * size)
        if not bool(steep.any()):
            break
        found = torch.where(steep, found / 4, found)
    return found
