"""Contrastive divergence: what is drawn, the gradient, what is learnt, and runs that go on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import ebmlang
from tests.draws import normal

RBM = """model machine(n: int, h: int = 2) {
  observed v : bool[n]
  latent   z : bool[h]
  param W : real[n, h] = normal(0, 0.1)
  param b : real[n]
  param c : real[h]
  energy joint = -dot(v, W @ z) - dot(b, v) - dot(c, z)
  marginalize z
  train by contrastive_divergence(v, sampler = gibbs(steps = 1), persistent = true) using adam(lr = 1e-9)
}"""


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def free_energy(v: Tensor, w: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return -(v @ b) - softplus(v @ w + c).sum(-1)


def drawn_by(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Negatives of the steps to come."""
    from ebmlang.runtime.training.negatives import Chains

    seen: list[Tensor] = []
    draw = Chains.draw

    def watched(self: Chains, *arguments: Any) -> Tensor:
        seen.append(draw(self, *arguments).clone())
        return seen[-1]

    monkeypatch.setattr(Chains, "draw", watched)
    return seen


def test_chains_of_a_machine_have_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against every state counted; the bound is five standard deviations of a share of independent draws."""
    x = np.repeat([[False] * 3, [True] * 3], 200, axis=0)
    model = ebmlang.loads(RBM).bind(v=x)
    with torch.no_grad():
        model.value("W").copy_(torch.tensor([[2.0, -1.0], [1.0, 1.0], [-1.0, 2.0]]))
        model.value("b").copy_(torch.tensor([0.5, -1.0, 0.3]))
        model.value("c").copy_(torch.tensor([-0.5, 0.2]))
    seen = drawn_by(model, monkeypatch)
    model.fit(v=x, steps=30)
    w, b, c = (model.value(name).detach().double() for name in "Wbc")
    law = torch.softmax(-free_energy(states(3), w, b, c), 0)
    found = torch.cat(seen[9::4]).double() @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    shares = torch.bincount(found.long(), minlength=8) / len(found)
    slack = 5 * (law * (1 - law) / len(found)).sqrt()
    assert bool(((shares - law).abs() <= slack).all()), (shares, law)


def test_the_gradient_is_that_of_two_free_energies(monkeypatch: pytest.MonkeyPatch) -> None:
    x = (normal(20, 3) > 0).numpy()
    model = ebmlang.loads(RBM, seed=4).bind(v=x)
    seen = drawn_by(model, monkeypatch)
    loss = model(v=x, dtype="float64")
    slopes = torch.autograd.grad(loss, [model.value(name) for name in "Wbc"])
    own = [model.value(name).detach().double().requires_grad_() for name in "Wbc"]
    value = free_energy(torch.as_tensor(x).double(), *own).mean()
    value = value - free_energy(seen[0].double(), *own).mean()
    torch.testing.assert_close(loss.double(), value)
    for slope, wanted in zip(slopes, torch.autograd.grad(value, own), strict=True):
        torch.testing.assert_close(slope.double(), wanted, rtol=1e-5, atol=1e-6)


def test_one_step_begins_at_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sweep from v is p(v' | h) of p(h | v): counted over many equal rows (Hinton 2002)."""
    rows = 4000
    x = np.zeros((rows, 2), dtype=bool)
    x[:, 0] = True
    text = RBM.replace(", persistent = true", "")
    model = ebmlang.loads(text).bind(v=x)
    w = torch.tensor([[3.0, -2.0], [1.0, 2.0]], dtype=torch.float64)
    with torch.no_grad():
        model.value("W").copy_(w)
    seen = drawn_by(model, monkeypatch)
    model(v=x)
    (found,) = seen
    hidden = states(2)
    chance = torch.sigmoid(torch.tensor([1.0, 0.0], dtype=torch.float64) @ w)
    of_h = torch.where(hidden > 0, chance, 1 - chance).prod(-1)
    expected = (of_h[:, None] * torch.sigmoid(hidden @ w.T)).sum(0)
    slack = 5 * (expected * (1 - expected) / rows).sqrt()
    assert bool(((found.double().mean(0) - expected).abs() <= slack).all())


GAUSSIAN = """model gaussian(n: int) {
  observed y : real[n]
  param P : real[n, n] in positive_definite
  param m : real[n]
  energy e = 1/2 * dot(y - m, P @ (y - m))
  train by contrastive_divergence(y, sampler = hmc(step = 0.4, leapfrogs = 6), persistent = true)
}"""


def test_maximum_likelihood_with_hamiltonian_negatives() -> None:
    """The covariance of a Gaussian within 3 %, against the one of the data."""
    mixing = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    y = normal(2000, 2) @ mixing.T + 1
    model = ebmlang.loads(GAUSSIAN).bind(y=y)
    model.fit(y=y, steps=150, lr=0.03)
    model.fit(y=y, steps=150, lr=0.003)
    found = torch.linalg.inv(model.value("P").detach())
    wanted = torch.cov(y.T)
    assert float((found - wanted).abs().max()) <= 0.03 * float(wanted.abs().max())


def test_a_run_that_is_cut_goes_on_with_its_chains(tmp_path: Path) -> None:
    x = (normal(12, 3) > 0).numpy()
    text = RBM.replace("1e-9", "0.05")
    whole = ebmlang.loads(text, seed=1).bind(v=x)
    whole.fit(v=x, steps=12, batch_size=5, checkpoint=tmp_path / "whole")
    part = ebmlang.loads(text, seed=1).bind(v=x)
    part.fit(v=x, steps=7, batch_size=5, checkpoint=tmp_path / "part")
    again = ebmlang.loads(text, seed=1).bind(v=x)
    again.fit(v=x, steps=12, batch_size=5, checkpoint=tmp_path / "part")
    for name in "Wbc":
        assert torch.equal(whole.value(name), again.value(name)), name
