"""Sources from their mixtures, against FastICA; a Gaussian in the place of log cosh finds none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import FastICA

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System


def amari(product: NDArray[np.float64]) -> float:
    """How far a product of unmixing and mixing [n, n] is from a scaled permutation, 0 to 1
    (Amari, Cichocki & Yang 1996)."""
    p, n = np.abs(product), len(product)
    off = (p.sum(1) / p.max(1) - 1).sum() + (p.sum(0) / p.max(0) - 1).sum()
    return float(off / (2 * n * (n - 1)))


def measure() -> list[Figure]:
    found, theirs, blind = [], [], []
    for seed in range(3):
        data = generate("mixed_sources", rows=2000, seed=seed)
        x = data["x"]
        mixing = np.linalg.lstsq(data["sources"], x, rcond=None)[0].T
        m = ebmlang.load(SYSTEM.path, model="independent_components", seed=0)
        m.fit(x=x, steps=5, dtype="float64")
        found.append(amari(m.value("unmixed.W").detach().numpy() @ mixing))
        m = ebmlang.load(SYSTEM.path, model="squares", seed=0)
        m.fit(x=x, steps=5, dtype="float64")
        blind.append(amari(m.value("W").detach().numpy() @ mixing))
        fast = FastICA(whiten="unit-variance", fun="logcosh", random_state=0, max_iter=1000).fit(x)
        theirs.append(amari(fast.components_ @ mixing))
    floors = (("FastICA", max(theirs)), ("squares", min(blind)))
    return [Figure("Amari index, worst of 3 mixtures", max(found), at_most=0.05, floors=floors)]


SYSTEM = System("ICA", "training/ica.ebm", "FastICA of scikit-learn", measure)
