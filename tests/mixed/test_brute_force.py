"""Random small models of bool, class and real unknowns at a temperature, state by state in numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

import ebmlang

TEXT = """model mixed(n: int, k: int, d: int, T: real in positive = 1.0) {
  observed y : real[d]
  shared observed W : real[n, n]
  shared observed V : real[k, d]
  observed g : real in positive
  latent s : bool[n]
  latent c : class[k]
  latent z : real[d]
  energy field = sum(s) * 0.3 - y[0] * s[0]
  for i in 0..n, j in 0..n if i < j { energy tie[i, j] = W[i, j] * s[i] * s[j] }
  energy fit = g / 2 * ||y - z - V[c]||^2 + 0.5 * ||z||^2
  energy mix = where(s[0], z[0], 0.2 * z[0]^2)
  for i in 0..d-1 { energy chain[i] = 0.4 * (z[i+1] - z[i])^2 }
  marginalize s, c, z at beta = T
}"""


def weighed(s: Any, y: Any, W: Any, v: Any, g: float, beta: float) -> tuple[float, Any]:
    """log of the Gaussian integral of one state, and its mean."""
    d, pairs = len(y), itertools.combinations(range(len(s)), 2)
    energy = 0.3 * sum(s) - y[0] * s[0] + sum(W[i, j] * s[i] * s[j] for i, j in pairs)
    matrix, slope = (1 + g) * np.eye(d), -g * (y - v)
    energy += g / 2 * (y - v) @ (y - v)
    slope[0] += s[0]
    matrix[0, 0] += 0.4 * (1 - s[0])
    matrix += 0.8 * np.diff(np.eye(d), axis=0).T @ np.diff(np.eye(d), axis=0)
    mean = -np.linalg.solve(matrix, slope)
    energy += slope @ mean / 2
    return -beta * energy - np.linalg.slogdet(beta * matrix / (2 * np.pi))[1] / 2, mean


@pytest.mark.parametrize("seed", range(8))
def test_every_state_by_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k, d, beta = (
        int(rng.integers(1, 4)),
        int(rng.integers(2, 4)),
        int(rng.integers(1, 4)),
        [0.5, 2.0][seed % 2],
    )
    y, W, V, g = (
        rng.normal(size=(3, d)),
        rng.normal(size=(n, n)),
        rng.normal(size=(k, d)),
        rng.uniform(0.5, 2, 3),
    )
    found = ebmlang.loads(TEXT, T=beta).marginal(y=y, W=W, V=V, g=g, dtype="float64")
    states = list(itertools.product(itertools.product((0, 1), repeat=n), range(k)))
    for row in range(3):
        logs, means = zip(*(weighed(s, y[row], W, V[c], g[row], beta) for s, c in states), strict=True)
        log_z = logsumexp(logs)
        p = np.exp(np.array(logs) - log_z)
        assert np.isclose(float(found.log_z[row]), log_z, rtol=1e-10)
        assert np.isclose(float(found.energy[row]), -log_z / beta, rtol=1e-10)
        assert np.allclose(found["z"][row], p @ np.array(means), atol=1e-9)
        assert np.allclose(found["s"][row][:, 1], p @ np.array([s for s, _ in states]), atol=1e-10)
        cases = np.bincount([c for _, c in states], weights=p, minlength=k)
        assert np.allclose(found["c"][row], cases, atol=1e-10)
