"""What a masked autoencoder fills in against the conditional mean of a Gaussian, on digits not trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits

import ebmlang
from tests.gallery.figures import Figure, System

Array = NDArray[np.float64]


def conditional_error(train: Array, test: Array, hidden: NDArray[np.bool_]) -> float:
    """The mean squared error of E[hidden | seen] under a Gaussian with a shrunk covariance."""
    gaussian = LedoitWolf().fit(train)
    mean, covariance = gaussian.location_, gaussian.covariance_
    errors = []
    for row, h in zip(test, hidden, strict=True):
        known = np.linalg.solve(covariance[np.ix_(~h, ~h)], row[~h] - mean[~h])
        errors.append(((mean[h] + covariance[np.ix_(h, ~h)] @ known - row[h]) ** 2).mean())
    return float(np.mean(errors))


def measure() -> list[Figure]:
    rng = np.random.default_rng(0)
    x = rng.permutation(load_digits().data)
    train, test = x[:1500], x[1500:]
    hidden = rng.random(test.shape) < 0.5
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(x=train, steps=1500, batch_size=200, seed=0)
    error = float(m.infer({"x": test, "auto.hidden": hidden}).energy.mean())
    gaussian = conditional_error(train / 16, test / 16, hidden)
    off = (test / 16 - train.mean(0) / 16) ** 2
    mean = float(np.mean([row[h].mean() for row, h in zip(off, hidden, strict=True)]))
    floors = (("conditional Gaussian", gaussian), ("mean picture", mean))
    return [Figure("squared error of a hidden pixel", error, at_most=gaussian, floors=floors)]


SYSTEM = System("masked autoencoder", "training/inpainting.ebm", "closed form", measure, long=True)
