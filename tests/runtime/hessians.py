"""Hessians of generated energies by automatic differentiation, and what a bound pattern allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebmlang.compiler import pipeline
from ebmlang.compiler.query import Query, default_question, default_sought
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Bound, Settings, bind
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DiagonalPattern,
    Pattern,
    SparsePattern,
)
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem

Bools = npt.NDArray[np.bool_]


def bound_model(
    text: str,
    given: Mapping[str, Any],
    hypers: Mapping[str, Any] | None = None,
    sought: Sequence[str] | None = None,
    using: str | None = None,
) -> Bound:
    """A model bound to values in float64, for its default question or chosen unknowns and method."""
    checked = pipeline.check_source(Source("<pattern>", text))
    assert not checked.failed, checked.diagnostics[0].diagnostic
    model = checked.models[-1]
    names = tuple(sought) if sought is not None else default_sought(model, default_question(model))
    plan = pipeline.plan_for(pipeline.graph_of(model), Query(names), using)
    module = load_text(pipeline.generate_for(plan).text, model.name)
    settings = Settings(torch.float64, torch.device("cpu"))
    return bind(module, hypers or {}, given, settings, frozenset(names))


def problem_of(bound: Bound) -> Problem:
    return make_problem(bound, {})


def hessians(problem: Problem, x: Tensor) -> npt.NDArray[np.float64]:
    """[R, N, N] at x [R, N]."""
    rows, size = x.shape

    def total(flat: Tensor) -> Tensor:
        values = problem.unknown(flat.reshape(rows, size))
        return problem.functions.energy(values, problem.held).sum()

    full = torch.autograd.functional.hessian(total, x.reshape(-1))
    blocks = full.reshape(rows, size, rows, size)
    result: npt.NDArray[np.float64] = torch.stack([blocks[r, :, r] for r in range(rows)]).numpy()
    return result


def allowed(pattern: Pattern) -> Bools:
    """The places of a pattern as a full matrix."""
    match pattern:
        case DiagonalPattern():
            return np.eye(pattern.size, dtype=bool)
        case BandedPattern():
            near = _positions(pattern.size, pattern.order)
            return np.asarray(np.abs(near[:, None] - near[None]) <= pattern.bandwidth)
        case BlockDiagonalPattern():
            near = _positions(pattern.size, pattern.order) // pattern.block
            return np.asarray(near[:, None] == near[None])
        case BlockTridiagonalPattern():
            near = _positions(pattern.size, pattern.order) // pattern.block
            return np.asarray(np.abs(near[:, None] - near[None]) <= 1)
        case SparsePattern():
            result = np.eye(pattern.size, dtype=bool)
            result[pattern.rows, pattern.columns] = True
            result[pattern.columns, pattern.rows] = True
            return result
        case ArrowPattern():
            result = np.ones((pattern.size, pattern.size), dtype=bool)
            result[np.ix_(pattern.others, pattern.others)] = allowed(pattern.inner)
            return result
    return np.ones((pattern.size, pattern.size), dtype=bool)


def _positions(size: int, order: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    if order is None:
        return np.arange(size)
    result = np.empty(size, dtype=np.int64)
    result[order] = np.arange(size)
    return result


def missing(problem: Problem, pattern: Pattern, x: Tensor) -> list[tuple[int, int]]:
    """Places where a Hessian is not 0 although the pattern says so."""
    found = hessians(problem, x)
    bad = (np.isfinite(found) & (found != 0)).any(0) & ~allowed(pattern)
    return [(int(i), int(j)) for i, j in np.argwhere(bad)]


def mixed_difference(problem: Problem, x: Tensor, i: int, j: int, step: float) -> Tensor:
    """E(x + a + b) - E(x + a) - E(x + b) + E(x) per row, a and b steps in two coordinates: 0 where the energy
    is additive in them, however rough it is."""
    a, b = torch.zeros_like(x), torch.zeros_like(x)
    a[:, i], b[:, j] = step, step
    return problem.energy(x + a + b) - problem.energy(x + a) - problem.energy(x + b) + problem.energy(x)
