"""A cart in gusts of wind: plans over drawn futures, against linear-quadratic control with noise."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_discrete_are

import ebmlang
from ebmlang.runtime.result import Result
from tests.gallery.figures import Figure, System

A, B, C = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.0], [0.2]]), np.array([[0.0], [1.0]])
Q, R = np.diag([1.0, 0.1]), 0.1
GUSTS, STEPS, CARTS = 0.2, 40, 600


def exact_cost(starts: np.ndarray) -> float:
    """What the best law without an end is expected to pay in as many steps, by the moments of states."""
    # A step pays for the state after it: s'Qs once, and the state before it for nothing.
    P = solve_discrete_are(A, B, A.T @ Q @ A, R + B.T @ Q @ B, s=A.T @ Q @ B)
    gain = np.linalg.solve(R + B.T @ (Q + P) @ B, B.T @ (Q + P) @ A)
    closed, total = A - B @ gain, 0.0
    moment = starts.T @ starts / len(starts)
    for _ in range(STEPS):
        total += R * float(np.trace(gain @ moment @ gain.T))
        moment = closed @ moment @ closed.T + GUSTS**2 * C @ C.T
        total += float(np.trace(Q @ moment))
    return total


def mean_cost(model: ebmlang.Model | None) -> float:
    """What carts pay that go by plans of the model, or do nothing; the same gusts for all."""
    rng = np.random.default_rng(0)
    s, total = rng.normal(size=(CARTS, 2)), np.zeros(CARTS)
    for t in range(STEPS):
        force = np.zeros((CARTS, 1))
        if model is not None:
            found = model.plan(obs=s, seed=t, dtype="float64")
            assert isinstance(found, Result)
            force = found["a"].detach().numpy()[:, 0]
        s = s @ A.T + force @ B.T + GUSTS * rng.normal(size=(CARTS, 1)) @ C.T
        total += np.einsum("ri,ij,rj->r", s, Q, s) + R * force[:, 0] ** 2
    return float(total.mean())


def measure() -> list[Figure]:
    # From the starts that are drawn, so that what is compared is what comes after.
    least = exact_cost(np.random.default_rng(0).normal(size=(CARTS, 2)))
    found = mean_cost(ebmlang.load(SYSTEM.path)) / least
    floors = (("no force", mean_cost(None) / least),)
    return [Figure(f"mean cost of {CARTS} carts over that of the exact law", found, 1.02, 0.98, floors)]


SYSTEM = System("cart in the wind", "planning/windy.ebm", "scipy solve_discrete_are, moments", measure)
