"""Codes and a dictionary of digits against scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import DictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning

import ebmlang
from tests.gallery.figures import Figure, System

K, LAM = 64, 0.1
Array = NDArray[np.float64]


def lowest(y: Array, dictionary: Array) -> tuple[Array, Array]:
    """Codes by coordinate descent, and their energies."""
    z = sparse_encode(y, dictionary.T, algorithm="lasso_cd", alpha=LAM, max_iter=10000)
    return z, 0.5 * ((y - z @ dictionary.T) ** 2).sum(1) + LAM * abs(z).sum(1)


def _theirs(y: Array) -> Array:
    """The dictionary that scikit-learn finds in a hundred rounds."""
    learner = DictionaryLearning(
        K,
        alpha=LAM,
        max_iter=100,
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        transform_alpha=LAM,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of single codes, a few digits short
        dictionary: Array = learner.fit(y).components_.T
    return dictionary


def measure() -> list[Figure]:
    x = load_digits().data
    m = ebmlang.load(SYSTEM.path, k=K, lam=LAM, seed=0)
    m.bind(x=x.astype(np.float32))
    start = m.value("codes.D").detach().double().numpy()
    m.fit(x=x, steps=1500, batch_size=300, seed=0)
    found = m.infer(x=x, dtype="float64")
    dictionary = m.value("codes.D").detach().double().numpy()
    z, energies = lowest(x / 16, dictionary)
    other = float(lowest(x / 16, _theirs(x / 16))[1].mean())
    return [
        Figure(
            "largest relative difference of the energy of a row",
            float((abs(found.energy.numpy() - energies) / energies).max()),
            at_most=1e-6,
        ),
        Figure(
            "share of entries that are zero here and there alike",
            float(((found["codes.z"].numpy() == 0) == (z == 0)).mean()),
            at_least=0.999,
            floors=(("zeros", float((z == 0).mean())),),
        ),
        Figure(
            "mean energy over that with scikit-learn's dictionary",
            float(energies.mean()) / other,
            at_most=1.0,
            floors=(("untrained", float(lowest(x / 16, start)[1].mean()) / other),),
        ),
    ]


SYSTEM = System("dictionary of digits", "training/dictionary.ebm", "scikit-learn", measure, long=True)
