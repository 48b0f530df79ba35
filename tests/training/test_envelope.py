"""The gradient of the loss against finite differences of it, for every kind of search inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


HEAD = "  observed y : real[3]\n  param W : real[3] = 0.5 * normal()\n"

PROGRAMS = {
    "quadratic": """latent z : real[3]
  energy fit = ||y - W * z||^2
  energy size = 0.3 * ||z||^2 + dot(W, z)""",
    "newton": """latent z : real[3]
  energy fit = sum(softplus(-y * z * W)) + 0.1 * ||z||^2 + ||W - z||^2""",
    "fista": """latent z : real[3] = 0
  energy fit = ||y - W * z||^2 + 0.2 * ||z||^2
  energy few = 0.1 * ||z||_1""",
    "box": """latent z : real[3] in [0, 0.4]
  energy fit = ||y - W - z||^2""",
    "softmax": """latent z : real[3] in simplex
  energy fit = -dot(z, y * W) - entropy(z)
  regularizer size = ||W||^2""",
    "gauss_newton": """latent z : real[2] = 0.1
  energy fit = huber(y[0] - W[0] * z[0], delta = 0.5) + huber(y[1] - sin(z[1]) * W[1], delta = 0.5)
  energy size = 0.5 * ||z||^2 + W[2]^2""",
    "rollout": """latent a : real[4]
  let s : real[5, 3]
  let s[0] = y
  for t in 0..4 { let s[t+1] = W * s[t] + a[t] }
  for t in 0..4 { energy step[t] = ||s[t+1]||^2 + 0.5 * a[t]^2 }""",
    "constraint": """latent z : real[3]
  energy fit = ||y - W - z||^2 + 0.1 * ||W * z||^2
  subject to budget : sum(z) == 1
  subject to some : z >= -0.2""",
    "blocks": """latent u : real[3] = 1
  latent v : real = 1
  energy fit = ||y + 3 - W * u * v||^2
  energy size = 0.5 * ||u||^2 + 0.5 * v^2""",
    "countable": """latent c : class[3][2]
  energy fit = sum((y[0..2] - W[c])^2) + 0.3 * where(c[0] == c[1], 1, 0)""",
    "countable and real": """latent c : class[3]
  latent z : real
  energy fit = (y[0] - z)^2 + (z - 2 * W[c])^2 + 0.1 * z^2
  energy rest = ||W||^2""",
    "summed": """latent c : class[3][2]
  energy fit = sum((y[0..2] - W[c])^2) + 0.3 * where(c[0] == c[1], 1, 0)
  marginalize c""",
    "integrated": """latent z : real[2]
  energy fit = (y[0] - W[0] * z[0])^2 + (y[1] - W[1] * z[1] + z[0])^2 + 0.5 * ||z||^2 + W[2]^2
  marginalize z at beta = 2""",
    "for the batch": """latent z : real[3] per batch
  energy fit = ||y - W * z||^2 + 0.1 * ||z||^2""",
    "minimum written out": """energy fit = min((y[0] - W[c])^2 + 0.1 * c, over = c in 0..3) + ||W||^2""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_gradient(program: str) -> None:
    y = rows(5, 3, seed=1)
    m = ebmlang.loads(f"model m() {{\n{HEAD}  {program}\n}}", seed=2).bind(y=y)
    w = m.value("W")
    loss = m(y=y)
    loss.backward()
    found, step = w.grad, 1e-5
    assert found is not None
    for at in range(3):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                w[at] += sign * step
                ends.append(m(y=y).item())
                w[at] -= sign * step
        assert found[at].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=3e-5)
