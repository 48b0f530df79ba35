"""Whether second-order steps pay at the sizes that are bound, or a method without matrices is faster.

A step of Newton's costs as many products as the pattern has colors, each about one and a half gradients, and
an elimination; a quasi-Newton method takes some fifty to a few hundred gradients in all.
"""

from __future__ import annotations

from ebmlang.runtime.hessian import entry_places, writes
from ebmlang.runtime.linear.patterns import ArrowPattern, DensePattern, Pattern, SparsePattern, color_count
from ebmlang.runtime.problem import Problem, View

MOST_PRODUCTS = 100
LARGEST_SPARSE = 20_000
"""Unknowns up to which a general sparse elimination, whose factors fill up, is faster than gradients. Trees,
which fill nothing in, have no limit: robust trees of 100,000 nodes took a quarter of the time of `lbfgs`."""
MOST_ELIMINATED = 1.2e8
"""Rows times the cube of the unknowns, up to which eliminating the free entries of a dense matrix in every
step is faster than gradients: between 100 unknowns of 20 rows, where second-order steps win, and 200 of 20,
where they lose."""
MOST_BENT_ROWS = 250
MOST_BENT = 1_000
MOST_BENT_PRODUCTS = 8
"""The same where an energy is not convex, forests included: rows, rows times unknowns of a sparse matrix,
and products.
One place that curves down shortens the steps of a whole row, and one row those of all. Measured on chains,
lattices, trees and random graphs of rotors and double wells: chains of 20 gain in 200 rows and lose in 2,000;
of a sparse matrix 900 unknowns gain half of the time or more, 3,000 lose as much."""


def too_costly(problem: Problem, name: str) -> str | None:
    """Why another method is taken instead of the second-order method `name`; None where that pays."""
    space = problem.space
    if View.HESSIAN not in problem.views:
        return "the coordinates are no functions of single values"
    pattern = problem.pattern
    core = _core(pattern)
    if name == "trust_region":
        return _bent(problem, core)
    size, rows = space.size, space.rows
    if isinstance(core, DensePattern) and problem.shares_hessian:
        if rows * size**3 <= MOST_ELIMINATED:
            return None
        return f"it would factor {rows:,} dense matrices of {size:,} unknowns"
    if isinstance(core, SparsePattern) and size > LARGEST_SPARSE and not _forest(core):
        return f"eliminating {size:,} unknowns of a sparse matrix takes longer"
    if isinstance(core, DensePattern) and size > MOST_PRODUCTS:
        return f"the matrix of {size:,} unknowns is dense"
    products = color_count(pattern)
    return f"its matrix takes {products:,} products" if products > MOST_PRODUCTS else None


def _bent(problem: Problem, core: Pattern) -> str | None:
    """The same for an energy that is not convex."""
    size, rows = problem.space.size, problem.space.rows
    if not writes(problem, "hessian_times"):
        return "products with the Hessian are not written down"
    products = 0 if entry_places(problem) is not None else color_count(problem.pattern)
    if products > MOST_BENT_PRODUCTS:
        return f"its matrix takes {products:,} products"
    if rows > MOST_BENT_ROWS:
        return f"there are {rows:,} rows"
    if isinstance(core, SparsePattern) and rows * size > MOST_BENT:
        return f"eliminating {rows * size:,} unknowns of sparse matrices takes longer"
    if isinstance(core, DensePattern) and rows * size**3 > MOST_ELIMINATED:
        return f"it would factor {rows:,} dense matrices of {size:,} unknowns"
    return None


def _forest(pattern: SparsePattern) -> bool:
    return len(pattern.rows) < pattern.size


def _core(pattern: Pattern) -> Pattern:
    """The pattern that is eliminated first."""
    return _core(pattern.inner) if isinstance(pattern, ArrowPattern) else pattern
