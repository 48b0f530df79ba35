"""Generated data sets: the same numbers for the same words, and moments that are known."""

import numpy as np
import pytest

from ebmlang.data import read
from ebmlang.data.generated import GENERATED, generate
from ebmlang.errors import DataError


@pytest.mark.parametrize("name", [name for name, _ in GENERATED])
def test_rows_and_seed(name: str) -> None:
    data = read(f"generated:{name},rows=50,seed=3")
    again = generate(name, rows=50, seed=3)
    other = generate(name, rows=50, seed=4)
    assert set(data.names) == set(again)
    for key, values in again.items():
        np.testing.assert_array_equal(data.array(key), values)
        assert len(values) == 50
    assert any((values != other[key]).any() for key, values in again.items())


def test_ring_has_eight_modes_of_the_stated_spread() -> None:
    found = generate("ring", rows=8000)
    y, mode = found["y"], found["mode"]
    assert set(mode) == set(range(8))
    for k in range(8):
        own = y[mode == k]
        np.testing.assert_allclose(np.hypot(*own.mean(axis=0)), 2, atol=0.02)
        np.testing.assert_allclose(own.std(axis=0), 0.1, atol=0.01)


def test_bars_and_stripes_are_fourteen() -> None:
    pictures = generate("bars_and_stripes", rows=1000)["v"].reshape(-1, 3, 3)
    assert all((p == p[:, :1]).all() or (p == p[:1]).all() for p in pictures)
    assert len(np.unique(pictures.reshape(-1, 9), axis=0)) == 14


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rings", "no data set generated:rings"),
        ("ring,rows=0", "cannot have 0 rows"),
        ("ring,rows=1e3", "'rows=1e3' is no option"),
        ("ring,colour=3", "'colour=3' is no option"),
        ("ring,rows=99999999999", "cannot have 99999999999 rows"),
    ],
)
def test_mistakes(spec: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read(f"generated:{spec}")
    assert caught.value.hint
