"""Draws: right distribution, no dependence between neighbours, the same numbers in any order."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ebmlang.runtime.seeded import Stream, bernoulli, categorical, normal, uniform

ROWS = np.arange(200, dtype=np.int64)


@pytest.mark.parametrize(("seed", "name"), [(0, "z"), (1, "z"), (0, "x"), (2**70, "a.b"), (-5, "")])
def test_uniform_is_uniform(seed: int, name: str) -> None:
    draws = uniform(seed, name, ROWS, (300,))
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert draws.min() > 0
    assert draws.max() < 1


def test_normal_is_normal() -> None:
    draws = normal(3, "z", ROWS, (50, 6))
    assert draws.shape == (200, 50, 6)
    assert stats.kstest(draws.ravel(), "norm").pvalue > 1e-3


def test_bits_of_first_rows_and_elements_are_even() -> None:
    # Small counters are the hard inputs of a hash: every bit must still be fair.
    draws = uniform(0, "z", np.arange(64, dtype=np.int64), (64,))
    bits = (draws.ravel()[:, None] * 2.0 ** np.arange(1, 33)).astype(np.int64) & 1
    deviation = (bits.mean(0) - 0.5) / (0.5 / np.sqrt(len(bits)))
    assert np.abs(deviation).max() < 4.5


def _pairs() -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    table = normal(0, "z", ROWS, (400,))
    return [
        (table[:-1], table[1:]),
        (table[:, :-1], table[:, 1:]),
        (table, normal(1, "z", ROWS, (400,))),
        (table, normal(0, "y", ROWS, (400,))),
        (table[:, 0:200], table.T[0:200]),
    ]


@pytest.mark.parametrize("case", range(5))
def test_neighbours_are_uncorrelated(case: int) -> None:
    a, b = _pairs()[case]
    if case == 4:
        off = ~np.eye(200, dtype=bool)
        a, b = a[off], b[off]
    correlation = float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert abs(correlation) < 4.5 / np.sqrt(a.size)


def test_chunks_and_orders_agree_to_the_bit() -> None:
    whole = normal(7, "z", ROWS, (3, 4))
    order = np.random.default_rng(0).permutation(ROWS)
    assert np.array_equal(normal(7, "z", order, (3, 4)), whole[order])
    parts = [normal(7, "z", ROWS[i : i + 37], (3, 4)) for i in range(0, 200, 37)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_numbers_never_change() -> None:
    # Results are promised to be reproducible across releases: these numbers may not change.
    drawn = uniform(0, "z", np.array([0, 1, 10**12]), (2,))
    expected = [
        [0.7728046075739269, 0.1636394684438497],
        [0.8715660952228511, 0.27928116498032896],
        [0.815137095952028, 0.16929528712289976],
    ]
    assert drawn.tolist() == expected


def test_bernoulli_and_categorical_follow_their_weights() -> None:
    rows = np.arange(5000, dtype=np.int64)
    heads = bernoulli(0, "m", rows, (4,), 0.3)
    assert abs(heads.mean() - 0.3) < 4 * np.sqrt(0.21 / heads.size)
    weights = np.array([1.0, 0.0, 3.0, 0.0])
    classes = categorical(0, "c", rows, (2,), weights)
    counts = np.bincount(classes.ravel(), minlength=4)
    assert counts[1] == counts[3] == 0
    assert stats.chisquare(counts[[0, 2]], classes.size * np.array([0.25, 0.75])).pvalue > 1e-3


def test_categorical_takes_weights_per_row() -> None:
    weights = np.eye(4)[:, None, :]
    assert categorical(0, "c", np.arange(4), (5,), weights).tolist() == [[k] * 5 for k in range(4)]


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_categorical_refuses_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        categorical(0, "c", np.arange(2), (), np.array(weights))


def test_streams_of_other_purposes_differ() -> None:
    stream = Stream(0, "z", ROWS)
    assert not np.array_equal(stream.uniform((3,)), stream.named("restart").uniform((3,)))
    assert stream.normal(()).shape == (200,)
    assert Stream(0, "z", ROWS[:0]).normal((2,)).shape == (0, 2)
