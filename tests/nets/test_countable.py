"""Countable unknowns that nets read, and unknowns that are summed out of energies with nets."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.errors import ModelError
from tests.nets.programs import net

CASES = """model cases(n: int = 3, K: int = 4) {
  observed y : real[n]
  latent c : class[K]
  net emb : class[K] -> real[n] = embedding()
  for k in 0..K { net score[k] : real[n] -> real = mlp([4], act = tanh) }
  energy far = ||y - emb(c)||^2
  energy own = score[c](y)
"""


def rows(count: int = 5, n: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(7).normal(size=(count, n)))


def by_states(model: ebmlang.Model, y: Tensor) -> Tensor:
    """The energy of every case, [B, K]."""
    emb, score = (copy.deepcopy(net(model, name)).double() for name in ("emb", "score"))
    found = [(y - emb.weight[k]).square().sum(-1) + score[k](y)[:, 0] for k in range(4)]
    return torch.stack(found, -1)


def test_the_best_case_is_that_of_all_of_them() -> None:
    model = ebmlang.loads(CASES + "infer c }")
    y = rows()
    found = model.infer(y=y)
    energies = by_states(model, y).detach()
    assert torch.equal(found["c"], energies.argmin(-1))
    torch.testing.assert_close(found.energy, energies.amin(-1), rtol=1e-12, atol=1e-12)


def test_the_free_energy_and_its_gradient_in_the_weights() -> None:
    model = ebmlang.loads(CASES + "marginalize c\n train }")
    y = rows()
    model.bind(y=y)
    loss = model(y=y)
    loss.backward()
    emb = copy.deepcopy(net(model, "emb"))
    weight = emb.weight.detach().clone().requires_grad_()
    score = [copy.deepcopy(m) for m in net(model, "score")]
    energies = torch.stack([(y - weight[k]).square().sum(-1) + score[k](y)[:, 0] for k in range(4)], -1)
    free = -torch.logsumexp(-energies, -1).mean()
    free.backward()
    torch.testing.assert_close(loss, free, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net(model, "emb").weight.grad, weight.grad, rtol=1e-10, atol=1e-12)
    history = model.fit(y=y, epochs=5)
    assert history.records[-1].loss < history.records[0].loss


def test_real_unknowns_are_summed_out_of_linear_nets() -> None:
    """-log of the integral of exp(-E): a Gaussian with a covariance from the weights, and its gradient."""
    model = ebmlang.loads("""model factors(n: int = 3, k: int = 2) {
      observed y : real[n]
      latent z : real[k]
      net f : real[k] -> real[n] = linear()
      energy fit = ||y - f(z)||^2 / 2
      regularizer prior = ||z||^2 / 2
      marginalize z
      train
    }""")
    y = rows()
    model.bind(y=y)
    loss = model(y=y)
    loss.backward()
    w, b = (p.detach().clone().requires_grad_() for p in net(model, "f").parameters())
    precision = torch.eye(2).double() + w.T @ w
    mean = torch.linalg.solve(precision, w.T @ (y - b).T).T
    energy = (y - b - mean @ w.T).square().sum(-1) / 2 + mean.square().sum(-1) / 2
    free = energy + torch.linalg.slogdet(precision).logabsdet / 2 - np.log(2 * np.pi)
    free.mean().backward()
    torch.testing.assert_close(loss, free.mean(), rtol=1e-10, atol=1e-10)
    for own, other in zip(net(model, "f").parameters(), (w, b), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-8, atol=1e-10)


def test_control_through_a_linear_net_follows_its_weights() -> None:
    """Nothing of an earlier question is used when weights have changed in between."""
    model = ebmlang.loads("""model lq(T: int = 5, n: int = 2) {
      observed s0 : real[n]
      latent a : real[T]
      net step : (real[n], real) -> real[n] = linear(bias = false)
      let s : real[T+1, n]
      let s[0] = s0
      for t in 0..T {
        let s[t+1] = step(s[t], a[t])
        cost c[t] = ||s[t+1]||^2 + 0.1 * a[t]^2
      }
      infer a
    }""")
    s0 = rows(4, 2)
    for scale in (1.0, 0.5, -2.0):
        model.bind(s0=s0)
        with torch.no_grad():
            net(model, "step").weight.mul_(scale)
        exact = model.infer(s0=s0)
        assert exact.method == "riccati"
        other = model.infer(s0=s0, using="lbfgs", tol=1e-10)
        torch.testing.assert_close(exact.energy, other.energy, rtol=1e-9, atol=1e-10)


def test_a_loss_without_a_gradient_is_refused() -> None:
    text = """model m(n: int = 3) {
      observed y : real[n]
      net f : real[n] -> real = linear()
      energy e = stop(f(y))^2
      train
    }"""
    with pytest.raises(ModelError, match=r"E0542.*its gradient is stopped"):
        ebmlang.loads(text)
