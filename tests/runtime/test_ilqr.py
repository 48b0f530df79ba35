"""Newton's method over the states of a rollout: its steps, bounds against quadratic programs, a pendulum."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler import pipeline
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.driver import solve
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.ilqr import Ilqr, newton_policy
from ebmlang.runtime.solvers.projected_lbfgs import ProjectedLbfgs
from tests.numeric.gallery import load

F64 = torch.float64
SMOOTH = """model control(T: int, d: int, m: int) {
  shared observed A : real[d, d]; shared observed B : real[d, m]; observed s0 : real[d]; observed C : real[d, m]
  latent a : real[T, m] = 0.1
  let s[0] = s0
  for t in 0..T { let s[t+1] = tanh(A @ s[t] + B @ a[t]) + 0.1 * (t + 1) * C @ sin(a[t]) }
  for t in 0..T { energy e[t] = log(1 + ||s[t+1]||^2) + 0.3 * ||a[t]||^2 + 0.1 * sin(s[t, 0] * a[t, 0]) }
  energy f = ||s[T] - 1||^2
  infer a
}"""
BOUNDED = """model control(T: int, d: int, m: int) {
  shared observed A : real[d, d]; shared observed B : real[d, m]; observed s0 : real[d]
  latent a : real[T, m] in [-0.3, 0.2] = 0
  let s[0] = s0
  for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t] }
  for t in 0..T { energy e[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2 + 0.05 * s[t, 0] * a[t, 0] }
  infer a
}"""


def given(rows: int, d: int, m: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(d, d))
    A /= np.abs(np.linalg.eigvals(A)).max()
    return {
        "A": A,
        "B": rng.normal(size=(d, m)),
        "s0": rng.normal(size=(rows, d)),
        "C": rng.normal(size=(rows, d, m)),
    }


def question(text: str, rows: int, **sizes: int) -> Problem:
    checked = pipeline.check_source(Source("<control>", text))
    assert not checked.failed, [str(d.diagnostic) for d in checked.diagnostics]
    plan = pipeline.plan_for(pipeline.graph_of(checked.models[0]), Query(("a",)))
    assert plan.method is not None
    assert plan.method.name == "ilqr"
    module = load_text(pipeline.generate_for(plan).text, "control")
    values = given(rows, sizes["d"], sizes["m"])
    known = {n: v for n, v in values.items() if n != "C" or "C :" in text}
    bound = bind(module, sizes, known, Settings(F64, torch.device("cpu")), frozenset(("a",)))
    return make_problem(bound, {})


def hessian(problem: Problem, x: Tensor) -> Tensor:
    unit = torch.eye(x.shape[1], dtype=F64).expand(x.shape[0], -1, -1)
    return problem.hessian_times(x, unit)


def test_a_step_is_that_of_newton() -> None:
    problem = question(SMOOTH, 3, T=6, d=3, m=2)
    x = solve(problem, Ilqr()).x + 0.02 * torch.randn(
        3, 12, dtype=F64, generator=torch.Generator().manual_seed(0)
    )
    _, gradient = problem.energy_and_gradient(x)
    free = torch.ones_like(x, dtype=torch.bool)
    free[:, 3] = False
    plan = newton_policy(problem.expansion(x), gradient, free, torch.zeros(3, dtype=F64))
    kept = torch.nonzero(free[0])[:, 0]
    whole = hessian(problem, x)[:, kept][:, :, kept]
    assert (torch.linalg.eigvalsh(whole) > 0).all()
    assert (plan.shift == 0).all()
    assert (plan.change[:, 3] == 0).all()
    expected = -torch.linalg.solve(whole, gradient[:, kept])
    assert torch.allclose(plan.change[:, kept], expected, rtol=1e-8, atol=1e-10)


def test_a_shift_makes_the_model_convex() -> None:
    """The least one that it tries which does, against the eigenvalues of the Hessian."""
    problem = question(SMOOTH, 3, T=6, d=3, m=2)
    x = 2 * torch.randn(3, 12, dtype=F64, generator=torch.Generator().manual_seed(1))
    _, gradient = problem.energy_and_gradient(x)
    plan = newton_policy(
        problem.expansion(x), gradient, torch.ones_like(x, dtype=torch.bool), torch.zeros(3, dtype=F64)
    )
    whole = hessian(problem, x)
    least = torch.linalg.eigvalsh(whole)[:, 0]
    assert (least < 0).any()
    assert ((plan.shift > 0) == (least < 0)).all()
    shifted = whole + plan.shift[:, None, None] * torch.eye(12, dtype=F64)
    assert torch.allclose(plan.change, -torch.linalg.solve(shifted, gradient), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("sizes", [{"T": 50, "d": 4, "m": 2}, {"T": 8, "d": 3, "m": 2}])
def test_bounds_as_a_quadratic_program(sizes: dict[str, int]) -> None:
    problem = question(BOUNDED, 3, **sizes)
    outcome = solve(problem, Ilqr())
    assert outcome.converged.all(), outcome.sentences
    zero = torch.zeros_like(outcome.x)
    _, gradient = problem.energy_and_gradient(zero)
    at_bounds = 0
    for row, whole in enumerate(hessian(problem, zero)):
        factor = torch.linalg.cholesky(whole).mT.numpy()
        right = -np.linalg.solve(factor.T, gradient[row].numpy())
        expected = scipy.optimize.lsq_linear(factor, right, (-0.3, 0.2), "bvls", tol=1e-14, max_iter=1000)
        assert np.allclose(outcome.x[row].numpy(), expected.x, atol=1e-8)
        at_bounds += int((np.abs(expected.x + 0.05) > 0.24999).sum())
    assert 0 < at_bounds < outcome.x.numel()


def test_a_pendulum_is_swung_up_as_well_as_by_other_methods() -> None:
    found = load("pendulum", T=50).infer(s0=np.array([[np.pi, 0.0], [1.0, 0.0]]), dtype="float64")
    assert found.method == "ilqr"
    assert found.converged.all()
    assert "stationary" in found.certificate
    assert np.cos(found.values["s"][:, -1, 0].numpy()).min() > 0.98
    assert (found.a.abs() <= 8).all()
    other = load("pendulum", T=50).infer(
        using="projected_lbfgs", s0=np.array([[np.pi, 0.0], [1.0, 0.0]]), dtype="float64"
    )
    assert (found.energy <= other.energy + 1e-9).all()


def test_a_batch_is_its_rows() -> None:
    problem = question(SMOOTH, 3, T=6, d=3, m=2)
    whole = solve(problem, Ilqr())
    assert whole.converged.all()
    for row in range(3):
        alone = solve(problem.select(torch.tensor([row])), Ilqr())
        assert torch.allclose(alone.x[0], whole.x[row], rtol=1e-7, atol=1e-9)
    other = solve(problem, ProjectedLbfgs())
    assert (whole.energy <= other.energy + 1e-9).all()


def test_single_precision() -> None:
    rough = load("pendulum", T=20).infer(s0=np.array([[1.0, 0.0]]), dtype="float32")
    exact = load("pendulum", T=20).infer(s0=np.array([[1.0, 0.0]]), dtype="float64")
    assert rough.converged.all()
    assert np.allclose(rough.energy.numpy(), exact.energy.numpy(), rtol=1e-5)


def test_wide_states_and_given_actions_are_left_to_others() -> None:
    text = SMOOTH.replace("latent a : real[T, m] = 0.1", "observed a : real[T, m] missing").replace(
        "infer a", ""
    )
    values = given(2, 3, 2)
    a = np.full((2, 4, 2), np.nan)
    a[:, 1] = 0.25
    found = ebmlang.loads(text).infer(**values, a=a, dtype="float64")
    assert found.method == "lbfgs"
    assert "given" in found.because
    assert (found.a[:, 1] == 0.25).all()
    found = ebmlang.loads(SMOOTH, T=2).infer(**given(1, 101, 1), dtype="float64")
    assert found.method == "lbfgs"
    assert "too many" in found.because
