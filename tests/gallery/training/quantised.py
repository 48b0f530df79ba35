"""The words of a quantised autoencoder against k-means on the same representations."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import ebmlang
from tests.gallery.figures import Figure, System

K = 16


def measure() -> list[Figure]:
    x = load_digits().data
    m = ebmlang.load(SYSTEM.path, k=K, seed=0)
    m.fit(x=x, steps=1500, batch_size=200, seed=0)
    found = m.infer(x=x)
    h = found["h"].numpy().astype(np.float64)
    distortion = float(((h - found["book.nearest"].numpy()) ** 2).sum(1).mean())
    best = KMeans(K, n_init=10, random_state=0).fit(h).inertia_ / len(h)
    single = np.mean([KMeans(K, n_init=1, init="random", random_state=s).fit(h).inertia_ for s in range(10)])
    one = float(((h - h.mean(0)) ** 2).sum(1).mean())
    mean = float(((x / 16 - (x / 16).mean(0)) ** 2).sum(1).mean())
    return [
        Figure(
            "distortion over that of the best of ten k-means",
            distortion / best,
            at_most=1.02,
            floors=(("one word", one / best), ("one k-means", float(single) / len(h) / best)),
        ),
        Figure("words in use, of 16", len(found["book.code"].unique()), at_least=K),
        Figure(
            "squared error of the picture",
            float(found.terms["reconstruction"].mean()),
            at_most=0.6 * mean,
            floors=(("mean picture", mean),),
        ),
    ]


SYSTEM = System("quantised autoencoder", "training/quantised.ebm", "scikit-learn", measure, long=True)
