"""Annealed importance sampling: normalisers, by chains that walk along a path of laws.

Neal 2001, "Annealed importance sampling". Every chain begins with a draw of a law whose normaliser is known,
and walks over laws in between to the one that is asked for. The product of the ratios of densities that it
meets is a weight, whose mean is the ratio of both normalisers, however far from their laws the chains are;
that only makes weights differ.

A first walk in few and crude steps learns where the path is steep, and step sizes. The second one, which is
weighed, spends its steps so that each changes the law alike (the path of constant speed; Gelman & Meng 1998),
and learns nothing, so that the mean weight has no bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.samplers.paths import WANTED, Path
from ebmlang.runtime.samplers.randomness import Randomness

_PILOT = 4
"""The first walk has a fraction 1 / 4 of the steps."""

_EVEN = 0.1
"""The share of the steps that are spread evenly, wherever the first walk found the path to be flat."""

_HASTE = 0.5
"""How much of an error in acceptance the logarithm of a step size answers with, in the first walk."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """log_z [B], its standard error [B], and how many of the chains' weights count [B], float64; where the
    chains end, x [R, N], with their weights [B, C], which add up to 1."""

    log_z: Tensor
    error: Tensor
    effective: Tensor
    x: Tensor
    weights: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """Shares [T + 1, B] from 0 to 1, and the step size at each [T + 1, B]."""

    shares: Tensor
    steps: Tensor


def weighed(path: Path, rows: int, temperatures: int, randomness: Randomness) -> Estimate:
    """The normaliser where a path ends, by a walk of so many transitions for every chain."""
    x, log = path.begin(randomness), path.log_base
    course = _learnt_course(path, x, rows, temperatures, randomness)
    chains = x.shape[0] // rows
    x, total = path.begin(randomness), log.new_zeros(x.shape[0])
    for number in range(1, len(course.shares)):
        each = course.shares[number].repeat_interleave(chains)
        before = course.shares[number - 1].repeat_interleave(chains)
        total = total - (each - before) * path.change(x)
        x, _ = path.moved(x, each, course.steps[number].repeat_interleave(chains), randomness)
    return _estimate(log, total.reshape(rows, chains), x)


def _estimate(log_base: Tensor, logs: Tensor, x: Tensor) -> Estimate:
    """From logarithms of weights [B, C]; a weight that is not a number counts as 0."""
    logs = logs.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    count = logs.shape[1]
    weights = torch.softmax(logs, 1)
    effective = 1 / weights.square().sum(1)
    # The relative deviation of the mean weight, which is the deviation of its logarithm where it is small.
    error = ((count / effective - 1) / max(count - 1, 1)).clamp(min=0.0).sqrt()
    return Estimate(log_base + torch.logsumexp(logs, 1) - math.log(count), error, effective, x, weights)


# --- the first walk -----------------------------------------------------------------------------


def _learnt_course(path: Path, x: Tensor, rows: int, temperatures: int, randomness: Randomness) -> _Course:
    """Where the steps of the second walk lie, from what happens to chains that begin at x [R, N]."""
    count, chains = max(temperatures // _PILOT, 2), x.shape[0] // rows
    # Laws change fastest near the beginning, which knows nothing of the energy.
    shares = torch.linspace(0, 1, count + 1, dtype=torch.float64, device=x.device) ** 3
    step = torch.full((rows,), 0.5, dtype=torch.float64, device=x.device)
    speeds, steps = [_spread(path.change(x), rows)], [step]
    for share in shares[1:]:
        x, acceptance = path.moved(x, share.expand(x.shape[0]), step.repeat_interleave(chains), randomness)
        off = acceptance.double().reshape(rows, chains).mean(1) - WANTED
        step = (step * torch.exp(_HASTE * off)).clamp(1e-4, 2.0)
        speeds.append(_spread(path.change(x), rows))
        steps.append(step)
    return _at_even_speed(shares, torch.stack(speeds), torch.stack(steps), temperatures)


def _spread(change: Tensor, rows: int) -> Tensor:
    """Half the range of the middle two thirds of the chains of each row, [B]: a deviation that outliers do
    not reach."""
    each = change.reshape(rows, -1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    low, high = torch.quantile(
        each, torch.tensor([1 / 6, 5 / 6], dtype=each.dtype, device=each.device), dim=1
    )
    half: Tensor = (high - low) / 2
    return half


def _at_even_speed(shares: Tensor, speeds: Tensor, steps: Tensor, temperatures: int) -> _Course:
    """Shares at which the length of the path grows evenly: shares [K + 1], speeds and steps [K + 1, B]."""
    apart = shares.diff()[:, None]
    lengths = (speeds[1:] + speeds[:-1]) / 2 * apart
    total = lengths.sum(0).clamp(min=1e-300)
    lengths = (1 - _EVEN) * lengths / total + _EVEN * apart
    walked = torch.cat((torch.zeros_like(lengths[:1]), lengths.cumsum(0)))
    walked = walked / walked[-1]
    wanted = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64, device=shares.device)
    found = [_interpolated(wanted, walked[:, row], shares) for row in range(walked.shape[1])]
    laid = torch.stack(found, 1)
    sizes = [_interpolated(laid[:, row], shares, steps[:, row].log()).exp() for row in range(laid.shape[1])]
    return _Course(laid, torch.stack(sizes, 1))


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The broken line through points (x, y), x rising, at places inside of it."""
    place = torch.searchsorted(x.contiguous(), at.contiguous()).clamp(1, len(x) - 1)
    low, high = x[place - 1], x[place]
    part = ((at - low) / (high - low).clamp(min=1e-300)).clamp(0.0, 1.0)
    return y[place - 1] + part * (y[place] - y[place - 1])
