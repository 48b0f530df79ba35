"""The likelihood of iris under three Gaussians with full covariances, against the EM of scikit-learn."""

from __future__ import annotations

from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

import ebmlang
from tests.gallery.figures import Figure, System

STARTS = 4


def _likelihood(x: object, seed: int) -> float:
    m = ebmlang.load(SYSTEM.path, seed=seed)
    return -float(m.fit(x=x, steps=310, dtype="float64").loss[-1])


def measure() -> list[Figure]:
    x = load_iris().data
    theirs = GaussianMixture(3, n_init=10, random_state=0, reg_covar=0, tol=1e-8, max_iter=1000).fit(x)
    one = GaussianMixture(1, reg_covar=0).fit(x)
    found = max(_likelihood(x, seed) for seed in range(STARTS))
    floors = (("one Gaussian", one.score(x) - theirs.score(x)),)
    what = f"iris, best of {STARTS} starts: mean log-likelihood less that of EM, best of 10"
    return [Figure(what, found - theirs.score(x), at_least=-1e-4, floors=floors)]


SYSTEM = System("Gaussian mixture", "training/gmm.ebm", "scikit-learn", measure)
