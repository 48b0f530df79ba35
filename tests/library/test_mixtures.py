"""std.kmeans and std.gmm against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.datasets import load_digits, load_iris
from sklearn.mixture import GaussianMixture

import ebmlang
from tests.library.parts import Array, normal, std

# --- k-means ------------------------------------------------------------------------------------


def best(x: Array, k: int) -> KMeans:
    return KMeans(k, n_init=10, random_state=0).fit(x)


def trained(x: Array, k: int, seed: int) -> tuple[float, ebmlang.Model]:
    """The inertia from a start of k-means++, the usual one."""
    m = std("kmeans", k=k)
    m.preset({"centres": kmeans_plusplus(x, k, random_state=seed)[0]})
    history = m.fit(x=x, steps=2, dtype="float64")
    return float(history.loss[-1]) * len(x), m


@pytest.mark.parametrize(
    ("data", "k", "starts", "slack"), [(load_iris, 3, 3, 1e-8), (load_digits, 10, 3, 1e-3)]
)
def test_inertia_is_the_best_of_scikit_learn(data: object, k: int, starts: int, slack: float) -> None:
    assert callable(data)
    x = data().data
    found = [trained(x, k, seed) for seed in range(starts)]
    inertia, m = min(found, key=lambda each: each[0])
    assert inertia == pytest.approx(best(x, k).inertia_, rel=slack)
    classes = m.infer(x=x, dtype="float64")
    assert classes.energy.sum().item() == pytest.approx(inertia, rel=1e-12)
    # A fixed point of Lloyd's algorithm: every centre is the mean of its examples.
    c, centres = classes["c"].numpy(), m.value("centres").detach().numpy()
    means = np.stack([x[c == j].mean(0) for j in range(k)])
    np.testing.assert_allclose(centres, means, atol=1e-4)


def test_centres_and_classes_are_sought_together() -> None:
    x = load_iris().data
    m = std("kmeans", k=3)
    found = m.infer(x=x, find=["centres", "c"], restarts=8, dtype="float64")
    assert float(found.energy.sum()) == pytest.approx(best(x, 3).inertia_, rel=1e-4)


def test_classes_of_one_example() -> None:
    centres, x = normal(4, 3, seed=1), normal(1, 3)
    m = std("kmeans", k=4)
    m.preset({"centres": centres})
    found = m.infer(x=x, dtype="float64")
    want = ((x - centres) ** 2).sum(1)
    assert int(found["c"][0]) == int(want.argmin())
    assert float(found.energy[0]) == pytest.approx(float(want.min()), rel=1e-12)


# --- mixtures of Gaussians ----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k", "rows"), [(4, 3, 20), (1, 2, 7), (3, 1, 1)])
def test_the_free_energy_is_minus_the_log_density(n: int, k: int, rows: int) -> None:
    rng = np.random.default_rng(n)
    factors = rng.normal(size=(k, n, n)) + 2 * np.eye(n)
    theirs = GaussianMixture(k)
    theirs.means_, theirs.weights_ = rng.normal(size=(k, n)), rng.dirichlet(np.ones(k))
    theirs.precisions_cholesky_ = np.stack([np.linalg.cholesky(f @ f.T) for f in factors])
    precision = theirs.precisions_cholesky_ @ theirs.precisions_cholesky_.transpose(0, 2, 1)
    x = rng.normal(size=(rows, n))
    m = std("gmm", k=k)
    m.preset({"mu": theirs.means_, "precision": precision, "share": np.log(theirs.weights_) + 3})
    found = m.marginal(x=x, dtype="float64")
    np.testing.assert_allclose(found.energy.detach(), -theirs.score_samples(x), rtol=1e-10)
    np.testing.assert_allclose(found["c"].detach(), theirs.predict_proba(x), atol=1e-10)
    assert float(m(x=x).detach()) == pytest.approx(-theirs.score(x), rel=1e-10)


def test_gradients_of_the_likelihood() -> None:
    x = torch.from_numpy(normal(9, 3))
    m = std("gmm", k=2).bind(x=x)
    m.preset({"mu": normal(2, 3, seed=1), "precision": np.stack([np.diag([1.0, 2, 3]), np.eye(3) + 0.3])})
    m(x=x).backward()
    mu, precision, share = (
        m.value(n).detach().clone().requires_grad_() for n in ("mu", "precision", "share")
    )
    parts = [
        torch.distributions.MultivariateNormal(mu[j], precision_matrix=precision[j]).log_prob(x)
        for j in (0, 1)
    ]
    (-(torch.stack(parts, 1) + share.log_softmax(0)).logsumexp(1)).mean().backward()
    for name, own in (("mu", mu), ("share", share)):
        torch.testing.assert_close(m.value(name).grad, own.grad, atol=1e-10, rtol=0)
    # Symmetric matrices: only the symmetric part of a gradient means anything.
    (a, b) = m.value("precision").grad, precision.grad
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a + a.mT, b + b.mT, atol=1e-10, rtol=0)


def test_iris_is_as_likely_as_under_scikit_learn() -> None:
    x = load_iris().data
    theirs = GaussianMixture(3, n_init=3, random_state=0, reg_covar=0, tol=1e-8, max_iter=1000).fit(x)
    m = std("gmm", k=3)
    m.preset({"mu": best(x, 3).cluster_centers_})
    history = m.fit(x=x, steps=10, dtype="float64")
    assert float(history.loss[-1]) == pytest.approx(-theirs.score(x), abs=1e-4)
    order = np.argsort(m.value("mu").detach().numpy()[:, 0])
    covariances = np.linalg.inv(m.value("precision").detach().numpy())[order]
    np.testing.assert_allclose(covariances, theirs.covariances_[np.argsort(theirs.means_[:, 0])], atol=5e-3)


@pytest.mark.parametrize(("n", "k", "rows"), [(4, 3, 20), (1, 2, 1)])
def test_diagonal_covariances(n: int, k: int, rows: int) -> None:
    rng = np.random.default_rng(n)
    theirs = GaussianMixture(k, covariance_type="diag")
    theirs.means_, theirs.weights_ = rng.normal(size=(k, n)), rng.dirichlet(np.ones(k))
    v = rng.uniform(0.5, 2, size=(k, n))
    theirs.precisions_cholesky_ = v**-0.5
    x = rng.normal(size=(rows, n))
    m = std("gmm", model="diagonal", k=k)
    m.preset({"mu": theirs.means_, "v": v, "share": np.log(theirs.weights_)})
    found = m.marginal(x=x, dtype="float64")
    np.testing.assert_allclose(found.energy.detach(), -theirs.score_samples(x), rtol=1e-10)


def test_iris_with_diagonal_covariances() -> None:
    """Where training ends is a fixed point of the EM algorithm: scikit-learn, started there, stays."""
    x = load_iris().data
    centres = best(x, 3).cluster_centers_
    m = std("gmm", model="diagonal", k=3)
    m.preset({"mu": centres, "v": np.tile(x.var(0), (3, 1))})
    history = m.fit(x=x, steps=10, dtype="float64")
    mu, v, share = (m.value(name).detach().numpy() for name in ("mu", "v", "share"))
    theirs = GaussianMixture(
        3,
        covariance_type="diag",
        means_init=mu,
        precisions_init=1 / v,
        weights_init=np.exp(share) / np.exp(share).sum(),
        reg_covar=0,
        tol=1e-9,
        max_iter=1000,
    ).fit(x)
    assert float(history.loss[-1]) == pytest.approx(-theirs.score(x), abs=1e-6)
    np.testing.assert_allclose(theirs.means_, mu, atol=1e-3)
    other = GaussianMixture(3, covariance_type="diag", n_init=3, random_state=0, reg_covar=0).fit(x)
    assert float(history.loss[-1]) <= -other.score(x) + 1e-3


INSIDE = """import std.gmm

## A signal that is a line beside noise of two kinds.
model noisy(T: int) {
  observed y : real[T]
  param slope : real = 0
  for t in 0..T { use gmm(k = 2) as noise[t] with x = [y[t] - slope * t, 0 * y[t]] }
  marginalize noise.c
}
"""


def test_in_a_plate_with_one_class_for_each_position() -> None:
    y = normal(2, 5)
    m = ebmlang.loads(INSIDE)
    found = m.marginal(y=y, dtype="float64")
    assert found["noise.c"].shape == (2, 5, 2)
    values = {name: m.value(f"noise.{name}").detach() for name in ("mu", "precision", "share")}
    assert values["mu"].shape == (5, 2, 2)
    x = torch.stack([torch.from_numpy(y), torch.zeros(2, 5, dtype=torch.float64)], 2)
    want = torch.zeros(2, dtype=torch.float64)
    for t in range(5):
        parts = [
            torch.distributions.MultivariateNormal(
                values["mu"][t, j].double(), precision_matrix=values["precision"][t, j].double()
            ).log_prob(x[:, t])
            for j in (0, 1)
        ]
        want -= (torch.stack(parts, 1) + values["share"][t].double().log_softmax(0)).logsumexp(1)
    torch.testing.assert_close(found.energy.detach(), want, atol=1e-6, rtol=1e-6)
