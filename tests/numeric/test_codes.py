"""Sparse codes and principal components of handwritten digits against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA, sparse_encode

from tests.numeric.gallery import Array, digits, load, relative, unit_columns

LAM = 0.1


def sparse_energy(y: Array, dictionary: Array, codes: Array) -> float:
    """The total energy in plain numpy."""
    return float(0.5 * ((y - codes @ dictionary.T) ** 2).sum() + LAM * np.abs(codes).sum())


@pytest.fixture(scope="module")
def encoded() -> tuple[Array, Array, Array]:
    """60 digits scaled to [0, 1], a dictionary of 128 columns, and scikit-learn's codes."""
    y = digits()[:60] / 16
    dictionary = unit_columns(64, 128, seed=0)
    # sparse_encode's own tolerance cannot be set, so many sweeps stand in for it.
    codes = sparse_encode(y, dictionary.T, algorithm="lasso_cd", alpha=LAM, max_iter=100_000)
    return y, dictionary, codes


def test_sparse_codes_equal_scikit_learn(encoded: tuple[Array, Array, Array]) -> None:
    y, dictionary, codes = encoded
    found = load("sparse_coding", lam=LAM).infer(y=y, D=dictionary, dtype="float64")
    assert bool(found.converged.all()), found.status
    z = found.z.numpy()
    ours, theirs = sparse_energy(y, dictionary, z), sparse_energy(y, dictionary, codes)
    assert float(found.energy.sum()) == pytest.approx(ours, rel=1e-12)
    assert ours <= theirs * (1 + 1e-9)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert 0.2 < (z == 0).mean() < 0.9


def test_sparse_codes_are_optimal() -> None:
    # The optimality conditions of the lasso, which no other implementation can get wrong for us.
    y, dictionary = digits()[:60] / 16, unit_columns(64, 128, seed=0)
    z = load("sparse_coding", lam=LAM).infer(y=y, D=dictionary, dtype="float64").z.numpy()
    pull = (y - z @ dictionary.T) @ dictionary
    assert np.abs(pull[z != 0] - LAM * np.sign(z[z != 0])).max() < 1e-7
    assert np.abs(pull[z == 0]).max() <= LAM * (1 + 1e-7)


def test_sparse_codes_in_single_precision(encoded: tuple[Array, Array, Array]) -> None:
    y, dictionary, codes = encoded
    found = load("sparse_coding", lam=LAM).infer(y=y.astype(np.float32), D=dictionary, dtype="float32")
    z = found.z.double().numpy()
    assert sparse_energy(y, dictionary, z) == pytest.approx(sparse_energy(y, dictionary, codes), rel=1e-4)


@pytest.mark.parametrize("k", [2, 16, 64])
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-9), ("float32", 1e-5)])
def test_codes_of_components_equal_scikit_learn(k: int, dtype: str, bound: float) -> None:
    y = digits()
    expected = PCA(k, svd_solver="full").fit(y)
    found = load("pca_codes", k=k).infer(y=y, W=expected.components_.T, centre=expected.mean_, dtype=dtype)
    assert bool(found.converged.all()), set(found.status)
    assert relative(found.z, expected.transform(y)) < bound
    residual = ((y - expected.inverse_transform(expected.transform(y))) ** 2).sum(1) / 2
    assert np.abs(found.energy.numpy() - residual).max() < bound * (y**2).sum(1).max()
