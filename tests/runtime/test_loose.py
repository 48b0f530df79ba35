"""A tolerance that is set by hand is taken at its word, and an energy without end is none the less found."""

from __future__ import annotations

import torch

import ebmlang
from tests.draws import normal

CHAIN = """model chain(T: int) {
  observed y : real[T]
  latent x : real[T]
  for t in 0..T { energy data[t] = huber(x[t] - 10 * y[t]) }
  for t in 0..T-1 { energy smooth[t] = 5 * huber(x[t+1] - x[t]) }
  infer x using lbfgs
}"""


def test_a_loose_search_is_no_longer_than_a_tight_one() -> None:
    y = normal(3, 40)
    model = ebmlang.loads(CHAIN)
    counts = [int(model.infer(y=y, tol=tol).iterations.max()) for tol in (1e-1, 1e-3, 1e-6, 1e-9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_a_loose_search_still_sees_a_fall_without_end() -> None:
    text = """model endless(n: int) {
      observed y : real[n]
      latent x : real[n] in positive = 0.001
      energy fall = -sum(log(x) + 0 * y)
      infer x
    }"""
    found = ebmlang.loads(text).infer(y=normal(2, 3), tol=1e-3)
    assert not bool(found.converged.any())


def test_a_small_energy_is_not_taken_at_its_word() -> None:
    text = """model small(n: int) {
      observed y : real[n]
      latent x : real[n] = 5
      energy fit = 1e-12 * sum(log(cosh(x - y)))
      infer x
    }"""
    y = normal(2, 3)
    found = ebmlang.loads(text).infer(y=y, tol=1e-3)
    torch.testing.assert_close(found["x"], y, rtol=0.05, atol=0.05)
