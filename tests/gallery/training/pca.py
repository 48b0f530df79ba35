"""The plane that is nearest to the digits, against the singular vectors of scikit-learn."""

from __future__ import annotations

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import ebmlang
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    y = load_digits().data
    mean = ((y - y.mean(0)) ** 2).sum() / 2
    figures = []
    for k in (2, 8, 16, 32):
        found = float(ebmlang.load(SYSTEM.path, k=k, seed=0).infer(y=y, dtype="float64").energy.sum())
        theirs = PCA(k).fit(y)
        best = ((y - theirs.inverse_transform(theirs.transform(y))) ** 2).sum() / 2
        what = f"k = {k}: reconstruction above the best, relative"
        figures.append(Figure(what, found / best - 1, at_most=1e-5, floors=(("mean", mean / best - 1),)))
    return figures


SYSTEM = System("PCA", "training/pca.ebm", "scikit-learn", measure, long=True)
