"""What a warm-up learns for each row from all of its chains: a step size, and a scale for every coordinate.

Step sizes by dual averaging (Hoffman & Gelman 2014, section 3.2.1), scales as the standard deviations of the
draws in windows that double (Stan reference manual 2.36, section 15.2), shrunk towards a small one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.samplers.sampler import Course

_GAMMA, _DELAY, _DECAY = 0.05, 10.0, 0.75
"""Shrinkage, stabilisation and forgetting of dual averaging, as in the paper."""

_PRIOR_DRAWS, _PRIOR_VARIANCE = 5.0, 1e-3
"""Variances are averaged with so many draws of so small a variance."""


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """Step sizes and scales of B rows.

    `step`, its averaged logarithm `smooth`, the averaged error `error` and the point of attraction `anchor`
    are [B]; `deviation` are the scales [B, N]. `count`, `mean` and `square` [B, N] gather the window that
    runs; `since` counts steps since dual averaging began anew.
    """

    step: Tensor
    smooth: Tensor
    error: Tensor
    anchor: Tensor
    since: int
    deviation: Tensor
    count: int
    mean: Tensor
    square: Tensor

    def scales(self, chains: int) -> Tensor:
        """Step times deviation for every chain, [R, N], or [1, N] where there is one row."""
        found = self.step[:, None] * self.deviation
        return found if len(found) == 1 else found.repeat_interleave(chains, 0)


def untuned(rows: int, size: int, like: Tensor, step: float = 1.0) -> Tuning:
    """The same step for all rows, all scales 1."""
    steps = like.new_full((rows,), step)
    zero = like.new_zeros(rows, size)
    return Tuning(steps, steps.log(), like.new_zeros(rows), steps.log(), 0, zero + 1, 0, zero, zero)


def learnt(tuning: Tuning, acceptance: Tensor, x: Tensor, course: Course, wanted: float) -> Tuning:
    """After one step of the warm-up: `acceptance` [R] and positions x [R, N] of the chains; `wanted` is the
    mean acceptance to reach. At the last step the averaged step size is taken."""
    rows = tuning.step.shape[0]
    found = _step_learnt(tuning, wanted - acceptance.reshape(rows, -1).mean(1))
    window = _window(course.number, course.total)
    if window is not None:
        found = _gathered(found, x.reshape(rows, -1, x.shape[1]))
        if window:
            found = _closed(found)
    if course.number + 1 == course.total:
        found = replace(found, step=found.smooth.exp())
    return found


def _step_learnt(tuning: Tuning, error: Tensor) -> Tuning:
    since = tuning.since + 1
    weight = 1 / (since + _DELAY)
    mean = (1 - weight) * tuning.error + weight * error
    log = tuning.anchor - since**0.5 / _GAMMA * mean
    share = since**-_DECAY
    smooth = share * log + (1 - share) * tuning.smooth
    return replace(tuning, step=log.exp(), smooth=smooth, error=mean, since=since)


def _gathered(tuning: Tuning, x: Tensor) -> Tuning:
    """Count draws [B, C, N] in: mean and summed squares about it, pooled over chains (Chan et al. 1983)."""
    old, new = tuning.count, x.shape[1]
    total = old + new
    mean = x.mean(1)
    off = mean - tuning.mean
    square = tuning.square + (x - mean[:, None]).square().sum(1) + off.square() * (old * new / total)
    return replace(tuning, count=total, mean=tuning.mean + off * (new / total), square=square)


def _closed(tuning: Tuning) -> Tuning:
    """The end of a window: its deviations count, and the step size is looked for anew."""
    draws = tuning.count
    variance = tuning.square / max(draws - 1, 1)
    share = draws / (draws + _PRIOR_DRAWS)
    variance = share * variance + (1 - share) * _PRIOR_VARIANCE
    deviation = torch.where(torch.isfinite(variance), variance.sqrt(), tuning.deviation)
    # Steps are in units of the deviations: what was right before is a fair guess of the order of magnitude.
    typical = (tuning.deviation.log() - deviation.log()).mean(1).exp()
    step = (tuning.smooth.exp() * typical).clamp(1e-3, 2.0)
    zero = torch.zeros_like(tuning.mean)
    return Tuning(step, step.log(), torch.zeros_like(step), step.log(), 0, deviation, 0, zero, zero)


def _window(number: int, total: int) -> bool | None:
    """Whether a step of the warm-up ends a window; None outside of all windows.

    The first 15% find the region and the last 10% only the step size; in between windows double, the last one
    taking what is left.
    """
    first, last = int(0.15 * total), total - max(int(0.1 * total), 1)
    if total < 20 or not first <= number < last:
        return None
    length, end = max(total // 40, 5), first
    while True:
        end += length
        length *= 2
        if end + length > last:
            end = last
        if number < end:
            return number + 1 == end
