"""A robust chain in float64: Huber data and Huber smoothness, 10,000 and 100,000 nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from scipy.linalg import lapack, solveh_banded
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.rivals.contest import Absent, Contest, Loop, Rival, available
from benchmarks.rivals.loops import adam, lbfgs

W = 10.0
Array = NDArray[np.float64]


def contests() -> list[Contest]:
    """Both lengths, and ten million nodes are for a quieter machine."""
    return [_contest(length) for length in (10_000, 100_000)]


def _contest(length: int) -> Contest:
    made = np.random.default_rng(0)
    y = 2 * np.sin(np.arange(length) / 50) + 0.3 * made.normal(size=length)
    y[made.random(length) < 0.05] += 10.0
    model = ebmlang.load(ROOT / "models" / "gallery" / "smoothing_chain.ebm", w=W)
    data = torch.tensor(y)

    def energy(x: Array) -> float:
        x = np.asarray(x, dtype=np.float64).reshape(-1)
        return float(_huber(x - y).sum() + W * _huber(np.diff(x)).sum())

    def objective(x: Tensor) -> Tensor:
        return F.huber_loss(x, data, reduction="sum") + W * F.huber_loss(x[1:], x[:-1], reduction="sum")

    banded = "Newton by hand, scipy solveh_banded"
    rivals: tuple[Rival, ...] = (
        Loop("autograd + Adam", lambda n, lr: adam(objective, data, n, lr), (0.03, 0.1), 64, 2.0),
        Loop("torch.optim.LBFGS", lambda n: lbfgs(objective, data, n), (), 32, 2.0),
        Loop(banded, lambda n: _newton(y, n), (), 2, 2.0),
        Loop("damped Newton by hand, LAPACK pttrf", lambda n: _damped(y, n), (), 2, 2.0),
        _jax(y),
    )
    return Contest(
        f"robust chain of {length:,}",
        lambda: model.infer(y=data).x.numpy(),
        energy,
        rivals,
        {banded: 1.0},
        loosened=lambda tol: model.infer(y=data, tol=tol).x.numpy(),
    )


def _huber(r: Array) -> Array:
    return np.where(np.abs(r) <= 1, 0.5 * r * r, np.abs(r) - 0.5)


def _newton(y: Array, steps: int) -> Array:
    """Newton from the data, with halving of the step; curvature of the linear parts kept just above 0."""
    x, bands = y.copy(), np.empty((2, len(y)))
    value = float(_huber(x - y).sum() + W * _huber(np.diff(x)).sum())
    for _ in range(steps):
        r, d = x - y, np.diff(x)
        slope = np.clip(r, -1, 1)
        pull = W * np.clip(d, -1, 1)
        slope[1:] += pull
        slope[:-1] -= pull
        stiff = W * (np.abs(d) <= 1)
        bands[0, 0] = 0.0
        bands[0, 1:] = -stiff
        bands[1] = (np.abs(r) <= 1) + 1e-6
        bands[1, 1:] += stiff
        bands[1, :-1] += stiff
        move = solveh_banded(bands, -slope, check_finite=False)
        step = 1.0
        while step > 1e-8:
            trial = x + step * move
            after = float(_huber(trial - y).sum() + W * _huber(np.diff(trial)).sum())
            if after <= value:
                x, value = trial, after
                break
            step *= 0.5
    return x


def _damped(y: Array, steps: int) -> Array:
    """The steps that ours takes, by hand: from 0, with the damping of Levenberg and Marquardt instead of a
    line search."""

    def evaluated(x: Array) -> tuple[float, Array, Array, Array]:
        r, d = x - y, np.diff(x)
        inner, pull = np.clip(r, -1, 1), np.clip(d, -1, 1)
        value = inner @ r - 0.5 * (inner @ inner) + W * (pull @ d - 0.5 * (pull @ pull))
        pull *= W
        slope = inner
        slope[1:] += pull
        slope[:-1] -= pull
        return float(value), slope, r, d

    x, damping = np.zeros_like(y), 0.01
    value, slope, r, d = evaluated(x)
    for _ in range(steps):
        stiff = W * (np.abs(d) <= 1)
        main = (np.abs(r) <= 1).astype(np.float64)
        main[1:] += stiff
        main[:-1] += stiff
        level = float(main.mean())
        while True:
            factor, beside, _ = lapack.dpttrf(main + damping * level, -stiff)
            move = lapack.dpttrs(factor, beside, -slope)[0]
            after = evaluated(x + move)
            promised = 0.5 * (damping * level * float(move @ move) - float(slope @ move))
            gain = (value - after[0]) / promised
            damping *= 0.1 if gain > 0.9 else 0.3 if gain > 0.25 else 4.0
            if gain > 1e-4 or damping > 1e6:
                break
        x, (value, slope, r, d) = x + move, after
    return x


def _jax(y: Array) -> Rival:
    if not available("jax"):
        return Absent("Newton by hand in jax, compiled", "jax")
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    def huber(r: Any) -> Any:
        return jnp.where(jnp.abs(r) <= 1, 0.5 * r * r, jnp.abs(r) - 0.5)

    def value(x: Any) -> Any:
        return huber(x - seen).sum() + W * huber(jnp.diff(x)).sum()

    seen = jnp.asarray(y)

    @jax.jit
    def run(steps: Any) -> Any:
        def body(_: Any, x: Any) -> Any:
            r, d = x - seen, jnp.diff(x)
            pull, stiff = W * jnp.clip(d, -1, 1), W * (jnp.abs(d) <= 1)
            slope = jnp.clip(r, -1, 1) + jnp.pad(pull, (1, 0)) - jnp.pad(pull, (0, 1))
            middle = (jnp.abs(r) <= 1) + 1e-6 + jnp.pad(stiff, (1, 0)) + jnp.pad(stiff, (0, 1))
            lower, upper = jnp.pad(-stiff, (1, 0)), jnp.pad(-stiff, (0, 1))
            move = jax.lax.linalg.tridiagonal_solve(lower, middle, upper, -slope[:, None])[:, 0]
            now = value(x)

            def shorter(step: Any) -> Any:
                return (value(x + step * move) > now) & (step > 1e-8)

            step = jax.lax.while_loop(shorter, lambda s: s / 2, 1.0)
            return x + step * move

        return jax.lax.fori_loop(0, steps, body, seen)

    return Loop("Newton by hand in jax, compiled", lambda n: np.asarray(run(n)), (), 2, 3.0)
