"""Models with constraints that several tests share, and data for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

METHODS = ("interior_point", "augmented_lagrangian")
each_method = pytest.mark.parametrize("using", METHODS)

QP = """
model qp(n: int, k: int, e: int) {
  shared observed S : real[n, n]
  observed        q : real[n]
  shared observed G : real[k, n]
  observed        h : real[k]
  shared observed A : real[e, n]
  observed        b : real[e]
  latent          x : real[n] in [-1, 2]
  energy cost_of = 1/2 * x @ S @ x + q @ x
  subject to below : G @ x <= h
  subject to exact : A @ x == b
  infer x
}
"""


def program(seed: int, rows: int = 3, n: int = 7, k: int = 4, e: int = 2, rank: int = 7) -> dict[str, Any]:
    """A feasible convex program; some inequalities are tight at the point that it is built around."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, rank))
    inside = rng.uniform(-0.5, 1, size=(rows, n))
    G, A = rng.normal(size=(k, n)), rng.normal(size=(e, n))
    room = np.maximum(rng.normal(size=(rows, k)), 0)
    return {
        "S": factor @ factor.T,
        "q": 3 * rng.normal(size=(rows, n)),
        "G": G,
        "h": inside @ G.T + room,
        "A": A,
        "b": inside @ A.T,
    }


NEAREST = """
model nearest(n: int) {
  observed y   : real[n]
  observed top : real
  latent   x   : real[n] in [0, 1]
  energy fit = ||y - x||^2
  subject to limit : sum(x) <= top
  infer x
}
"""
