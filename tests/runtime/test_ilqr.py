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
from ebmlang.inference import given_arrays
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.driver import solve
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.laws import best_law, changes
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.rollout import Stages
from ebmlang.runtime.solvers.ilqr import Ilqr
from ebmlang.runtime.solvers.projected_lbfgs import ProjectedLbfgs
from ebmlang.runtime.solvers.riccati import best_actions
from ebmlang.runtime.trajectories import Expansion, _Law
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
    around = problem.trajectories()
    model = around.expansion(x, around.states(x))
    law = best_law(model, free, torch.zeros(3, dtype=F64))
    change = changes(model, law)
    assert torch.allclose(model.gradient, gradient, rtol=1e-10, atol=1e-12)
    kept = torch.nonzero(free[0])[:, 0]
    whole = hessian(problem, x)[:, kept][:, :, kept]
    assert (torch.linalg.eigvalsh(whole) > 0).all()
    assert (law.shift == 0).all()
    assert (change[:, 3] == 0).all()
    expected = -torch.linalg.solve(whole, gradient[:, kept])
    assert torch.allclose(change[:, kept], expected, rtol=1e-8, atol=1e-10)
    assert torch.allclose(law.promise, (gradient * change).sum(1), rtol=1e-8)


def test_a_shift_makes_the_model_convex() -> None:
    """The least one that it tries which does, against the eigenvalues of the Hessian."""
    problem = question(SMOOTH, 3, T=6, d=3, m=2)
    x = 2 * torch.randn(3, 12, dtype=F64, generator=torch.Generator().manual_seed(1))
    _, gradient = problem.energy_and_gradient(x)
    around = problem.trajectories()
    model = around.expansion(x, around.states(x))
    law = best_law(model, torch.ones_like(x, dtype=torch.bool), torch.zeros(3, dtype=F64))
    whole = hessian(problem, x)
    least = torch.linalg.eigvalsh(whole)[:, 0]
    assert (least < 0).any()
    assert ((law.shift > 0) == (least < 0)).all()
    shifted = whole + law.shift[:, None, None] * torch.eye(12, dtype=F64)
    assert torch.allclose(changes(model, law), -torch.linalg.solve(shifted, gradient), rtol=1e-7, atol=1e-9)


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


def test_laws_of_several_actions_are_those_of_the_exact_recursion() -> None:
    """One row has no best action until its curvature is raised."""
    rng = np.random.default_rng(8)
    steps, d, m, rows = 6, 3, 2, 4
    root = torch.tensor(rng.normal(size=(rows, steps + 1, d + m, d + m)))
    curvature = root @ root.mT
    curvature[3, 2, -1, -1] = -1.0
    curvature[:, steps, d:], curvature[:, steps, :, d:] = 0.0, 0.0
    step, slope = (
        torch.tensor(rng.normal(size=s)) for s in ((rows, steps, d, d + m), (rows, steps + 1, d + m))
    )
    slope[:, steps, d:] = 0.0
    nothing = torch.zeros(rows, steps, d, dtype=F64)
    model = Expansion(step, curvature, slope, torch.zeros(rows, steps * m, dtype=F64))
    law = best_law(model, torch.ones(rows, steps * m, dtype=torch.bool), torch.zeros(rows, dtype=F64))
    exact = best_actions(Stages(nothing[:, 0], step, nothing, curvature, slope))
    assert law.positive.all()
    assert (law.shift[:3] == 0).all()
    assert law.shift[3] > 0
    torch.testing.assert_close(
        changes(model, law)[:3], exact.actions[:3].reshape(3, -1), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("text", [SMOOTH, BOUNDED])
def test_models_of_stages_by_hand_and_by_automatic_differentiation(text: str) -> None:
    """What the compiler writes for all times at once, against differentiation of the same functions."""
    problem = question(text, 3, T=5, d=3, m=2)
    x = torch.randn(3, 10, dtype=F64, generator=torch.Generator().manual_seed(2))
    around = problem.trajectories()
    z = around._joined(x, around.states(x))
    step, slope = around._written_slopes(z)
    other_step, other_slope = around._slopes(z)
    torch.testing.assert_close(step, other_step)
    torch.testing.assert_close(slope, other_slope)
    costates = torch.randn(3, 5, 3, dtype=F64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(around._written_bends(z, costates), around._bends(z, costates))


ENTRIES = """model drive(T: int = 7) {
  observed s0 : real[3]; observed goal : real[T, 2]; shared observed drag : real
  latent a : real[T, 2] in [-1, 1]
  let s : real[T+1, 3]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = s[t] + 0.2 * [cos(s[t, 2]) * a[t, 0] - drag * s[t, 0], sin(s[t, 2]), clamp(a[t, 1], -0.5, 0.5)]
    cost c[t] = (s[t+1, 0] - goal[t, 0])^2 + (s[t, 1] - goal[t, 1])^2 + 0.1 * ||a[t]||^2
  }
  infer a
}"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_and_slopes_in_numpy(dtype: str) -> None:
    """The march in numpy against the loop of the generated energy, the adjoint recursion against backward."""
    rng = np.random.default_rng(0)
    model = ebmlang.loads(ENTRIES)
    given = {
        "s0": torch.tensor(rng.normal(size=(3, 3))),
        "goal": torch.tensor(rng.normal(size=(3, 7, 2))),
        "drag": torch.tensor(0.3),
    }
    asked = model.asked(None, frozenset(given), None, None, frozenset())
    module = model.compiled(asked, None)[1]
    settings = model.settings({}, dtype, None, 0, None)
    problem = make_problem(
        model.bound(module, given_arrays(model.ranks, given).chunk(0, 3), settings, frozenset()), {}
    )
    assert problem.rollout is not None
    assert problem.rollout.marched
    x = torch.tensor(rng.uniform(-1, 1, size=(6, 14))).to(settings.dtype)
    twice = problem.select(torch.tensor([0, 1, 2, 0, 1, 2]))
    bound = 1e-10 if dtype == "float64" else 1e-5
    energy, gradient = problem.energy_and_gradient(x)
    expected, slope = twice._differentiate(twice.functions.energy, x)
    torch.testing.assert_close(energy, expected, rtol=bound, atol=bound)
    torch.testing.assert_close(gradient, slope, rtol=bound, atol=bound)
    around = twice.trajectories()
    states = around.states(x)
    functions = twice.rollout.functions if twice.rollout is not None else None
    assert functions is not None
    found = functions.lets({"a": x.reshape(6, 7, 2)}, twice.held)["s"]
    torch.testing.assert_close(states, found, rtol=bound, atol=bound)
    constant = torch.tensor(rng.normal(size=(6, 7, 2)))
    gain = torch.tensor(rng.normal(size=(6, 7, 2, 3)))
    points, paths = around.follow(x, states, constant, gain, (1.0, 0.5))
    others, ways = around._looped(x, _Law(states, constant, gain, (1.0, 0.5)))
    torch.testing.assert_close(points, others, rtol=bound, atol=bound)
    torch.testing.assert_close(paths, ways, rtol=bound, atol=bound)
    assert (points.abs() <= 1).all()
    assert (points.abs() == 1).any()
