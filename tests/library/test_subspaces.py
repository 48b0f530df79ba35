"""std.sparse_coding, std.pca and std.ica against scikit-learn and plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, FastICA, sparse_encode

import ebmlang
from tests.library.parts import Array, normal, std

# --- sparse coding ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k", "rows"), [(8, 20, 5), (12, 6, 1)])
def test_codes_are_those_of_the_lasso(n: int, k: int, rows: int) -> None:
    D, y = normal(n, k, seed=1), normal(rows, n)
    D /= np.linalg.norm(D, axis=0)
    m = std("sparse_coding", k=k, lam=0.3)
    m.preset({"D": D})
    found = m.infer(y=y, dtype="float64")
    assert bool(found.converged.all())
    assert found.method == "fista"
    want = sparse_encode(y, D.T, algorithm="lasso_cd", alpha=0.3, max_iter=100_000)
    energy = 0.5 * ((y - want @ D.T) ** 2).sum(1) + 0.3 * np.abs(want).sum(1)
    # Coordinate descent ends at its own tolerance, above or at the minimum.
    assert bool((found.energy.numpy() <= energy * (1 + 1e-9)).all())
    np.testing.assert_allclose(found.energy, energy, rtol=1e-5)


def test_the_gradient_of_training_is_taken_at_the_codes() -> None:
    D, y = normal(6, 9, seed=1), normal(20, 6)
    D /= np.linalg.norm(D, axis=0)
    m = std("sparse_coding", k=9, lam=0.3)
    m.preset({"D": D})
    loss = m.bind(y=torch.from_numpy(y))(y=torch.from_numpy(y))
    loss.backward()
    z = sparse_encode(y, D.T, algorithm="lasso_cd", alpha=0.3, max_iter=100_000)
    want = -(y - z @ D.T).T @ z / len(y)
    slope = m.value("D").grad
    assert slope is not None
    np.testing.assert_allclose(slope, want, atol=1e-4)
    history = m.fit(y=torch.from_numpy(y), steps=40, lr=0.05)
    assert history.loss[-1] < 0.9 * history.loss[0]
    np.testing.assert_allclose(m.value("D").detach().norm(dim=0), 1, atol=1e-10)


SHARED = """import std.sparse_coding

## Two views of one signal: each has a dictionary, and the codes are alike.
model views(n: int, m: int, k: int = 5) {
  observed a : real[n]
  observed b : real[m]
  use sparse_coding(k = k, lam = 0.1) as left with y = a
  use sparse_coding(k = k, lam = 0.2) as right with y = b
  energy alike = ||left.z - right.z||^2
  infer left.z, right.z
}
"""


def test_two_parts_with_codes_alike() -> None:
    a, b = normal(4, 6), normal(4, 7, seed=1)
    m = ebmlang.loads(SHARED)
    found = m.infer(a=a, b=b, dtype="float64")
    A, B = (m.value(f"{side}.D").detach() for side in ("left", "right"))
    z, w = found["left.z"], found["right.z"]
    apart = z - w
    # Minus the slope of the smooth part: between -lam and lam where a code is 0, with its sign elsewhere.
    for slope, code, lam in (
        ((torch.tensor(a) - z @ A.T) @ A - 2 * apart, z, 0.1),
        ((torch.tensor(b) - w @ B.T) @ B + 2 * apart, w, 0.2),
    ):
        on = code != 0
        torch.testing.assert_close(slope[on], lam * code[on].sign(), atol=1e-6, rtol=0)
        assert bool((slope[~on].abs() <= lam + 1e-6).all())


# --- principal components -----------------------------------------------------------------------


def unexplained(y: Array, k: int) -> float:
    whole = PCA(k, svd_solver="full").fit(y)
    return float(0.5 * ((y - whole.inverse_transform(whole.transform(y))) ** 2).sum(1).mean())


@pytest.mark.parametrize("k", [2, 8, 16])
def test_components_reconstruct_as_scikit_learn_does(k: int) -> None:
    y = load_digits().data[:600] / 16
    m = std("pca", k=k)
    found = m.infer(y=y, objective="components", dtype="float64", tol=1e-6)
    assert bool(found.converged.all())
    assert float(found.energy.mean()) == pytest.approx(unexplained(y, k), rel=1e-6)
    W = found["W"]
    torch.testing.assert_close(W.T @ W, torch.eye(k, dtype=torch.float64), atol=1e-10, rtol=0)
    span = PCA(k, svd_solver="full").fit(y).components_
    np.testing.assert_allclose(np.linalg.svd(span @ W.numpy())[1], 1, atol=1e-6)


def test_components_are_trained_too() -> None:
    """The reconstruction error, 1e-5 relative, by steps along the manifold."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(100, 10)) * np.linspace(3, 0.3, 10) + rng.normal(size=10)
    m = std("pca", k=2)
    history = m.fit(y=y, steps=250, dtype="float64", using="sgd", lr=0.15)
    assert float(history.loss[-1]) == pytest.approx(unexplained(y, 2), rel=1e-5)


def test_codes_are_coordinates_in_the_basis() -> None:
    y = normal(1, 5)
    W = np.linalg.qr(normal(5, 3, seed=1))[0]
    m = std("pca", k=3)
    m.preset({"W": W, "centre": np.arange(5.0)})
    found = m.infer(y=y, dtype="float64")
    assert found.method == "quadratic"
    np.testing.assert_allclose(found["z"], (y - np.arange(5.0)) @ W, atol=1e-12)


# --- independent components ---------------------------------------------------------------------


def mixed(rows: int = 2000, n: int = 4) -> tuple[Array, Array]:
    """Laplacian sources, mixed, with a mean: the examples and the mixing matrix."""
    rng = np.random.default_rng(0)
    sources, A = rng.laplace(size=(rows, n)), rng.normal(size=(n, n))
    return sources @ A.T + rng.normal(size=n), A


def amari(product: Array) -> float:
    """0 where the product of unmixing and mixing is a scaled permutation, at most 1 (Amari et al. 1996)."""
    p, n = np.abs(product), len(product)
    rows = (p / p.max(1, keepdims=True)).sum() - n
    columns = (p / p.max(0, keepdims=True)).sum() - n
    return float(rows + columns) / (2 * n * (n - 1))


def whitened(x: Array) -> tuple[Array, Array]:
    centred = x - x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(centred.T, bias=True))
    K = vectors @ np.diag(values**-0.5) @ vectors.T
    return centred @ K.T, K


def test_sources_are_separated_by_likelihood() -> None:
    x, A = mixed()
    m = std("ica")
    history = m.fit(x=x, steps=4, dtype="float64")
    W = m.value("W").detach()
    assert amari(W.numpy() @ A) < 0.05
    s = (torch.tensor(x) - m.value("centre").detach()) @ W.T
    want = (s.cosh() * torch.pi).log().sum(1).mean() - torch.linalg.slogdet(W).logabsdet
    assert float(history.loss[-1]) == pytest.approx(float(want), rel=1e-10)
    # MacKay's condition at the maximum of the likelihood: mean of tanh(s) s' is the identity.
    torch.testing.assert_close(s.tanh().T @ s / len(x), torch.eye(4, dtype=torch.float64), atol=1e-5, rtol=0)
    asked = std("ica").infer(x=x[:500], find=["W", "centre"], dtype="float64")
    trained = std("ica").fit(x=x[:500], steps=4, dtype="float64")
    assert float(asked.energy.mean()) == pytest.approx(float(trained.loss[-1]), rel=1e-8)


def test_a_rotation_of_white_data_is_that_of_fast_ica() -> None:
    x, A = mixed()
    white, K = whitened(x)
    found = std("ica", model="orthogonal").infer(x=white, find=["V"], dtype="float64")
    V = found["V"].numpy()
    assert amari(V.T @ K @ A) < 0.05
    fast = FastICA(whiten=False, fun="logcosh", tol=1e-10, max_iter=1000, random_state=0).fit(white)
    both = np.abs(V.T @ fast.components_.T)
    # FastICA moves towards a fixed point of the sample means, with its own tolerance.
    np.testing.assert_allclose(np.sort(both, axis=1)[:, -1], 1, atol=1e-6)
    m = std("ica", model="orthogonal")
    history = m.fit(x=white, steps=250, dtype="float64")
    assert float(history.loss[-1]) == pytest.approx(float(found.energy.mean()), rel=1e-6)
