"""`amortize`: predictions of what a search finds, their losses, and searches that begin at them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

import ebmlang
from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source
from ebmlang.errors import ModelError
from tests.draws import normal

RIDGE = """model ridge(n: int, k: int = 3) {
  observed y : real[n]
  shared observed D : real[n, k]
  latent z : real[k]
  param A : real[k, n]
  energy fit = ||y - D @ z||^2
  regularizer small = 0.5 * ||z||^2
  infer z
  amortize z = A @ y BY using lbfgs(max_iter = 60)
}"""


@pytest.mark.parametrize("by", ["", "by regression", "by energy"])
def test_a_linear_prediction_of_a_linear_answer_is_exact(by: str) -> None:
    """Both losses are least at the matrix of the ridge solution, which is linear in y."""
    y, d = normal(40, 4), normal(4, 3, seed=1)
    model = ebmlang.loads(RIDGE.replace("BY", by)).bind(y=y, D=d)
    model.fit(y=y, D=d, steps=3)
    exact = np.stack([Ridge(alpha=0.5, fit_intercept=False).fit(d, e).coef_ for e in np.eye(4)], 1)
    torch.testing.assert_close(
        model.value("A").detach().double(), torch.as_tensor(exact), rtol=1e-4, atol=1e-4
    )


def test_the_loss_stops_at_what_was_found() -> None:
    y, d = normal(10, 4), normal(4, 3, seed=1)
    model = ebmlang.loads(RIDGE.replace("BY", "")).bind(y=y, D=d)
    with torch.no_grad():
        model.value("A").copy_(normal(3, 4, seed=2))
    a = model.value("A").detach().double().requires_grad_()
    found = model.infer(y=y, D=d)["z"]
    expected = (found - y @ a.T).square().sum(-1).mean()
    loss = model(y=y, D=d)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(loss, model.value("A"))
    (wanted,) = torch.autograd.grad(expected, a)
    torch.testing.assert_close(slope.double(), wanted, rtol=1e-5, atol=1e-5)


def _cubic(y: float) -> float:
    """The real root of z^3 + z = y."""
    roots = np.roots([1, 0, 1, -y])
    return float(np.real(roots[np.argmin(abs(np.imag(roots)))]))


def test_a_search_begins_at_its_prediction() -> None:
    text = """model bent(n: int) {
      observed y : real[n]
      latent z : real[n] = 0
      param a : real[n] = 1
      energy e = sum((z^3 + z - y)^2)
      infer z using lbfgs
      amortize z = a * y by energy
    }"""
    y = normal(6, 3)
    exact = torch.tensor([[_cubic(v) for v in row] for row in y.tolist()], dtype=torch.float64)
    model = ebmlang.loads(text).bind(y=y)
    far = model.infer(y=y)
    torch.testing.assert_close(far["z"], exact, rtol=1e-6, atol=1e-6)
    one = y[:1]
    with torch.no_grad():
        model.value("a").copy_(exact[0] / y[0])
    near = model.infer(y=one)
    assert int(near.iterations[0]) < int(far.iterations[0])
    assert int(near.iterations[0]) <= 1


VAE = """model linear_vae(n: int, k: int = 2) {
  observed y : real[n]
  latent z : real[k]
  param W : real[n, k] = normal()
  param m : real[n]
  param t : real = 0
  param A : real[k, n] = normal(0, 0.1)
  param a : real[k]
  param s : real[k] = -1
  energy likelihood = 1/2 * exp(-t) * ||y - W @ z - m||^2 + n / 2 * (t + log(2 * pi))
  energy prior = 1/2 * ||z||^2 + k / 2 * log(2 * pi)
  amortize bound: z ~ normal(A @ (y - m) + a, exp(s)) using adam(lr = 0.02)
  train using adam(lr = 0.02)
}"""


def rows() -> Tensor:
    return normal(800, 2) @ normal(5, 2, seed=1).T + 0.5 * normal(800, 5, seed=2) + 1


def best_likelihood(y: Tensor) -> float:
    """Of probabilistic PCA, in closed form (Tipping & Bishop 1999)."""
    values = torch.linalg.eigvalsh(torch.cov(y.T, correction=0)).flip(0)
    noise = values[2:].mean()
    return float(-0.5 * (5 * math.log(2 * math.pi) + values[:2].log().sum() + 3 * noise.log() + 5))


def test_the_evidence_bound_reaches_the_likelihood() -> None:
    y = rows()
    model = ebmlang.loads(VAE, seed=0).bind(y=y)
    model.fit(y=y, steps=350)
    model.fit(y=y, steps=150, lr=0.002)
    with torch.no_grad():
        found = np.mean([float(model(y=y, objective="bound", seed=seed)) for seed in range(40)])
    best = best_likelihood(y)
    assert -found <= best + 0.01
    assert -found >= best - 0.01


def test_the_bound_is_an_energy_less_an_entropy() -> None:
    y, noise = rows()[:7], normal(7, 2, seed=5)
    model = ebmlang.loads(VAE, seed=0).bind(y=y)
    value = {name: model.value(name).detach().double() for name in ("A", "a", "s", "m")}
    deviation = value["s"].exp()
    z = (y - value["m"]) @ value["A"].T + value["a"] + deviation * noise
    entropy = torch.distributions.Normal(torch.zeros(2).double(), deviation).entropy().sum()
    expected = model.energy(y=y, z=z).mean() - entropy
    found = model(y=y, bound_evidence_noise=noise, objective="bound")
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-6, atol=1e-6)


MISTAKES = {
    "reads the unknown": ("latent w : real\n  amortize z = A @ y + w", "E0545.*it reads the unknown `w`"),
    "another distribution": ("amortize z ~ uniform(0, 1)", "E0901"),
    "nothing to train": ("amortize z = D.T @ y", "E0545.*nothing that can be trained"),
    "of": ("amortize z = A @ y of fit", "follows from `by`"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    line, message = MISTAKES[name]
    text = RIDGE.replace("amortize z = A @ y BY using lbfgs(max_iter = 60)", line)
    with pytest.raises(ModelError, match=f"(?s){message}"):
        ebmlang.loads(text)


def test_what_moves() -> None:
    """A prediction does not bend what the energy is made of."""
    from ebmlang.compiler.training import targets_of

    (model,) = check_source(Source("<text>", VAE)).models
    assert [targets_of(model, q) for q in model.questions] == [("A", "a", "s"), ("W", "m", "t")]


PART = """model code(n: int, k: int) {
  observed y : real[n]
  observed D : real[n, k]
  latent z : real[k]
  energy fit = ||y - D @ z||^2
  regularizer small = 0.5 * ||z||^2
}

model whole(n: int, k: int = 3) {
  observed y : real[n]
  shared observed D : real[n, k]
  param A : real[k, n]
  use code as part_of with y = y, D = D
  infer part_of.z
  amortize part_of.z = A @ y BY using lbfgs(max_iter = 60)
}"""


@pytest.mark.parametrize("by", ["", "by regression", "by energy"])
def test_unknowns_of_parts_are_predicted(by: str) -> None:
    """The same prediction as in one model, and searches that begin at it."""
    y, d = normal(40, 4), normal(4, 3, seed=1)
    model = ebmlang.loads(PART.replace("BY", by)).bind(y=y, D=d)
    model.fit(y=y, D=d, steps=3)
    exact = torch.linalg.solve(d.T @ d + 0.5 * torch.eye(3, dtype=d.dtype), d.T)
    torch.testing.assert_close(model.value("A").detach().double(), exact, rtol=1e-4, atol=1e-4)


def test_values_of_parts_are_replaced() -> None:
    text = PART.replace("  infer", "  let moved = (||y - D @ part_of.z||^2 with part_of.z = A @ y)\n  infer")
    y, d = normal(5, 4), normal(4, 3, seed=1)
    model = ebmlang.loads(text.replace("BY", "")).bind(y=y, D=d)
    a = normal(3, 4, seed=2)
    model.preset({"A": a})
    wanted = (y - y @ a.T @ d.T).square().sum(-1)
    torch.testing.assert_close(model.infer(y=y, D=d)["moved"].double(), wanted, rtol=1e-5, atol=1e-5)
