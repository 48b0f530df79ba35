"""What representations are good for, measured with scikit-learn, and how much they vary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

Array = NDArray[Any]

TRAINED = 1347
"""Rows of the digits that models and probes are trained on; those after them are by other hands."""


def linear_probe(codes: Array, labels: Array, trained: int) -> float:
    """The share of the rows after the first `trained` that logistic regression on these gets right."""
    probe = LogisticRegression(max_iter=3000).fit(codes[:trained], labels[:trained])
    return float(probe.score(codes[trained:], labels[trained:]))


def few_shots(codes: Array, labels: Array, trained: int, shots: int, draws: int = 20) -> float:
    """The same with `shots` labelled rows of each class; the mean over draws of these rows."""
    scores = []
    for seed in range(draws):
        generator = np.random.default_rng(seed)
        rows = [
            generator.choice(np.flatnonzero(labels[:trained] == c), shots, replace=False)
            for c in np.unique(labels)
        ]
        known = np.concatenate(rows)
        probe = LogisticRegression(max_iter=3000).fit(codes[known], labels[known])
        scores.append(probe.score(codes[trained:], labels[trained:]))
    return float(np.mean(scores))


def effective_rank(codes: Array) -> float:
    """The exponential of the entropy of the singular values of centred codes [rows, d] (Roy & Vetterli 2007).

    From 1 to d, whatever the scale: nearly constant codes can have a high one, so the standard deviation
    belongs beside it.
    """
    values = np.linalg.svd(codes - codes.mean(axis=0), compute_uv=False)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def amari(mixing: Array) -> float:
    """How far a matrix is from a permutation with scales: 0 if it is one, at most 1.

    Amari, Cichocki and Yang 1996, divided by its largest value 2 n (n - 1).
    """
    sizes, n = np.abs(mixing), len(mixing)
    rows = (sizes / sizes.max(axis=1, keepdims=True)).sum() - n
    columns = (sizes / sizes.max(axis=0, keepdims=True)).sum() - n
    return float((rows + columns) / (2 * n * (n - 1)))
