"""Programs under constraints against closed forms, scipy and published minima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

import ebmlang
from tests.constraints.programs import QP, each_method, program
from tests.numeric.gallery import relative

Array = NDArray[np.float64]


def by_scipy(p: dict[str, Any], row: int) -> float:
    """The least energy by SLSQP, polished by trust-constr where that is lower."""
    S, q = p["S"], p["q"][row]

    def energy(x: Array) -> float:
        return float(x @ S @ x / 2 + q @ x)

    limits = [
        {"type": "ineq", "fun": lambda x: p["h"][row] - p["G"] @ x, "jac": lambda x: -p["G"]},
        {"type": "eq", "fun": lambda x: p["A"] @ x - p["b"][row], "jac": lambda x: p["A"]},
    ]
    found = minimize(
        energy, np.zeros(len(q)), jac=lambda x: S @ x + q, bounds=[(-1, 2)] * len(q), constraints=limits,
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    return float(found.fun)


@each_method
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rank", [7, 3])
def test_convex_quadratic_programs_equal_scipy(seed: int, rank: int, using: str) -> None:
    p = program(seed, rank=rank)
    r = ebmlang.loads(QP).infer(**p, dtype="float64", using=using)
    assert bool(r.converged.all()), r.status
    assert r.method == using
    for row in range(3):
        expected = by_scipy(p, row)
        assert float(r.energy[row]) == pytest.approx(expected, rel=1e-7, abs=1e-8)
    x = r.x.numpy()
    assert (x @ p["G"].T - p["h"]).max() < 1e-8
    assert np.abs(x @ p["A"].T - p["b"]).max() < 1e-8
    assert x.min() >= -1
    assert x.max() <= 2


@pytest.mark.parametrize("seed", range(4))
def test_multipliers_satisfy_the_optimality_conditions(seed: int) -> None:
    p = program(seed)
    r = ebmlang.loads(QP).infer(**p, dtype="float64")
    x, y, w = r.x.numpy(), r.multipliers["below"].numpy(), r.multipliers["exact"].numpy()
    slope = x @ p["S"] + p["q"] + y @ p["G"] + w @ p["A"]
    assert y.min() >= 0
    assert np.abs(y * (p["h"] - x @ p["G"].T)).max() < 1e-8
    projected = np.clip(x - slope, -1, 2) - x
    assert np.abs(projected).max() < 1e-8
    assert "largest violation" in r.certificate


def test_a_linear_program_equals_highs() -> None:
    rng = np.random.default_rng(5)
    A, price = rng.uniform(0.1, 1, size=(3, 6)), rng.uniform(1, 2, size=6)
    need = rng.uniform(1, 2, size=(4, 3))
    m = ebmlang.loads(
        """
        model diet(n: int, k: int) {
          shared observed A     : real[k, n]
          shared observed price : real[n]
          observed        need  : real[k]
          latent          x     : real[n] in nonnegative = 1
          energy spent = price @ x
          subject to enough : A @ x >= need
          infer x
        }
        """
    )
    r = m.infer(A=A, price=price, need=need, dtype="float64")
    assert r.method == "linear_program"
    assert "duality gap" in r.certificate
    assert bool(r.converged.all()), r.status
    for row in range(4):
        expected = linprog(price, A_ub=-A, b_ub=-need[row], method="highs")
        assert float(r.energy[row]) == pytest.approx(expected.fun, rel=1e-9)
        assert relative(r.multipliers["enough"][row], -expected.ineqlin.marginals) < 1e-6


BOXED = QP.replace("in [-1, 2]", "in [lo, hi]").replace(
    "  latent ", "  observed lo : real[n]\n  observed hi : real[n]\n  latent ", 1
)


@pytest.mark.parametrize("seed", [1, 4, 5, 13, 24, 35])
def test_degenerate_and_infeasible_programs_are_told_apart(seed: int) -> None:
    """Equations that repeat, inequalities that oppose, pinned entries, numbers from 1e-4 to 1e4, vertices
    where more constraints touch than there are unknowns; HiGHS decides feasibility, and whether a lower point
    is near."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(2, 12)), int(rng.integers(1, 8))
    e, rank = int(rng.integers(1, max(2, n))), int(rng.integers(0, n + 1))
    factor = rng.normal(size=(n, rank)) * 10.0 ** (rng.integers(-4, 5) / 2)
    inside = rng.uniform(-1, 1, size=(4, n))
    G, A = rng.normal(size=(k, n)), rng.normal(size=(e, n))
    if seed % 3 == 0:
        A[-1] = A[0]
    if seed % 4 == 0:
        G[-1] = -G[0]
    p = {"S": factor @ factor.T, "q": rng.normal(size=(4, n)) * 10.0 ** rng.integers(-3, 4), "G": G, "A": A}
    p |= {"h": inside @ G.T + np.maximum(rng.normal(size=(4, k)), 0), "b": inside @ A.T}
    p |= {"lo": np.full((4, n), -1.0), "hi": np.ones((4, n))}
    if seed % 5 == 0:
        p["lo"][:, 0] = p["hi"][:, 0] = inside[:, 0]
    if seed % 2:
        p["b"][1] += 1000
    r = ebmlang.loads(BOXED).infer({**p}, dtype="float64")
    for row in range(4):
        given: dict[str, Any] = {"A_ub": G, "b_ub": p["h"][row], "A_eq": A, "b_eq": p["b"][row]}
        bounds = list(zip(p["lo"][row], p["hi"][row], strict=True))
        x = r.x[row].numpy()
        slope = p["S"] @ x + p["q"][row]
        lowest = linprog(slope, bounds=bounds, method="highs", **given)
        assert bool(r.converged[row]) == (lowest.status == 0), r.status[row]
        if lowest.status:
            assert r.status[row].startswith("no feasible point was found: 'exact'")
        else:
            assert slope @ x - lowest.fun <= 1e-6 * (1 + abs(float(r.energy[row])))


@each_method
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-8), ("float32", 2e-5)])
def test_projection_on_a_hyperplane(using: str, dtype: str, bound: float) -> None:
    rng = np.random.default_rng(1)
    y, a = rng.normal(size=(6, 5)), rng.normal(size=5)
    m = ebmlang.loads(
        """
        model nearest(n: int) {
          shared observed a : real[n]
          observed        y : real[n]
          latent          x : real[n]
          energy fit = 1/2 * ||y - x||^2
          subject to flat : a @ x == 1
          infer x
        }
        """
    )
    r = m.infer(y=y, a=a, dtype=dtype, using=using)
    multiplier = (y @ a - 1) / (a @ a)
    assert bool(r.converged.all()), r.status
    assert str(r.x.dtype) == f"torch.{dtype}"
    assert relative(r.x, y - multiplier[:, None] * a) < bound
    assert relative(r.multipliers["flat"], multiplier) < bound


@each_method
def test_a_simplex_made_of_constraints_is_the_domain(using: str) -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=(8, 6))
    head = "model near(n: int) { observed y : real[n]; latent x : real[n]"
    tail = "; energy fit = ||y - x||^2; infer x }"
    limits = "; subject to whole : sum(x) == 1; subject to positive : x >= 0"
    by_domain = ebmlang.loads(f"{head} in simplex{tail}".replace(";", "\n"))
    by_limits = ebmlang.loads(f"{head}{limits}{tail}".replace(";", "\n"))
    expected = by_domain.infer(y=y, dtype="float64")
    found = by_limits.infer(y=y, dtype="float64", using=using)
    assert bool(found.converged.all()), found.status
    assert float((found.x - expected.x).abs().max()) < 1e-8


HOCK_SCHITTKOWSKI = (
    # number, the model, its minimum
    (
        "hs6",
        """latent x : real[2] = [-1.2, 1.0]
           energy e = (1 - x[0])^2
           subject to c : 10 * (x[1] - x[0]^2) == 0""",
        0.0,
    ),
    (
        "hs7",
        """latent x : real[2] = [2.0, 2.0]
           energy e = log(1 + x[0]^2) - x[1]
           subject to c : (1 + x[0]^2)^2 + x[1]^2 == 4""",
        -np.sqrt(3),
    ),
    (
        "hs12",
        """latent x : real[2] = [0.0, 0.0]
           energy e = 0.5 * x[0]^2 + x[1]^2 - x[0] * x[1] - 7 * x[0] - 7 * x[1]
           subject to c : 25 - 4 * x[0]^2 - x[1]^2 >= 0""",
        -30.0,
    ),
    (
        "hs24",
        """latent x : real[2] in nonnegative = [1.0, 0.5]
           energy e = ((x[0] - 3)^2 - 9) * x[1]^3 / (27 * sqrt(3))
           subject to a : x[0] / sqrt(3) - x[1] >= 0
           subject to b : x[0] + sqrt(3) * x[1] >= 0
           subject to c : -x[0] - sqrt(3) * x[1] + 6 >= 0""",
        -1.0,
    ),
    (
        "hs28",
        """latent x : real[3] = [-4.0, 1.0, 1.0]
           energy e = (x[0] + x[1])^2 + (x[1] + x[2])^2
           subject to c : x[0] + 2 * x[1] + 3 * x[2] == 1""",
        0.0,
    ),
    (
        "hs35",
        """latent x : real[3] in nonnegative = 0.5
           energy e = 9 - 8*x[0] - 6*x[1] - 4*x[2] + 2*x[0]^2 + 2*x[1]^2 + x[2]^2 + 2*x[0]*x[1] + 2*x[0]*x[2]
           subject to c : 3 - x[0] - x[1] - 2 * x[2] >= 0""",
        1 / 9,
    ),
    (
        "hs43",
        """latent x : real[4] = 0
           energy e = x[0]^2 + x[1]^2 + 2*x[2]^2 + x[3]^2 - 5*x[0] - 5*x[1] - 21*x[2] + 7*x[3]
           subject to a : x[0]^2 + x[1]^2 + x[2]^2 + x[3]^2 + x[0] - x[1] + x[2] - x[3] <= 8
           subject to b : x[0]^2 + 2*x[1]^2 + x[2]^2 + 2*x[3]^2 - x[0] - x[3] <= 10
           subject to c : 2*x[0]^2 + x[1]^2 + x[2]^2 + 2*x[0] - x[1] - x[3] <= 5""",
        -44.0,
    ),
    (
        "hs71",
        """latent x : real[4] in [1, 5] = [1.0, 5.0, 5.0, 1.0]
           energy e = x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]
           subject to a : x[0] * x[1] * x[2] * x[3] >= 25
           subject to b : ||x||^2 == 40""",
        17.0140173,
    ),
)
"""Problems of Hock and Schittkowski 1981, with their published minima."""


@pytest.mark.parametrize(
    ("name", "body", "minimum"), HOCK_SCHITTKOWSKI, ids=[p[0] for p in HOCK_SCHITTKOWSKI]
)
def test_published_minima(name: str, body: str, minimum: float) -> None:
    lines = "\n".join(line.strip() for line in body.splitlines())
    r = ebmlang.loads(f"model {name} {{\n{lines}\ninfer x\n}}").infer(dtype="float64")
    assert bool(r.converged.all()), r.status
    assert float(r.energy[0]) == pytest.approx(minimum, rel=1e-7, abs=1e-8)
    assert max(float(v[0]) for v in r.violations.values()) < 1e-7
