"""Integrals over real unknowns against dense formulas, numeric quadrature and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

import ebmlang
from ebmlang.errors import DataError
from ebmlang.runtime.linear import BandedPattern, BlockTridiagonalPattern, DensePattern, Pattern, measure
from ebmlang.runtime.linear.selected import inverse_diagonal

Array = NDArray[Any]

SMOOTHER = """model smoother(n: int, d: int) {
  observed x : real[n, d]
  shared observed w : real[d]
  latent z : real[n, d]
  for t in 0..n   { energy fit[t] = 0.5 * dot(w, (x[t] - z[t]) * (x[t] - z[t])) }
  for t in 0..n-1 { energy move[t] = 1.5 * ||z[t+1] - z[t]||^2 + 0.3 * sum(z[t+1]) * sum(z[t]) }
  energy anchor = 2 * ||z||^2
  marginalize z at beta = 2
}"""


def hessian_of(n: int, d: int, w: Array) -> Array:
    """The matrix of the smoother, entry by entry of its definition."""
    h = np.zeros((n, d, n, d))
    for t in range(n):
        h[t, :, t, :] += np.diag(w) + 4 * np.eye(d)
    for t in range(n - 1):
        for a, b, sign in ((t, t, 1), (t + 1, t + 1, 1), (t, t + 1, -1), (t + 1, t, -1)):
            h[a, :, b, :] += sign * 3 * np.eye(d)
        h[t, :, t + 1, :] += 0.3
        h[t + 1, :, t, :] += 0.3
    return h.reshape(n * d, n * d)


@pytest.mark.parametrize(("n", "d"), [(4, 1), (200, 1), (60, 3)])
def test_a_smoother_equals_the_dense_formula(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    x, w = rng.normal(size=(2, n, d)), rng.random(d) + 0.5
    found = ebmlang.loads(SMOOTHER).marginal(x=x, w=w, dtype="float64")
    h = hessian_of(n, d, w)
    inverse = np.linalg.inv(h)
    for row in range(2):
        right = (w * x[row]).reshape(-1)
        mean = inverse @ right
        least = 0.5 * (w * x[row] ** 2).sum() - 0.5 * right @ mean
        log_z = -2 * least - 0.5 * np.linalg.slogdet(2 * h / (2 * np.pi))[1]
        assert float(found.log_z[row]) == pytest.approx(log_z, rel=1e-10)
        assert float(found.energy[row]) == pytest.approx(-log_z / 2, rel=1e-10)
        np.testing.assert_allclose(found["z"][row].numpy().reshape(-1), mean, atol=1e-10)
        deviation = np.sqrt(np.diag(inverse) / 2).reshape(n, d)
        np.testing.assert_allclose(found.deviations["z"][row].numpy(), deviation, atol=1e-10)
        np.testing.assert_allclose(found.covariances["z"][row].numpy(), inverse / 2, atol=1e-10)
    assert found.status == ("exact: integrated in closed form",) * 2


def test_a_long_chain_has_deviations_without_a_covariance() -> None:
    n = 5000
    x = np.zeros((1, n, 1))
    found = ebmlang.loads(SMOOTHER).marginal(x=x, w=[1.0], dtype="float64")
    assert "z" not in found.covariances
    # Far from the ends the chain is stationary: the variance is an integral over frequencies.
    theta = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    spectrum = 5 + 6 - 2 * (3 - 0.3) * np.cos(theta)
    middle = float(found.deviations["z"][0, n // 2, 0])
    assert middle == pytest.approx(np.sqrt((1 / (2 * spectrum)).mean()), rel=1e-9)


def test_a_density_integrates_to_what_scipy_says() -> None:
    text = """model m() {
      shared observed P : psd[2, 2]
      observed mu : real[2]
      latent z : real[2]
      energy e = 0.5 * dot(z - mu, P @ (z - mu))
    }""".replace("psd[2, 2]", "real[2, 2]")
    precision = np.array([[2.0, 0.7], [0.7, 1.1]])
    found = ebmlang.loads(text).marginal(P=precision, mu=[[0.3, -1.0]], find=["z"], dtype="float64")
    top = stats.multivariate_normal([0.3, -1.0], np.linalg.inv(precision)).logpdf([0.3, -1.0])
    assert float(found.log_z[0]) == pytest.approx(-top, rel=1e-12)


def test_given_entries_are_conditioned_on() -> None:
    text = """model m(n: int) {
      observed y : real[n] missing
      shared observed P : real[n, n]
      energy e = 0.5 * dot(y, P @ y)
    }"""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 5))
    precision = root @ root.T + np.eye(5)
    y = rng.normal(size=(3, 5))
    y[rng.random((3, 5)) < 0.5] = np.nan
    y[2] = [0.1, 0.2, np.nan, 0.4, 0.5]
    found = ebmlang.loads(text).marginal(y=y, P=precision, dtype="float64")
    for row in range(3):
        free = np.isnan(y[row])
        inner = precision[np.ix_(free, free)]
        right = -precision[np.ix_(free, ~free)] @ y[row][~free]
        mean = np.linalg.solve(inner, right)
        known = y[row][~free]
        least = 0.5 * known @ precision[np.ix_(~free, ~free)] @ known - 0.5 * right @ mean
        log_z = -least - 0.5 * np.linalg.slogdet(inner / (2 * np.pi))[1]
        assert float(found.log_z[row]) == pytest.approx(log_z, rel=1e-11)
        np.testing.assert_allclose(found["y"][row].numpy()[free], mean, atol=1e-12)
        np.testing.assert_allclose(found["y"][row].numpy()[~free], known, atol=0)
        deviation = np.sqrt(np.diag(np.linalg.inv(inner)))
        np.testing.assert_allclose(found.deviations["y"][row].numpy()[free], deviation, atol=1e-12)
        assert (found.deviations["y"][row].numpy()[~free] == 0).all()


def test_free_energies_are_differentiable_in_what_is_given() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      observed a : real[n]
      latent z : real[n]
      energy e = 0.5 * ||y - z||^2 + exp(a[0]) * ||z||^2 + 0.5 * dot(a * z, a * z) + 0.1 * sum(z)^2
    }"""
    rng = np.random.default_rng(4)
    y = torch.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    a = torch.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    model = ebmlang.loads(text)

    def energy(y: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return model.marginal(y=y, a=a, find=["z"], beta=1.7).energy

    assert torch.autograd.gradcheck(energy, (y, a), atol=1e-7)


FLAT = """model m(n: int) {
  observed x : real[n]
  latent z : real[n]
  energy pull = dot(x, z)
  for t in 0..n-1 { energy move[t] = (z[t+1] - z[t])^2 }
}"""


def test_a_free_direction_is_named_and_no_number_is_given() -> None:
    found = ebmlang.loads(FLAT).marginal(x=np.ones((2, 3)), find=["z"])
    assert torch.isposinf(found.log_z).all()
    assert torch.isnan(found["z"]).all()
    assert torch.isnan(found.deviations["z"]).all()
    for sentence in found.status:
        assert sentence.startswith("infinite: the energy does not curve along z[0] + z[1] + z[2]")


def test_a_downward_direction_is_named() -> None:
    text = FLAT.replace("dot(x, z)", "x[0] * 0 - z[1]^2 + 5 * z[0]^2 + 5 * z[2]^2")
    found = ebmlang.loads(text).marginal(x=np.ones((1, 3)), find=["z"])
    assert torch.isposinf(found.log_z).all() or found.status[0].startswith("exact")
    text = FLAT.replace("dot(x, z)", "x[0] * 0 - 10 * z[1]^2 + 5 * z[0]^2 + 5 * z[2]^2")
    found = ebmlang.loads(text).marginal(x=np.ones((1, 3)), find=["z"])
    assert torch.isposinf(found.log_z).all()
    assert "curves downwards along" in found.status[0]
    assert "z[1]" in found.status[0]


@pytest.mark.parametrize("energy", ["||z||^4", "||z||_1", "sum(exp(z))"])
def test_what_is_no_gaussian_is_refused(energy: str) -> None:
    text = FLAT.replace("dot(x, z)", f"{energy} + dot(x, z)")
    with pytest.raises(DataError, match=r"z cannot be integrated out: .*no polynomial of degree 2"):
        ebmlang.loads(text).marginal(x=np.ones((1, 3)), find=["z"])


def test_bounds_are_refused() -> None:
    text = FLAT.replace("latent z : real[n]", "latent z : real[n] in nonnegative")
    with pytest.raises(DataError, match="z cannot be integrated out"):
        ebmlang.loads(text).marginal(x=np.ones((1, 3)), find=["z"])


@pytest.mark.parametrize(
    "pattern",
    [
        BandedPattern(70, 1),
        BandedPattern(71, 3, np.random.default_rng(0).permutation(71)),
        BandedPattern(70, 0),
        BlockTridiagonalPattern(30, 3, np.random.default_rng(1).permutation(90)),
        DensePattern(20),
    ],
)
def test_the_diagonal_of_an_inverse(pattern: Pattern) -> None:
    rng = np.random.default_rng(2)
    n = pattern.size
    full = np.zeros((3, n, n))
    position = np.arange(n)
    order = getattr(pattern, "order", None)
    if order is not None:
        position = np.argsort(order)
    reach = position[:, None] - position[None]
    near = np.abs(reach) <= getattr(pattern, "bandwidth", n)
    if isinstance(pattern, BlockTridiagonalPattern):
        near = np.abs(position[:, None] // 3 - position[None] // 3) <= 1
    noise = rng.normal(size=(3, n, n)) * near
    full = noise + noise.transpose(0, 2, 1) + np.eye(n) * 3 * np.sqrt(n)
    exact = torch.from_numpy(full)
    matrix = measure(pattern, lambda v: v @ exact, 3)
    found = inverse_diagonal(matrix, matrix.factor())
    assert found is not None
    expected = np.linalg.inv(full).diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
