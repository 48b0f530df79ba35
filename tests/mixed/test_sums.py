"""Countable and real unknowns summed and integrated out together, against quadrature and dense formulas."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

import ebmlang
from ebmlang.errors import DataError

Array = NDArray[Any]

SWITCHED = """model switched(n: int, k: int) {
  observed x : real[n]
  shared observed mu : real[k, n]
  latent z : real[n]
  latent c : class[k]
  latent s : bool
  energy fit = 0.5 * ||x - z||^2
  energy pri = ||z - mu[c]||^2
  energy sw = where(s, sum(z) + 0.3 * z[0]^2, 0)
  marginalize z, c, s at beta = 1.5
}"""


def dense(x: Array, mu: Array, beta: float) -> tuple[Array, Array, Array]:
    """log Z, mean and covariance of every state (c, s)."""
    logs, means, covariances = [], [], []
    n = len(x)
    for c, s in itertools.product(range(len(mu)), (0, 1)):
        h = 3 * np.eye(n)
        h[0, 0] += 0.6 * s
        mean = np.linalg.solve(h, x + 2 * mu[c] - s)
        energy = 0.5 * ((x - mean) ** 2).sum() + ((mean - mu[c]) ** 2).sum()
        energy += s * (mean.sum() + 0.3 * mean[0] ** 2)
        logs.append(-beta * energy - 0.5 * np.linalg.slogdet(beta * h / (2 * np.pi))[1])
        means.append(mean)
        covariances.append(np.linalg.inv(beta * h))
    return np.array(logs), np.array(means), np.array(covariances)


def test_a_mixture_of_gaussians_and_its_moments() -> None:
    rng = np.random.default_rng(0)
    x, mu = rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    found = ebmlang.loads(SWITCHED).marginal(x=x, mu=mu, dtype="float64")
    for row in range(3):
        logs, means, covariances = dense(x[row], mu, 1.5)
        p = softmax(logs)
        assert float(found.log_z[row]) == pytest.approx(logsumexp(logs), rel=1e-12)
        np.testing.assert_allclose(found["c"][row].numpy(), p.reshape(4, 2).sum(1), atol=1e-12)
        np.testing.assert_allclose(found["s"][row].numpy(), p.reshape(4, 2).sum(0), atol=1e-12)
        mean = p @ means
        second = np.einsum("s,sij->ij", p, covariances + means[:, :, None] * means[:, None])
        covariance = second - np.outer(mean, mean)
        np.testing.assert_allclose(found["z"][row].numpy(), mean, atol=1e-12)
        np.testing.assert_allclose(found.covariances["z"][row].numpy(), covariance, atol=1e-12)
        np.testing.assert_allclose(
            found.deviations["z"][row].numpy(), np.sqrt(np.diag(covariance)), atol=1e-12
        )


def test_clamped_states_leave_the_sum() -> None:
    rng = np.random.default_rng(1)
    x, mu = rng.normal(size=(2, 2)), rng.normal(size=(4, 2))
    model = ebmlang.loads(SWITCHED)
    observed = {"c": np.array([True, False])}
    found = model.marginal(x=x, mu=mu, c=[2, 0], observed=observed, dtype="float64")
    for row in range(2):
        logs, _, _ = dense(x[row], mu, 1.5)
        kept = logs.reshape(4, 2)[2] if row == 0 else logs
        assert float(found.log_z[row]) == pytest.approx(logsumexp(kept), rel=1e-12)
    np.testing.assert_allclose(found["c"][0].numpy(), [0, 0, 1, 0], atol=0)


def test_the_free_energy_is_differentiable() -> None:
    rng = np.random.default_rng(2)
    x = torch.tensor(rng.normal(size=(2, 2)), requires_grad=True)
    mu = torch.tensor(rng.normal(size=(3, 2)), requires_grad=True)
    model = ebmlang.loads(SWITCHED)
    assert torch.autograd.gradcheck(lambda x, mu: model.marginal(x=x, mu=mu).energy, (x, mu), atol=1e-7)


def test_a_state_without_a_finite_integral_is_named() -> None:
    text = """model m() {
      observed x : real
      latent z : real
      latent s : bool
      energy e = x * z + where(s, z^2, 0)
      marginalize z, s
    }"""
    found = ebmlang.loads(text).marginal(x=[1.0, 0.0], dtype="float64")
    assert torch.isposinf(found.log_z).all()
    assert torch.isnan(found["z"]).all()
    assert torch.isnan(found["s"]).all()
    assert found.status[0].startswith("infinite: the energy does not curve along z")
    assert found.status[0].endswith("(where s is False)")


def test_one_regime_for_all_examples() -> None:
    text = """model m(k: int) {
      observed x : real
      shared observed mu : real[k]
      latent z : real
      shared observed c : class[k]
      energy fit = (x - z)^2
      energy pri = (z - mu[c])^2
      regularizer price = 0.3 * mu[c]
    }"""
    rng = np.random.default_rng(3)
    x, mu = rng.normal(size=5), rng.normal(size=3)
    found = ebmlang.loads(text).marginal(x=x, mu=mu, find=["z", "c"], dtype="float64")
    each = [-((x - m) ** 2).sum() / 2 - 2.5 * np.log(4 / (2 * np.pi)) - 0.3 * m for m in mu]
    assert float(found.log_z[0]) == pytest.approx(logsumexp(each), rel=1e-12)
    np.testing.assert_allclose(found["c"].numpy(), softmax(each), atol=1e-12)
    np.testing.assert_allclose(found["z"].numpy(), (x + softmax(each) @ mu) / 2, atol=1e-12)


def test_too_many_states_are_refused() -> None:
    text = """model m(n: int) {
      observed x : real[n]
      latent z : real[n]
      latent s : bool[n]
      energy e = ||z - x * s||^2
      marginalize z, s
    }"""
    with pytest.raises(
        DataError, match=r"z, s cannot be integrated out exactly: there are 2\^40 assignments"
    ):
        ebmlang.loads(text).marginal(x=np.ones((1, 40)))
