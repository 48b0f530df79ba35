"""Small laws whose moments are known, and short ways to draw from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime import posing
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.samplers.randomness import GeneratorPerRow
from ebmlang.runtime.samplers.target import Target, target_of

F64 = torch.float64

GAUSSIAN = """model m(n: int) {
  observed y : real[n]
  latent z : real[n] = 0
  energy near = 1/2 * ||z - y||^2
  energy even = 2 * (z[0] - z[1])^2
  sample z }"""

PAIR = torch.tensor([[1.0, -0.5, 2.0], [0.0, 1.0, 4.0]], dtype=F64)

ISING = """model m(n: int) {
  observed h : real[n]
  shared observed w : real[2, 3]
  latent s : bool[n]
  latent c : class[3]
  energy field = sum(where(s, -h, 0))
  for t in 0..n-1 { energy pair[t] = where(s[t] == s[t+1], -0.7, 0) }
  energy tie = where(s[0], w[0, c], w[1, c])
  sample s, c }"""

TIE = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.5, -0.5]], dtype=F64)

FIELD = torch.tensor([[0.5, -1.0, 0.3], [1.0, 0.0, -0.4]], dtype=F64)


COUPLED = {"h": FIELD, "w": TIE}


def gaussian_moments(y: Tensor) -> tuple[Tensor, Tensor]:
    """Means [B, n] and covariance [n, n] of GAUSSIAN, from its Hessian."""
    size = y.shape[1]
    hessian = torch.eye(size, dtype=F64)
    hessian[:2, :2] += 4 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=F64)
    covariance = torch.linalg.inv(hessian)
    return y @ covariance, covariance


def problem_of(text: str, data: Mapping[str, Any]) -> Problem:
    """The problem of all latents of a model in float64."""
    model = ebmlang.loads(text)
    asked = model.asked(None, frozenset(data), None, None, frozenset())
    _, module = model.compiled(asked, None)
    settings = model.settings(data, "float64", None, None, None)
    return posing.make_problem(model.bound(module, data, settings, frozenset()), {})


def chains_of(text: str, data: Mapping[str, Any], chains: int) -> tuple[Target, GeneratorPerRow]:
    """The target of a model with every row `chains` times, and its randomness."""
    problem = problem_of(text, data)
    rows = problem.space.rows
    target = target_of(problem).select(torch.arange(rows).repeat_interleave(chains))
    return target, GeneratorPerRow(0, "test", np.arange(rows), chains, F64, torch.device("cpu"))


def assert_mean(
    draws: Tensor, expected: Tensor | float, effective: Tensor | float, *, sigmas: float = 5.0
) -> None:
    """Means over chains and draws [chains, draws, ...] against what is expected, with the error of a mean of
    `effective` independent draws."""
    mean, deviation = draws.double().mean((0, 1)), draws.double().flatten(0, 1).std(0)
    error = deviation / torch.as_tensor(effective, dtype=F64).sqrt()
    off = (mean - torch.as_tensor(expected, dtype=F64)).abs()
    assert bool((off <= sigmas * error + 1e-12).all()), (mean, expected, off / error)
