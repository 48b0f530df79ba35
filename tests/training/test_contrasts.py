"""Losses that compare the data with other values, against formulas in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional

import ebmlang
from tests.draws import normal

DECLARED = """model shapes(n: int = 3, m: real = 0.8, s: real in positive = 1.5) {
  observed y : real[n]
  observed k : class[4]
  observed w : bool
  observed x : real[n]
  random u : real[n] ~ normal(0.2, s)
  random us : real[5, n] ~ normal(0.2, s)
  net f : real[n] -> real = mlp([6], act = tanh)
  param V : real[4, n] = normal()
  energy real_part = f(y) + 1/2 * dot(y, y * x)
  energy class_part = dot(V[k], x) + w * sum(V @ x)
  cost never = 1000 * sum(V)
  LINE
}"""
DATA: dict[str, Any] = {
    "y": normal(5, 3),
    "x": normal(5, 3, seed=1).abs(),
    "w": normal(5, seed=2) > 0,
    "k": torch.tensor([0, 1, 2, 3, 3]),
    "u": normal(5, 3, seed=3),
    "us": normal(5, 5, 3, seed=4),
}


def posed(line: str) -> tuple[Any, Any]:
    """A model with the line, and its energy without costs."""
    model = ebmlang.loads(DECLARED.replace("LINE", line), seed=3).bind(DATA)

    def energy(**changed: Tensor) -> Tensor:
        found = model.terms({**DATA, **changed})
        return found["real_part"] + found["class_part"]

    return model, energy


def classes(energy: Any) -> Tensor:
    """The energy of every class, [5, 4]."""
    return torch.stack([energy(k=torch.full((5,), case)) for case in range(4)], -1)


def test_noise_contrastive_estimation() -> None:
    model, energy = posed("train f by nce(y, noise = u)")
    noise = Normal(torch.tensor(0.2).double(), torch.tensor(1.5).double())
    here = -energy() - noise.log_prob(DATA["y"]).sum(-1)
    there = -energy(y=DATA["u"]) - noise.log_prob(DATA["u"]).sum(-1)
    expected = -(functional.logsigmoid(here) + functional.logsigmoid(-there)).mean()
    torch.testing.assert_close(model(DATA), expected)


def test_picking_among_draws() -> None:
    """Cross-entropy of the data as the first of six choices."""
    model, energy = posed("train f by info_nce(y, noise = us)")
    others = torch.stack([energy(y=DATA["us"][:, j]) for j in range(5)], -1)
    scores = -torch.cat((energy()[:, None], others), -1)
    expected = functional.cross_entropy(scores, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(model(DATA), expected)
    one, energy = posed("train f by info_nce(y, noise = u)")
    pair = -torch.stack((energy(), energy(y=DATA["u"])), -1)
    torch.testing.assert_close(one(DATA), functional.cross_entropy(pair, torch.zeros(5, dtype=torch.int64)))


def test_likelihood_of_a_class() -> None:
    model, energy = posed("train V by nll(k)")
    torch.testing.assert_close(model(DATA), functional.cross_entropy(-classes(energy), DATA["k"]))
    binary, energy = posed("train V by nll(w)")
    gap = energy(w=~DATA["w"]) - energy()
    torch.testing.assert_close(binary(DATA), -functional.logsigmoid(gap).mean())


def test_likelihood_by_draws() -> None:
    """Importance weights of draws whose density is known, one set for every row."""
    model, energy = posed("train f by nll(y, noise = us)")
    noise = Normal(torch.tensor(0.2).double(), torch.tensor(1.5).double())
    there = [-energy(y=DATA["us"][:, j]) - noise.log_prob(DATA["us"][:, j]).sum(-1) for j in range(5)]
    expected = energy() + torch.logsumexp(torch.stack(there, -1), -1) - torch.log(torch.tensor(5.0))
    torch.testing.assert_close(model(DATA), expected.mean())


def test_the_sampled_normaliser_is_that_of_a_gaussian() -> None:
    """log Z of a Gaussian is n/2 log(2 pi) - 1/2 log det P; the slack is five standard errors."""
    text = """model gaussian(n: int) {
      observed y : real[n]
      random u : real[20000, n] per batch ~ normal(0, 2)
      param P : real[n, n] in positive_definite
      energy e = 1/2 * dot(y, P @ y)
      train P by nll(y, noise = u)
    }"""
    P = torch.tensor([[1.5, 0.4], [0.4, 0.8]], dtype=torch.float64)
    y, u = normal(6, 2), 2 * normal(20_000, 2, seed=1)
    model = ebmlang.loads(text).bind(y=y)
    model.preset({"P": P})
    quadratic = 0.5 * torch.einsum("bi,ij,bj->b", y, P, y)
    log_z = torch.log(torch.tensor(2 * torch.pi)) - 0.5 * torch.logdet(P)
    log_q = Normal(torch.tensor(0.0).double(), torch.tensor(2.0).double()).log_prob(u).sum(-1)
    weights = torch.exp(-0.5 * torch.einsum("bi,ij,bj->b", u, P, u) - log_q)
    slack = 5 * float(weights.std() / weights.mean()) / 20_000**0.5
    assert slack < 0.1
    assert abs(float(model(y=y, u=u).detach()) - float(quadratic.mean() + log_z)) < slack


FORMS: dict[str, Any] = {
    "hinge": lambda here, there: torch.relu(0.8 + here - there),
    "log": lambda here, there: torch.log1p(torch.exp(here - there)),
    "square_square": lambda here, there: here**2 + torch.relu(0.8 - there) ** 2,
    "perceptron": lambda here, there: here - torch.minimum(here, there),
}


@pytest.mark.parametrize("form", FORMS)
def test_margins(form: str) -> None:
    """Of the lowest wrong class, of the other of two values, and of a value that is named."""
    model, energy = posed(f"train V by margin(k, m = m, form = {form})")
    scores = classes(energy)
    wrong = scores.masked_fill(functional.one_hot(DATA["k"], 4).bool(), torch.inf).min(-1).values
    torch.testing.assert_close(model(DATA), FORMS[form](energy(), wrong).mean())
    binary, energy = posed(f"train V by margin(w, m = m, form = {form})")
    torch.testing.assert_close(binary(DATA), FORMS[form](energy(), energy(w=~DATA["w"])).mean())
    named, energy = posed(f"train f by margin(y, other = x / 2, m = m, form = {form})")
    torch.testing.assert_close(named(DATA), FORMS[form](energy(), energy(y=DATA["x"] / 2)).mean())


def test_energy_discrepancy() -> None:
    model, energy = posed("train f by energy_discrepancy(y, sigma = 0.3, n = 4, w = 2)")
    near, far = normal(5, 3, seed=8), normal(5, 4, 3, seed=9)
    moved = [energy(y=DATA["y"] + 0.3 * (near + far[:, j])) for j in range(4)]
    gaps = energy()[:, None] - torch.stack(moved, -1)
    expected = torch.log(2 / 4 + gaps.exp().mean(-1)).mean()
    given = {**DATA, "energy_discrepancy_near": near, "energy_discrepancy_far": far}
    torch.testing.assert_close(model(given), expected)


def test_noise_contrast_finds_the_normaliser() -> None:
    """Of a Gaussian with an offset for log Z: within 0.02 of n/2 log(2 pi) - 1/2 log det P."""
    text = """model gaussian(n: int) {
      observed y : real[n]
      random u : real[n] ~ normal(0, 1.5)
      param p : real[n] in positive = 1
      param c : real
      energy e = 1/2 * dot(p, y^2) + c
      train p, c by nce(y, noise = u) using adam(lr = 0.02)
    }"""
    y = normal(20_000, 2) * torch.tensor([0.8, 1.2], dtype=torch.float64)
    model = ebmlang.loads(text).bind(y=y)
    model.fit(y=y, steps=250)
    model.fit(y=y, steps=100, lr=0.002)
    exact = torch.log(torch.tensor(2 * torch.pi)) + torch.log(y.square().mean(0).sqrt()).sum()
    assert abs(float(model.value("c").detach()) - float(exact)) < 0.02


# --- densities and values with another gradient --------------------------------------------------

DENSITIES = """model densities(n: int = 3) {
  observed y : real[n]
  observed b : bool[n]
  observed c : class[3][n]
  random u : real[n] ~ normal(y, 2)
  random v : real[n] ~ uniform(-1, 3)
  random w : bool[n] ~ bernoulli(0.3)
  random k : class[3][n] ~ categorical([0.2, 0.5, 0.3])
  random o : real ~ normal()
  let of_u = logp(u)
  let of_v = (logp(v) with v = y)
  let of_w = (logp(w) with w = b)
  let of_k = (logp(k) with k = c)
  let of_o = logp(o)
  let of_one = logp(u[1])
  let step = straight_through(round(y), 2 * y)
  let slope = grad(dot(step, y), y)
  energy e = of_u
}"""


def test_log_densities() -> None:
    y, u, o = normal(6, 3), normal(6, 3, seed=1), normal(6, seed=2)
    c = torch.arange(18).reshape(6, 3) % 3
    found = ebmlang.loads(DENSITIES).infer(y=y, b=y > 0, c=c, u=u, o=o, find=[])
    two, zero = torch.tensor(2.0).double(), torch.tensor(0.0).double()
    torch.testing.assert_close(found["of_u"], Normal(y, two).log_prob(u).sum(-1))
    torch.testing.assert_close(found["of_one"], Normal(y, two).log_prob(u)[:, 1])
    torch.testing.assert_close(found["of_o"], Normal(zero, zero + 1).log_prob(o))
    outside = (y < -1).any(-1) | (y > 3).any(-1)
    expected = torch.where(outside, -torch.inf, -3 * torch.log(zero + 4))
    torch.testing.assert_close(found["of_v"], expected)
    chances = torch.where(y > 0, zero + 0.3, zero + 0.7)
    torch.testing.assert_close(found["of_w"], chances.log().sum(-1))
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    torch.testing.assert_close(found["of_k"], weights[c].log().sum(-1))


def test_a_value_with_the_gradient_of_another() -> None:
    y = normal(6, 3)
    found = ebmlang.loads(DENSITIES).infer(y=y, b=y > 0, c=torch.zeros(6, 3).long(), find=[])
    assert torch.equal(found["step"], y.round())
    torch.testing.assert_close(found["slope"], y.round() + 2 * y)
