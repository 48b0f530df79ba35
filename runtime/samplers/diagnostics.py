"""Whether chains have mixed, and how many independent draws theirs are worth.

Vehtari, Gelman, Simpson, Carpenter & Buerkner 2021, "Rank-normalization, folding, and localization: an
improved R-hat": chains are split in halves; R-hat is the larger one of the ranks and of the folded ranks;
effective sizes are those of the ranks (bulk) and the smaller one of both 5% tails. Sums of autocorrelations
end by the initial monotone sequence of Geyer 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_DRAWS = 4
"""Draws of a chain below which nothing is said."""

_NUMBERS = 1 << 22
"""Numbers that are looked at together."""


@dataclass(frozen=True, slots=True, eq=False)
class Diagnostics:
    """R-hat and effective sizes of the bulk and of the tails, float64 [K] for K quantities. NaN where all
    draws are the same, and where there are too few."""

    rhat: Tensor
    bulk: Tensor
    tail: Tensor


def diagnose(draws: Tensor) -> Diagnostics:
    """Diagnostics of draws [K, chains, draws] of any type."""
    count, chains, length = draws.shape
    if length < LEAST_DRAWS or not count:
        unknown = torch.full((count,), torch.nan, dtype=torch.float64)
        return Diagnostics(unknown, unknown, unknown)
    step = max(1, _NUMBERS // (chains * length))
    parts = [_diagnosed(part.to(torch.float64).cpu()) for part in draws.split(step)]
    return Diagnostics(
        torch.cat([p.rhat for p in parts]),
        torch.cat([p.bulk for p in parts]),
        torch.cat([p.tail for p in parts]),
    )


def _diagnosed(draws: Tensor) -> Diagnostics:
    halves = split(draws)
    flat = halves.flatten(1)
    ranks = normal_scores(halves)
    folded = normal_scores((halves - _median(flat)[:, None, None]).abs())
    rhat = torch.maximum(plain_rhat(ranks), plain_rhat(folded).nan_to_num(nan=0.0))
    tails = [effective_size((halves <= _quantile(flat, q)[:, None, None]).double()) for q in (0.05, 0.95)]
    # An indicator may be the same everywhere (a countable unknown): it says nothing then.
    tail = torch.minimum(*(t.nan_to_num(nan=torch.inf) for t in tails))
    same = (flat == flat[:, :1]).all(1)
    bulk = effective_size(ranks)
    tail = torch.where(torch.isinf(tail), bulk, tail)
    return Diagnostics(*(torch.where(same, torch.nan, v) for v in (rhat, bulk, tail)))


def _median(flat: Tensor) -> Tensor:
    """[K, n] -> [K]; of an even number the middle between two."""
    count = flat.shape[1]
    return (flat.kthvalue((count + 1) // 2, 1).values + flat.kthvalue(count // 2 + 1, 1).values) / 2


def _quantile(flat: Tensor, share: float) -> Tensor:
    """[K, n] -> [K]: the order statistic at or below the quantile, so that every draw is on one side."""
    return flat.kthvalue(math.floor(share * (flat.shape[1] - 1)) + 1, 1).values


def split(draws: Tensor) -> Tensor:
    """[K, C, S] -> [K, 2 C, S // 2]; with an odd number of draws the one in the middle is left out."""
    half = draws.shape[2] // 2
    return torch.cat((draws[..., :half], draws[..., -half:]), 1)


def normal_scores(draws: Tensor) -> Tensor:
    """Normal quantiles of the average ranks among all draws of a quantity (Blom 1958); NaN if one is NaN."""
    flat = draws.flatten(1).contiguous()
    ordered = flat.sort(1).values
    below = torch.searchsorted(ordered, flat)
    upto = torch.searchsorted(ordered, flat, right=True)
    ranks = (below + upto + 1).double() / 2
    scores = torch.special.ndtri((ranks - 0.375) / (flat.shape[1] + 0.25))
    return torch.where(torch.isfinite(flat).all(1, keepdim=True), scores, torch.nan).reshape(draws.shape)


def plain_rhat(chains: Tensor) -> Tensor:
    """The square root of the variance estimate from all chains over that within chains, [K, C, S] -> [K]."""
    length = chains.shape[2]
    within = chains.var(2).mean(1)
    between = length * chains.mean(2).var(1)
    return ((between / within + length - 1) / length).sqrt()


def effective_size(chains: Tensor) -> Tensor:
    """How many independent draws have the same variance of their mean, [K, C, S] -> [K]."""
    _, count, length = chains.shape
    covariance = _autocovariance(chains)
    within = covariance[..., 0].mean(1) * length / (length - 1)
    total = within * (length - 1) / length + chains.mean(2).var(1)
    rho = 1 - (within[:, None] - covariance.mean(1)) / total[:, None]
    rho[:, 0] = 1.0
    time = _summed(rho)
    draws = count * length
    return draws / time.clamp(min=1 / math.log10(draws))


def _autocovariance(chains: Tensor) -> Tensor:
    """[K, C, S] -> [K, C, S], by the Fourier transform, divided by S at every lag."""
    length = chains.shape[2]
    centred = chains - chains.mean(2, keepdim=True)
    wave = torch.fft.rfft(centred, n=2 * length)
    found: Tensor = torch.fft.irfft(wave.abs().square(), n=2 * length)[..., :length] / length
    return found


def _summed(rho: Tensor) -> Tensor:
    """1 + 2 sum of autocorrelations [K, S]: pairs while they are positive, made to fall, and half of what the
    next pair begins with where that is positive."""
    length = rho.shape[1]
    pairs = rho[:, : length - length % 2].reshape(rho.shape[0], -1, 2)
    # The last lags have no partner to be checked against.
    pairs = pairs[:, : max(1, (length - 2) // 2)]
    total = pairs.sum(2)
    kept = (total > 0).int().cummin(1).values.bool()
    kept[:, 0] = True
    falling = torch.where(kept, total, torch.inf).cummin(1).values
    time = -1 + 2 * torch.where(kept, falling, 0.0).sum(1)
    ended = kept.sum(1, keepdim=True)
    inside = ended < pairs.shape[1]
    following = pairs[..., 0].gather(1, ended.clamp(max=pairs.shape[1] - 1))
    return time + torch.where(inside, following.clamp(min=0.0), 0.0)[:, 0]
