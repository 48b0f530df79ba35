"""The memory that the rows of a question need while they are searched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.constrained.asking import heights_of
from ebmlang.runtime.constrained.quadratic import LARGEST_UNKNOWNS
from ebmlang.runtime.discrete import answer as discrete
from ebmlang.runtime.hessian import LARGEST_DENSE
from ebmlang.runtime.linear.patterns import DensePattern, color_count
from ebmlang.runtime.memory import AllocatedBytes
from ebmlang.runtime.mixed import search as mixed
from ebmlang.runtime.mixed.free import summed_names
from ebmlang.runtime.mixed.states import real_masks
from ebmlang.runtime.nested.watching import quietly
from ebmlang.runtime.picking import picked
from ebmlang.runtime.posing import constrained_problem, held_values, in_float64, make_problem, plan_inner
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.solvers import SOLVERS

Values = Mapping[str, Tensor]


_SOLVER_VECTORS = 40
"""Vectors of the unknowns that the hungriest solver keeps per row: two histories of ten, and iterates."""


_SOLVER_MATRICES = 6
"""Matrices of a row that a solver has at once: products, entries, damped copies, factors."""

_FACTOR_BYTES = 8
"""Matrices are factored in float64 whatever the values are."""


def bytes_per_row(bound: Bound, observed: Values | None = None) -> int:
    """Memory that a row needs while it is searched.

    Counts what one evaluation with its gradient makes for the rows that are bound, and the vectors
    that solvers keep; an upper bound, since tensors are freed on the way.
    """
    if bound.part is not None and not summed_names(bound):
        first, states = mixed.first_state(bound, held_values(bound), observed or {})
        return states * bytes_per_row(first, real_masks(bound, observed or {}, 1))
    if discrete.is_discrete(bound):
        return discrete.bytes_per_row(bound, held_values(bound))
    bound = in_float64(bound) if plan_inner(bound.module) else bound
    width = 8 if bound.settings.dtype == torch.float64 else 4
    sought = sum(math.prod(bound.shapes[name]) for name in bound.module.SOUGHT)
    with quietly(bound):
        problem = make_problem(bound, observed or {})
    start = problem.space.start(bound.settings.seed, np.arange(bound.batch, dtype=np.int64))
    counted = AllocatedBytes()
    with counted, quietly(bound):
        problem.energy_and_gradient(start.x)
    given = sum(v.nbytes for n, v in problem.held.items() if n in problem.row_values)
    total: int = counted.total + given
    vectors = width * _SOLVER_VECTORS * sought + _matrix_bytes(bound, problem)
    if bound.module.METHOD == "interior_point" and sought <= LARGEST_UNKNOWNS:
        with torch.no_grad():
            entries = constrained_problem(bound, problem).values(start.x).shape[1]
        # The interior point keeps this many dense matrices of all unknowns and constraints.
        vectors += width * _SOLVER_MATRICES * (sought + entries) ** 2
    if bound.module.METHOD == "epigraph":
        heights, entries = heights_of(bound, problem, start.x)
        if sought + heights <= LARGEST_UNKNOWNS:
            vectors += width * _SOLVER_MATRICES * (sought + heights + entries) ** 2
    return total // max(bound.batch, 1) + vectors


def courses(method: str, options: Mapping[str, Any]) -> int:
    """How many points a method evaluates at once for every row that it searches: its `samples`, else 1."""
    known = signature(SOLVERS[method]).parameters if method in SOLVERS else {}
    return int(options.get("samples", known["samples"].default if "samples" in known else 1))


def _matrix_bytes(bound: Bound, problem: Problem) -> int:
    """What the Hessian of a row takes in its pattern: nothing where no method asks, or all rows share one."""
    if bound.module.METHOD not in SOLVERS or (problem.shares_hessian and problem.space.mask is None):
        return 0
    name, _ = picked(bound, problem, "")
    if View.HESSIAN not in SOLVERS[name].needs & problem.views:
        return 0
    size, pattern = problem.space.size, problem.pattern
    if isinstance(pattern, DensePattern) and size > LARGEST_DENSE:
        return 0  # never written down
    return _FACTOR_BYTES * _SOLVER_MATRICES * size * color_count(pattern)
