"""The minimum of a quadratic energy of few unknowns, outright: one Hessian for all rows, factored by LAPACK.

Small matrices in numpy: a call takes a fraction of one of PyTorch, and what costs is the number of calls.
Anything out of the ordinary - a matrix that is singular or nearly so, an answer that does not stand the
check - is left to the search, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ebmlang.runtime.checked import Outright
from ebmlang.runtime.domain_base import Kind, row_norm
from ebmlang.runtime.kept import Remembered
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.watched import Watched

MOST_UNKNOWNS = 100
"""Unknowns of a row, beyond which a pattern may save more than it costs to find."""

Array = Any
"""A numpy array of float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Factored:
    """A Hessian S^-1 L L' S^-1, its middle with a diagonal of ones: `lower` is L [N, N], `scale` the diagonal
    of S [N]."""

    lower: Array
    scale: Array

    def step(self, gradient: Tensor) -> Tensor:
        """What leads from points with these gradients [R, N] to the minimum, [R, N]."""
        right = gradient.double().numpy().T * -self.scale[:, None]
        solved, _ = scipy.linalg.lapack.dpotrs(self.lower, right, lower=1)
        return torch.from_numpy((solved * self.scale[:, None]).T).to(gradient.dtype)


def outright(
    problem: Problem, start: Callable[[], Tensor], kept: Remembered | None, tolerance: float
) -> Outright | None:
    """The minimum of every row, by way of the gradient at the start [R, N]; None where it takes more."""
    space, derivatives = problem.space, problem.derivatives
    if derivatives is None or not {"hessian_times", "energy_and_gradient"} <= derivatives.written:
        return None
    plain = space.kinds <= {Kind.LINEAR} and space.mask is None
    if not plain or not problem.shares_hessian or not 0 < space.size <= MOST_UNKNOWNS:
        return None
    known = None if kept is None else kept.find(problem.held)
    factored = known if isinstance(known, Factored) else _factored(problem, kept)
    if factored is None:
        return None
    begin = start()
    _, first = problem.energy_and_gradient(begin)
    x = begin + factored.step(first)

    energy, gradient = problem.energy_and_gradient(x)
    good = (row_norm(gradient) <= tolerance * (2 + row_norm(first))) & torch.isfinite(energy)
    # A step from far away has the rounding of the start in it.
    rounded = torch.finfo(x.dtype).eps * begin.abs().amax(1)
    good = good & (rounded <= tolerance * (1 + x.abs().amax(1)))
    return Outright(x, True) if bool(good.all()) else None


def _factored(problem: Problem, kept: Remembered | None) -> Factored | None:
    """The Hessian that the rows share, if it is clearly positive definite."""
    space, rows = problem.space, problem.row_values
    one = {n: v[:1] if n in rows else v for n, v in problem.held.items()}
    watched = Watched(one)
    directions = torch.eye(space.size, dtype=space.dtype)
    names = [unknown.name for unknown in space.unknowns]
    at = dict(zip(names, space.split(torch.zeros(1, space.size, dtype=space.dtype)), strict=True))
    along = dict(zip(names, space.split(directions), strict=True))
    assert problem.derivatives is not None
    found = problem.derivatives.hessian_times(at, watched, along)
    parts = [found[n].expand(along[n].shape).reshape(space.size, -1) for n in names]
    matrix = torch.cat(parts, 1).double().numpy()
    diagonal = matrix.diagonal()
    if not np.isfinite(matrix).all() or not (diagonal > 0).all():
        return None
    scale = 1 / np.sqrt(diagonal)
    unit = (matrix + matrix.T) * (scale[:, None] * scale / 2)
    norm = np.abs(unit).sum(0).max()
    lower, info = scipy.linalg.lapack.dpotrf(unit, lower=1)
    if info != 0:
        return None
    # What counts as zero in the careful search; there, more than an estimate decides.
    zero = 10 * torch.finfo(space.dtype).eps * (space.size + 8)
    if not scipy.linalg.lapack.dpocon(lower, norm, uplo="L")[0] > zero:
        return None
    factored = Factored(lower, scale)
    if kept is not None and not watched.reads & rows:
        kept.keep(problem.held, watched.reads, factored, lower.nbytes + scale.nbytes)
    return factored
