"""Free energies lowered over real unknowns after countable ones were summed out, against scipy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

import ebmlang
from ebmlang.cli import main
from ebmlang.errors import DataError

Array = NDArray[Any]

CLUSTERS = """model clusters(n: int, k: int) {
  observed x : real[n]
  param mu : real[k, n] = normal(0, 1)
  latent c : class[k]
  energy fit = 0.5 * ||x - mu[c]||^2
  regularizer small = 0.01 * ||mu||^2
  infer mu
  marginalize c
}"""

CODES = """model codes(n: int, k: int) {
  observed y : real[n]
  shared observed D : real[k, n]
  latent z : real[n] in nonnegative
  latent c : class[k]
  energy fit = ||y - z||^2
  energy near = 0.1 * ||z - D[c]||^2
  infer z
  marginalize c at beta = 2
}"""


def test_a_mixture_of_gaussians_is_fitted() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(30, 2)) + c for c in ([4, 0], [-4, 1], [0, -5])])
    found = ebmlang.loads(CLUSTERS, k=3).infer(x=x, restarts=4, dtype="float64")

    def free(flat: Array) -> float:
        mu = flat.reshape(3, 2)
        scores = -0.5 * ((x[:, None] - mu) ** 2).sum(2)
        return float(-logsumexp(scores, axis=1).sum() + 0.01 * (mu**2).sum())

    least = min(minimize(free, 3 * rng.normal(size=6), tol=1e-10).fun for _ in range(6))
    assert bool(found.converged.all())
    assert float(found.energy[0]) == pytest.approx(free(found.mu.numpy().reshape(-1)), rel=1e-12)
    assert float(found.energy[0]) == pytest.approx(least, rel=1e-8)
    shares = softmax(-0.5 * ((x[:, None] - found.mu.numpy()) ** 2).sum(2), axis=1)
    np.testing.assert_allclose(found.marginals["c"].numpy(), shares, atol=1e-10)


def free_of(y: Array, D: Array, z: Array) -> float:
    return float(((y - z) ** 2).sum() - logsumexp(-2 * 0.1 * ((z - D) ** 2).sum(1)) / 2)


def test_codes_of_rows_with_bounds_and_a_temperature() -> None:
    rng = np.random.default_rng(1)
    y, D = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    found = ebmlang.loads(CODES).infer(y=y, D=D, dtype="float64")
    assert found.method == "projected_lbfgs"
    assert bool(found.converged.all())
    for row in range(4):
        # So little weight is on the mixture that the free energy is convex: there is one minimum.
        best = minimize(
            lambda z, row=row: free_of(y[row], D, z), np.ones(3), bounds=[(0, None)] * 3, tol=1e-14
        )
        assert float(found.energy[row]) == pytest.approx(best.fun, rel=1e-9)
        p = softmax(-2 * 0.1 * ((found.z[row].numpy() - D) ** 2).sum(1))
        np.testing.assert_allclose(found.marginals["c"][row].numpy(), p, atol=1e-12)


def test_the_free_energy_is_the_one_of_marginal() -> None:
    rng = np.random.default_rng(2)
    y, D = rng.normal(size=(3, 3)), rng.normal(size=(4, 3))
    model = ebmlang.loads(CODES)
    found = model.infer(y=y, D=D, dtype="float64")
    again = model.marginal(y=y, D=D, z=found.z, dtype="float64")
    np.testing.assert_allclose(found.energy.numpy(), again.energy.numpy(), rtol=1e-12)
    np.testing.assert_allclose(found.marginals["c"].numpy(), again["c"].numpy(), atol=1e-12)


def test_chains_and_cases_that_are_given() -> None:
    text = """model m(T: int, k: int) {
      observed x : real[T]
      shared observed A : real[k, k]
      latent mu : real[k]
      latent c : class[k][T]
      for t in 0..T   { energy fit[t] = (x[t] - mu[c[t]])^2 }
      for t in 0..T-1 { energy move[t] = A[c[t], c[t + 1]] }
      energy small = 2 * ||mu||^2
      infer mu
      marginalize c
    }"""
    rng = np.random.default_rng(3)
    x, A = rng.normal(size=(2, 5)), rng.normal(size=(2, 2))
    c = np.array([[0, 1, 1, 0, 0], [1, 1, 0, 0, 1]])
    known = np.array([[True, False, False, True, False], [False] * 4 + [True]])
    found = ebmlang.loads(text).infer(x=x, A=A, c=c, observed={"c": known}, find=["mu"], dtype="float64")
    for row in range(2):
        paths = [
            s
            for s in itertools.product((0, 1), repeat=5)
            if all(not k or a == b for k, a, b in zip(known[row], s, c[row], strict=True))
        ]

        def free(mu: Array, row: int = row, paths: Any = paths) -> float:
            energies = [
                sum((x[row][t] - mu[s[t]]) ** 2 for t in range(5)) + sum(A[s[t], s[t + 1]] for t in range(4))
                for s in paths
            ]
            return float(-logsumexp(-np.array(energies)) + 2 * (mu**2).sum())

        mu = found.mu[row].numpy()
        assert float(found.energy[row]) == pytest.approx(free(mu), rel=1e-10)
        nearby = minimize(free, mu, tol=1e-12)
        assert float(found.energy[row]) == pytest.approx(nearby.fun, rel=1e-8)


def test_the_plan_does_not_claim_what_holds_for_one_state_only() -> None:
    text = ebmlang.loads(CODES).explain()
    assert text.startswith("seek z after summing out c")
    claims = [line for line in text.splitlines() if line.split()[0] in ("found", "method", "because")]
    assert not any("quadratic" in line or "convex" in line for line in claims)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("marginalize c at beta = 2", "marginalize z"), "c is class.*countable unknowns beside an integral"),
        (("energy near", "subject to room : sum(z) <= 1\n  energy near"), "hard constraints beside a sum"),
    ],
)
def test_what_is_not_built_is_refused(change: tuple[str, str], message: str) -> None:
    text = CODES.replace(*change)
    if "marginalize z" in text:
        text = text.replace("infer z", "infer c")
    with pytest.raises(DataError, match=message):
        ebmlang.loads(text).infer(y=np.ones((1, 3)), D=np.ones((2, 3)))


def test_the_command_writes_probabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data, out = tmp_path / "codes.ebm", tmp_path / "y.npz", tmp_path / "z.npz"
    model.write_text(CODES)
    rng = np.random.default_rng(4)
    np.savez(data, y=rng.normal(size=(6, 3)), D=rng.normal(size=(4, 3)))
    assert main(["infer", str(model), "--data", str(data), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 6
    stored = np.load(out)
    assert stored["marginal.c"].shape == (6, 4)
    np.testing.assert_allclose(stored["marginal.c"].sum(1), 1.0, atol=1e-5)
