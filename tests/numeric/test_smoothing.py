"""The robust chain against reweighted least squares in scipy, and graph smoothing against a linear solve."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from tests.numeric.gallery import Array, load, relative


def noisy_walks(rows: int, length: int) -> Array:
    """Random walks with a jump in the middle and an outlier every 17 steps."""
    rng = np.random.default_rng(5)
    walks = np.cumsum(0.3 * rng.normal(size=(rows, length)), axis=1)
    walks[:, length // 2 :] += 15
    walks[:, ::17] += 8 * rng.normal(size=walks[:, ::17].shape)
    return np.asarray(walks)


def huber_slope(r: Array, delta: float) -> Array:
    return np.asarray(np.clip(r, -delta, delta))


def smoothed(y: Array, seen: NDArray[np.bool_], w: float, delta: float) -> Array:
    """Iteratively reweighted least squares with scipy's banded Cholesky solver (Huber 1981, section 7.8)."""
    x = np.where(seen, y, 0.0)
    for _ in range(20_000):
        near = seen * delta / np.maximum(np.abs(y - x), delta)
        tie = w * delta / np.maximum(np.abs(np.diff(x)), delta)
        bands = np.zeros((2, len(y)))
        bands[1] = near
        bands[1, 1:] += tie
        bands[1, :-1] += tie
        bands[0, 1:] = -tie
        new = solveh_banded(bands, near * y)
        change, x = np.abs(new - x).max(), new
        if change < 1e-13:
            break
    slope = seen * huber_slope(x - y, delta)
    pull = w * huber_slope(np.diff(x), delta)
    slope[1:] += pull
    slope[:-1] -= pull
    assert np.abs(slope).max() < 1e-9, "the reference itself has not converged"
    return np.asarray(x)


# At w = 1/2 an outlier between two saturated ties may lie anywhere: the minimum is not unique.
@pytest.mark.parametrize(("w", "delta"), [(0.7, 1.0), (10.0, 0.5)])
def test_robust_chain_equals_reweighted_least_squares(w: float, delta: float) -> None:
    y = noisy_walks(3, 200)
    found = load("smoothing_chain", w=w, delta=delta).infer(y=y, dtype="float64", tol=1e-12)
    assert bool(found.converged.all()), found.status
    everything = np.ones(200, dtype=np.bool_)
    for row in range(3):
        expected = smoothed(y[row], everything, w, delta)
        assert relative(found.x[row], expected) < 1e-8


def test_robust_chain_in_single_precision() -> None:
    y = noisy_walks(3, 200)
    found = load("smoothing_chain", w=0.7).infer(y=y, dtype="float32")
    for row in range(3):
        expected = smoothed(y[row], np.ones(200, dtype=np.bool_), 0.7, 1.0)
        assert relative(found.x[row], expected) < 1e-3


def test_missing_entries_of_a_chain_have_no_pull() -> None:
    y = noisy_walks(2, 120)
    seen = np.ones(y.shape, dtype=np.bool_)
    seen[0, 30:50] = seen[1, 100:110] = False
    found = load("smoothing_chain", w=2.0).infer(y=np.where(seen, y, np.nan), dtype="float64", tol=1e-12)
    assert bool(found.converged.all()), found.status
    for row in range(2):
        expected = smoothed(y[row], seen[row], 2.0, 1.0)
        assert relative(found.x[row], expected) < 1e-7
        # A missing entry costs nothing, so its best value is the signal.
        assert relative(found.y[row][~seen[row]], found.x[row][~seen[row]]) < 1e-7
        assert np.array_equal(found.y[row][seen[row]], y[row][seen[row]])


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-8), ("float32", 1e-3)])
def test_karate_club_equals_a_laplacian_solve(dtype: str, bound: float) -> None:
    club = nx.karate_club_graph()
    known = np.zeros(34, dtype=np.bool_)
    known[[0, 33]] = True
    # Two labels, then values at all nodes.
    labels = np.zeros(34)
    labels[0], labels[33] = 1.0, -1.0
    laplacian = nx.laplacian_matrix(club, weight=None).toarray()
    for y, mask, trust in ((labels, known, 1.0), (np.arange(34.0), np.ones(34, dtype=np.bool_), 0.1)):
        expected = np.linalg.solve(np.diag(trust * mask) + laplacian, trust * mask * y)
        model = load("graph_smoothing", trust=trust)
        found = model.infer(edges=np.array(club.edges), y=y, known=mask, dtype=dtype)
        assert bool(found.converged.all()), found.status
        assert relative(found.x[0], expected) < bound
        assert found.factors["tie"].shape == (1, 78)


def test_karate_club_labels() -> None:
    club = nx.karate_club_graph()
    y = np.zeros(34)
    y[0], y[33] = 1.0, -1.0
    found = load("graph_smoothing").infer(edges=np.array(club.edges), y=y, known=y != 0, dtype="float64")
    side = np.array([1.0 if club.nodes[node]["club"] == "Mr. Hi" else -1.0 for node in club])
    right = int((np.sign(found.x[0].numpy()) == side).sum())
    floor = int(max((side == 1).sum(), (side == -1).sum()))
    print(f"karate club: {right} of 34 labels from 2; one club for everybody gives {floor}")
    assert floor == 17
    assert right >= 33
