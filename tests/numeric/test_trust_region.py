"""Energies that are not convex, by Newton's steps in a trust region: scipy, saddles, and when it is taken."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

import ebmlang

F64 = torch.float64

ROTORS = """model rotors(T: int) {
  observed y : real[T]
  latent   x : real[T] = 0.3
  for t in 0..T   { energy pull[t] = -0.5 * cos(x[t] - y[t]) }
  for t in 0..T-1 { energy near[t] = -cos(x[t+1] - x[t]) }
  infer x
}"""

WELLS = """model wells(T: int) {
  observed x0 : real[T]
  latent x : real[T] = x0
  for t in 0..T   { energy well[t] = x[t]^4 / 4 - x[t]^2 / 2 }
  for t in 0..T-1 { energy near[t] = 0.1 * x[t]^2 * x[t+1]^2 - 0.05 * cos(x[t] - x[t+1]) }
  infer x
}"""

GRAPH = """model graph(n: int, e: int) {
  shared observed a : class[n][e]
  shared observed b : class[n][e]
  observed y : real[n]
  latent x : real[n]
  for k in 0..e { energy near[k] = -cos(x[a[k]] - x[b[k]]) }
  for i in 0..n { energy pull[i] = -0.3 * cos(x[i] - y[i]) }
  infer x
}"""

TREE = """model tree(n: int) {
  observed y : real[n]
  latent x : real[n]
  for i in 0..n { energy pull[i] = -cos(x[i] - y[i]) }
  for i in 1..n { energy near[i] = -cos(x[i] - x[(i-1)//2]) }
  infer x
}"""

STAR = """model star(n: int) {
  observed y : real[n]
  latent x : real[n]
  latent c : real
  for i in 0..n { energy near[i] = -cos(x[i] - c) - 0.4 * cos(x[i] - y[i]) }
  energy hold = -cos(c)
  infer x, c
}"""


def rotors(y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: -0.5 * torch.cos(x - y).sum() - torch.cos(x[1:] - x[:-1]).sum()


def wells(x: Tensor) -> Tensor:
    both = 0.1 * x[:-1] ** 2 * x[1:] ** 2 - 0.05 * torch.cos(x[:-1] - x[1:])
    return (x**4 / 4 - x**2 / 2).sum() + both.sum()


def slope(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.jacobian(energy, x)
    return found


def bend(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.hessian(energy, x)
    return found


def derivatives(energy: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """The norm of the gradient and the least curvature, by automatic differentiation."""
    return float(slope(energy, x).norm()), float(torch.linalg.eigvalsh(bend(energy, x))[0])


def test_a_chain_of_rotors_is_scipys() -> None:
    y = np.random.default_rng(0).normal(size=(3, 25))
    found = ebmlang.loads(ROTORS).infer(y=y, dtype="float64")
    assert found.method == "trust_region"
    assert bool(found.converged.all()), found.status
    for row in range(3):
        energy = rotors(torch.from_numpy(y[row]))
        best = scipy.optimize.minimize(
            lambda x, f=energy: float(f(torch.from_numpy(x))),
            np.full(25, 0.3),
            jac=lambda x, f=energy: slope(f, torch.from_numpy(x)).numpy(),
            hess=lambda x, f=energy: bend(f, torch.from_numpy(x)).numpy(),
            method="trust-exact",
            options={"gtol": 1e-10},
        )
        np.testing.assert_allclose(float(found.energy[row]), best.fun, rtol=1e-12)
        size, least = derivatives(energy, found.x[row])
        assert size < 1e-7
        assert least > 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_start_on_a_saddle_is_left(dtype: str) -> None:
    """Row 0 starts at a maximum of every well, row 1 between a well and a saddle, row 2 in a minimum."""
    starts = torch.zeros(3, 6, dtype=F64)
    starts[1, 0] = 0.9
    one = ebmlang.loads(WELLS).infer(x0=0.7 * torch.ones(1, 6, dtype=F64))
    starts[2] = one.x[0]
    found = ebmlang.loads(WELLS).infer(x0=starts, dtype=dtype)
    assert found.method == "trust_region"
    assert bool(found.converged.all()), found.status
    for row in range(3):
        size, least = derivatives(wells, found.x[row].double())
        assert size < (1e-8 if dtype == "float64" else 1e-3)
        assert least > 0
    assert int(found.iterations[2]) == 0


def test_given_entries_stay_when_a_saddle_is_left() -> None:
    text = WELLS.replace(
        "observed x0 : real[T]\n  latent x : real[T] = x0", "observed x : real[T] missing"
    ).replace("  infer x\n", "")
    x = torch.tensor([[torch.nan, 0.0, torch.nan, torch.nan]], dtype=F64)
    found = ebmlang.loads(text).infer(x=x)
    assert found.method == "trust_region"
    assert float(found.x[0, 1]) == 0
    free = torch.tensor([0, 2, 3])

    def energy(u: Tensor) -> Tensor:
        return wells(torch.zeros(4, dtype=F64).index_copy(0, free, u))

    size, least = derivatives(energy, found.x[0, free])
    assert size < 1e-8
    assert least > 0


def test_directions_without_curvature_are_no_way_down() -> None:
    """Turning all rotors together changes nothing: the least curvature is 0 up to rounding."""
    text = ROTORS.replace("  for t in 0..T   { energy pull[t] = -0.5 * cos(x[t] - y[t]) }\n", "").replace(
        "real[T] = 0.3", "real[T] = y"
    )
    y = np.random.default_rng(1).normal(size=(2, 12))
    found = ebmlang.loads(text).infer(y=y, dtype="float64")
    assert found.method == "trust_region"
    assert bool(found.converged.all())
    np.testing.assert_allclose(found.energy.numpy(), -11.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "pattern"), [(GRAPH, "sparse"), (TREE, "tree"), (STAR, "arrow"), (ROTORS, "block-banded")]
)
def test_every_pattern_reaches_what_steps_without_a_matrix_reach(text: str, pattern: str) -> None:
    rng, n = np.random.default_rng(2), 40
    data: dict[str, np.ndarray] = {"y": 0.3 * rng.normal(size=(4, n))}
    if text is GRAPH:
        data |= {"a": rng.integers(0, n, 60), "b": rng.integers(0, n, 60)}
    model = ebmlang.loads(text)
    found, other = (model.infer(data, dtype="float64", using=name) for name in (None, "lbfgs"))
    plan = model.choice()
    assert plan.structure.find(f"{pattern} Hessian") is not None, model.explain()
    assert found.method == "trust_region"
    assert bool(found.converged.all())
    assert bool(other.converged.all())
    # Near-parallel rotors have one minimum close to the start.
    np.testing.assert_allclose(found.energy.numpy(), other.energy.numpy(), rtol=1e-9)


def test_what_does_not_pay_goes_by_gradients() -> None:
    model, rng = ebmlang.loads(ROTORS), np.random.default_rng(3)
    found = model.infer(y=rng.normal(size=(600, 4)))
    assert found.method == "lbfgs"
    assert found.because == "trust_region does not pay: there are 600 rows"
    n = 1200
    ends = {"a": rng.integers(0, n, 2 * n), "b": rng.integers(0, n, 2 * n)}
    found = ebmlang.loads(GRAPH).infer({"y": rng.normal(size=(1, n)), **ends})
    assert found.method == "lbfgs"
    assert (
        found.because
        == "trust_region does not pay: eliminating 1,200 unknowns of sparse matrices takes longer"
    )


def test_an_energy_that_falls_without_end_says_so() -> None:
    text = "model m(T: int) { observed y : real[T]; latent x : real[T] = y; for t in 0..T-1 { energy e[t] = -x[t]^4 - (x[t] - x[t+1])^2 }; infer x }"
    found = ebmlang.loads(text).infer(y=np.full((1, 4), 0.5))
    assert found.method == "trust_region"
    assert not bool(found.converged.any())
    assert "without end" in found.status[0], found.status


def test_the_answer_is_said_to_be_no_saddle() -> None:
    said = " ".join(ebmlang.loads(ROTORS).explain().split())
    assert (
        "answer stationary: the gradient is below the tolerance, and the energy curves down along no direction"
        in said
    )
    assert "its matrices are small once sizes are known; else lbfgs" in said
