"""Control without end against the discrete Riccati equation, and limits against a quadratic program."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_discrete_are, solve_triangular
from scipy.optimize import nnls

import ebmlang
from tests.gallery.figures import Figure, System

Array = NDArray[np.float64]

EFFORT = 0.1
"""Twice what the square of an action costs."""


def _system(d: int, m: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    A = np.eye(d) + 0.2 * rng.standard_normal((d, d)) / np.sqrt(d)
    return A / max(1.0, np.abs(np.linalg.eigvals(A)).max()), 0.5 * rng.standard_normal((d, m))


def endless() -> list[Figure]:
    A, B = _system(6, 2, 0)
    P = solve_discrete_are(A, B, np.eye(6), EFFORT * np.eye(2))
    gain = np.linalg.solve(EFFORT * np.eye(2) + B.T @ P @ B, B.T @ P @ A)
    s0 = np.random.default_rng(1).standard_normal((16, 6))
    r = ebmlang.load(REGULATOR.path, T=30).infer(A=A, B=B, P=P, s0=s0, dtype="float64")
    s, worst = s0, 0.0
    for t in range(30):
        action = -s @ gain.T
        worst = max(worst, np.abs(r["a"][:, t].numpy() - action).max())
        s = s @ A.T + action @ B.T
    cost = np.einsum("bi,ij,bj->b", s0, P, s0) / 2
    far = ebmlang.load(REGULATOR.path, T=400).infer(A=A, B=B, P=np.eye(6), s0=s0, dtype="float64")
    return [
        Figure("largest difference of an action to the gain, T = 30", worst, at_most=1e-9),
        Figure("relative difference of the cost", _relative(r.energy.numpy(), cost), at_most=1e-9),
        Figure("the same with another last cost, T = 400", _relative(far.energy.numpy(), cost), at_most=1e-9),
    ]


def limited() -> list[Figure]:
    apart, touching = 0.0, 0
    for d, m, T, seed in ((4, 2, 20, 0), (12, 4, 50, 1)):
        A, B = _system(d, m, seed)
        s0 = np.random.default_rng(seed + 10).uniform(-0.8, 0.8, (6, d))
        r = ebmlang.load(LIMITED.path, T=T, most=0.3, room=0.85).infer(A=A, B=B, s0=s0, dtype="float64")
        assert bool(r.converged.all()), r.status
        least = np.array([_least(A, B, row, T, 0.3, 0.85) for row in s0])
        apart = max(apart, _relative(r.energy.numpy(), least))
        touching += int((r["s"].abs() > 0.85 - 1e-6).sum()) + int((r["a"].abs() > 0.3 - 1e-6).sum())
    return [
        Figure("relative difference of the cost to the quadratic program", apart, at_most=1e-6),
        Figure("entries of states and actions at a limit", touching, at_least=12),
    ]


def _least(A: Array, B: Array, s0: Array, T: int, most: float, room: float) -> float:
    """The lowest cost over all actions u at once, in which states are S u + f, as the shortest vector under
    inequalities, by non-negative least squares (Lawson & Hanson 1974, chapter 23)."""
    d, m = B.shape
    S, f, now = np.zeros((T * d, T * m)), np.zeros(T * d), s0
    block = np.zeros((d, T * m))
    for t in range(T):
        block = A @ block
        block[:, t * m : (t + 1) * m] = B
        now = A @ now
        S[t * d : (t + 1) * d], f[t * d : (t + 1) * d] = block, now
    H, g = S.T @ S + EFFORT * np.eye(T * m), S.T @ f
    L = cholesky(H, lower=True)
    C = np.concatenate([np.eye(T * m), -np.eye(T * m), S, -S])
    bound = np.concatenate([np.full(2 * T * m, most), room - f, room + f])
    half = solve_triangular(L, g, lower=True)
    G = -solve_triangular(L, C.T, lower=True).T
    h = -bound - (-G @ half)
    y, _ = nnls(np.vstack([G.T, h]), np.append(np.zeros(T * m), 1.0))
    left = np.vstack([G.T, h]) @ y - np.append(np.zeros(T * m), 1.0)
    u = solve_triangular(L.T, -left[:-1] / left[-1] - half)
    return float(0.5 * u @ H @ u + g @ u + 0.5 * f @ f)


def _relative(found: Array, wanted: Array) -> float:
    return float((np.abs(found - wanted) / (1 + np.abs(wanted))).max())


REGULATOR = System("regulator", "planning/regulator.ebm", "scipy.linalg.solve_discrete_are", endless)
LIMITED = System("limited regulator", "planning/limited_regulator.ebm", "scipy.optimize.nnls", limited)
