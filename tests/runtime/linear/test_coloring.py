"""Colorings of sparse patterns, and the easiest form of a pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from ebmlang.runtime.linear import (
    ArrowPattern,
    BandedPattern,
    DensePattern,
    DiagonalPattern,
    SparsePattern,
    simplest,
    sparse_pattern,
)
from ebmlang.runtime.linear import coloring as module
from ebmlang.runtime.linear.coloring import color
from ebmlang.runtime.linear.sparse import direct
from tests.runtime.linear.cases import grid, places, random_pairs


def valid(pattern: SparsePattern, colors: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    """Whether each row sees each color once, by a product of sparse matrices."""
    size = pattern.size
    at = np.arange(size)
    rows = np.concatenate([at, pattern.rows, pattern.columns])
    columns = np.concatenate([at, pattern.columns, pattern.rows])
    entries = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    groups = sparse.csr_array((np.ones(size), (at, colors)), shape=(size, int(colors.max()) + 1))
    return float((entries @ groups).max()) == 1.0


def relabeled(pattern: SparsePattern, seed: int = 0) -> SparsePattern:
    turn = np.random.default_rng(seed).permutation(pattern.size)
    return sparse_pattern(pattern.size, turn[pattern.rows], turn[pattern.columns])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("size", "count"), [(1, 0), (2, 1), (30, 10), (60, 120), (200, 300), (80, 2000)])
def test_random_patterns(size: int, count: int, seed: int) -> None:
    pattern = random_pairs(size, count, seed)
    assert valid(pattern, pattern.colors)
    assert int(pattern.colors.max()) + 1 <= size


def test_more_than_a_word_of_colors() -> None:
    pattern = relabeled(random_pairs(400, 6000))
    colors = pattern.colors
    assert int(colors.max()) > 63
    assert valid(pattern, colors)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (20, 30), (17, 40), (40, 64)])
def test_lattices_need_few_colors_whatever_their_size(height: int, width: int) -> None:
    pattern = grid(height, width)
    assert valid(pattern, pattern.colors)
    # A row has 5 entries.
    assert 5 <= int(pattern.colors.max()) + 1 <= 7
    other = relabeled(pattern)
    assert valid(other, other.colors)
    assert int(other.colors.max()) + 1 <= 13


def test_a_large_lattice() -> None:
    pattern = grid(250, 320)
    assert int(pattern.colors.max()) + 1 <= 7
    assert valid(pattern, pattern.colors)


@pytest.mark.parametrize("bandwidth", [1, 2, 5])
def test_bands_are_colored_as_well_as_can_be(bandwidth: int) -> None:
    pairs = [(i, j) for i in range(50) for j in range(max(0, i - bandwidth), i)]
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    assert int(sparse_pattern(50, first, second).colors.max()) + 1 == 2 * bandwidth + 1


def test_patterns_that_are_all_but_dense_get_a_color_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAIRS", 100)
    pattern = random_pairs(30, 60)
    np.testing.assert_array_equal(color(30, pattern.rows, pattern.columns), np.arange(30))


def test_pairs_in_any_form() -> None:
    pattern = sparse_pattern(4, np.array([0, 3, 2, 1, 1]), np.array([1, 1, 2, 0, 3]))
    assert list(zip(pattern.rows.tolist(), pattern.columns.tolist(), strict=True)) == [(1, 0), (3, 1)]
    assert pattern.degrees.tolist() == [1, 2, 0, 1]


class TestSimplest:
    def covers(self, pattern: SparsePattern) -> None:
        assert bool((places(simplest(pattern)) | ~places(pattern)).all())

    def test_no_entries(self) -> None:
        none = np.zeros(0, dtype=np.int64)
        assert isinstance(simplest(sparse_pattern(5, none, none)), DiagonalPattern)

    def test_a_shuffled_chain_is_a_band(self) -> None:
        at = np.arange(499)
        pattern = relabeled(sparse_pattern(500, at, at + 1))
        found = simplest(pattern)
        assert isinstance(found, BandedPattern)
        assert found.bandwidth == 1
        self.covers(pattern)

    def test_a_chain_with_a_shared_coordinate_is_an_arrow(self) -> None:
        at = np.arange(498)
        hub = np.full(499, 499)
        pattern = relabeled(
            sparse_pattern(500, np.concatenate([at, hub]), np.concatenate([at + 1, np.arange(499)]))
        )
        found = simplest(pattern)
        assert isinstance(found, ArrowPattern)
        assert len(found.hubs) == 1
        assert isinstance(found.inner, BandedPattern)
        assert found.inner.bandwidth == 1
        self.covers(pattern)

    def test_small_ones_are_dense(self) -> None:
        assert isinstance(simplest(random_pairs(20, 60)), DensePattern)

    @pytest.mark.parametrize("seed", range(6))
    def test_nothing_is_lost(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        size = int(draw.integers(110, 300))
        for pattern in (random_pairs(size, int(draw.integers(1, 400)), seed), relabeled(grid(11, 12), seed)):
            self.covers(pattern)

    def test_a_lattice_stays_sparse(self) -> None:
        assert isinstance(simplest(grid(60, 70)), SparsePattern)


def test_colors_do_not_depend_on_the_run() -> None:
    first, second = relabeled(grid(20, 20)), relabeled(grid(20, 20))
    assert torch.equal(torch.from_numpy(first.colors), torch.from_numpy(second.colors))


def test_what_fills_in_is_not_factored() -> None:
    size = 20_000
    draw = np.random.default_rng(0)
    at = np.arange(1, size)
    tree = sparse_pattern(size, at, draw.integers(0, at))
    assert direct(tree)
    assert direct(relabeled(grid(150, 150)))
    assert direct(random_pairs(500, 5000))
    assert not direct(random_pairs(size, 2 * size))
