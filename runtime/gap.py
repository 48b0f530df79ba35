"""Duality gaps: how far an energy can be above the minimum at most."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View


def lasso_gap(problem: Problem, x: Tensor) -> Tensor | None:
    """How far 1/2 ||r(x)||^2 + sum_i w_i |x_i|, r affine, is above its minimum at most, at x [R, N]: [R].

    None where that is not known.

    The residual at x, shrunk by s until it is feasible for the dual, gives
    f (1 - s)^2 + sum w |x| + s x'g with f the smooth part and g its gradient (Kim, Koh, Lustig, Boyd and
    Gorinevsky 2007). An entry without a weight would need a slope of exactly 0, and bounds another dual.
    """
    space = problem.space
    plain = space.kinds == {Kind.LINEAR} and space.mask is None
    if View.SMOOTH_PLUS_ABSOLUTE not in problem.views or not plain or problem.lengths:
        return None
    weights = problem.absolute()
    if not bool((weights > 0).all()):
        return None
    smooth, slope = problem.smooth_and_gradient(x)
    shrunk = torch.nan_to_num(weights / slope.abs(), nan=torch.inf).amin(1).clamp(max=1.0)
    size = (weights * x.abs()).sum(1)
    gap = smooth * (1 - shrunk).square() + size + shrunk * (x * slope).sum(1)
    # Rounding: the terms cancel at the minimum, and no gap below their rounding is known to be one.
    rounding = torch.finfo(x.dtype).eps * (smooth.abs() + size)
    return torch.maximum(gap, rounding)
