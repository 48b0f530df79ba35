"""Parameters with domains: in them after every step, and at the answer that is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler.optimisers import OPTIMISERS, OptimiserRow
from ebmlang.runtime.domains import DOMAINS, Interval
from ebmlang.runtime.training.history import Record

TARGET = """model target(n: int) {{
  observed y : real[n, n]
  param W : real[n, n] in {} = normal()
  energy fit = ||y - W||^2
  train using {}
}}
"""


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


def polar(mean: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(mean, full_matrices=False)
    nearest: Tensor = u @ vh
    return nearest


def spectrum(mean: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((mean + mean.T) / 2)
    nearest: Tensor = vectors @ torch.diag(values.clamp(min=0)) @ vectors.T
    return nearest


def simplex(mean: Tensor) -> Tensor:
    """Projection by bisection on the shift, not by sorting as in the runtime."""
    low, high = mean.min(-1).values - 1, mean.max(-1).values
    for _ in range(200):
        middle = (low + high) / 2
        above = (mean - middle[..., None]).clamp(min=0).sum(-1) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (mean - low[..., None]).clamp(min=0)


CASES = {
    "nonnegative": lambda m: m.clamp(min=0),
    "[-0.1, 0.2]": lambda m: m.clamp(-0.1, 0.2),
    "sphere": lambda m: m / m.norm(dim=-1, keepdim=True),
    "unit_columns": lambda m: m / m.norm(dim=-2, keepdim=True),
    "stiefel": polar,
    "simplex": simplex,
    "psd": spectrum,
}


@pytest.mark.parametrize("spelled", CASES)
@pytest.mark.parametrize("optimiser", ["sgd(lr = 0.1, momentum = 0.5)", "adam(lr = 0.02)"])
def test_inside_after_every_step_and_nearest_at_the_end(spelled: str, optimiser: str) -> None:
    y = rows(16, 3, 3, seed=3) + 0.5 * torch.eye(3, dtype=torch.float64)
    m = ebmlang.loads(TARGET.format(spelled, optimiser))
    domain = Interval(-0.1, 0.2) if spelled.startswith("[") else DOMAINS[spelled]()
    left: list[bool] = []

    def look(record: object, steps: int | None) -> None:
        left.append(bool(domain.inside(m.value("W").detach()[None], 1e-12).all()))

    steps = 400 if optimiser.startswith("adam") else 120
    m.fit(y=y, steps=steps, progress=look)
    assert len(left) == steps
    assert all(left)
    want = CASES[spelled](y.mean(0))
    close = 2e-3 if optimiser.startswith("adam") else 1e-5
    np.testing.assert_allclose(m.value("W").detach(), want, atol=close)


RATES = {"sgd": 0.1, "adam": 0.05, "adamw": 0.05, "rmsprop": 0.05, "adagrad": 0.3, "muon": 0.3}
"""Step sizes with which 80 steps come near."""


@pytest.mark.parametrize("spelled", ["sphere", "unit_columns", "stiefel"])
@pytest.mark.parametrize("row", [row for row in OPTIMISERS if not row.free], ids=lambda row: row.name)
def test_manifolds_are_kept_by_every_optimiser(spelled: str, row: OptimiserRow) -> None:
    y = rows(5, 3, 3) + 2 * torch.eye(3)
    mean = y.mean(0)
    m = ebmlang.loads(TARGET.format(spelled, "sgd")).bind(y=y)
    nearest = CASES[spelled](mean)
    outside: list[float] = []

    def look(record: Record, steps: int | None) -> None:
        value = m.value("W").detach()
        outside.append((value - CASES[spelled](value)).abs().max().item())

    before = (m.value("W").detach() - nearest).norm().item()
    m.fit(y=y, steps=80, using=row.name, lr=RATES[row.name], progress=look)
    assert max(outside) < 1e-9
    assert (m.value("W").detach() - nearest).norm().item() < 0.2 * before


@pytest.mark.parametrize("optimiser", ["sgd(lr = 0.1)", "adam(lr = 0.05)", "lbfgs"])
def test_open_domains_have_no_border_to_cross(optimiser: str) -> None:
    """The variance of a normal distribution with mean 0 of greatest likelihood is the mean square."""
    y = 0.01 * rows(50, seed=4)
    text = """model scale() {{
      observed y : real
      param v : real in positive = 1
      energy e = y^2 / (2 * v) + log(v) / 2
      train using {}
    }}"""
    m = ebmlang.loads(text.format(optimiser))
    history = m.fit(y=y, steps=20 if optimiser == "lbfgs" else 400)
    assert not history.stopped
    assert m.value("v").item() > 0
    if optimiser == "lbfgs":
        assert m.value("v").item() == pytest.approx(float(y.square().mean()), rel=1e-4)
    else:
        assert history.loss[-1] < history.loss[0] - 0.5


def test_a_covariance_is_that_of_the_data() -> None:
    y = rows(80, 3, seed=5) @ rows(3, 3, seed=6)
    text = """model gaussian(n: int) {
      observed y : real[n]
      param P : real[n, n] in positive_definite
      energy e = 1/2 * dot(y, P @ y) - 1/2 * logabsdet(P)
      train using lbfgs
    }"""
    m = ebmlang.loads(text)
    m.fit(y=y, steps=30)
    want = torch.linalg.inv(y.T @ y / 80)
    np.testing.assert_allclose(m.value("P").detach(), want, rtol=1e-4, atol=1e-5)


def test_rotations_stay_rotations() -> None:
    text = """model rotation() {
      observed a : real[3]
      observed b : real[3]
      param R : real[3, 3] in SO3
      energy e = ||b - R @ a||^2
      train using sgd(lr = 0.1)
    }"""
    turn = polar(rows(3, 3, seed=7))
    turn = turn * torch.linalg.det(turn)
    a = rows(20, 3, seed=8)
    m = ebmlang.loads(text)
    history = m.fit(a=a, b=a @ turn.T, epochs=100)
    np.testing.assert_allclose(m.value("R").detach(), turn, atol=1e-6)
    assert history.loss[-1] < 1e-10


def test_a_loop_of_ones_own_projects() -> None:
    y = rows(16, 3, 3, seed=9)
    m = ebmlang.loads(TARGET.format("nonnegative", "adam")).bind(y=y)
    optimiser = torch.optim.SGD(m.parameters(), lr=0.2)
    for _ in range(100):
        optimiser.zero_grad()
        m(y=y).backward()
        optimiser.step()
        m.project()
    np.testing.assert_allclose(m.value("W").detach(), y.mean(0).clamp(min=0), atol=1e-9)


def test_a_parameter_that_was_moved_out_is_brought_back() -> None:
    y = rows(16, 3, 3, seed=10)
    m = ebmlang.loads(TARGET.format("nonnegative", "sgd(lr = 0.1)")).bind(y=y)
    with torch.no_grad():
        m.value("W").fill_(-1)
    history = m.fit(y=y, steps=1)
    assert history.loss[0] == pytest.approx(float(y.square().sum((1, 2)).mean()), rel=1e-12)
    open_ = ebmlang.loads(TARGET.format("positive", "adam").replace("normal()", "1")).bind(y=y)
    for value, words in ((-1.0, "`W` is not positive"), (torch.nan, "`W` holds 9 NaN")):
        with torch.no_grad():
            open_.value("W").fill_(value)
        with pytest.raises(ebmlang.DataError, match=words):
            open_.fit(y=y, steps=1)


def test_weights_of_a_mixture_stay_away_from_zero() -> None:
    """A step of sgd over the border of the simplex would make the logarithm infinite."""
    text = """model weights(k: int) {
      observed c : class[k]
      param p : real[k] in simplex
      let q = log(p)
      energy e = -q[c]
      train using sgd(lr = 3)
    }"""
    c = torch.tensor([0] * 60 + [1] * 38 + [2] * 2)
    m = ebmlang.loads(text, k=3)
    history = m.fit(c=c, epochs=300, dtype="float64")
    assert not history.stopped
    np.testing.assert_allclose(m.value("p").detach(), [0.6, 0.38, 0.02], atol=1e-6)
