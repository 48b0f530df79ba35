"""Ours against what somebody would otherwise use: loops written by hand, and libraries where installed.

Every answer is taken to within 1e-6 of the best energy that the run knows; setting up (compiling a model,
tracing by jax, building a matrix once) is not timed. Rivals that are not installed are named in the table:
`pip install '.[rivals]'`.
"""

from __future__ import annotations

from benchmarks.measure import Row
from benchmarks.rivals import chain, codes, control, recall, regression, variation
from benchmarks.rivals.contest import rows_of

PROBLEMS = (codes, control, regression, chain, variation, recall)


def rows() -> list[Row]:
    """The lines of all problems."""
    return [row for problem in PROBLEMS for contest in problem.contests() for row in rows_of(contest)]
