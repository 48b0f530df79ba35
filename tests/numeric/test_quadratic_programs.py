"""Quadratic programs: bounds against scipy's bounded least squares, general ones against an exact search over
active sets."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

import ebmlang

Array = NDArray[np.float64]

BOX = """model box(n: int) {
  observed H : real[n, n]; observed g : real[n]; observed lo : real[n]; observed hi : real[n]
  latent x : real[n] in [lo, hi]
  energy e = 1/2 * x @ H @ x + dot(g, x)
  infer x
}"""
GENERAL = """model general(n: int, m: int, p: int) {
  shared observed F : real[p, n]; observed g : real[n]
  shared observed G : real[m, n]; observed h : real[m]
  latent x : real[n] = 0
  energy e = 1/2 * ||F @ x||^2 + dot(g, x)
  subject to rows : G @ x <= h
  subject to level : sum(x) == 1
  infer x
}"""


def _boxes(count: int, n: int, rank: int) -> dict[str, Array]:
    made = np.random.default_rng(rank)
    F = made.normal(size=(count, rank, n)) * made.uniform(0.1, 10, size=(count, rank, 1))
    lo = -made.uniform(0.1, 1, size=(count, n))
    H = np.einsum("bri,brj->bij", F, F)
    return {
        "F": F,
        "H": H,
        "g": np.einsum("bri,br->bi", F, made.normal(size=(count, rank))),
        "lo": lo,
        "hi": lo + 1.0,
    }


@pytest.mark.parametrize("rank", [30, 12])
def test_bounds_match_bounded_least_squares(rank: int) -> None:
    """1/2 |F x + b|^2 over a box; of full rank the point is compared too."""
    data = _boxes(5, 20, rank)
    found = ebmlang.loads(BOX).infer({n: v for n, v in data.items() if n != "F"}, dtype="float64")
    assert found.converged.all(), found.status
    for row in range(5):
        F, g = data["F"][row], data["g"][row]
        b = np.linalg.lstsq(F.T, g, rcond=None)[0]
        best = lsq_linear(F, -b, (data["lo"][row], data["hi"][row]), method="bvls", tol=1e-14).x

        def energy(x: Any, row: int = row) -> float:
            x = np.asarray(x, dtype=np.float64)
            return float(0.5 * x @ data["H"][row] @ x + data["g"][row] @ x)

        x = found.x[row].numpy()
        assert energy(x) - energy(best) <= 1e-6 * max(1.0, abs(energy(best)))
        if rank >= 20:
            assert np.abs(x - best).max() <= 1e-6


def test_general_programs_match_the_best_active_set() -> None:
    """Every set of active rows is tried: of the feasible stationary points the lowest is the minimum."""
    made = np.random.default_rng(0)
    n, m, count = 5, 4, 6
    F, G = made.normal(size=(7, n)), made.normal(size=(m, n))
    g, h = made.normal(size=(count, n)) * 3, made.uniform(0.1, 1.0, size=(count, m))
    found = ebmlang.loads(GENERAL).infer(F=F, g=g, G=G, h=h, dtype="float64")
    assert found.converged.all(), found.status
    for row in range(count):
        best = _best_active_set(F.T @ F, g[row], G, h[row])
        x = found.x[row].numpy()
        assert np.abs(x - best).max() <= 1e-6
        assert (G @ x <= h[row] + 1e-9).all()
        assert abs(x.sum() - 1) <= 1e-9


def _best_active_set(H: Array, g: Array, G: Array, h: Array) -> Array:
    n, m = H.shape[0], G.shape[0]
    best, lowest = np.zeros(n), float("inf")
    for size in range(min(m, n - 1) + 1):
        for active in combinations(range(m), size):
            rows = np.vstack([np.ones((1, n)), G[list(active)]])
            right = np.concatenate([[1.0], h[list(active)]])
            matrix = np.block([[H, rows.T], [rows, np.zeros((len(right), len(right)))]])
            x = np.linalg.solve(matrix, np.concatenate([-g, right]))[:n]
            value = float(0.5 * x @ H @ x + g @ x)
            if (G @ x <= h + 1e-10).all() and value < lowest:
                best, lowest = x, value
    assert np.isfinite(lowest)
    return best
