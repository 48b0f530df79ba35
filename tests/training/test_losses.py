"""Losses by name: their values against formulas in torch and brute force, and what they recover."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler.losses.neighbours import NEIGHBOURS
from ebmlang.compiler.losses.slopes import SLOPES
from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source
from ebmlang.errors import ModelError
from tests.draws import normal
from tests.numeric.gallery import ROOT

DECLARED = """model shapes(n: int = 3, m: int = 2, K: int = 4, s: real in positive = 0.3) {
  observed y : real[n]
  observed M : real[n, m]
  observed q : real
  observed b : bool[n]
  observed B : bool[n, m]
  observed w : bool
  observed c : class[K][n]
  observed k : class[K]
  net f : real[n] -> real = mlp([6], act = tanh)
  param J : real[n, n] = normal()
  param U : real[K, n] = normal()
  param V : real[n, m] = normal()
  param g : real = 0.7
  fn spins(b: bool[n]) -> real[n] = 2 * b - 1
  energy real_part = g * f(y) + 1/4 * sum(y^4) + sum(V * M^2) + g * q^2 * y[0] + s * g * sum(square(tanh(M)))
  energy spin_part = dot(spins(b), J @ spins(b)) + sum(V * B) + g * B[0, 0] * B[1, 0] + g * w * b[1]
  energy class_part = sum(U[c[i], i], over = i in 0..n) + g * onehot(c[0], K)[1] * b[0] + U[k, 0] * q
  cost never = 100 * g
  LINE
}"""

DATA: dict[str, Any] = {
    "y": normal(5, 3),
    "M": normal(5, 3, 2, seed=1),
    "q": normal(5, seed=2),
    "b": normal(5, 3, seed=3) > 0,
    "B": normal(5, 3, 2, seed=4) > 0,
    "w": normal(5, seed=5) > 0,
    "c": torch.tensor([[0, 1, 3], [2, 2, 1], [1, 1, 1], [3, 0, 2], [0, 0, 3]]),
    "k": torch.tensor([0, 1, 2, 3, 3]),
}
COUNTABLE = ("ratio_matching", "min_probability_flow", "pseudo_likelihood")


def posed(line: str) -> tuple[Any, Any]:
    """A model with the line, and its energy without costs as a function of the data."""
    model = ebmlang.loads(DECLARED.replace("LINE", line), seed=3).bind(DATA)
    terms = ("real_part", "spin_part", "class_part")

    def energy(**changed: Tensor) -> Tensor:
        found = model.terms({**DATA, **changed})
        return torch.stack([found[name] for name in terms]).sum(0)

    return model, energy


def slope(energy: Any, name: str, value: Tensor) -> Tensor:
    moved = value.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(energy(**{name: moved}).sum(), moved, create_graph=True)
    return found


def bend(energy: Any, name: str, value: Tensor) -> Tensor:
    """The Hessian of every row, [B, N, N]."""
    moved = value.detach().clone().requires_grad_()
    (first,) = torch.autograd.grad(energy(**{name: moved}).sum(), moved, create_graph=True)
    flat = first.reshape(len(value), -1)
    rows = [torch.autograd.grad(flat[:, i].sum(), moved, retain_graph=True)[0] for i in range(flat.shape[1])]
    return torch.stack([r.reshape(len(value), -1) for r in rows], 1)


@pytest.mark.parametrize("name", ["y", "M", "q"])
def test_score_matching(name: str) -> None:
    model, energy = posed(f"train g by score_matching({name})")
    value = DATA[name]
    first = slope(energy, name, value).reshape(5, -1)
    second = bend(energy, name, value).diagonal(dim1=1, dim2=2).sum(-1)
    expected = (0.5 * first.square().sum(-1) - second).mean()
    torch.testing.assert_close(model(DATA), expected)


@pytest.mark.parametrize("name", ["y", "M", "q"])
def test_denoising(name: str) -> None:
    model, energy = posed(f"train g by denoising({name}, sigma = s / 2)")
    value = DATA[name]
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    found = slope(energy, name, value + 0.15 * noise)
    expected = 0.5 * (0.15 * found - noise).square().reshape(5, -1).sum(-1).mean()
    torch.testing.assert_close(model({**DATA, "denoising_noise": noise}), expected)


@pytest.mark.parametrize("name", ["y", "M"])
@pytest.mark.parametrize("count", [1, 3])
def test_sliced(name: str, count: int) -> None:
    model, energy = posed(f"train other: g by sliced({name}, n = {count})")
    value = DATA[name]
    shape = (5, *(() if count == 1 else (count,)), *value.shape[1:])
    along = torch.randn(shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    first, second = slope(energy, name, value).reshape(5, -1), bend(energy, name, value)
    directions = along.reshape(5, count, -1)
    curved = torch.einsum("bki,bij,bkj->b", directions, second, directions) / count
    expected = (0.5 * first.square().sum(-1) - curved).mean()
    torch.testing.assert_close(model({**DATA, "other_sliced_direction": along}), expected)


def flips(name: str) -> list[Tensor]:
    value = DATA[name]
    found = []
    for place in itertools.product(*(range(size) for size in value.shape[1:])):
        other = value.clone()
        other[(slice(None), *place)] = ~other[(slice(None), *place)]
        found.append(other)
    return found


@pytest.mark.parametrize("loss", COUNTABLE)
@pytest.mark.parametrize("name", ["b", "B", "w"])
def test_losses_of_neighbours(loss: str, name: str) -> None:
    """Every neighbour is made and its energy taken, one after the other."""
    model, energy = posed(f"train g by {loss}({name})")
    here = energy()
    gaps = torch.stack([here - energy(**{name: other}) for other in flips(name)])
    expected = {
        "ratio_matching": 1 / (1 + torch.exp(-gaps)) ** 2,
        "min_probability_flow": torch.exp(gaps / 2),
        "pseudo_likelihood": -torch.log(torch.exp(-gaps) / (1 + torch.exp(-gaps))),
    }[loss]
    torch.testing.assert_close(model(DATA), expected.sum(0).mean())


@pytest.mark.parametrize("name", ["c", "k"])
def test_pseudo_likelihood_of_classes(name: str) -> None:
    model, energy = posed(f"train U by pseudo_likelihood({name})")
    value = DATA[name]
    expected = torch.zeros(5, dtype=torch.float64)
    for place in itertools.product(*(range(size) for size in value.shape[1:])):
        scores = []
        for case in range(4):
            other = value.clone()
            other[(slice(None), *place)] = case
            scores.append(-energy(**{name: other}))
        chosen = value[(slice(None), *place)]
        expected -= torch.log_softmax(torch.stack(scores, -1), -1).gather(-1, chosen[:, None])[:, 0]
    torch.testing.assert_close(model(DATA), expected.mean())


def test_a_named_loss_is_the_written_one() -> None:
    """The text that `explain` shows may stand after `of` itself; costs are the one difference."""
    for row in (*SLOPES, *NEIGHBOURS):
        name = "b" if "bool" in row.kinds else "y"
        line = f"train g by {row.name}({name})"
        (checked,) = check_source(Source("<text>", DECLARED.replace("LINE", line))).models
        named = checked.questions[0].loss
        assert named is not None
        draws = "\n".join(f"random {draw} : real[n] ~ normal()" for draw in named.draws)
        written = DECLARED.replace("LINE", f"{draws}\n  train g of {named.text}")
        data = {**DATA, **{draw: normal(5, 3, seed=9) for draw in named.draws}}
        one = ebmlang.loads(DECLARED.replace("LINE", line), seed=3).bind(DATA)
        other = ebmlang.loads(written.replace("cost never = 100 * g", ""), seed=3).bind(DATA)
        assert float(one(data).detach()) == float(other(data).detach()), row.name


# --- what they recover --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "steps", "slack"), [("exact", 5, 1e-5), ("some", 600, 0.05), ("noisy", 600, 0.05)]
)
def test_score_matching_finds_a_gaussian(objective: str, steps: int, slack: float) -> None:
    """The minimiser in closed form: mean and inverse covariance (Hyvärinen 2005, section 3.1).

    The noise of denoising adds to the covariance (Vincent 2011, section 4.2).
    """
    mixing = torch.tensor([[1.0, 0, 0], [0.5, 0.8, 0], [-0.2, 0.3, 0.6]], dtype=torch.float64)
    y = normal(500, 3) @ mixing.T + 0.5
    model = ebmlang.load(ROOT / "models" / "gallery" / "training" / "score_matching.ebm").bind(y=y)
    if steps > 5:
        model.fit(y=y, objective=objective, steps=steps // 2, lr=0.05)
    model.fit(y=y, objective=objective, steps=steps)
    centred = y - y.mean(0)
    noise = 0.3**2 if objective == "noisy" else 0.0
    exact = torch.linalg.inv(centred.T @ centred / 500 + noise * torch.eye(3))
    size = float(exact.abs().max())
    assert float((model.value("P").detach() - exact).abs().max()) <= slack * size
    assert float((model.value("m").detach() - y.mean(0)).abs().max()) <= slack


ISING = """model ising(n: int) {
  observed x : bool[n]
  param J : real[n, n]
  param h : real[n]
  fn spins(b: bool[n]) -> real[n] = 2 * b - 1
  for i in 0..n, j in 0..n if i < j { energy pair[i, j] = -J[i, j] * spins(x)[i] * spins(x)[j] }
  energy field = -dot(h, spins(x))
  train by LOSS(x) using lbfgs(max_iter = 60)
}"""


@pytest.mark.parametrize("loss", COUNTABLE)
def test_couplings_of_an_ising_model(loss: str) -> None:
    """Exact draws of a known model; each estimate is no further off than twice that of maximum likelihood."""
    n, rng = 5, np.random.default_rng(0)
    true_j, true_h = np.triu(rng.normal(0, 0.4, (n, n)), 1), rng.normal(0, 0.3, n)
    states = np.array(list(itertools.product((False, True), repeat=n)))
    spins = 2.0 * states - 1
    weights = np.exp(np.einsum("si,ij,sj->s", spins, true_j, spins) + spins @ true_h)
    drawn = rng.choice(len(states), size=20_000, p=weights / weights.sum())
    data = spins[drawn]

    def likelihood(parameters: Tensor) -> Tensor:
        j, h = torch.triu(parameters[: n * n].reshape(n, n), 1), parameters[n * n :]

        def score(s: Tensor) -> Tensor:
            return torch.einsum("si,ij,sj->s", s, j, s) + s @ h

        normaliser = torch.logsumexp(score(torch.as_tensor(spins)), 0)
        return normaliser - score(torch.as_tensor(data)).mean()

    best = torch.zeros(n * n + n, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([best], max_iter=100, line_search_fn="strong_wolfe")

    def look() -> Tensor:
        optimiser.zero_grad()
        value = likelihood(best)
        value.backward()
        return value

    optimiser.step(look)
    found = best.detach().numpy()
    error = max(np.abs(np.triu(found[: n * n].reshape(n, n), 1) - true_j).max(), 0.025)
    model = ebmlang.loads(ISING.replace("LOSS", loss)).bind(x=states[drawn])
    model.fit(x=states[drawn], steps=3)
    couplings = np.triu(model.value("J").detach().numpy(), 1)
    assert np.abs(couplings - true_j).max() <= 2 * error


# --- mistakes -----------------------------------------------------------------------------------


def test_unknowns_inside_are_refused_and_given_ones_are_not() -> None:
    text = """model inside(n: int = 2) {
      observed y : real[n]
      latent z : real[n]
      param W : real[n, n] = normal()
      energy e = ||y - W @ z||^2 + ||z||^2
      train W by score_matching(y)
      infer z
    }"""
    y, z = normal(4, 2), normal(4, 2, seed=1)
    model = ebmlang.loads(text, seed=1).bind(y=y)
    with pytest.raises(ModelError, match=r"E0545.*`z` would be found anew"):
        model.fit(y=y, steps=1)
    residual = y - z @ model.value("W").detach().T
    expected = (0.5 * (2 * residual).square().sum(-1) - 4).mean()
    torch.testing.assert_close(model(y=y, z=z).double(), expected, rtol=1e-5, atol=1e-5)
