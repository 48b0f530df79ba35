"""Sparse codes of 1797 standardised digits by 128 random unit columns, lambda 0.1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.decomposition import sparse_encode
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.rivals.contest import Absent, Contest, Loop, Rival, Solver, available
from benchmarks.rivals.loops import adam, lbfgs

LAM = 0.1


def contests() -> list[Contest]:
    """One contest, in float32."""
    pixels = datasets.load_digits().data
    spread = pixels.std(0)
    y = (pixels - pixels.mean(0)) / np.where(spread > 0, spread, 1.0)
    columns = np.random.default_rng(0).normal(size=(64, 128))
    D = columns / np.linalg.norm(columns, axis=0)

    def energy(z: NDArray[np.float64]) -> float:
        z = np.asarray(z, dtype=np.float64)
        return float(0.5 * ((y - z @ D.T) ** 2).sum() + LAM * np.abs(z).sum())

    model = ebmlang.load(ROOT / "models" / "gallery" / "sparse_coding.ebm", lam=LAM)
    data = torch.tensor(y, dtype=torch.float32), torch.tensor(D, dtype=torch.float32)

    def objective(z: Tensor) -> Tensor:
        return 0.5 * (data[0] - z @ data[1].T).square().sum() + LAM * z.abs().sum()

    zero = torch.zeros(len(y), 128)
    rivals: tuple[Rival, ...] = (
        Loop("autograd + Adam", lambda n, lr: adam(objective, zero, n, lr), (0.03, 0.1), 64),
        Loop("torch.optim.LBFGS", lambda n: lbfgs(objective, zero, n), (), 64),
        Loop("FISTA by hand in PyTorch", lambda n: _by_hand(*data, n), (), 32),
        Solver("scikit-learn", lambda tol: _sklearn(y, D, tol), (1e-4, 1e-6, 1e-8)),
        _jax(y, D),
    )
    return [
        Contest(
            "sparse coding 1797 x 128",
            lambda: model.infer(y=data[0], D=data[1]).z.numpy(),
            energy,
            rivals,
            {"scikit-learn": 0.2, "FISTA by hand in PyTorch": 1.0},
        )
    ]


def _sklearn(y: NDArray[np.float64], D: NDArray[np.float64], tol: float) -> Any:
    from sklearn.linear_model import Lasso

    if tol == 1e-4:
        return sparse_encode(y, D.T, algorithm="lasso_cd", alpha=LAM, max_iter=100_000)
    fit = Lasso(LAM / D.shape[0], fit_intercept=False, tol=tol, max_iter=100_000, precompute=True)
    return fit.fit(D, y.T).coef_


def _by_hand(y: Tensor, D: Tensor, steps: int) -> Any:
    """What an expert writes: Gram matrix, step 1 / largest eigenvalue, momentum restarted row by row."""
    gram, target = D.T @ D, y @ D
    step = 1 / float(torch.linalg.eigvalsh(gram)[-1])
    z = v = torch.zeros(y.shape[0], D.shape[1])
    t = torch.ones(y.shape[0], 1)
    for _ in range(steps):
        g = torch.addmm(target, v, gram, beta=-1)
        moved = torch.nn.functional.softshrink(torch.add(v, g, alpha=-step), LAM * step)
        change = moved - z
        again = ((v - moved) * change).sum(1, keepdim=True) > 0
        after = torch.where(again, 1.0, 0.5 * (1 + torch.sqrt(1 + 4 * t * t)))
        v = moved + torch.where(again, 0.0, (t - 1) / after) * change
        z, t = moved, after
    return z.numpy()


def _jax(y: NDArray[np.float64], D: NDArray[np.float64]) -> Rival:
    if not available("jax", "jaxopt"):
        return Absent("jaxopt ProximalGradient", "jax, jaxopt")
    import jax
    import jax.numpy as jnp
    from jaxopt import ProximalGradient
    from jaxopt.prox import prox_lasso

    seen, columns = jnp.asarray(y, jnp.float32), jnp.asarray(D, jnp.float32)
    gram, target = columns.T @ columns, seen @ columns
    step = 1 / float(np.linalg.eigvalsh(D.T @ D)[-1])
    solver = ProximalGradient(
        lambda z: (0.5 * (z @ gram * z).sum() - (z * target).sum(), z @ gram - target),
        prox_lasso,
        value_and_grad=True,
        stepsize=step,
        tol=0.0,
        acceleration=True,
        maxiter=1_000_000,
    )

    @jax.jit
    def run(steps: Any) -> Any:
        start = jnp.zeros((len(y), 128), jnp.float32)
        state = solver.init_state(start, hyperparams_prox=LAM)

        def body(_: Any, pair: Any) -> Any:
            moved = solver.update(pair[0], pair[1], hyperparams_prox=LAM)
            return moved.params, moved.state

        return jax.lax.fori_loop(0, steps, body, (start, state))[0]

    return Loop("jaxopt ProximalGradient", lambda n: np.asarray(run(n)), (), 64)
