"""Generated data sets: the same numbers for the same words, and moments that are known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ebmlang.data import read
from ebmlang.data.generated import GENERATED, generate, spin_couplings
from ebmlang.errors import DataError


@pytest.mark.parametrize("name", [name for name, _ in GENERATED])
def test_rows_and_seed(name: str) -> None:
    data = read(f"generated:{name},rows=50,seed=3")
    again = generate(name, rows=50, seed=3)
    other = generate(name, rows=50, seed=4)
    assert set(data.names) == set(again)
    for key, values in again.items():
        np.testing.assert_array_equal(data.array(key), values)
        assert len(values) == 50 or (values == other[key]).all()
    assert any((values != other[key]).any() for key, values in again.items())


def test_ring_has_eight_modes_of_the_stated_spread() -> None:
    found = generate("ring", rows=8000)
    y, mode = found["y"], found["mode"]
    assert set(mode) == set(range(8))
    for k in range(8):
        own = y[mode == k]
        np.testing.assert_allclose(np.hypot(*own.mean(axis=0)), 2, atol=0.02)
        np.testing.assert_allclose(own.std(axis=0), 0.1, atol=0.01)


def test_circles_have_their_radii() -> None:
    found = generate("rings", rows=8000)
    radius = np.hypot(*found["y"].T)
    for k in (0, 1):
        np.testing.assert_allclose(radius[found["mode"] == k].mean(), 1 + k, atol=0.02)


def test_spins_have_the_law_of_their_couplings() -> None:
    """Against the conditional law of one spin given the others, in every state that is frequent."""
    couplings, fields = spin_couplings()
    s = 2.0 * generate("spins", rows=100_000)["v"] - 1
    both = couplings + couplings.T
    chance = 1 / (1 + np.exp(-2 * (s @ both[:, 0] + fields[0])))
    up = s[:, 0] > 0
    slack = 5 * np.sqrt((chance * (1 - chance)).sum())
    assert abs(up.sum() - chance.sum()) <= slack
    assert abs((up * chance).sum() - (chance**2).sum()) <= slack


def test_two_futures_are_two_apart() -> None:
    one, other = generate("two_futures", rows=500), generate("two_futures", rows=500, seed=1)
    for found in (one, other):
        x = found["x"]
        middle = np.stack([np.sin(2 * x[:, 0]), x[:, 0] * x[:, 1], np.cos(2 * x[:, 1])], axis=1)
        np.testing.assert_allclose(np.abs(found["y"] - middle), 1, atol=1e-12)


def test_thirty_of_a_hundred_outputs_are_missing() -> None:
    found = generate("incomplete", rows=5000)
    assert 0.28 <= np.isnan(found["y"]).mean() <= 0.32
    assert not np.isnan(found["x"]).any()


def test_bars_and_stripes_are_fourteen() -> None:
    pictures = generate("bars_and_stripes", rows=1000)["v"].reshape(-1, 3, 3)
    assert all((p == p[:, :1]).all() or (p == p[:1]).all() for p in pictures)
    assert len(np.unique(pictures.reshape(-1, 9), axis=0)) == 14


def test_the_bouncing_dot_moves_along_diagonals_between_the_walls() -> None:
    data = generate("bouncing_dot_long", rows=20)
    film, position = data["film"], data["position"]
    brightest = film.reshape(20, 32, -1).argmax(2)
    seen = np.stack([brightest // 16, brightest % 16], axis=-1)
    assert np.abs(seen - position).max() <= 0.5 + 1e-9
    assert position.min() >= 2
    assert position.max() <= 13
    steps = np.abs(np.diff(position, axis=1))
    free = (position[:, 1:] > 3) & (position[:, 1:] < 12)
    np.testing.assert_allclose(steps[free], 1)


def test_white_mixtures_are_white_and_of_independent_sources() -> None:
    data = generate("white_mixtures", rows=50_000)
    np.testing.assert_allclose(np.cov(data["x"].T), np.eye(3), atol=0.03)
    np.testing.assert_allclose(np.cov(data["source"].T ** 2), np.eye(3) * 4 / 45, atol=0.005)


def test_the_flow_carries_one_texture_to_the_other() -> None:
    data = generate("moving_textures", rows=5)
    places = np.moveaxis(np.moveaxis(np.mgrid[0:16, 0:16], 0, -1) + data["flow"], -1, 1)
    inner = (slice(4, -4), slice(4, -4))
    for before, after, at in zip(data["before"], data["after"], places, strict=True):
        found = map_coordinates(before, at, order=3)
        np.testing.assert_allclose(found[inner], after[inner], atol=0.05)


def test_sparse_signals_are_sums_of_a_tenth_of_the_columns() -> None:
    found = generate("sparse_signals", rows=4000)
    np.testing.assert_allclose(np.linalg.norm(found["D"], axis=0), 1)
    assert abs((found["code"] != 0).mean() - 0.1) < 0.01
    noise = found["y"] - found["code"] @ found["D"].T
    np.testing.assert_allclose(noise.std(), 0.01, rtol=0.02)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rinks", "no data set generated:rinks"),
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


def test_the_turning_dot_turns_to_the_side_that_is_said() -> None:
    data = generate("turning_dot", rows=40)
    places = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), axis=-1)

    def centre(pictures: NDArray[Any]) -> Any:
        return np.einsum("rij,ijc->rc", pictures, places) / pictures.sum((1, 2))[:, None]

    before, here, after = centre(data["past"][:, 0]), centre(data["past"][:, 1]), centre(data["next"])
    chosen = np.where(data["turn"] > 0, 0, 1)
    np.testing.assert_allclose(after, data["places"][np.arange(40), chosen], atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(after - here, axis=1), 3, atol=0.05)
    # On a picture, rows count downwards: the left of somebody who goes right is up.
    flown, turned = here - before, after - here
    left = np.stack([-flown[:, 1], flown[:, 0]], axis=1)
    np.testing.assert_allclose(turned, data["turn"][:, None] * left, atol=0.1)
