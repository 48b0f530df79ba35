"""Recall of stored digits of which half the pixels are missing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.numeric.gallery import Array, digits, load

STORED = 100


def lower_half() -> NDArray[np.bool_]:
    """True where a pixel is given: the upper four rows."""
    return np.broadcast_to(np.arange(64) < 32, (STORED, 64)).copy()


def random_half() -> NDArray[np.bool_]:
    """Half of the pixels of each digit, drawn."""
    order = np.random.default_rng(3).random((STORED, 64)).argsort(axis=1)
    return np.asarray(order < 32)


def recovered(x: Array, stored: Array) -> float:
    """The fraction of digits whose pixels are all right when rounded."""
    return float((np.abs(x - stored).max(axis=1) < 0.5).mean())


def nearest(x: Array, stored: Array) -> float:
    """The fraction of pictures whose nearest stored digit is the right one."""
    distance = ((stored[None] - x[:, None]) ** 2).sum(-1)
    return float((distance.argmin(axis=1) == np.arange(len(x))).mean())


@pytest.mark.parametrize(("half", "bar"), [("lower", 0.98), ("random", 0.95)])
def test_half_of_the_pixels_bring_the_digit_back(half: str, bar: float) -> None:
    stored = digits()[:STORED]
    seen = lower_half() if half == "lower" else random_half()
    cue = np.where(seen, stored, np.nan)
    found = load("hopfield").infer(memory=stored, x=cue, dtype="float64", restarts=8, seed=0)
    x = found.x.numpy()
    assert np.array_equal(x[seen], stored[seen])
    assert float(found.x.min()) >= 0.0
    assert float(found.x.max()) <= 16.0

    blank, average = np.where(seen, stored, 0.0), np.where(seen, stored, stored.mean(axis=0))
    score, floor = recovered(x, stored), max(recovered(blank, stored), recovered(average, stored))
    print(
        f"{half} half of {STORED} digits: {score:.2f} recovered to the pixel, {nearest(x, stored):.2f} "
        f"nearest to the right one\nfloor, filled with 0 or the mean: {floor:.2f} recovered, "
        f"{nearest(blank, stored):.2f} and {nearest(average, stored):.2f} nearest to the right one"
    )
    assert score >= bar
    assert floor <= 0.05
    assert nearest(blank, stored) <= 0.5
    assert nearest(average, stored) <= 0.9


def test_the_energy_is_the_distance_to_the_nearest_digits() -> None:
    stored = digits()[:STORED]
    x = np.minimum(stored[:5] + 1.0, 16.0)
    beta = 0.05
    distance = ((stored[None] - x[:, None]) ** 2).sum(-1)
    expected = -np.log(np.exp(-beta / 2 * distance).sum(1)) / beta
    found = load("hopfield", beta=beta).energy(memory=stored, x=x, dtype="float64")
    assert np.allclose(found.numpy(), expected, rtol=1e-12)
