"""Inference from Python: answers against closed forms and scipy, rows, chunks, missing values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import ebmlang

SPARSE = """
model sparse_coding(n: int, k: int = 16, lam: real in nonnegative = 0.1) {
  observed y : real[n]
  latent   z : real[k] = 0
  param    D : real[n, k] in unit_columns = normal()
  energy      reconstruction = 1/2 * ||y - D @ z||^2
  regularizer sparsity       = lam * ||z||_1
  let guess = D @ z
  infer z
}
"""

CHAIN = """
model chain(T: int, w: real in nonnegative = 2.0) {
  observed y : real[T] missing
  latent   x : real[T] = y
  for t in 0..T   { energy data[t]   = (y[t] - x[t])^2 }
  for t in 0..T-1 { energy smooth[t] = w * (x[t+1] - x[t])^2 }
  infer x
}
"""

ATTENTION = """
model attention(m: int, d: int) {
  observed q : real[d];  observed K : real[m, d]
  observed see : bool[m] = true
  latent   c : real[m] in simplex where see
  energy      matching = -dot(c, K @ q) / sqrt(d)
  regularizer spread   = -entropy(c)
  infer c
}
"""


def chain_answer(y: np.ndarray, w: float, known: np.ndarray | None = None) -> np.ndarray:
    """The dense solve: (diag(known) + w L) x = known * y."""
    size = y.shape[0]
    difference = np.diff(np.eye(size), axis=0)
    weight = np.ones(size) if known is None else known.astype(float)
    return np.linalg.solve(np.diag(weight) + w * difference.T @ difference, weight * np.nan_to_num(y))


def test_chain_is_the_dense_solve() -> None:
    y = np.cumsum(np.random.default_rng(0).normal(size=(3, 40)), 1)
    r = ebmlang.loads(CHAIN).infer(y=y, dtype="float64")
    for row in range(3):
        np.testing.assert_allclose(r.x[row].numpy(), chain_answer(y[row], 2.0), atol=1e-7)
    assert r.converged.all()
    assert r.factors["smooth"].shape == (3, 39)
    torch.testing.assert_close(r.factors["smooth"].sum(1), r.terms["smooth"])
    torch.testing.assert_close(r.terms["data"] + r.terms["smooth"], r.energy)


def test_missing_entries_become_unknowns() -> None:
    y = np.cumsum(np.random.default_rng(1).normal(size=(2, 30)), 1)
    known = np.ones_like(y, dtype=bool)
    known[0, 5:9] = False
    holes = np.where(known, y, np.nan)
    r = ebmlang.loads(CHAIN).infer(y=holes, dtype="float64")
    for row in range(2):
        np.testing.assert_allclose(r.x[row].numpy(), chain_answer(holes[row], 2.0, known[row]), atol=1e-6)
    np.testing.assert_array_equal(r.y.numpy()[known], y[known])
    masked = ebmlang.loads(CHAIN).infer(y=y, observed={"y": known}, dtype="float64")
    torch.testing.assert_close(masked.x, r.x, atol=1e-6, rtol=0)


def test_parameters_are_made_from_data_with_gaps() -> None:
    text = (
        "model m(n: int) { observed y : real[n] missing; param w : real[n]; energy e = ||y - w||^2; train }"
    )
    model = ebmlang.loads(text).bind(y=[[1.0, float("nan")], [2.0, 3.0]])
    assert model.value("w").shape == (2,)


def test_nan_where_nothing_may_be_missing_is_counted() -> None:
    model = ebmlang.loads(CHAIN.replace(" missing", ""))
    with pytest.raises(ebmlang.DataError, match="`y` holds 2 NaN in 5 entries"):
        model.infer(y=[1.0, np.nan, 2.0, np.nan, 0.0])


def test_rows_are_independent_and_chunks_change_nothing() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=(9, 12))
    model = ebmlang.loads(SPARSE, seed=4)
    whole = model.infer(y=y, dtype="float64")
    parts = model.infer(y=y, dtype="float64", max_memory=20_000)
    torch.testing.assert_close(parts.z, whole.z, atol=1e-6, rtol=0)
    one = model.infer(y=y[3], dtype="float64")
    assert one.z.shape == (1, 16)
    torch.testing.assert_close(one.z[0], whole.z[3], atol=1e-6, rtol=0)
    assert whole["guess"].shape == (9, 12)


def test_zeros_are_exact_and_the_method_is_told() -> None:
    y = np.random.default_rng(3).normal(size=(4, 12))
    r = ebmlang.loads(SPARSE, lam=0.5).infer(y=y)
    assert r.method == "fista"
    assert (r.z == 0).any()
    assert "smooth plus absolute values" in r.because
    assert r.certificate.startswith("the minimum of a convex energy: the proximal gradient")
    assert r.energy.dtype == torch.float32


def test_dtype_follows_torch_tensors_only() -> None:
    y = np.random.default_rng(3).normal(size=(2, 12))
    model = ebmlang.loads(SPARSE)
    assert model.infer(y=y).z.dtype == torch.float32
    assert model.infer(y=torch.from_numpy(y)).z.dtype == torch.float64


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
def test_attention_is_softmax(scale: float) -> None:
    rng = np.random.default_rng(4)
    q, keys = rng.normal(size=(10, 8)) * scale, rng.normal(size=(12, 8))
    r = ebmlang.loads(ATTENTION).infer(q=q, K=keys, dtype="float64")
    wanted = torch.softmax(torch.from_numpy(q @ keys.T / np.sqrt(8)), -1)
    torch.testing.assert_close(r.c, wanted, atol=1e-4, rtol=0)
    assert r.converged.all()
    torch.testing.assert_close(r.c.sum(-1), torch.ones(10, dtype=torch.float64), atol=1e-12, rtol=0)


def test_masked_simplex_keeps_exact_zeros() -> None:
    rng = np.random.default_rng(5)
    see = np.ones((4, 6), dtype=bool)
    see[:, 2] = False
    see[1] = [True, False, False, False, False, False]
    q, keys = rng.normal(size=(4, 8)), rng.normal(size=(6, 8))
    r = ebmlang.loads(ATTENTION).infer(q=q, K=keys, see=see, dtype="float64")
    scores = torch.from_numpy(np.where(see, q @ keys.T / np.sqrt(8), -np.inf))
    torch.testing.assert_close(r.c, torch.softmax(scores, -1), atol=1e-6, rtol=0)
    assert (r.c.numpy()[~see] == 0).all()
    with pytest.raises(ebmlang.DataError, match="no entry allowed"):
        ebmlang.loads(ATTENTION).infer(q=q, K=keys, see=np.zeros((4, 6), dtype=bool))


JOINT = """
model joint(n: int) {
  observed x : real[n];  latent w : real[n] per batch;  latent z : real
  energy fit = (dot(w, x) - z)^2 + 0.1 * z^2
  batch energy spread = (mean(z, over = batch) - 3)^2 + ||w||^2
  infer w, z
}
"""


def test_a_batch_term_and_a_value_per_batch_make_one_problem() -> None:
    x = np.random.default_rng(6).normal(size=(5, 2))
    r = ebmlang.loads(JOINT).infer(x=x, dtype="float64")

    def energy(v: np.ndarray) -> float:
        w, z = v[:2], v[2:]
        total = ((x @ w - z) ** 2 + 0.1 * z**2).sum() + (z.mean() - 3) ** 2 + (w**2).sum()
        return float(total)

    wanted = minimize(energy, np.zeros(7), tol=1e-12).x
    np.testing.assert_allclose(r.w.numpy(), wanted[:2], atol=1e-5)
    np.testing.assert_allclose(r.z.numpy(), wanted[2:], atol=1e-5)
    assert set(r.terms) == {"fit"}
    assert r.batch_terms["spread"].ndim == 0
    with_batch = ebmlang.loads(JOINT).energy(x=x, w=r.w, z=r.z)
    torch.testing.assert_close(with_batch, r.energy)


def test_params_can_be_sought() -> None:
    ridge = """
    model ridge(m: int, n: int, lam: real in nonnegative = 1.0) {
      shared observed X : real[m, n]; shared observed y : real[m]; param w : real[n]
      energy fit = ||y - X @ w||^2
      regularizer size = lam * ||w||^2
      infer w
    }"""
    rng = np.random.default_rng(7)
    design, y = rng.normal(size=(50, 5)), rng.normal(size=50)
    r = ebmlang.loads(ridge).infer(X=design, y=y, dtype="float64")
    np.testing.assert_allclose(
        r.w.numpy(), np.linalg.solve(design.T @ design + np.eye(5), design.T @ y), atol=1e-8
    )


RANDOM = """
model noisy(n: int) {
  observed x : real[n];  random eps : real[n] ~ normal(0, 0.1);  latent z : real[n]
  energy fit = ||x + eps - z||^2
  infer z
}
"""


def test_draws_depend_on_seed_and_row_alone() -> None:
    x = np.random.default_rng(8).normal(size=(50, 3))
    model = ebmlang.loads(RANDOM, seed=3)
    first = model.infer(x=x, dtype="float64")
    again = model.infer(x=x, dtype="float64", max_memory=3_000)
    assert torch.equal(first.z, again.z)
    other = model.infer(x=x, dtype="float64", seed=4)
    assert not torch.equal(first.z, other.z)
    noise = (first.z - torch.from_numpy(x)).std()
    assert 0.08 < float(noise) < 0.12
    given = model.infer(x=x, eps=np.zeros(3), dtype="float64")
    torch.testing.assert_close(given.z, torch.from_numpy(x), atol=1e-9, rtol=0)


def test_restarts_find_the_lower_of_two_wells() -> None:
    wells = """
    model wells() { latent x : real = 1; energy e = (x^2 - 1)^2 + 0.3 * x; infer x }"""
    one = ebmlang.loads(wells).infer(dtype="float64")
    many = ebmlang.loads(wells).infer(dtype="float64", restarts=16)
    assert float(one.x) > 0 > float(many.x)
    assert float(many.energy) < float(one.energy)


def test_bounds_are_met_exactly() -> None:
    box = """
    model box(n: int) {
      observed x : real[n]; latent z : real[n] in [0, 1]
      energy e = ||x - z||^2
      infer z
    }"""
    r = ebmlang.loads(box).infer(x=[[1.5, 2.0], [-3.0, 0.25]])
    assert r.z[0].tolist() == [1.0, 1.0]
    assert float(r.z[1, 0]) == 0.0
    assert float(r.z[1, 1]) == pytest.approx(0.25, abs=1e-5)


def test_kinks_settle_without_a_claim() -> None:
    tv = """
    model tv(n: int) {
      observed x : real[n, 2]; latent z : real[n, 2]
      for i in 0..n-1 { energy jump[i] = 0.5 * ||z[i+1] - z[i]|| }
      energy fit = 1/2 * ||x - z||^2
      infer z
    }"""
    r = ebmlang.loads(tv).infer(x=np.random.default_rng(9).normal(size=(2, 8, 2)), dtype="float64")
    assert r.method == "adam"
    assert not r.converged.any()
    assert all("settled" in s for s in r.status)


def test_a_non_finite_energy_names_its_term() -> None:
    text = """
    model bad(n: int) {
      observed x : real[n]; latent z : real[n] in positive
      energy fine = sum(z - x * log(z)); energy broken = 1 / sum(x)
      infer z
    }"""
    r = ebmlang.loads(text).infer(x=[[1.0, 2.0], [0.0, 0.0]])
    assert r.converged.tolist() == [True, False]
    assert "'broken'" in r.status[1]


def test_a_trace_never_ends_above_its_start() -> None:
    y = np.random.default_rng(10).normal(size=(3, 12))
    r = ebmlang.loads(SPARSE).infer(y=y, trace=True, dtype="float64")
    assert r.trace is not None
    assert r.trace.shape[1] == 3
    assert (r.energy <= r.trace[0] + 1e-12).all()


def test_step_limit_is_a_status() -> None:
    y = np.random.default_rng(11).normal(size=(2, 12))
    r = ebmlang.loads(SPARSE).infer(y=y, steps=2)
    assert r.iterations.tolist() == [2, 2]
    assert all("step limit" in s for s in r.status)


@pytest.mark.parametrize(
    ("spread", "bad", "said"),
    [
        ("std(y)", (1, 1), r"std\(y\) is taken of m \* n entries and needs at least 2 \(with m = 1, n = 1\)"),
        ("sum(var(y, over = 0))", (1, 3), r"is taken of n entries .* \(with n = 1\)"),
        ("sum(cov(y))", (1, 3), r"cov\(y\) is taken of n entries .* \(with n = 1\)"),
        ("var(y[i, 0], over = i in 1..n)", (2, 1), r"is taken of n - 1 entries .* \(with n = 2\)"),
    ],
)
def test_a_spread_needs_two_entries(spread: str, bad: tuple[int, int], said: str) -> None:
    model = ebmlang.loads(
        f"model m(n: int, m: int) {{ observed y : real[n, m]; latent x : real; energy e = (x - {spread})^2 }}"
    )
    with pytest.raises(ebmlang.DataError, match=said):
        model.infer(y=np.ones(bad))
    y = np.random.default_rng(12).normal(size=(3, 2))
    wanted = {
        "std(y)": y.std(ddof=1),
        "sum(var(y, over = 0))": y.var(0, ddof=1).sum(),
        "sum(cov(y))": np.cov(y.T).sum(),
        "var(y[i, 0], over = i in 1..n)": y[1:, 0].var(ddof=1),
    }
    assert float(model.infer(y=y, dtype="float64")["x"]) == pytest.approx(wanted[spread], rel=1e-6)


def test_factors_have_a_row_for_every_example() -> None:
    model = ebmlang.loads(
        """
        model shared_term(n: int) {
          observed y : real[n]
          latent x : real[n]
          param W : real[n] = 0.5
          for t in 0..n { energy data[t] = (y[t] - x[t])^2 }
          for t in 0..n { regularizer size[t] = W[t]^2 }
          infer x
        }
        """,
        n=3,
    )
    result = model.infer(y=torch.ones(4, 3))
    assert result.factors["data"].shape == (4, 3)
    torch.testing.assert_close(result.factors["size"], torch.full((4, 3), 0.25))
