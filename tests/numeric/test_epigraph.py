"""Energies with kinks against linear and quadratic programs that are written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog, lsq_linear

import ebmlang
from ebmlang.compiler.choose import Plan

Array = NDArray[np.float64]

STEPS = """model steps(n: int, w: real in nonnegative = 0.3) {
  observed y : real[n]; latent x : real[n] = 0
  energy fit = 1/2 * ||x - y||^2
  for t in 0..n-1 { energy jump[t] = w * |x[t+1] - x[t]| }
  infer x }"""

FIT = """model fit(m: int, n: int) {{
  shared observed A : real[m, n]; observed b : real[m]; latent x : real[n]{domain} = 0
  energy e = {energy}
  {more}
  infer x }}"""


def data(rows: int = 3, m: int = 9, n: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(m, n)), rng.normal(size=(rows, m))


def asked(energy: str, domain: str = "", more: str = "", dtype: str = "float64") -> ebmlang.Result:
    A, b = data()
    return ebmlang.loads(FIT.format(energy=energy, domain=domain, more=more)).infer(A=A, b=b, dtype=dtype)


def least_steps(y: Array, w: float) -> float:
    """The minimum by its dual: the least 1/2 ||y - D'p||^2 with |p| <= w is ||y||^2/2 minus it."""
    D = np.diff(np.eye(len(y)), axis=0)
    found = lsq_linear(D.T, y, (-w, w), tol=1e-14, max_iter=2000, method="bvls")
    return float(y @ y / 2 - found.cost)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_total_variation_is_least(dtype: str) -> None:
    y = np.random.default_rng(0).normal(size=(3, 30)).cumsum(1)
    r = ebmlang.loads(STEPS).infer(y=y, dtype=dtype)
    assert r.method == "epigraph"
    assert r.converged.all()
    close = 1e-9 if dtype == "float64" else 1e-5
    for row in range(3):
        assert float(r.energy[row]) == pytest.approx(least_steps(y[row], 0.3), rel=close)
    assert r.gap is not None
    assert (r.gap <= close * (1 + r.energy)).all()


def test_the_largest_residual_is_least() -> None:
    A, b = data()
    r = asked("max(|A @ x - b|)")
    assert r.method == "epigraph"
    ones = np.ones((9, 1))
    for row in range(3):
        by_hand = linprog(
            [0, 0, 0, 0, 1],
            np.block([[A, -ones], [-A, -ones]]),
            np.concatenate([b[row], -b[row]]),
            bounds=[(None, None)] * 5,
        )
        assert float(r.energy[row]) == pytest.approx(by_hand.fun, rel=1e-9)


@pytest.mark.parametrize(("domain", "low"), [("", None), (" in nonnegative", 0.0)])
@pytest.mark.parametrize("energy", ["||A @ x - b||_1", "sum(max(A @ x - b, b - A @ x))"])
def test_least_absolute_deviations(energy: str, domain: str, low: float | None) -> None:
    A, b = data()
    r = asked(energy, domain)
    assert r.converged.all()
    eye = np.eye(9)
    for row in range(3):
        by_hand = linprog(
            np.r_[np.zeros(4), np.ones(9)],
            np.block([[A, -eye], [-A, -eye]]),
            np.concatenate([b[row], -b[row]]),
            bounds=[(low, None)] * 4 + [(None, None)] * 9,
        )
        assert float(r.energy[row]) == pytest.approx(by_hand.fun, rel=1e-9)


def test_quantiles() -> None:
    """The pinball loss at 0.8 leaves a fifth of the values above its constant."""
    y = np.random.default_rng(3).normal(size=(2, 41))
    model = ebmlang.loads("""model quantile(n: int) {
      observed y : real[n]; latent q : real
      energy e = 0.8 * sum(relu(y - q)) + 0.2 * sum(relu(q - y))
      infer q }""")
    r = model.infer(y=y, dtype="float64")
    np.testing.assert_allclose(r.q.numpy(), np.sort(y, 1)[:, 32], atol=1e-9)


def test_weights_guards_and_minima_that_are_subtracted() -> None:
    """Heavy weights hold every entry at 1; with others no point around is below the answer."""
    model = ebmlang.loads("""model m(n: int) {
      observed w : real[n] in nonnegative; latent x : real[n] = 0
      energy far = sum(w * |x - 1|)
      for i in 0..n, j in 0..n if i < j { energy tie[i, j] = (1 + j) * relu(x[i] - x[j]) }
      energy room = -min(x) + 2 * max(x) + ||x||^2 / 100
      infer x }""")
    w = torch.tensor([[9.0, 8.0, 7.0], [0.1, 8.0, 0.2]], dtype=torch.float64)
    r = model.infer(w=w)
    assert r.method == "epigraph"
    assert r.converged.all()
    np.testing.assert_allclose(r.x[0].numpy(), 1.0, atol=1e-9)
    made = torch.Generator().manual_seed(0)
    for scale in (1e-4, 1e-2, 1.0):
        others = r.x[1] + scale * torch.randn(200, 3, generator=made, dtype=torch.float64)
        assert (model.energy(w=w[1].expand(200, 3), x=others) >= r.energy[1]).all()


def test_a_smooth_rest_of_any_kind() -> None:
    """Logistic loss with tied weights: no point around is lower, and adam is not."""
    more = "energy tie = 0.4 * (|x[0] - x[1]| + |x[1] - x[2]|)"
    r = asked("sum(log(1 + exp(-b * (A @ x)))) + 0.01 * ||x||^2", more=more)
    assert r.method == "epigraph"
    assert r.converged.all()
    A, b = data()
    text = FIT.format(energy="sum(log(1 + exp(-b * (A @ x)))) + 0.01 * ||x||^2", domain="", more=more)
    other = ebmlang.loads(text).infer(A=A, b=b, using="adam", dtype="float64")
    assert (r.energy <= other.energy + 1e-9).all()


FALLING = ("|x[0] - x[1]| - 0.5 * x[0]", "max(x)", "relu(x[0] - x[1]) + dot(b @ A, x)")


@pytest.mark.parametrize("energy", FALLING)
def test_without_a_minimum(energy: str) -> None:
    r = asked(energy)
    assert not r.converged.any()
    assert all(s.startswith("unbounded: the energy falls without end in term 'e'") for s in r.status)


def test_rows_with_broken_numbers_leave_others_alone() -> None:
    A, b = data()
    clean = asked("max(|A @ x - b|)")
    b[1, 2] = np.inf
    text = FIT.format(energy="max(|A @ x - b|)", domain="", more="")
    r = ebmlang.loads(text).infer(A=A, b=b, dtype="float64")
    assert r.converged.tolist() == [True, False, True]
    assert "non-finite" in r.status[1]
    assert torch.equal(r.energy[[0, 2]], clean.energy[[0, 2]])


def plan_of(energy: str, more: str = "") -> Plan:
    return ebmlang.loads(FIT.format(energy=energy, domain="", more=more)).choice()


@pytest.mark.parametrize(
    "energy",
    [
        "sum(max(A * x[None, ..], over = 1)) + ||x||^2",
        "sum(|A @ x - b|^1.5) + |max(x) - 1|",
        "|x[0] * x[1]|",
        "sum(|x|) - max(|A @ x|)",
        "|norm(A @ x) - 1|",
    ],
)
def test_what_is_no_maximum_of_affine_values(energy: str) -> None:
    method = plan_of(energy).method
    assert method is not None
    assert method.name != "epigraph"


def test_a_weight_that_may_be_negative_is_a_condition() -> None:
    text = "model m(c: real) { latent x : real[2] = 0; energy e = c * |x[0] - x[1] + 1| + ||x||^2; infer x }"
    fine = ebmlang.loads(text, c=0.5).infer(dtype="float64")
    assert fine.method == "epigraph"
    odd = ebmlang.loads(text, c=-0.5).infer(dtype="float64")
    assert odd.method == "adam"
    assert "does not apply: c >= 0 does not hold" in odd.because


def test_a_nested_minimum_is_not_found_this_way() -> None:
    """Its derivative would have to follow kinks that touch."""
    model = ebmlang.loads(
        """model inner {
          observed q : real[2]; latent z : real[2]
          energy e = 1/2 * ||z - q||^2 + 0.3 * |z[0] - 2 * z[1]|
          infer z }
        model outer {
          latent x : real[2] = 1
          solve inner as p with q = x
          energy e = ||p.z||^2
          infer x }""",
        model="outer",
    )
    assert "by adam (epigraph has no derivative in what is given)" in " ".join(model.explain().split())


def test_a_weight_that_is_trained() -> None:
    """The slope of the least energy along a weight is what the weight multiplies."""
    model = ebmlang.loads("""model steps(n: int) {
      observed y : real[n]; latent x : real[n] = 0; param w : real in nonnegative = 0.3
      energy fit = 1/2 * ||x - y||^2
      for t in 0..n-1 { energy jump[t] = w * |x[t+1] - x[t]| }
      infer x
      train w using sgd(lr = 0.1) }""")
    y = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 12)).cumsum(1))
    found = model.infer(y=y)
    assert found.method == "epigraph"
    model(y=y).backward()
    (weight,) = model.parameters()
    assert weight.grad is not None
    wanted = found.x.diff(dim=1).abs().sum(1).mean()
    assert float(weight.grad) == pytest.approx(float(wanted), rel=1e-6)


def test_rows_that_do_not_fit_into_memory_go_one_after_the_other() -> None:
    model = ebmlang.loads(STEPS)
    y = np.random.default_rng(0).normal(size=(12, 40)).cumsum(1)
    whole = model.infer(y=y, dtype="float64")
    parts = model.infer(y=y, dtype="float64", max_memory="20MiB")
    assert parts.converged.all()
    torch.testing.assert_close(parts.energy, whole.energy, rtol=1e-12, atol=1e-12)
