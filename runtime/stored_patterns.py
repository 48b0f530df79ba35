"""What is known next to a stored pattern, without evaluating the energy there.

The energy is c x^2 / 2 + linear x + const - w logsumexp(a x), with stored patterns a_1 .. a_m as rows of a.
With p_i the least point of the quadratic whose pattern i has all of the share, and r = ||x - p_i||,

    (a_j - a_i) x <= (a_j - a_i) p_i + ||a_j - a_i|| r,

so that the shares of all other patterns at x are at most S = exp(d r) sum_{j != i} exp((a_j - a_i) p_i), with
d >= ||a_j - a_i|| for every j. The gradient is c (x - p_i) + w sum_j share_j (a_i - a_j), and no longer than
||c (x - p_i)|| + w d S. The separation of patterns in Ramsauer et al. 2021, theorem 4, is the same sum. As
w a_i = c p_i + linear, the energy there is const + c (x - p_i)^2 / 2 - c p_i^2 / 2 - w log(1 + the others).

All of it holds at the numbers that x has: how x was found does not matter. What is computed from the patterns
is rounded upwards by a bound on the rounding of a product of matrices (Higham 2002, section 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot

ROWS_PER_PATTERN = 2
"""So many rows for every pattern make it worth while: to compare the patterns with each other costs about as
much as half an evaluation of as many rows."""

MOST = 1 << 12
"""Patterns that are compared with each other: 64 MiB in float32."""

STEEPEST = 60.0
"""An exponent beyond which nothing is known."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredPatterns:
    """Of each pattern where it leads with all of the share, `pure` [m, N], and how deep the quadratic is,
    `depth` [m]; the sum over the others of exp((a_j - a_i) p_i), between `least` and `most` [m]; and what no
    ||a_j - a_i|| exceeds, `reach` [m]. `even`: all entries have one curvature.

    `rounding` [m] is how far `pure` may be from what it stands for. `along` [N] is a direction in which the
    pure points come in the order `order` [m], at the places `places` [m].
    """

    pure: Tensor
    depth: Tensor
    least: Tensor
    most: Tensor
    reach: Tensor
    rounding: Tensor
    weight: Tensor
    curvature: Tensor
    even: bool
    along: Tensor
    order: Tensor
    places: Tensor

    @property
    def size(self) -> int:
        """In bytes."""
        return self.pure.nbytes

    def near(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The energy at x [R, N] less its constant, and the norm of the gradient: numbers [R] that neither
        exceeds. The latter is inf, and the former nothing, far from all patterns."""
        index = self._closest(x)
        away = x - self.pure.index_select(0, index)
        depth, rounding, reach, least, most = (
            t.index_select(0, index) for t in (self.depth, self.rounding, self.reach, self.least, self.most)
        )
        length = torch.linalg.vector_norm(away, dim=1)
        exponent = reach * (length + rounding)
        known = exponent <= STEEPEST  # false for NaN too
        grown = exponent.exp()
        steepest = self.curvature.amax()
        if self.even:
            pull = steepest * length
            rise = pull * length
        else:
            bent = away * self.curvature
            pull, rise = torch.linalg.vector_norm(bent, dim=1), row_dot(away, bent)
        energy = rise / 2 - depth - self.weight * torch.log1p(least / grown)
        slope = pull + steepest * rounding + self.weight * reach * most * grown
        return energy, torch.where(known, slope, torch.inf)

    def _closest(self, x: Tensor) -> Tensor:
        """The pattern next to x along one direction, int64 [R]; if that is the wrong one, x is far away."""
        place = x @ self.along
        above = torch.searchsorted(self.places, place).clamp(1, self.places.shape[0] - 1)
        nearer = place - self.places[above - 1] < self.places[above] - place
        return self.order[above - nearer.long()]


def stored_patterns(slope: Tensor, weight: Tensor, linear: Tensor, curvature: Tensor) -> StoredPatterns:
    """From patterns [m, N], at least two, a weight [], and the slope and curvature of the quadratic at 0,
    [N] each."""
    count, size = slope.shape
    eps = torch.finfo(slope.dtype).eps
    pure = (weight * slope - linear) / curvature
    lengths, away = (torch.linalg.vector_norm(t, dim=1) for t in (slope, pure))
    product = pure @ slope.mT
    own = product.diagonal().clone()
    product.fill_diagonal_(-torch.inf)
    rounding = 2 * size * eps * lengths.amax() * away
    others = torch.logsumexp(product, 1) - own
    slack = 2 * rounding + count * eps
    extent = torch.linalg.vector_norm((weight * slope).abs() + linear.abs(), dim=1) / curvature.amin()
    along = torch.randn(size, dtype=slope.dtype, generator=torch.Generator().manual_seed(0)).to(slope.device)
    places, order = torch.sort(pure @ along)
    depth = row_dot(pure, pure * curvature) / 2
    even = bool((curvature == curvature[0]).all())
    return StoredPatterns(
        pure, depth, torch.exp(others - slack), torch.exp(others + slack), lengths + lengths.amax(),
        4 * eps * extent, weight, curvature, even, along, order, places,
    )  # fmt: skip
