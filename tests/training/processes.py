"""What `test_processes.py` runs in one process and in two: `python -m tests.training.processes WHAT OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

import ebmlang
from ebmlang.commands.processes import joined, leave
from ebmlang.data import write
from ebmlang.runtime.training.peers import peers_here
from tests.training.shared_losses import CASES, Case, rows

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


SEARCHED = """model searched(n: int, k: int = 3) {
  observed y : real[n]
  latent   z : real[k] = 0
  param D : real[n, k] in unit_columns = normal()
  param b : real[n] = normal()
  net dec : real[k] -> real[n] = mlp([5], act = tanh)
  energy fit = ||y - b - D @ z - 0.1 * dec(z)||^2
  regularizer size = 0.2 * ||z||^2
  infer z using lbfgs(steps = 20)
  train using adam(lr = 0.05, clip = 2, accumulate = 2, average = 0.5)
}
"""

X, Y = rows(23, 4), rows(23, 4, seed=1)

MECHANISMS: dict[str, Case] = {
    "dictionary": Case("", DICTIONARY, {"y": Y}, {"epochs": 3, "batch_size": 9, "validate": 0.1}),
    "parts": Case(
        "", DICTIONARY.replace("clip = 2", "accumulate = 2"), {"y": Y}, {"epochs": 2, "batch_size": 9}
    ),
    "spread": Case("", SPREAD, {"x": X, "y": Y}, {"epochs": 3, "batch_size": 9}),
    "contrast": Case("", CONTRAST, {"x": X, "y": Y}, {"epochs": 3, "batch_size": 9}),
    "logistic": Case("", LOGISTIC, {"x": X, "t": Y[:, 0].sign()}, {"steps": 4}),
}

_SHARDED = {"epochs": 2, "batch_size": 9, "shard": True}

SHARDS: dict[str, Case] = {
    "searched": Case("", SEARCHED, {"y": Y}, {**_SHARDED, "validate": 0.1}),
    "carried": Case("", CASES["what is carried"].text, {"y": Y}, _SHARDED),
    "drawn": Case("", CASES["chains that persist"].text, {"y": Y}, _SHARDED),
    "slopes": Case("", CASES["score matching"].text.replace("adam", "sgd"), {"y": Y}, _SHARDED),
    "spread": Case("", SPREAD, {"x": X, "y": Y}, {**_SHARDED, "dtype": "float32"}),
}

WHAT: dict[str, dict[str, Case]] = {"mechanisms": MECHANISMS, "losses": CASES, "shards": SHARDS}


def fitted(cases: dict[str, Case]) -> dict[str, Tensor]:
    """Parameters, states and losses of all of them, by model and name."""
    found: dict[str, Tensor] = {"processes": torch.tensor(peers_here().count)}
    for name, case in cases.items():
        m = ebmlang.loads(case.text, seed=3)
        history = m.fit(case.data, **{"dtype": "float64", **case.course})
        found[f"{name}.loss"] = torch.from_numpy(history.loss)
        found.update({f"{name}.{n}": v.detach().clone() for n, v in m.state_dict().items()})
    return found


def main() -> None:
    what, out = sys.argv[1:]
    with joined(None) as peers:
        found = fitted(WHAT[what])
        if peers.first:
            write(Path(out), {n: v.numpy() for n, v in found.items()})


if __name__ == "__main__":
    main()
    leave(0)
