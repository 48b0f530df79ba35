"""Hopfield recall: 4096 noisy queries, 1024 memories of 64 entries, beta 25, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.rivals.contest import Absent, Contest, Loop, Rival, available
from benchmarks.rivals.loops import adam, lbfgs

BETA = 25.0


def contests() -> list[Contest]:
    """One contest."""
    made = np.random.default_rng(0)
    memory = made.normal(size=(1024, 64))
    memory /= np.linalg.norm(memory, axis=1, keepdims=True)
    query = memory[made.integers(1024, size=4096)] + 0.05 * made.normal(size=(4096, 64))
    model = ebmlang.load(ROOT / "benchmarks" / "models" / "recall.ebm", beta=BETA)
    data = {
        "memory": torch.tensor(memory, dtype=torch.float32),
        "query": torch.tensor(query, dtype=torch.float32),
    }

    def energy(x: NDArray[np.float64]) -> float:
        x = np.asarray(x, dtype=np.float64)
        return float(0.5 * (x * x).sum() - logsumexp(BETA * x @ memory.T, axis=1).sum() / BETA)

    def objective(x: Tensor) -> Tensor:
        return 0.5 * x.square().sum() - torch.logsumexp(BETA * x @ data["memory"].T, 1).sum() / BETA

    start = data["query"]
    by_hand = "attention loop by hand in PyTorch"
    rivals: tuple[Rival, ...] = (
        Loop("autograd + Adam", lambda n, lr: adam(objective, start, n, lr), (0.01, 0.03), 8),
        Loop("torch.optim.LBFGS", lambda n: lbfgs(objective, start, n), (), 2),
        Loop(by_hand, lambda n: _by_hand(data["memory"], start, n), (), 1),
        _jax(memory, query),
    )
    return [
        Contest(
            "Hopfield recall 4096 x 1024 x 64",
            lambda: model.infer(data).x.numpy(),
            energy,
            rivals,
            {by_hand: 0.72},
        )
    ]


def _by_hand(memory: Tensor, x: Tensor, steps: int) -> Any:
    """Ramsauer et al. 2021, equation 3: x <- softmax(beta x M') M."""
    for _ in range(steps):
        x = torch.softmax(BETA * x @ memory.T, 1) @ memory
    return x.numpy()


def _jax(memory: NDArray[np.float64], query: NDArray[np.float64]) -> Rival:
    if not available("jax"):
        return Absent("the same in jax, compiled", "jax")
    import jax
    import jax.numpy as jnp

    M, q = jnp.asarray(memory, jnp.float32), jnp.asarray(query, jnp.float32)

    @jax.jit
    def run(steps: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, x: jax.nn.softmax(BETA * x @ M.T, 1) @ M, q)

    return Loop("the same in jax, compiled", lambda n: np.asarray(run(n)), (), 1)
