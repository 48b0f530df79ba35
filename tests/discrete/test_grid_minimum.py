"""The lowest state of a grid against transfer matrices in the semiring of minimum and sum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import ebmlang

GRID = """model grid(n: int, m: int) {
  observed h : real[n, m]
  observed right : real[n, m]
  observed down : real[n, m]
  latent s : bool[n, m]
  for i in 0..n, j in 0..m { energy field[i, j] = h[i, j] * s[i, j] }
  for i in 0..n, j in 0..m-1 { energy along[i, j] = right[i, j] * where(s[i, j] == s[i, j+1], -1, 1) }
  for i in 0..n-1, j in 0..m { energy below[i, j] = down[i, j] * where(s[i, j] == s[i+1, j], -1, 1) }
  infer s
}"""


@pytest.mark.parametrize(("n", "m"), [(10, 10), (6, 14)])
def test_random_couplings_and_fields(n: int, m: int) -> None:
    """Glassy couplings of both signs; a column of the shorter side is one state of the sweep."""
    rng = np.random.default_rng(n)
    h, right, down = rng.normal(size=(3, 2, n, m))
    found = ebmlang.loads(GRID).infer(h=h, right=right, down=down, dtype="float64")
    assert set(found.status) == {found.status[0]}
    assert found.status[0].startswith("exact")
    states = np.array(list(itertools.product((0, 1), repeat=n)))
    signs = np.where(states[:, :-1] == states[:, 1:], -1, 1)
    for row in range(2):
        best = np.zeros(len(states))
        for j in range(m):
            if j:
                # One entry of the column after the other changes its value.
                for i in range(n):
                    other = best[np.arange(len(states)) ^ (1 << (n - 1 - i))]
                    weight = right[row, i, j - 1]
                    best = np.minimum(best - weight, other + weight)
            best = best + states @ h[row, :, j] + signs @ down[row, :-1, j]
        assert np.isclose(float(found.energy[row]), best.min(), rtol=0, atol=1e-9)
        s = found.s[row].numpy().astype(int)
        total = (h[row] * s).sum()
        total += (right[row, :, :-1] * np.where(s[:, :-1] == s[:, 1:], -1, 1)).sum()
        total += (down[row, :-1] * np.where(s[:-1] == s[1:], -1, 1)).sum()
        assert np.isclose(total, best.min(), rtol=0, atol=1e-9)
