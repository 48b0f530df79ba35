"""Preconditioned conjugate gradients for rows of right-hand sides at once, and what they tell of a matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Iterated:
    """Solutions [R, K, N], norms [R, K] of their residuals, where a direction p with p'Ap <= 0 was met."""

    x: Tensor
    residual: Tensor
    negative: Tensor


CHECK_EVERY = 8
"""Steps between looks at the numbers from Python, each of which waits for an accelerator."""


def conjugate_gradient(
    times: Operation, b: Tensor, precondition: Operation, relative: float, steps: int
) -> Iterated:
    """Minimises x'Ax / 2 - b'x for b [R, K, N] from 0 until |b - Ax| <= relative |b|, at most `steps` steps.

    A vector that is done, or has met negative curvature, stays as it is while the others go on.
    """
    x = torch.zeros_like(b)
    residual = b
    z = precondition(residual)
    direction = z
    slope = _dot(residual, z)
    goal = relative * _norm(b)
    going = (_norm(residual) > goal) & torch.isfinite(slope) & (slope > 0)
    negative = (slope <= 0) & (_norm(residual) > goal)
    for step in range(steps):
        if step % CHECK_EVERY == 0 and not bool(going.any()):
            break
        image = times(direction)
        curvature = _dot(direction, image)
        negative = negative | (going & ~(curvature > 0))
        going = going & (curvature > 0)
        length = torch.where(going, slope / curvature, 0.0)[..., None]
        x = x + length * direction
        residual = residual - length * image
        z = precondition(residual)
        following = _dot(residual, z)
        going = going & (_norm(residual) > goal)
        direction = z + torch.where(going, following / slope, 0.0)[..., None] * direction
        slope = following
    return Iterated(x, _norm(b - times(x)), negative)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(-1)


def _norm(vectors: Tensor) -> Tensor:
    result: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return result
