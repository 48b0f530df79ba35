"""Quadratic programs against OSQP at high accuracy, where it is installed (the group of rivals)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import ebmlang

osqp = pytest.importorskip("osqp")

TEXT = """model program(n: int, k: int) {
  shared observed H : real[n, n] in psd
  shared observed A : real[k, n]
  observed g : real[n]
  observed top : real[k]
  latent x : real[n] in [-1, 0.5]
  energy bowl = 1/2 * x @ H @ x + dot(g, x)
  LIMIT
  infer x
}"""


@pytest.mark.parametrize("limit", ["", "subject to limit : A @ x <= top"])
@pytest.mark.parametrize(("size", "rank"), [(10, 10), (60, 60), (40, 15)])
def test_energies_and_points_agree(size: int, rank: int, limit: str) -> None:
    rng = np.random.default_rng(size)
    F = rng.normal(size=(rank, size))
    H, A = F.T @ F, rng.normal(size=(4, size))
    g, top = rng.normal(size=(3, size)) * 3, rng.uniform(0.1, 1, size=(3, 4))
    given = {"H": H, "g": g} | ({"A": A, "top": top} if limit else {})
    text = TEXT.replace("LIMIT", limit)
    if not limit:
        lines = [line for line in text.splitlines() if "top" not in line and " A " not in line]
        text = "\n".join(lines).replace(", k: int", "")
    found = ebmlang.loads(text).infer(given, dtype="float64")
    assert found.converged.all(), found.status
    rows = np.vstack([np.eye(size), A]) if limit else np.eye(size)
    for row in range(3):
        low, high = np.full(len(rows), -1.0), np.full(len(rows), 0.5)
        low[size:], high[size:] = -np.inf, top[row][: len(rows) - size]
        solver = osqp.OSQP()
        solver.setup(
            scipy.sparse.csc_matrix(np.triu(H)), g[row], scipy.sparse.csc_matrix(rows), low, high,
            eps_abs=1e-10, eps_rel=1e-10, polishing=True, max_iter=200_000, verbose=False,
        )  # fmt: skip
        best = solver.solve(raise_error=True)
        energy = 0.5 * best.x @ H @ best.x + g[row] @ best.x
        assert abs(float(found.energy[row]) - energy) <= 1e-6 * (1 + abs(energy))
        if rank == size:
            assert np.abs(found.x[row].numpy() - best.x).max() <= 1e-6
