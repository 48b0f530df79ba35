"""Ten learned layers against ten plain steps and the lowest energy, on signals that were not trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import sparse_encode

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

LAM = 0.02
Array = NDArray[np.float64]


def energy(y: Array, dictionary: Array, z: Array) -> float:
    fit = 0.5 * ((y - z @ dictionary.T) ** 2).sum(1)
    return float((fit + LAM * abs(z).sum(1)).mean())


def plain_steps(y: Array, dictionary: Array, count: int) -> Array:
    """Iterative shrinkage with the largest step that is sure to lower the energy."""
    steepest = np.linalg.norm(dictionary, 2) ** 2
    z = np.zeros((len(y), dictionary.shape[1]))
    for _ in range(count):
        u = z - (z @ dictionary.T - y) @ dictionary / steepest
        z = np.sign(u) * np.maximum(abs(u) - LAM / steepest, 0)
    return z


def measure() -> list[Figure]:
    train, test = generate("sparse_signals", rows=4000), generate("sparse_signals", rows=1000, seed=1)
    y, dictionary = test["y"], test["D"]
    m = ebmlang.load(SYSTEM.path, lam=LAM, seed=0)
    m.fit(y=train["y"], D=dictionary, steps=1000, batch_size=200, seed=0)
    code = m.infer(y=y, D=dictionary)["coder.code"].numpy().astype(np.float64)
    best = sparse_encode(y, dictionary.T, algorithm="lasso_cd", alpha=LAM, max_iter=10000)
    lowest = energy(y, dictionary, best)
    plain = energy(y, dictionary, plain_steps(y, dictionary, 10)) / lowest - 1
    excess = energy(y, dictionary, code) / lowest - 1
    return [
        Figure(
            "energy of ten layers above the lowest", excess, at_most=0.1, floors=(("ten plain steps", plain),)
        ),
        Figure("ten plain steps above the lowest, for the bar to mean something", plain, at_least=0.85),
    ]


SYSTEM = System("learned shrinkage", "training/lista.ebm", "scikit-learn", measure, long=True)
