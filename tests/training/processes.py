"""What `test_processes.py` runs in one process and in two: `python -m tests.training.processes OUT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed

import ebmlang
from ebmlang.data import write
from ebmlang.runtime.training.peers import peers_here


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


DICTIONARY = """model dictionary(n: int, k: int = 3) {
  observed y : real[n]
  latent   z : real[k] = 0
  param D : real[n, k] in unit_columns = normal()
  param s : real in positive = 1
  random e : real[n] ~ normal()
  state centre : real[n] = 0
  update centre = 0.8 * centre + 0.2 * mean(y + e, over = batch)
  energy fit = s * ||y + 0.1 * e - centre - D @ z||^2 - 5 * log(s)
  regularizer size = 0.2 * ||z||_1
  regularizer small = 0.1 * sum(D^2)
  infer z
  train using adam(lr = 0.05, clip = 2)
}
"""

SPREAD = """import std.spread
model spread(n: int) {
  observed x : real[n]
  observed y : real[n]
  net enc : real[n] -> real[3] = mlp([6], act = gelu, dropout = 0.1)
  let u = enc(x)
  let v = enc(y)
  energy same = ||u - v||^2
  use spread.spread as a with u = u
  batch energy wide = -sum(log(0.1 + std(v, over = batch))) + sum(max(v, over = batch)^2)
  train using adam(lr = 0.01)
}
"""

CONTRAST = """model contrast(n: int) {
  observed x : real[n]
  observed y : real[n]
  net enc : real[n] -> real[3] = mlp([6], act = tanh)
  let keys = stack(enc(y), over = batch)
  let score = dot(enc(x), enc(y)) - logsumexp(keys @ enc(x))
  batch energy nce = -mean(score, over = batch)
  train using sgd(lr = 0.1, momentum = 0.9)
}
"""

LOGISTIC = """model logistic(n: int) {
  observed x : real[n]
  observed t : real
  param w : real[n]
  energy loss = softplus(-t * dot(w, x))
  regularizer size = 0.1 * ||w||^2
  train using lbfgs(max_iter = 3)
}
"""


def fitted() -> dict[str, Tensor]:
    """Parameters, states and losses of all of them, by model and name."""
    x, y = rows(23, 4), rows(23, 4, seed=1)
    found: dict[str, Tensor] = {"processes": torch.tensor(peers_here().count)}
    for name, text, data, course in (
        ("dictionary", DICTIONARY, {"y": y}, {"epochs": 3, "batch_size": 9, "validate": 0.1}),
        ("parts", DICTIONARY.replace("clip = 2", "accumulate = 2"), {"y": y}, {"epochs": 2, "batch_size": 9}),
        ("spread", SPREAD, {"x": x, "y": y}, {"epochs": 3, "batch_size": 9}),
        ("contrast", CONTRAST, {"x": x, "y": y}, {"epochs": 3, "batch_size": 9}),
        ("logistic", LOGISTIC, {"x": x, "t": y[:, 0].sign()}, {"steps": 4}),
    ):
        m = ebmlang.loads(text, seed=3)
        history = m.fit(data, **course)
        found[f"{name}.loss"] = torch.from_numpy(history.loss)
        found.update({f"{name}.{n}": v.detach().clone() for n, v in m.state_dict().items()})
    return found


def main() -> None:
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    found = fitted()
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        write(Path(sys.argv[1]), {n: v.numpy() for n, v in found.items()})
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
