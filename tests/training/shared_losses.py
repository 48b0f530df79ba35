"""A quick model for every loss by name, and for what a run carries from step to step: the cases that several
processes are compared in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


_REAL = """model shaped(n: int) {
  observed y : real[n]
  random u : real[n] ~ normal(0, 2)
  net f : real[n] -> real = mlp([5], act = tanh)
  param p : real[n] in positive = 1
  energy e = dot(p, y^2) / 2 + f(y)
  train by LOSS using adam(lr = 0.05)
}
"""

_BITS = """model spins(n: int) {
  observed y : bool[n]
  param W : real[n, n] = normal()
  param b : real[n]
  energy e = -dot(y, W @ y) - dot(b, y)
  train by LOSS using adam(lr = 0.05)
}
"""

_CLASSES = """model classes(n: int) {
  observed x : real[n]
  observed k : class[3]
  param V : real[3, n] = normal()
  energy e = -dot(V[k], x)
  train by LOSS using adam(lr = 0.05)
}
"""

_MACHINE = """model machine(n: int) {
  observed y : bool[n]
  latent z : bool[3]
  param W : real[n, 3] = normal()
  energy e = -dot(y, W @ z)
  marginalize z
  train by LOSS using adam(lr = 0.05)
}
"""

_PREDICTED = """model predicted(n: int) {
  observed y : real[n]
  latent z : real[2]
  param W : real[n, 2] = normal()
  param A : real[2, n] = normal()
  energy e = ||y - W @ z||^2 + 0.1 * ||z||^2
  LINE using adam(lr = 0.05)
}
"""

_TOGETHER = """model together(n: int) {
  observed y : real[n]
  latent z : real[n] per batch
  param w : real[n] = 1
  batch energy fit = sum(w^2 * mean((y - z)^2, over = batch)) + sum((z - w)^2)
  infer z
  train using adam(lr = 0.05)
}
"""

_CARRIED = """import std.spread
model carried(n: int) {
  observed y : real[n]
  random e : real[n] ~ normal()
  net enc : real[n] -> real[2] = mlp([6], act = tanh)
  net late : real[n] -> real[2] = ema(enc, 0.9)
  state queue : real[20, 2] = normal()
  update queue = concat(queue[2..20], stack(late(y), over = batch)[0..2])
  state centre : real[2] = 0
  update centre = 0.9 * centre + 0.1 * mean(enc(y), over = batch)
  let u = enc(y + 0.1 * e)
  use spread.spread as wide with u = u
  latent z : real[2] = 0
  state code : real[2] = 0
  update code = 0.5 * code + 0.5 * mean(z, over = batch)
  energy near = ||u - centre - stop(late(y))||^2
  energy far = logsumexp(queue @ u)
  energy coded = ||z + code - u||^2 + 0.1 * ||z||^4
  train using adamw(lr = 0.02, average = 0.9)
}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """`loss` is the name in the table of losses, empty where the case is about something else."""

    loss: str
    text: str
    data: Mapping[str, Any]
    course: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 2, "batch_size": 9})


Y = rows(23, 3)
_BOOLEAN = {"y": (Y > 0).numpy()}
_CHOICE = {"x": Y, "k": np.arange(23) % 3}


def _of(text: str, data: Mapping[str, Any], loss: str) -> Case:
    return Case(loss.partition("(")[0], text.replace("LOSS", loss), data)


_LANGEVIN = "sampler = langevin(steps = 2, step = 0.1)"

CASES: dict[str, Case] = {
    "score matching": _of(_REAL, {"y": Y}, "score_matching(y)"),
    "denoising": _of(_REAL, {"y": Y}, "denoising(y, sigma = 0.3)"),
    "sliced": _of(_REAL, {"y": Y}, "sliced(y, n = 2)"),
    "noise contrast": _of(_REAL, {"y": Y}, "nce(y, noise = u)"),
    "picking the data": _of(_REAL, {"y": Y}, "info_nce(y, noise = u)"),
    "energy discrepancy": _of(_REAL, {"y": Y}, "energy_discrepancy(y, sigma = 0.3, n = 2)"),
    "ratio matching": _of(_BITS, _BOOLEAN, "ratio_matching(y)"),
    "probability flow": _of(_BITS, _BOOLEAN, "min_probability_flow(y)"),
    "pseudo-likelihood": _of(_BITS, _BOOLEAN, "pseudo_likelihood(y)"),
    "likelihood of a class": _of(_CLASSES, _CHOICE, "nll(k)"),
    "margin": _of(_CLASSES, _CHOICE, "margin(k, form = log)"),
    "chains from the data": _of(_REAL, {"y": Y}, f"contrastive_divergence(y, {_LANGEVIN})"),
    "chains that persist": _of(
        _REAL, {"y": Y}, f"contrastive_divergence(y, {_LANGEVIN}, persistent = true, refresh = 0.2)"
    ),
    "spins that persist": _of(
        _MACHINE, _BOOLEAN, "contrastive_divergence(y, sampler = gibbs(steps = 1), persistent = true)"
    ),
    "amortized by regression": Case(
        "regression", _PREDICTED.replace("LINE", "infer z\n train W\n amortize z = A @ y"), {"y": Y}
    ),
    "amortized by energy": Case(
        "energy", _PREDICTED.replace("LINE", "amortize z = A @ y by energy"), {"y": Y}
    ),
    "evidence": Case(
        "evidence", _PREDICTED.replace("LINE", "train W\n amortize z ~ normal(A @ y, 0.1)"), {"y": Y}
    ),
    "one search for all": Case("", _TOGETHER, {"y": Y}),
    "what is carried": Case("", _CARRIED, {"y": Y}),
}
