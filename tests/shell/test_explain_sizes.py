"""`ebmlang explain --set`: what sizes decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebmlang.errors import DataError
from ebmlang.explaining import explain_file

GALLERY = Path(__file__).resolve().parents[2] / "models" / "gallery"


def told(name: str, **sizes: int) -> str:
    return explain_file(GALLERY / f"{name}.ebm", None, (), None, None, None, None, True, sizes)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_width_of_a_grid_is_its_shorter_side(n: int) -> None:
    text = told("ising", n=n, m=n + 2)
    # A grid of n rows has treewidth n; a table of an entry and its n neighbours has 2^(n + 1) numbers.
    assert f"{n * (n + 2)} entries, elimination width {n}, largest table {2 ** (n + 1)} numbers" in text


def test_what_does_not_fit_is_said_with_what_is_taken() -> None:
    assert "coordinate_search, because elimination has width" in " ".join(told("ising", n=40, m=40).split())


def test_a_method_that_does_not_pay() -> None:
    assert "lbfgs, because newton does not pay" in " ".join(told("logistic", m=50, n=300).split())
    assert "\n    sizes" not in told("logistic", m=50, n=30)


def test_sizes_without_a_value_are_named() -> None:
    with pytest.raises(DataError, match="m"):
        told("ising", n=4)


def test_positions_in_data_are_not_guessed() -> None:
    assert "edges joins is in the data" in told("graph_smoothing", n=5, M=4)
