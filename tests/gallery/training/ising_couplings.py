"""Couplings from draws: three losses of neighbours, against maximum likelihood by a sum over all states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

import ebmlang
from ebmlang.data.generated import generate, spin_couplings
from tests.gallery.figures import Figure, System

Array = NDArray[np.float64]


def _statistics(
    v: NDArray[np.bool_],
) -> Array:
    """Products of all pairs of spins, then the spins, [rows, pairs + n]."""
    s = 2.0 * v - 1
    i, j = np.triu_indices(v.shape[1], 1)
    return np.concatenate([s[:, i] * s[:, j], s], axis=1)


def measure() -> list[Figure]:
    v = generate("spins", rows=20_000)["v"]
    true = spin_couplings()[0]
    above = np.triu_indices(len(true), 1)
    states = _statistics(np.array(list(np.ndindex(*[2] * len(true))), dtype=bool))
    mean = _statistics(v).mean(0)

    def surprise(
        w: Array,
    ) -> tuple[float, Array]:
        scores = states @ w
        log_z = logsumexp(scores)
        return float(log_z - w @ mean), np.exp(scores - log_z) @ states - mean

    likeliest = minimize(
        surprise, np.zeros(len(mean)), jac=True, method="L-BFGS-B", options={"maxiter": 1000}
    )
    best = float(np.abs(likeliest.x[: len(above[0])] - true[above]).max())
    floors = (("maximum likelihood", best), ("no couplings", float(np.abs(true).max())))
    figures = []
    for objective, name in (
        ("ratios", "ratio matching"),
        ("flow", "minimum probability flow"),
        ("entries", "pseudo-likelihood"),
    ):
        m = ebmlang.load(SYSTEM.path, seed=0)
        m.fit(v=v, objective=objective, steps=5, dtype="float64")
        error = float(np.abs(m.value("J").detach().numpy()[above] - true[above]).max())
        what = f"{name}: largest error of a coupling"
        figures.append(Figure(what, error, at_most=max(0.05, 2 * best), floors=floors))
    return figures


SYSTEM = System(
    "Ising couplings", "training/ising_couplings.ebm", "maximum likelihood by enumeration", measure, long=True
)
