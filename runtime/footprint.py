"""The memory that the rows of a question need while they are searched."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.constrained.quadratic import LARGEST_UNKNOWNS
from ebmlang.runtime.discrete import answer as discrete
from ebmlang.runtime.memory import AllocatedBytes
from ebmlang.runtime.mixed import search as mixed
from ebmlang.runtime.mixed.states import real_masks
from ebmlang.runtime.posing import constrained_problem, held_values, in_float64, make_problem, plan_inner

Values = Mapping[str, Tensor]


_SOLVER_VECTORS = 40
"""Vectors of the unknowns that the hungriest solver keeps per row: two histories of ten, and iterates."""


_SOLVER_MATRICES = 6


def bytes_per_row(bound: Bound, observed: Values | None = None) -> int:
    """Memory that a row needs while it is searched.

    Counts what one evaluation with its gradient makes for the rows that are bound, and the vectors
    that solvers keep; an upper bound, since tensors are freed on the way.
    """
    if bound.part is not None:
        first, states = mixed.first_state(bound, held_values(bound), observed or {})
        return states * bytes_per_row(first, real_masks(bound, observed or {}, 1))
    if discrete.is_discrete(bound):
        return discrete.bytes_per_row(bound, held_values(bound))
    bound = in_float64(bound) if plan_inner(bound.module) else bound
    width = 8 if bound.settings.dtype == torch.float64 else 4
    sought = sum(math.prod(bound.shapes[name]) for name in bound.module.SOUGHT)
    problem = make_problem(bound, observed or {})
    start = problem.space.start(bound.settings.seed, np.arange(bound.batch, dtype=np.int64))
    counted = AllocatedBytes()
    with counted:
        problem.energy_and_gradient(start.x)
    given = sum(v.nbytes for n, v in problem.held.items() if n in problem.row_values)
    total: int = counted.total + given
    vectors = width * _SOLVER_VECTORS * sought
    if bound.module.METHOD == "interior_point" and sought <= LARGEST_UNKNOWNS:
        with torch.no_grad():
            entries = constrained_problem(bound, problem).values(start.x).shape[1]
        # The interior point keeps this many dense matrices of all unknowns and constraints.
        vectors += width * _SOLVER_MATRICES * (sought + entries) ** 2
    return total // max(bound.batch, 1) + vectors
