"""Groups of unknowns in turn, against references that know nothing of the compiler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import NMF

import ebmlang
from ebmlang.runtime.solvers.block_coordinate import BlockCoordinate, improved
from ebmlang.runtime.solvers.quadratic import Quadratic
from tests.numeric.gallery import digits, load
from tests.runtime.fakes import Values, problem

Array = NDArray[np.float64]

ALS = """model als(n: int, m: int, k: int, lam: real in nonnegative = 0.2) {
  observed V : real[n, m]; observed seen : real[n, m]
  observed start : real[n, k]; observed begin : real[k, m]
  latent A : real[n, k] = start
  latent B : real[k, m] = begin
  energy fit = 1/2 * sum(seen * (V - A @ B)^2)
  energy size = lam / 2 * (||A||^2 + ||B||^2)
  infer A, B using block_coordinate
}"""

SHARES = """model shares(m: int, k: int) {
  observed y : real[m]
  latent h : real[k] in simplex
  param W : real[m, k] = normal()
  energy fit = 1/2 * ||y - W @ h||^2
  energy size = 0.05 * ||W||^2
  infer h, W
}"""

DICTIONARY = """model dictionary(m: int, k: int, lam: real in nonnegative = 0.3) {
  observed y : real[m]
  latent z : real[k] = 0.1
  param D : real[k, m] in simplex
  energy fit = 1/2 * ||y - z @ D||^2
  energy few = lam * ||z||_1
  infer z, D
}"""


def _factors(rows: int, seed: int) -> dict[str, Array]:
    made = np.random.default_rng(seed)
    V = made.normal(size=(rows, 9, 3)) @ made.normal(size=(rows, 3, 7)) + 0.1 * made.normal(size=(rows, 9, 7))
    seen = (made.uniform(size=V.shape) < 0.7).astype(float)
    start, begin = made.normal(size=(rows, 9, 2)), made.normal(size=(rows, 2, 7))
    return {"V": V, "seen": seen, "start": start, "begin": begin}


def _alternated(data: dict[str, Array], row: int, lam: float, sweeps: int) -> tuple[Array, Array, float]:
    """Plain alternating least squares: one ridge regression for each row of A and column of B."""
    V, seen, A, B = (data[n][row] for n in ("V", "seen", "start", "begin"))
    A, B, eye = A.copy(), B.copy(), lam * np.eye(A.shape[1])
    for _ in range(sweeps):
        for i in range(len(A)):
            own = B * seen[i]
            A[i] = np.linalg.solve(own @ B.T + eye, own @ V[i])
        for j in range(B.shape[1]):
            own = A * seen[:, j : j + 1]
            B[:, j] = np.linalg.solve(own.T @ A + eye, own.T @ V[:, j])
    energy = (seen * (V - A @ B) ** 2).sum() / 2 + lam / 2 * ((A**2).sum() + (B**2).sum())
    return A, B, float(energy)


def test_one_sweep_is_one_of_alternating_least_squares() -> None:
    data = _factors(3, 0)
    found = ebmlang.loads(ALS).infer(data, steps=1, dtype="float64")
    assert found.method == "block_coordinate"
    for row in range(3):
        A, B, energy = _alternated(data, row, 0.2, 1)
        np.testing.assert_allclose(found.A[row].numpy(), A, atol=1e-9)
        np.testing.assert_allclose(found.B[row].numpy(), B, atol=1e-9)
        assert float(found.energy[row]) == pytest.approx(energy, rel=1e-12)


def test_missing_entries_end_where_alternating_least_squares_does_and_earlier() -> None:
    data = _factors(3, 1)
    found = ebmlang.loads(ALS).infer(data, dtype="float64", trace=True)
    assert found.converged.all()
    assert found.trace is not None
    assert (found.trace.diff(dim=0) <= 1e-12 * found.trace[:-1].abs()).all()
    for row in range(3):
        energy = _alternated(data, row, 0.2, 1500)[2]
        assert float(found.energy[row]) <= energy * (1 + 1e-9)
        # The extrapolation is what makes it quick: plain sweeps are not there after as many steps.
        steps = int(found.iterations[row])
        assert steps < 150
        assert _alternated(data, row, 0.2, steps)[2] >= float(found.energy[row])


def test_rows_are_answered_alone_and_restarts_keep_the_lowest() -> None:
    data = _factors(4, 2)
    model = ebmlang.loads(ALS)
    whole, many = model.infer(data, dtype="float64"), model.infer(data, dtype="float64", restarts=4)
    assert (many.energy <= whole.energy * (1 + 1e-9)).all()
    for row in range(4):
        alone = model.infer({n: v[row : row + 1] for n, v in data.items()}, dtype="float64")
        assert float(alone.energy[0]) == pytest.approx(float(whole.energy[row]), rel=1e-8)


def test_non_negative_factors_of_digits_are_no_worse_than_those_of_scikit_learn() -> None:
    V = digits()[:150]
    made = np.random.default_rng(0)
    start, begin = made.uniform(size=(150, 6)), made.uniform(size=(6, 64))
    model = ebmlang.loads(
        """model nmf(n: int, m: int, k: int) {
          observed V : real[n, m]; observed start : real[n, k]; observed begin : real[k, m]
          latent W : real[n, k] in nonnegative = start
          latent H : real[k, m] in nonnegative = begin
          energy fit = 1/2 * ||V - W @ H||^2
          infer W, H using block_coordinate
        }"""
    )
    found = model.infer({"V": V[None], "start": start[None], "begin": begin[None]}, dtype="float64")
    assert found.converged.all()
    W, H = found.W[0].numpy(), found.H[0].numpy()
    assert (W >= 0).all()
    assert (H >= 0).all()
    # Karush, Kuhn and Tucker: slopes are not negative, and 0 where a factor is not.
    for value, slope in ((W, (W @ H - V) @ H.T), (H, W.T @ (W @ H - V))):
        assert np.abs(np.minimum(value, slope)).max() < 1e-4
    reference = NMF(6, init="custom", tol=1e-8, max_iter=3000)
    theirs = reference.fit_transform(V, W=start.copy(), H=begin.copy())
    energy = 0.5 * ((V - theirs @ reference.components_) ** 2).sum()
    assert float(found.energy[0]) <= energy * (1 + 1e-3)


def test_the_gallery_factorises_all_rows_together() -> None:
    V = digits()[:100]
    found = load("nmf", k=4).infer({"y": V}, dtype="float64")
    assert found.converged.all()
    assert found.method == "projected_lbfgs"
    assert "does not pay" in found.because
    turns = load("nmf", k=4).infer({"y": V}, dtype="float64", using="block_coordinate")
    assert turns.converged.all()
    assert turns.W.shape == (64, 4)
    energy = 0.5 * ((V - turns.h.numpy() @ turns.W.numpy().T) ** 2).sum()
    assert float(turns.energy.sum()) == pytest.approx(energy, rel=1e-9)
    reference = NMF(4, init="nndsvda", tol=1e-8, max_iter=3000)
    theirs = 0.5 * ((V - reference.fit_transform(V) @ reference.components_) ** 2).sum()
    assert energy <= theirs * (1 + 0.01)
    floor = 0.5 * ((V - V.mean(0)) ** 2).sum()
    assert energy < 0.6 * floor


@pytest.mark.parametrize(("rank", "method"), [(4, "block_coordinate"), (12, "projected_lbfgs")])
def test_groups_take_turns_where_few_of_their_entries_meet(rank: int, method: str) -> None:
    made = np.random.default_rng(6)
    V = np.abs(made.normal(size=(700, rank))) @ np.abs(made.normal(size=(rank, 8)))
    found = load("nmf", k=rank).infer({"y": V}, steps=2)
    assert found.method == method
    assert ("12 entries of a group meet each other" in found.because) == (rank == 12)


def test_shares_are_stationary_on_the_simplex() -> None:
    made = np.random.default_rng(4)
    y = made.dirichlet(np.ones(3), size=30) @ made.normal(size=(3, 5))
    found = ebmlang.loads(SHARES, k=3).infer({"y": y}, dtype="float64")
    assert found.method == "block_coordinate"
    assert found.converged.all()
    h, W = found.h.numpy(), found.W.numpy()
    np.testing.assert_allclose(h.sum(1), 1, atol=1e-12)
    slope = (h @ W.T - y) @ W
    # Where a share is not 0, no other one has a lower slope.
    gap = np.where(h > 1e-9, slope - slope.min(1, keepdims=True), 0)
    assert gap.max() < 1e-6
    assert np.abs((h @ W.T - y).T @ h + 0.1 * W).max() < 1e-6


def test_absolute_values_beside_a_tied_domain() -> None:
    made = np.random.default_rng(5)
    y = np.maximum(made.normal(size=(25, 3)), 0) @ made.dirichlet(np.ones(6), size=3)
    found = ebmlang.loads(DICTIONARY, k=3).infer({"y": y}, dtype="float64", steps=2000)
    assert found.method == "block_coordinate"
    assert found.converged.all()
    z, D = found.z.numpy(), found.D.numpy()
    slope = (z @ D - y) @ D.T
    # Zero is in the subdifferential of every code.
    inside = np.where(z != 0, slope + 0.3 * np.sign(z), np.maximum(np.abs(slope) - 0.3, 0))
    assert np.abs(inside).max() < 1e-6
    assert (z == 0).any()
    along = z.T @ (z @ D - y)
    assert np.where(D > 1e-9, along - along.min(1, keepdims=True), 0).max() < 1e-6


@pytest.mark.parametrize(
    ("energy", "reason"),
    [
        ("sum(abs(x - y)) + x[0]^2 * y[0]^2", "a kink or a condition joins groups"),
        ("1/2 * sum((x - 1)^2 * y) + ||y||^2", "a kink or a condition joins groups"),
        ("||x - y||^2", "no partition into convex blocks"),
    ],
)
def test_what_does_not_come_apart_is_refused(energy: str, reason: str) -> None:
    text = f"model m() {{ latent x : real[2] in [0, 1]; latent y : real[2] in [-1, 1]; energy e = {energy} }}"
    plan = ebmlang.loads(text).choice()
    assert plan.method is not None
    assert plan.method.name != "block_coordinate"
    assert reason in next(r.reason for r in plan.rejected if r.method.name == "block_coordinate")


def test_a_product_falls_without_end() -> None:
    text = "model m() { latent x : real = 1; latent y : real = 2; energy e = x * y; infer x, y }"
    found = ebmlang.loads(text).infer(using="block_coordinate")
    assert not found.converged.any()
    assert "unbounded" in found.status[0]


def test_a_step_of_a_group_never_raises_its_energy() -> None:
    """Even where a solver cannot: here a saddle, which the solver of quadratics leaves alone."""

    def saddle(u: Values, h: Values) -> torch.Tensor:
        return u["x"][:, 0] ** 2 - u["x"][:, 1] ** 2

    start = torch.ones(2, 2, dtype=torch.float64)
    question = problem(saddle, start)
    found, endless = improved(Quadratic(), question, start, torch.tensor([True, False]))
    assert endless.tolist() == [True, False]
    assert torch.equal(found, start)
    with pytest.raises(ValueError, match="groups of unknowns"):
        BlockCoordinate().init(question, start)
