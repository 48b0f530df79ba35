"""Gradients that steps ask for without the energy multiply with reciprocals that are made once."""

from __future__ import annotations

import linecache

import numpy as np
import torch

import ebmlang
from ebmlang.questions import ask_samples
from ebmlang.runtime import posing
from ebmlang.runtime.samplers.target import Target, target_of
from tests.numeric.gallery import Array

NARROW = """
model narrow(n: int, w: real in positive = 2.0) {
  shared observed s : real[n] in positive
  observed        y : real[n]
  observed        t : real[n] in positive
  latent          z : real[n] = 0
  energy scaled = 1/2 * sum((z / s)^2)
  energy own    = w * sum(((z - y) / t)^4) / n
  for i in 0..n-1 { energy link[i] = (z[i+1] - z[i])^2 / s[i] }
  sample z
}
"""


def target(values: dict[str, Array], dtype: str) -> tuple[Target, str]:
    model = ebmlang.loads(NARROW)
    asked = ask_samples(model.checked, None, frozenset(values), None, None, frozenset())
    _, module = model.compiled(asked, None)
    settings = model.settings(values, dtype, None, 0, None)
    bound = model.bound(module, values, settings, frozenset())
    lines = linecache.getlines(module.MODEL.gradient.__code__.co_filename)
    text = "".join(lines).partition("    def gradient(")[2].partition("    def ")[0]
    return target_of(posing.make_problem(bound, {})), text


def drawn() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    s, t = rng.uniform(0.2, 3.0, size=5), rng.uniform(0.2, 3.0, size=(4, 5))
    return {"s": s, "t": t, "y": rng.normal(size=(4, 5))}


def test_no_array_is_divided_by_and_the_gradient_is_that_of_the_energy() -> None:
    values = drawn()
    found, text = target(values, "float64")
    assert text
    assert "/ s" not in text
    assert "/ t" not in text
    z = torch.tensor(np.random.default_rng(1).normal(size=(4, 5)), requires_grad=True)
    s, t, y = (torch.tensor(values[n]) for n in "sty")
    energy = 0.5 * (z / s).square().sum() + 2.0 * ((z - y) / t).pow(4).sum() / 5
    energy = energy + (z.diff(dim=1).square() / s[:-1]).sum()
    (wanted,) = torch.autograd.grad(energy, z)
    with torch.no_grad():
        for slope in (found.gradient, found.slope(), found.problem.slope()):
            assert torch.allclose(slope(z.detach()), wanted, rtol=1e-12, atol=1e-12)


def test_a_scale_whose_square_is_no_number() -> None:
    values = {"s": np.full(5, 1e-25), "t": np.ones((1, 5)), "y": np.zeros((1, 5))}
    found, _ = target(values, "float32")
    with torch.no_grad():
        slope = found.problem.gradient(torch.full((1, 5), 1e-25))
    assert np.allclose(slope.numpy(), 1e25, rtol=1e-5)
