"""Parameters of parts are trained like others, by names with dots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from tests.training.programs import batches

STACK = """
model pull(d: int) {
  observed h : real[d]
  param c : real[d] = normal()
  energy near = 0.1 * ||h - c||^2
}

model block(d: int) {
  observed x : real[d]
  param    W : real[3, d] in sphere
  latent   z : real[3] in simplex
  energy match  = -dot(z, W @ x)
  energy spread = -entropy(z)
  let y = x + W.T @ z
}

model deep(d: int, L: int = 2) {
  observed x : real[d]
  observed t : real[d]
  param b : real[d]
  let h : real[L+1, d]
  let h[0] = x
  for l in 0..L { part layer[l] = block(d = d) }
  for l in 0..L {
    solve layer[l] as out[l] with x = h[l]
    let h[l+1] = out[l].y
  }
  use pull as reg with h = h[L]
  energy fit = ||h[L] + b - t||^2
  train whole: using sgd(lr = 0.05)
  train some: reg.c using sgd(lr = 0.05)
}
"""


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


def test_a_stack_of_parts_beside_a_loop() -> None:
    x, t = rows(20, 4), rows(20, 4, seed=1)
    m = ebmlang.loads(STACK, model="deep").bind(x=x, t=t)
    assert {name for name, _ in m.named_parameters()} == {"b", "layer.W", "reg.c"}
    names = ("b", "layer.W", "reg.c")
    b, w, c = (m.value(n).detach().clone().requires_grad_() for n in names)
    curve = []
    for batch in batches(20, 6, 0, 3, None):
        h = x[torch.from_numpy(batch.rows)]
        target = t[torch.from_numpy(batch.rows)]
        for layer in w:
            h = h + torch.softmax(h @ layer.T, -1) @ layer
        near = 0.1 * (h - c).square().sum(1)
        loss = ((h + b - target).square().sum(1) + near).mean()
        gradients = list(torch.autograd.grad(loss, [b, w, c]))
        curve.append(loss.item())
        with torch.no_grad():
            gradients[1] -= w * (w * gradients[1]).sum(-1, keepdim=True)
            for p, g in zip((b, w, c), gradients, strict=True):
                p -= 0.05 * g
            w /= w.norm(dim=-1, keepdim=True)
    history = m.fit(x=x, t=t, epochs=3, batch_size=6, objective="whole")
    np.testing.assert_allclose(history.loss, curve, rtol=1e-10)
    np.testing.assert_allclose(m.value("layer.W").detach(), w.detach(), rtol=1e-8)
    assert history.names == ("reg.near", "fit")


def test_one_parameter_of_a_part() -> None:
    x, t = rows(20, 4), rows(20, 4, seed=1)
    m = ebmlang.loads(STACK, model="deep").bind(x=x, t=t)
    before = {n: p.detach().clone() for n, p in m.named_parameters()}
    m.fit(x=x, t=t, epochs=2, objective="some")
    moved = {n for n, p in m.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"reg.c"}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here")
def test_an_accelerator_finds_the_same() -> None:
    x, t = rows(20, 4), rows(20, 4, seed=1)
    here, there = (ebmlang.loads(STACK, model="deep") for _ in range(2))
    one = here.fit(x=x, t=t, epochs=3, batch_size=6, objective="whole")
    two = there.fit(x=x, t=t, epochs=3, batch_size=6, objective="whole", device="cuda")
    assert there.value("b").is_cuda
    np.testing.assert_allclose(one.loss, two.loss, rtol=1e-9)
    there.project()
