"""Free energies lowered over what is left after real unknowns were integrated out: marginal likelihoods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

import ebmlang
from ebmlang.errors import DataError

Array = NDArray[Any]

EFFECTS = """model effects(n: int, g: int) {
  observed y : real[g, n]
  latent mu : real
  latent s : real in positive = 1
  latent tau : real in positive = 1
  latent b : real[g]
  for j in 0..g, i in 0..n { energy fit[j, i] = (y[j, i] - mu - b[j])^2 / (2 * s) + log(s) / 2 }
  for j in 0..g { energy prior[j] = b[j]^2 / (2 * tau) + log(tau) / 2 }
  infer mu, s, tau
  marginalize b
}"""

FACTORS = """model factors(n: int, k: int) {
  observed y : real[n]
  param W : real[n, k] = normal(0, 1)
  param s : real in positive = 1
  latent z : real[k]
  energy fit = ||y - W @ z||^2 / (2 * s) + n * log(s) / 2
  energy prior = ||z||^2 / 2
  regularizer small = 0.01 * ||W||^2
  infer W, s
  marginalize z
}"""


def normal_energy(residual: Array, covariance: Array) -> float:
    """-log of a normal density of rows, without the constants of their length."""
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign > 0
    squares = np.einsum("...i,ij,...j->...", residual, np.linalg.inv(covariance), residual)
    return float(0.5 * squares.sum() + 0.5 * log_det * residual.reshape(-1, len(covariance)).shape[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_effects_of_every_row(dtype: str) -> None:
    rng = np.random.default_rng(0)
    g, n = 6, 5
    y = 1 + 1.5 * rng.normal(size=(3, g, 1)) + 0.7 * rng.normal(size=(3, g, n))
    found = ebmlang.loads(EFFECTS).infer(y=y, dtype=dtype)
    precise = dtype == "float64"
    assert found.energy.dtype == getattr(torch, dtype)
    for row in range(3):

        def free(v: Array, y: Array = y[row]) -> float:
            return normal_energy(y - v[0], np.exp(v[1]) * np.eye(n) + np.exp(v[2]))

        best = minimize(free, np.zeros(3), tol=1e-12)
        # The integral is over b alone, which has as many factors of sqrt(2 pi) as entries.
        least = best.fun - g / 2 * np.log(2 * np.pi)
        assert float(found.energy[row]) == pytest.approx(least, rel=1e-9 if precise else 1e-4)
        if precise:
            assert bool(found.converged[row])
            own = [float(found.mu[row]), float(found.s[row]), float(found.tau[row])]
            np.testing.assert_allclose(own, [best.x[0], *np.exp(best.x[1:])], rtol=1e-4)
            shrunk = n * own[2] / (n * own[2] + own[1]) * (y[row].mean(1) - own[0])
            np.testing.assert_allclose(found.marginals["b"][row].numpy(), shrunk, rtol=1e-9)


def test_factors_shared_by_all_examples() -> None:
    """Probabilistic components with a penalty, which counts once for all examples."""
    rng = np.random.default_rng(1)
    y = 1.3 * rng.normal(size=(40, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(40, 5))
    found = ebmlang.loads(FACTORS, k=2).infer(y=y, dtype="float64")

    def free(v: Array) -> float:
        W = v[:10].reshape(5, 2)
        return normal_energy(y, W @ W.T + np.exp(v[10]) * np.eye(5)) + 0.01 * float((W**2).sum())

    least = min(minimize(free, rng.normal(size=11), tol=1e-10).fun for _ in range(3))
    assert bool(found.converged.all())
    own = np.append(found.W.numpy().reshape(-1), np.log(float(found.s)))
    constant = 40 * 2 / 2 * np.log(2 * np.pi)
    assert float(found.energy[0]) == pytest.approx(free(own) - constant, rel=1e-10)
    assert free(own) == pytest.approx(least, rel=1e-8)


def test_the_free_energy_is_the_one_of_marginal() -> None:
    rng = np.random.default_rng(2)
    text = """model m(n: int) {
      observed y : real[n]
      latent a : real[n] in nonnegative = 1
      latent z : real[n]
      energy e = sum((a + 0.1) * (z - y)^2) + ||a - 2||^2 + a[0] * z[0] * z[1] / 10
      infer a
      marginalize z at beta = 3
    }"""
    y = rng.normal(size=(3, 4))
    model = ebmlang.loads(text)
    found = model.infer(y=y, dtype="float64")
    assert found.method == "projected_lbfgs"
    assert bool(found.converged.all())
    again = model.marginal(y=y, a=found.a, dtype="float64")
    torch.testing.assert_close(found.energy, again.energy)
    torch.testing.assert_close(found.marginals["z"], again["z"])
    for k in range(4):  # a minimum along every entry
        for step in (-1e-3, 1e-3):
            near = found.a.clone()
            near[:, k] += step
            assert bool((model.marginal(y=y, a=near, dtype="float64").energy >= again.energy - 1e-12).all())


def test_training_around_a_search_after_an_integral() -> None:
    text = """model m(n: int, k: int = 2) {
      observed y : real[n]
      param W : real[n, k] = normal()
      latent a : real in positive = 1
      latent z : real[k]
      energy fit = ||y - W @ z||^2 * a + ||z||^2 + (a - 1)^2 - n * log(a) / 2
      infer a
      marginalize z
      train W
    }"""
    y = np.random.default_rng(3).normal(size=(5, 3))
    model = ebmlang.loads(text)
    model.bind(y=y)
    model.double()
    W = torch.tensor([[0.5, 0.2], [-0.3, 1.0], [0.8, -0.4]], dtype=torch.float64)

    def loss(at: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            model.value("W").copy_(at)
        return torch.as_tensor(model(y=y))

    loss(W).backward()
    slope = model.value("W").grad
    assert slope is not None
    for place in ((0, 0), (1, 1), (2, 0)):
        step = torch.zeros_like(W)
        step[place] = 1e-4
        with torch.no_grad():
            around = (loss(W + step) - loss(W - step)) / 2e-4
        assert float(slope[place]) == pytest.approx(float(around), abs=1e-6)


def test_an_infinite_integral_is_no_answer() -> None:
    text = """model m {
      observed y : real
      latent a : real = -1
      latent z : real
      energy e = a * z^2 + (a - 1)^2 + y * z
      infer a
      marginalize z
    }"""
    found = ebmlang.loads(text).infer(y=np.ones(2))
    assert not bool(found.converged.any())
    assert all(s.startswith("infinite integral: the energy curves downwards along z") for s in found.status)


BODY = """model m(n: int) {
  observed y : real[n]
  latent a : real = 1
  latent c : bool
  latent z : real[n]
  energy e = sum(exp(a) * (z - y)^2) + (a - 2)^2
  infer a
  marginalize z
}"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("(z - y)^2", "(z - y)^4"), "z cannot be integrated out: e is no polynomial of degree 2"),
        (("z : real[n]", "z : real[n] in nonnegative"), "z cannot be integrated out: .*nonnegative"),
        (("z : real[n]", "z : real[n] per batch"), "one integral over z of all examples"),
        (("infer a", "infer a, c"), "c is bool: countable unknowns beside an integral"),
        (("marginalize z", "marginalize z, c"), "c is bool: countable unknowns beside an integral"),
        (("infer a", "subject to room : a <= 1\n  infer a"), "hard constraints beside an integral"),
    ],
)
def test_what_is_not_built_is_refused(change: tuple[str, str], message: str) -> None:
    text = BODY.replace(*change)
    text = text if ", c" in change[1] else text.replace("  latent c : bool\n", "")
    with pytest.raises(DataError, match=message):
        ebmlang.loads(text).infer(y=np.ones((1, 3)))


def test_too_many_entries_are_refused() -> None:
    text = BODY.replace("  latent c : bool\n", "")
    with pytest.raises(DataError, match="at most 1,024 are integrated out"):
        ebmlang.loads(text).infer(y=np.ones((1, 1100)))
