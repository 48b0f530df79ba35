"""Whether second-order steps pay at the sizes that are bound, or a method without matrices is faster.

A step of Newton's costs as many products as the pattern has colors, each about one and a half gradients, and
an elimination; a quasi-Newton method takes some fifty to a few hundred gradients in all.
"""

from __future__ import annotations

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.linear.patterns import ArrowPattern, DensePattern, Pattern, SparsePattern, color_count
from ebmlang.runtime.problem import Problem, View

MOST_PRODUCTS = 100
LARGEST_SPARSE = 20_000
"""Unknowns up to which a general sparse elimination, whose factors fill up, is faster than gradients."""
MOST_ELIMINATED = 1.2e8
"""Rows times the cube of the unknowns, up to which eliminating the free entries of a dense matrix in every
step is faster than gradients: between 100 unknowns of 20 rows, where second-order steps win, and 200 of 20,
where they lose."""


def too_costly(problem: Problem, otherwise: str) -> str | None:
    """Why `otherwise` is taken instead of a second-order method; None where that pays."""
    if not otherwise:
        return None
    space = problem.space
    if View.HESSIAN not in problem.views or space.kinds & {Kind.OPEN}:
        return "the coordinates are not the values themselves"
    pattern = problem.pattern
    core = _core(pattern)
    size, rows = space.size, space.rows
    if isinstance(core, DensePattern) and problem.shares_hessian:
        if rows * size**3 <= MOST_ELIMINATED:
            return None
        return f"it would factor {rows:,} dense matrices of {size:,} unknowns"
    if isinstance(core, SparsePattern) and size > LARGEST_SPARSE:
        return f"eliminating {size:,} unknowns of a sparse matrix takes longer"
    if isinstance(core, DensePattern) and size > MOST_PRODUCTS:
        return f"the matrix of {size:,} unknowns is dense"
    products = color_count(pattern)
    return f"its matrix takes {products:,} products" if products > MOST_PRODUCTS else None


def _core(pattern: Pattern) -> Pattern:
    """The pattern that is eliminated first."""
    return _core(pattern.inner) if isinstance(pattern, ArrowPattern) else pattern
