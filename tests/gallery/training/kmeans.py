"""Inertia on iris and on the digits, against many restarts of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris

import ebmlang
from tests.gallery.figures import Figure, System


def _figure(name: str, load: Callable[[], Any], k: int, restarts: int, at_most: float) -> Figure:
    x = load().data
    best = KMeans(k, n_init=100, random_state=0).fit(x).inertia_
    one = ((x - x.mean(0)) ** 2).sum()
    found = ebmlang.load(SYSTEM.path, k=k).infer(x=x, restarts=restarts, seed=0, dtype="float64")
    what = f"{name}, k = {k}, {restarts} starts: inertia above the best of 100 starts, relative"
    floors = (("one cluster", one / best - 1),)
    return Figure(what, float(found.energy.sum()) / best - 1, at_most=at_most, floors=floors)


def measure() -> list[Figure]:
    return [_figure("iris", load_iris, 3, 60, 1e-9), _figure("digits", load_digits, 10, 10, 1e-3)]


SYSTEM = System("k-means", "training/kmeans.ebm", "scikit-learn", measure, long=True)
