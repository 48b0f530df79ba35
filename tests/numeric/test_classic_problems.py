"""The classic problems of More, Garbow and Hillstrom, with no option in the file.

Each must end at a minimum that the paper lists (or a stationary value that is known for it besides).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import ebmlang
from tests.numeric.classics import PROBLEMS, WATSON, Classic, source, watson

METHODS = ("gauss_newton", "newton", "quadratic", "lbfgs")
"""Some are proven convex or affine inside; a product of all entries leaves no second derivatives."""


def asked(problem: Classic, tol: float | None = None) -> ebmlang.Result:
    model = ebmlang.loads(source(problem))
    given = {n: np.asarray(v, dtype=float) for n, v in problem.given.items()}
    return model.infer(given, dtype="float64", tol=tol)


def test_all_of_the_paper_are_there() -> None:
    """35 problems, some of them in several sizes."""
    several = ("watson in", "penalty II in", "chebyquad, 8", "chebyquad, 9", "chebyquad, 10")
    assert sum(not name.startswith(several) for name in PROBLEMS) == 35


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_published_minimum_is_reached(name: str) -> None:
    problem = PROBLEMS[name]
    found = asked(problem)
    assert found.method in METHODS, found.because
    energy = float(found.energy[0])
    within = [
        math.isclose(energy, m, rel_tol=problem.within, abs_tol=0.0 if m else problem.slack)
        for m in problem.minima
    ]
    assert any(within), (energy, found.status)
    assert bool(found.converged.all()) or energy < 1e-15, found.status


def test_a_tighter_tolerance_follows_a_flat_valley_to_its_end() -> None:
    """Twelve unknowns of Watson's: at the default tolerance the energy is still 6e-8 above its minimum."""
    problem = Classic(WATSON, (4.72238e-10,), watson(12))
    assert 0 < float(asked(problem).energy[0]) - 4.72238e-10 < 1e-7
    assert math.isclose(float(asked(problem, tol=1e-14).energy[0]), 4.72238e-10, rel_tol=1e-4)
