"""Huber total variation of scikit-learn's china.jpg in grey, 427 x 640, with noise, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from sklearn import datasets
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.rivals.contest import Absent, Contest, Loop, Rival, available
from benchmarks.rivals.loops import adam, lbfgs

W, DELTA = 8.0, 0.02


def contests() -> list[Contest]:
    """One contest."""
    picture = datasets.load_sample_image("china.jpg").mean(-1) / 255
    y = picture + 0.05 * np.random.default_rng(0).normal(size=picture.shape)
    model = ebmlang.load(ROOT / "benchmarks" / "models" / "total_variation.ebm", w=W, delta=DELTA)
    data = torch.tensor(y, dtype=torch.float32)
    seen = data.double().numpy()

    def energy(x: Any) -> float:
        x = np.asarray(x, dtype=np.float64).reshape(seen.shape)
        return float(
            0.5 * ((x - seen) ** 2).sum()
            + W * _huber(np.diff(x, axis=0)).sum()
            + W * _huber(np.diff(x)).sum()
        )

    def objective(x: Tensor) -> Tensor:
        down = F.huber_loss(x[1:], x[:-1], reduction="sum", delta=DELTA)
        right = F.huber_loss(x[:, 1:], x[:, :-1], reduction="sum", delta=DELTA)
        return 0.5 * (x - data).square().sum() + W * (down + right)

    by_hand = "accelerated gradient by hand in PyTorch"
    rivals: tuple[Rival, ...] = (
        Loop("autograd + Adam", lambda n, lr: adam(objective, data, n, lr), (0.003, 0.01), 32, 2.0),
        Loop("torch.optim.LBFGS", lambda n: lbfgs(objective, data, n), (), 8),
        Loop(by_hand, lambda n: _by_hand(data, n), (), 8),
        _jax(y),
    )
    return [
        Contest(
            "Huber total variation 427 x 640",
            lambda: model.infer(y=data).x.numpy(),
            energy,
            rivals,
            {by_hand: 1.0},
            loosened=lambda tol: model.infer(y=data, tol=tol).x.numpy(),
        )
    ]


def _huber(r: NDArray[np.float64]) -> Any:
    return np.where(np.abs(r) <= DELTA, 0.5 * r * r, DELTA * (np.abs(r) - 0.5 * DELTA))


def _by_hand(y: Tensor, steps: int) -> Any:
    """Nesterov's method for strong convexity 1 and Lipschitz constant 1 + 8 w, written to reuse memory."""
    steepest = 1 + 8 * W
    step = 1 / steepest
    momentum = (steepest**0.5 - 1) / (steepest**0.5 + 1)
    x, v = y.clone(), y.clone()
    g, down, right = torch.empty_like(y), torch.empty_like(y[1:]), torch.empty_like(y[:, 1:])
    bound = DELTA * W
    for _ in range(steps):
        torch.sub(v, y, out=g)
        torch.sub(v[1:], v[:-1], out=down).mul_(W).clamp_(-bound, bound)
        torch.sub(v[:, 1:], v[:, :-1], out=right).mul_(W).clamp_(-bound, bound)
        g[1:] += down
        g[:-1] -= down
        g[:, 1:] += right
        g[:, :-1] -= right
        moved = torch.add(v, g, alpha=-step)
        v = torch.add(moved, moved - x, alpha=momentum)
        x = moved
    return x.numpy()


def _jax(y: NDArray[np.float64]) -> Rival:
    if not available("jax"):
        return Absent("the same in jax, compiled", "jax")
    import jax
    import jax.numpy as jnp

    seen = jnp.asarray(y, jnp.float32)
    steepest = 1 + 8 * W
    momentum = (steepest**0.5 - 1) / (steepest**0.5 + 1)

    def energy(x: Any) -> Any:
        def huber(r: Any) -> Any:
            return jnp.where(jnp.abs(r) <= DELTA, 0.5 * r * r, DELTA * (jnp.abs(r) - 0.5 * DELTA)).sum()

        return 0.5 * ((x - seen) ** 2).sum() + W * (huber(jnp.diff(x, axis=0)) + huber(jnp.diff(x)))

    @jax.jit
    def run(steps: Any) -> Any:
        def body(_: Any, pair: Any) -> Any:
            x, v = pair
            moved = v - jax.grad(energy)(v) / steepest
            return moved, moved + momentum * (moved - x)

        return jax.lax.fori_loop(0, steps, body, (seen, seen))[0]

    return Loop("the same in jax, compiled", lambda n: np.asarray(run(n)), (), 8)
