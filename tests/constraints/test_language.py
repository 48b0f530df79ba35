"""Plates, guards, batches and commands with constraints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

import ebmlang
from ebmlang import cli
from ebmlang.testing.inference import check_inference
from tests.constraints.programs import NEAREST, QP, each_method, program
from tests.numeric.gallery import load, relative

Array = NDArray[np.float64]


@each_method
def test_plates_guards_and_masks(using: str) -> None:
    m = ebmlang.loads(
        """
        model steps(n: int) {
          observed y  : real[n]
          observed on : bool[n]
          latent   x  : real[n]
          energy fit = 1/2 * ||y - x||^2
          for i in 0..n-1 if on[i] { subject to rising[i] : x[i] <= x[i+1] }
          for i in 0..n, j in 0..n if i + 2 == j { subject to near[i, j] : x[j] - x[i] <= 1 }
          infer x
        }
        """
    )
    rng = np.random.default_rng(3)
    y, on = 2 * rng.normal(size=(5, 6)), rng.integers(0, 2, size=(5, 6)).astype(bool)
    r = m.infer(y=y, on=on, dtype="float64", using=using)
    assert bool(r.converged.all()), r.status
    assert tuple(r.multipliers["rising"].shape) == (5, 5)
    assert tuple(r.multipliers["near"].shape) == (5, 4)
    for row in range(5):
        rows = [np.eye(6)[i] - np.eye(6)[i + 1] for i in range(5) if on[row, i]]
        table = np.array([*rows, *(np.eye(6)[i + 2] - np.eye(6)[i] for i in range(4))])
        right = np.array([0.0] * len(rows) + [1.0] * 4)

        def energy(x: Array, row: int = row) -> float:
            return float(((y[row] - x) ** 2).sum() / 2)

        limit = {"type": "ineq", "fun": lambda x, t=table, b=right: b - t @ x}
        expected = minimize(energy, np.zeros(6), constraints=[limit], method="SLSQP", options={"ftol": 1e-14})
        assert float(r.energy[row]) == pytest.approx(expected.fun, rel=1e-7, abs=1e-9)


def test_absolute_values_under_constraints() -> None:
    """Basis pursuit: the sum of absolute values under equations is a linear program."""
    rng = np.random.default_rng(4)
    A, b = rng.normal(size=(4, 9)), rng.normal(size=(3, 4))
    m = ebmlang.loads(
        """
        model pursuit(k: int, n: int) {
          shared observed A : real[k, n]
          observed        b : real[k]
          latent          x : real[n]
          energy size = ||x||_1
          subject to exact : A @ x == b
          infer x
        }
        """
    )
    plan = m.choice()
    assert plan.method is not None
    assert plan.inner is not None
    assert (plan.method.name, plan.inner.name) == ("augmented_lagrangian", "fista")
    r = m.infer(A=A, b=b, dtype="float64")
    assert bool(r.converged.all()), r.status
    for row in range(3):
        split = np.hstack([A, -A])
        expected = linprog(np.ones(18), A_eq=split, b_eq=b[row], method="highs")
        assert float(r.energy[row]) == pytest.approx(expected.fun, rel=1e-7)


def test_unknowns_that_all_examples_share() -> None:
    m = ebmlang.loads(
        """
        model shared_level(n: int) {
          observed y : real[n]
          latent   x : real[n]
          latent   c : real[n] per batch
          energy fit = ||y - x||^2 + 0.1 * ||c||^2
          subject to level : x == c
          batch energy flat = 0 * sum(c)
          infer x, c
        }
        """.replace("          batch energy flat = 0 * sum(c)\n", "")
    )
    rng = np.random.default_rng(6)
    y = rng.normal(size=(4, 3))
    r = m.infer(y=y, dtype="float64")
    assert bool(r.converged.all()), r.status
    expected = y.sum(0) / (4 + 4 * 0.1)  # a term counts in every row
    assert relative(r.c, expected) < 1e-8
    assert relative(r.x, np.tile(expected, (4, 1))) < 1e-8
    assert tuple(r.multipliers["level"].shape) == (4, 3)


def test_a_constraint_across_the_batch() -> None:
    m = ebmlang.loads(
        """
        model budget(n: int) {
          observed y : real[n]
          latent   x : real[n]
          energy fit = 1/2 * ||y - x||^2
          subject to shared_budget : mean(x, over = batch) == 0
          infer x
        }
        """
    )
    y = np.random.default_rng(7).normal(size=(5, 2))
    r = m.infer(y=y, dtype="float64")
    assert bool(r.converged.all()), r.status
    assert relative(r.x, y - y.mean(0)) < 1e-8
    assert tuple(r.multipliers["shared_budget"].shape) == (2,)


def test_given_entries_stay_given() -> None:
    m = ebmlang.loads(
        """
        model filled(n: int) {
          observed x : real[n] missing
          energy small = ||x||^2
          subject to whole : sum(x) == 1
        }
        """
    )
    x = np.array([[0.4, np.nan, np.nan], [np.nan, 0.0, 0.7]])
    r = m.infer(x=x, dtype="float64")
    assert bool(r.converged.all()), r.status
    assert relative(r.x, [[0.4, 0.3, 0.3], [0.3, 0.0, 0.7]]) < 1e-9


def test_an_energy_that_is_not_convex_is_left_to_the_augmented_lagrangian() -> None:
    m = ebmlang.loads(
        """
        model saddle {
          observed y : real[2]
          latent   x : real[2] in [-1, 1] = [0.3, 0.2]
          energy bent = x[0] * x[1] + y @ x
          subject to level : x[0] + x[1] == 0.5
          infer x
        }
        """
    )
    assert m.choice().method.name == "interior_point"  # type: ignore[union-attr]
    r = m.infer(y=[[0.0, 0.0]], dtype="float64")
    assert r.method == "augmented_lagrangian"
    assert "not convex" in r.because
    assert bool(r.converged.all()), r.status
    assert sorted(r.x[0].tolist()) == pytest.approx([-0.5, 1.0], abs=1e-8)


def test_restarts_find_the_lower_of_two_minima() -> None:
    m = ebmlang.loads(
        """
        model ring {
          observed y : real
          latent   x : real[2] in [-2, 2] = [1.0, 0.1]
          energy bent = (x[0] + 1)^2 * (x[0] - 1)^2 + 0.3 * y * x[0]
          subject to ring : ||x||^2 == 1
          infer x
        }
        """
    )
    r = m.infer(y=[1.0, -1.0], dtype="float64", restarts=8)
    assert bool(r.converged.all()), r.status
    assert r.x[:, 0].tolist() == pytest.approx([-1.0, 1.0], abs=0.05)


def test_energies_do_not_see_constraints() -> None:
    m = ebmlang.loads(NEAREST)
    values: dict[str, Any] = {"y": [[0.5, 0.9]], "top": [1.0], "x": [[0.9, 0.9]]}
    assert m.energy(**values, dtype="float64").tolist() == pytest.approx([0.16])
    assert set(m.terms(**values)) == {"fit"}
    assert m.graph.nodes["limit"]["kind"] == "constraint"


def test_an_empty_domain_is_named() -> None:
    m = ebmlang.loads(NEAREST.replace("in [0, 1]", "in [1, top]"))
    with pytest.raises(ebmlang.DataError, match="x"):
        m.infer(y=[[0.5, 0.9]], top=[0.5])


def test_a_start_that_is_not_finite_is_no_proof_of_infeasibility() -> None:
    m = ebmlang.loads(
        """
        model broken {
          observed y : real
          latent   x : real = -1
          energy fit = (x - y)^2
          subject to root : log(x) <= 0
          infer x
        }
        """
    )
    r = m.infer(y=[0.5], dtype="float64")
    assert r.status == ("non-finite energy in term 'root' at the start",)


def test_portfolio_of_the_gallery_equals_scipy() -> None:
    rng = np.random.default_rng(8)
    R = 0.05 * rng.normal(size=(40, 6)) + rng.uniform(0, 0.02, size=6)
    mean, covariance = R.mean(0), np.cov(R.T, ddof=0)
    least = float(np.quantile(mean, 0.7))
    r = load("portfolio", least=least, most=0.5).infer(R=R, dtype="float64")
    assert bool(r.converged.all()), r.status
    expected = minimize(
        lambda w: 1e4 * w @ covariance @ w / 2,
        np.full(6, 1 / 6),
        bounds=[(0, 0.5)] * 6,
        constraints=[
            {"type": "eq", "fun": lambda w: w.sum() - 1},
            {"type": "ineq", "fun": lambda w: mean @ w - least},
        ],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert float(r.energy[0]) == pytest.approx(expected.fun / 1e4, rel=1e-6)
    assert relative(r.w[0], expected.x) < 1e-3
    assert float(r.w.sum()) == pytest.approx(1, abs=1e-9)
    assert torch.all(r.w >= 0)


def test_a_guard_that_leaves_no_position_demands_nothing() -> None:
    m = ebmlang.loads(
        """
        model free(n: int) {
          observed y : real[n]
          latent   x : real[n]
          energy fit = ||x - y||^2
          for i in 0..n, j in 0..n if i + n < j { subject to never[i, j] : x[i] <= x[j] }
          infer x
        }
        """
    )
    y = np.array([[1.0, 2.0], [3.0, 0.0]])
    r = m.infer(y=y, dtype="float64")
    assert bool(r.converged.all()), r.status
    assert relative(r.x, y) < 1e-9
    assert r.violations["never"].tolist() == [0, 0]
    assert tuple(r.multipliers["never"].shape) == (2, 0)


def test_negative_weights_of_absolute_values_are_noticed() -> None:
    m = ebmlang.loads(
        """
        model pull(n: int) {
          shared observed w : real
          observed y : real[n]
          latent x : real[n] in [-1, 1]
          energy fit = ||x - y||^2 + w * ||x||_1
          subject to flat : sum(x) == 1
          infer x
        }
        """
    )
    y = np.array([[0.4, 0.1]])
    good = m.infer(w=0.1, y=y, dtype="float64")
    assert bool(good.converged.all()), good.status
    r = m.infer(w=-0.1, y=y, dtype="float64", steps=300)
    assert "negative" in r.because
    assert not bool(r.converged.any())


@pytest.mark.parametrize("rows", [1, 40])
def test_rows_in_chunks_equal_rows_together(rows: int) -> None:
    p = program(11, rows=rows)
    m = ebmlang.loads(QP)
    whole = m.infer(**p, dtype="float64")
    cut = m.infer(**p, dtype="float64", max_memory=200_000)
    assert bool(whole.converged.all()), whole.status
    assert float((whole.x - cut.x).abs().max()) < 1e-9
    assert cut.multipliers["below"].shape == whole.multipliers["below"].shape
    assert cut.violations["below"].shape == (rows,)


def test_the_command_writes_violations_and_multipliers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, out = tmp_path / "nearest.ebm", tmp_path / "data.npz", tmp_path / "out.npz"
    model.write_text(NEAREST, encoding="utf-8")
    np.savez(data, y=np.array([[0.5, 0.9], [0.5, 0.9]]), top=np.array([1.0, -0.3]))
    options = ["--dtype", "float64", "--no-progress"]
    assert cli.main(["infer", str(model), "--data", str(data), "-o", str(out), *options]) == 0
    shown = capsys.readouterr().out
    assert "largest violation" in shown
    assert "'limit' is violated by 0.3" in " ".join(shown.split())
    written = np.load(out)
    assert written["violation.limit"] == pytest.approx([0, 0.3], abs=1e-8)
    assert written["multiplier.limit"][0] == pytest.approx(0.4)
    assert written["x"][0] == pytest.approx([0.3, 0.7])
    found = cli.main(["infer", str(model), "--data", str(data), "--json", "--strict", *options])
    assert found == 3
    assert json.loads(capsys.readouterr().out)["violations"]["limit"] == pytest.approx(0.3)


@pytest.mark.parametrize("text", [NEAREST.replace("observed top : real", ""), QP])
def test_properties_of_inference_hold(text: str) -> None:
    m = ebmlang.loads(text.replace("<= top", "<= 1"))
    rng = np.random.default_rng(9)
    values = program(9) if text is QP else {"y": rng.normal(size=(3, 3))}
    names = {v.name for v in m.checked.variables if v.role == "observed"}
    assert check_inference(m, {n: v for n, v in values.items() if n in names}) == {"converged": 3}
