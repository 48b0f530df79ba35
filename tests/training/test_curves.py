"""Loss curves beside loops written by hand in torch, and answers beside scikit-learn and scipy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from torch import Tensor

import ebmlang
from ebmlang.compiler.optimisers import OPTIMISERS
from tests.training import programs
from tests.training.programs import batches

Floats = NDArray[np.float64]


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


def by_hand(
    parameters: list[Tensor],
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    loss: Callable[[Tensor], Tensor],
    count: int,
    size: int | None,
    epochs: int,
    seed: int,
) -> list[float]:
    """The usual loop. `loss` takes the indices of the rows."""
    optimiser, found = make(parameters), []
    for batch in batches(count, size, seed, epochs, None):
        index = torch.from_numpy(batch.rows)
        optimiser.zero_grad()
        value = loss(index)
        value.backward()
        found.append(value.item())
        optimiser.step()
    return found


def started(m: ebmlang.Model, *names: str) -> list[Tensor]:
    return [m.value(name).detach().clone().requires_grad_() for name in names]


def test_batches_hold_every_row_once_and_change_by_epoch() -> None:
    found = list(batches(10, 4, 3, 2, None))
    assert [len(b.rows) for b in found] == [4, 4, 2, 4, 4, 2]
    first, second = (np.concatenate([b.rows for b in found[i : i + 3]]) for i in (0, 3))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    other = np.concatenate([b.rows for b in batches(10, 4, 4, 1, None)])
    assert list(first) != list(other)
    assert [b.step for b in batches(10, 4, 3, None, 5)] == [1, 2, 3, 4, 5]
    assert list(next(batches(5, None, 0, 1, None)).rows) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("row", [r for r in OPTIMISERS if not r.whole], ids=lambda r: r.name)
def test_linear_regression_with_every_optimiser(row: object) -> None:
    assert isinstance(row, type(OPTIMISERS[0]))
    x, noise = rows(37, 3), rows(37, seed=1)
    t = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 1 + 0.1 * noise
    m = ebmlang.loads(programs.LINEAR, seed=5).bind(x=x, t=t)
    w, b = started(m, "W", "b")

    def loss(i: Tensor) -> Tensor:
        return (t[i] - x[i] @ w - b).square().mean() + 0.5 * w.square().sum()

    # Muon moves matrices, and there is none here.
    kind = torch.optim.AdamW if row.name == "muon" else getattr(torch.optim, row.implementation)
    kept = ("lr", "weight_decay") if row.name == "muon" else tuple(row.defaults)
    options: dict[str, Any] = {name: row.defaults[name] for name in kept}
    curve = by_hand([w, b], lambda p: kind(p, **options), loss, 37, 8, 3, 9)
    history = m.fit(x=x, t=t, using=row.name, epochs=3, batch_size=8, seed=9)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-10)
    np.testing.assert_allclose(m.value("W").detach(), w.detach(), rtol=1e-9)
    np.testing.assert_allclose(history["fit"] + history["size"], history.loss, rtol=1e-12)


def test_muon_moves_matrices_and_adamw_the_rest() -> None:
    text = """model m(n: int) {
      observed x : real[n]
      observed t : real[n]
      param W : real[n, n] = normal()
      param b : real[n]
      energy fit = ||t - W @ x - b||^2
      train using muon(lr = 0.02, ns_steps = 4)
    }"""
    x, t = rows(20, 3), rows(20, 3, seed=1)
    m = ebmlang.loads(text).bind(x=x, t=t)
    w, b = started(m, "W", "b")
    matrix = torch.optim.Muon([w], lr=0.02, ns_steps=4, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    vector, curve = torch.optim.AdamW([b], lr=0.02, weight_decay=0.1), []
    for _ in range(6):
        matrix.zero_grad()
        vector.zero_grad()
        loss = (t - x @ w.T - b).square().sum(1).mean()
        loss.backward()
        curve.append(loss.item())
        matrix.step()
        vector.step()
    np.testing.assert_allclose(m.fit(x=x, t=t, steps=6).loss, curve, rtol=1e-6)


def test_options_of_a_line_reach_the_optimiser() -> None:
    y = rows(30, 5)
    m = ebmlang.loads(programs.AUTOENCODER, k=2).bind(y=y)
    w, v = started(m, "W", "V")
    curve = by_hand(
        [w, v],
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        lambda i: (y[i] - y[i] @ v.T @ w.T).square().sum(1).mean(),
        30, 7, 4, 0,
    )  # fmt: skip
    history = m.fit(y=y, epochs=4, batch_size=7)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-10)
    assert history.loss[-5:].mean() < history.loss[:5].mean()


@pytest.mark.parametrize("row", OPTIMISERS, ids=lambda r: r.name)
def test_the_table_of_optimisers_is_that_of_torch(row: object) -> None:
    assert isinstance(row, type(OPTIMISERS[0]))
    known = inspect.signature(getattr(torch.optim, row.implementation)).parameters
    for name, _, default in row.options:
        assert known[name].default == default, name


# --- inference inside ---------------------------------------------------------------------------


def lasso(y: Floats, d: Floats, lam: float) -> Floats:
    found: Floats = sparse_encode(y, d.T, algorithm="lasso_cd", alpha=lam, max_iter=20_000)
    return found


def free_energy(y: Floats, d: Floats, lam: float) -> float:
    z = lasso(y, d, lam)
    each = 0.5 * ((y - z @ d.T) ** 2).sum(1) + lam * np.abs(z).sum(1)
    return float(each.mean())


def test_the_gradient_through_inference_is_that_of_the_minimum() -> None:
    y = rows(12, 5, seed=2)
    m = ebmlang.loads(programs.DICTIONARY, k=7).bind(y=y)
    d = m.value("D")
    loss = m(y=y)
    loss.backward()
    at = d.detach().numpy().copy()
    assert loss.item() == pytest.approx(free_energy(y.numpy(), at, 0.2), rel=1e-7)
    assert d.grad is not None
    step = 1e-5
    for i, j in ((0, 0), (3, 2), (4, 6)):
        moved = [at.copy(), at.copy()]
        moved[0][i, j] += step
        moved[1][i, j] -= step
        up, down = (free_energy(y.numpy(), one, 0.2) for one in moved)
        assert float(d.grad[i, j]) == pytest.approx((up - down) / (2 * step), abs=2e-6)


def test_dictionary_learning_beside_a_loop_over_the_lasso_of_scikit_learn() -> None:
    y = rows(40, 6, seed=3)
    m = ebmlang.loads(programs.DICTIONARY, k=9).bind(y=y)
    d, curve = m.value("D").detach().numpy().copy(), []
    for batch in batches(40, 16, 1, 4, None):
        part = y.numpy()[batch.rows]
        z = lasso(part, d, 0.2)
        curve.append(free_energy(part, d, 0.2))
        gradient = -((part - z @ d.T).T @ z) / len(part)
        gradient -= d * (d * gradient).sum(0)
        d -= 0.05 * gradient
        d /= np.linalg.norm(d, axis=0)
    history = m.fit(y=y, epochs=4, batch_size=16, seed=1)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-6)
    np.testing.assert_allclose(m.value("D").detach(), d, atol=1e-6)
    assert history["unconverged"].max() == 0


def test_logistic_regression_by_lbfgs_is_that_of_scikit_learn() -> None:
    x = rows(60, 4, seed=4)
    t = (x[:, 0] - x[:, 1] + 0.5 * rows(60, seed=5)) > 0.2
    m = ebmlang.loads(programs.LOGISTIC, lam=0.05)
    history = m.fit(x=x, t=t, steps=20)
    reference = LogisticRegression(C=1 / (2 * 0.05 * 60), tol=1e-10, max_iter=10_000).fit(x, t)
    np.testing.assert_allclose(m.value("w").detach(), reference.coef_[0], atol=1e-5)
    assert m.value("b").item() == pytest.approx(reference.intercept_[0], abs=1e-5)
    assert history["gradient"][-1] < 1e-6


def blobs() -> Tensor:
    centres = torch.tensor([[4.0, 0.0], [-4.0, 1.0], [0.0, -5.0]], dtype=torch.float64)
    return centres.repeat(40, 1) + 0.7 * rows(120, 2, seed=6)


def test_a_mixture_reaches_the_likelihood_of_scikit_learn() -> None:
    y = blobs()
    m = ebmlang.loads(programs.MIXTURE, k=3)
    m.preset({"M": y[:3].numpy() + 0.5})
    m.bind(y=y)
    reference = GaussianMixture(3, covariance_type="diag", reg_covar=0, tol=1e-9, means_init=y[:3]).fit(y)
    history = m.fit(y=y, epochs=500)
    constant = math.log(2 * math.pi)  # of two dimensions, which the energy leaves out
    assert history.loss[-1] + constant == pytest.approx(-reference.score(y), abs=2e-4)
    order = torch.argsort(m.value("M")[:, 0]).numpy()
    like = np.argsort(reference.means_[:, 0])
    np.testing.assert_allclose(m.value("p").detach()[order], reference.weights_[like], atol=5e-3)
    np.testing.assert_allclose(m.value("v").detach()[order], reference.covariances_[like], rtol=5e-2)


FACTORS_OF_DATA = """model components(n: int, k: int) {
  observed y : real[n]
  latent z : real[k]
  param W : real[n, k] = normal()
  param s : real in positive = 1
  energy fit = 1/2 * ||y - W @ z||^2 / s + n / 2 * log(s)
  regularizer prior = 1/2 * ||z||^2
  marginalize z
  train using lbfgs
}
"""


def test_probabilistic_components_reach_the_likelihood_in_closed_form() -> None:
    """Tipping & Bishop 1999, equations 7 and 8; the data is not centred, so moments stand for covariances."""
    y = rows(60, 5, seed=13) * torch.tensor([3.0, 2.0, 0.8, 0.6, 0.5], dtype=torch.float64)
    m = ebmlang.loads(FACTORS_OF_DATA, k=2)
    history = m.fit(y=y, steps=15)
    values = np.linalg.eigvalsh((y.T @ y / 60).numpy())[::-1]
    noise = values[2:].mean()
    best = (np.log(values[:2]).sum() + 3 * math.log(noise) + 5) / 2
    # The density of z has a factor that the energy leaves out, log(2 pi) / 2 for each of 2 dimensions.
    assert history.loss[-1] + math.log(2 * math.pi) == pytest.approx(best, abs=1e-6)
    assert m.value("s").item() == pytest.approx(noise, rel=1e-4)


def test_means_of_k_means_are_the_means_of_their_rows() -> None:
    y = blobs()
    m = ebmlang.loads(programs.KMEANS, k=3)
    m.preset({"M": y[:3].numpy() + 0.5})
    history = m.fit(y=y, epochs=200)
    means = m.value("M").detach().numpy()
    nearest = ((y.numpy()[:, None] - means) ** 2).sum(2)
    for k in range(3):
        np.testing.assert_allclose(means[k], y.numpy()[nearest.argmin(1) == k].mean(0), atol=1e-6)
    assert history.loss[-1] == pytest.approx(nearest.min(1).mean(), rel=1e-9)


FACTORS = """model factors(n: int, m: int, k: int = 2) {
  observed i : class[n]
  observed j : class[m]
  observed score : real
  param U : real[n, k] = normal()
  param V : real[m, k] = normal()
  energy fit = (score - dot(U[i], V[j]))^2
  regularizer size = 0.01 * (||U||^2 + ||V||^2)
  train U, V using adam(lr = 0.05, betas = [0.8, 0.99])
}
"""


def test_matrix_factorisation_beside_a_loop() -> None:
    r = np.random.default_rng(7)
    i, j = torch.from_numpy(r.integers(0, 6, 50)), torch.from_numpy(r.integers(0, 5, 50))
    score = rows(50, seed=8)
    m = ebmlang.loads(FACTORS, n=6, m=5).bind(i=i, j=j, score=score)
    u, v = started(m, "U", "V")

    def loss(at: Tensor) -> Tensor:
        fit = (score[at] - (u[i[at]] * v[j[at]]).sum(1)).square().mean()
        return fit + 0.01 * (u.square().sum() + v.square().sum())

    curve = by_hand([u, v], lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.99)), loss, 50, 20, 5, 2)
    history = m.fit(i=i, j=j, score=score, epochs=5, batch_size=20, seed=2)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-10)


PRINCIPAL = """model principal(n: int, k: int) {
  observed y : real[n]
  param W : real[n, k] in stiefel
  energy reconstruction = ||y - W @ (W.T @ y)||^2
  train using sgd(lr = 0.05)
}
"""


def test_orthonormal_columns_find_the_principal_components() -> None:
    scales = torch.tensor([3.0, 2.0, 0.5, 0.3, 0.1], dtype=torch.float64)
    y = rows(200, 5, seed=9) * scales
    m = ebmlang.loads(PRINCIPAL, k=2)
    history = m.fit(y=y, epochs=200)
    values = np.linalg.eigvalsh((y.T @ y / 200).numpy())
    assert history.loss[-1] == pytest.approx(values[:3].sum(), rel=1e-6)


# --- batch terms, terms of parameters, random values ---------------------------------------------

WHOLE = """model whole(n: int) {
  observed y : real[n]
  param W : real[n] = normal()
  energy each = (dot(W, y) - 1)^2
  batch energy spread = (std(dot(W, y), over = batch) - 1)^2
  regularizer size = 0.1 * ||W||^2
  train
}
"""


def test_batch_terms_and_terms_of_parameters_count_once() -> None:
    y = rows(21, 3, seed=10)
    m = ebmlang.loads(WHOLE).bind(y=y)
    (w,) = started(m, "W")

    def loss(i: Tensor) -> Tensor:
        out = y[i] @ w
        return (out - 1).square().mean() + (out.std() - 1).square() + 0.1 * w.square().sum()

    curve = by_hand([w], lambda p: torch.optim.Adam(p), loss, 21, 8, 3, 0)
    history = m.fit(y=y, epochs=3, batch_size=8)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-10)


DENOISING = """model denoising(n: int) {
  observed y : real[n]
  random eps : real[n] ~ normal(0, 0.5)
  param W : real[n, n] = normal()
  energy fit = ||y - W @ (y + eps)||^2
  train using sgd(lr = 0.01)
}
"""


def draws_of(history: ebmlang.History) -> Iterator[float]:
    yield from history.loss


def test_a_step_is_a_new_question_with_draws_by_row() -> None:
    from ebmlang.runtime import seeded
    from ebmlang.runtime.training.batches import seed_of_step

    y = rows(20, 3, seed=11)
    m = ebmlang.loads(DENOISING).bind(y=y)
    (w,) = started(m, "W")
    optimiser, curve = torch.optim.SGD([w], lr=0.01), []
    for batch in batches(20, 6, 5, 3, None):
        eps = 0.5 * torch.from_numpy(seeded.normal(seed_of_step(5, batch.step), "eps/0", batch.rows, (3,)))
        part = y[torch.from_numpy(batch.rows)]
        optimiser.zero_grad()
        loss = (part - (part + eps) @ w.T).square().sum(1).mean()
        loss.backward()
        curve.append(loss.item())
        optimiser.step()
    history = m.fit(y=y, epochs=3, batch_size=6, seed=5)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-10)


def test_draws_change_from_step_to_step() -> None:
    y = rows(20, 3, seed=12)
    m = ebmlang.loads(DENOISING)
    history = m.fit(y=y, epochs=4, lr=1e-12)
    assert len(set(draws_of(history))) == 4
    again = ebmlang.loads(DENOISING).fit(y=y, epochs=4, lr=1e-12)
    assert list(history.loss) == list(again.loss)
