"""The Riccati recursion against dense solves and scipy, and what counts as linear-quadratic."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler import pipeline
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.driver import Limits, solve
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.rollout import Stages
from ebmlang.runtime.solvers.riccati import Riccati, best_actions
from tests.numeric.gallery import Array, load

F64 = torch.float64
SIZES = {"T": 6, "d": 3, "m": 2}
HEAD = """model control(T: int, d: int, m: int, w: real = 0.3) {
  shared observed A : real[d, d]; shared observed B : real[d, m]; shared observed L : real[T, d, d]
  observed s0 : real[d]; observed y : real[T, d]; observed C : real[d, d]; observed r : real[T]
  observed on : bool[T]
  latent a : real[T, m] = 0
"""
LINEAR = "  let s[0] = s0\n  for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t] }\n"
PLAIN = "  for t in 0..T { energy e[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2 }"

ACCEPTED = {
    "plain": LINEAR + PLAIN,
    "whole arrays": LINEAR + "  energy e = w * ||a||^2\n  energy f = sum(s[1..T]^2) / 2 + ||s[T] - y[0]||^2",
    "cross terms": LINEAR + "  for t in 0..T { energy e[t] = ||s[t] + y[t]||^2 + 0.2 * (s[t] @ B @ a[t]) + ||a[t]||^2 }",
    "moves with time": """  let s[0] = s0
  for t in 0..T { let s[t+1] = L[t] @ s[t] + B @ a[t] * (t + 1) + y[t] }
  for t in 0..T { energy e[t] = (t + 1) * ||s[t+1] - y[t]||^2 + ||a[t] - 1||^2 }""",
    "matrices by example": """  let s[0] = s0
  for t in 0..T { let s[t+1] = C @ s[t] + B @ a[t] }
  for t in 0..T { energy e[t] = (1 + r[t]^2) * ||s[t+1]||^2 + ||a[t]||^2 }""",
    "guards by example": """  let s[0] = s0
  for t in 0..T if on[t] { let s[t+1] = A @ s[t] + B @ a[t] }
  for t in 0..T if on[t] { energy e[t] = ||s[t+1]||^2 }
  energy f = ||a||^2""",
    "two arrays": """  let p[0] = s0[0]
  let v[0] = s0[1]
  for t in 0..T {
    let v[t+1] = v[t] + w * (a[t, 0] - p[t] + y[t, 0])
    let p[t+1] = p[t] + w * v[t+1]
    energy e[t] = p[t+1]^2 + 0.1 * v[t+1]^2
    energy f[t] = ||a[t]||^2 + sum(a[t, j] * y[t, j], over = j in 0..m)
  }""",
    "a matrix of states": """  let s : real[T+1, d, m]
  let s[0] = B
  for t in 0..T { let s[t+1] = 0.5 * A @ s[t] + outer(s0, a[t]) }
  energy e = sum(s^2) + sum(a^2)""",
}  # fmt: skip

REFUSED = {
    "state and action of different times": LINEAR + "  for t in 0..T { energy e[t] = ||s[t+1]||^2 + ||a[t]||^2 + s[t+1, 0] * a[t, 0] }",
    "differences over time": LINEAR + PLAIN + "\n  for t in 0..T-1 { energy g[t] = ||a[t+1] - a[t]||^2 }",
    "a square of a sum over time": LINEAR + PLAIN + "\n  energy g = sum(a[t, 0], over = t in 0..T)^2",
    "a product of whole arrays": LINEAR + PLAIN + "\n  energy g = sum(a[0..T-1] * a[1..T])",
    "a norm of sums": LINEAR + PLAIN + "\n  energy g = ||sum(a, over = 0)||^2",
    "not quadratic": LINEAR + PLAIN + "\n  for t in 0..T { energy g[t] = a[t, 0]^4 }",
    "kinks": LINEAR + PLAIN + "\n  for t in 0..T { energy g[t] = |a[t, 0]| }",
    "not affine": "  let s[0] = s0\n  for t in 0..T { let s[t+1] = sin(s[t]) + B @ a[t] }\n" + PLAIN,
    "bilinear": "  let s[0] = s0\n  for t in 0..T { let s[t+1] = s[t] * a[t, 0] }\n" + PLAIN,
    "the action of another time": "  let s[0] = s0\n  for t in 0..T { let s[t+1] = A @ s[t] + B @ a[T - 1 - t] }\n" + PLAIN,
    "two lags": "  let s[0] = s0\n  let s[1] = s0\n  for t in 0..T { let s[t+2] = s[t+1] - s[t] + B @ a[t] }\n" + PLAIN,
    "a start that is sought": "  let s[0] = s0 + B @ a[0]\n  for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t] }\n" + PLAIN,
    "another let": LINEAR + PLAIN + "\n  let z = sum(a)\n  energy g = z^2",
}  # fmt: skip


def planned(body: str) -> Plan:
    found = pipeline.check_source(Source("<control>", f"{HEAD}{body}\n  infer a\n}}\n"))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    return pipeline.plan_for(pipeline.graph_of(found.models[0]), Query(("a",)))


def given(rows: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    T, d, m = SIZES["T"], SIZES["d"], SIZES["m"]
    return {
        "A": rng.normal(size=(d, d)), "B": rng.normal(size=(d, m)), "L": rng.normal(size=(T, d, d)),
        "s0": rng.normal(size=(rows, d)), "y": rng.normal(size=(rows, T, d)),
        "C": rng.normal(size=(rows, d, d)), "r": rng.normal(size=(rows, T)), "on": rng.random((rows, T)) < 0.5,
    }  # fmt: skip


def question(body: str, rows: int = 4, dtype: torch.dtype = F64) -> Problem:
    module = load_text(pipeline.generate_for(planned(body)).text, "control")
    bound = bind(module, SIZES, given(rows), Settings(dtype, torch.device("cpu")), frozenset(("a",)))
    return make_problem(bound, {})


def dense(problem: Problem) -> Tensor:
    """The stationary point by one solve with the whole Hessian, [R, N]."""
    zero = torch.zeros(problem.space.rows, problem.space.size, dtype=F64)

    def total(x: Tensor) -> Tensor:
        unknown = {"a": x.reshape(x.shape[0], SIZES["T"], SIZES["m"])}
        return problem.functions.energy(unknown, problem.held).sum()

    gradient = torch.autograd.functional.jacobian(total, zero)
    hessian = torch.autograd.functional.hessian(total, zero)
    rows = range(zero.shape[0])
    return torch.stack([torch.linalg.solve(hessian[i, :, i, :], -gradient[i]) for i in rows])


@pytest.mark.parametrize("name", ACCEPTED)
def test_equals_a_dense_solve(name: str) -> None:
    problem = question(ACCEPTED[name])
    outcome = solve(problem, Riccati())
    assert outcome.converged.all(), outcome.sentences
    assert outcome.iterations.tolist() == [1] * 4
    assert torch.allclose(outcome.x, dense(problem), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_claimed_of_a_rollout_holds(name: str) -> None:
    """Costs meet states and actions of one time, steps go from one time to the next."""
    problem = question(ACCEPTED[name], rows=1)
    assert problem.rollout is not None
    functions, T = problem.rollout.functions, SIZES["T"]
    rng = torch.Generator().manual_seed(0)
    first = functions.first_states(problem.held)
    shapes = {n: (1, T + 1, *v.shape[1:]) for n, v in first.items()}
    sizes = [int(np.prod(s)) for s in shapes.values()]
    flat = torch.randn(sum(sizes) + T * SIZES["m"], generator=rng, dtype=F64)

    def parts(x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        pieces = x.split([*sizes, T * SIZES["m"]])
        states = {n: p.reshape(shape) for (n, shape), p in zip(shapes.items(), pieces, strict=False)}
        return states, {"a": pieces[-1].reshape(1, T, SIZES["m"])}

    def cost(x: Tensor) -> Tensor:
        states, action = parts(x)
        return functions.cost_of_states(states, action, problem.held).sum()

    def ends(x: Tensor) -> Tensor:
        states, action = parts(x)
        after = functions.next_states(states, action, problem.held)
        return torch.cat([v.expand(1, *v.shape[1:]).reshape(T, -1) for v in after.values()], 1)

    time = torch.cat(
        [
            torch.arange(s[1]).repeat_interleave(int(np.prod(s[2:])))
            for s in (*shapes.values(), (1, T, SIZES["m"]))
        ]
    )
    hessian = torch.autograd.functional.hessian(cost, flat)
    assert (hessian[time[:, None] != time[None, :]] == 0).all()
    jacobian = torch.autograd.functional.jacobian(ends, flat)
    for t in range(T):
        assert (jacobian[t][:, time != t] == 0).all()
    other = flat + torch.randn(flat.shape, generator=rng, dtype=F64)
    assert torch.allclose(torch.autograd.functional.hessian(cost, other), hessian)
    assert torch.allclose(torch.autograd.functional.jacobian(ends, other), jacobian)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    plan = planned(REFUSED[name])
    assert plan.structure.find("linear-quadratic rollout") is None
    assert plan.method is not None
    assert plan.method.name != "riccati"


def test_matrices_are_shared_only_where_no_example_has_its_own() -> None:
    shared = {name: plan.rollout.shared for name in ACCEPTED if (plan := planned(ACCEPTED[name])).rollout}
    own = {"matrices by example", "guards by example", "a matrix of states"}
    assert shared == {name: name not in own for name in ACCEPTED}


@pytest.mark.parametrize("name", ["moves with time", "matrices by example"])
def test_a_batch_is_its_rows(name: str) -> None:
    problem = question(ACCEPTED[name])
    whole = solve(problem, Riccati())
    for row in range(4):
        alone = solve(problem.select(torch.tensor([row])), Riccati())
        assert torch.allclose(alone.x[0], whole.x[row], rtol=1e-10, atol=1e-12)


def test_the_first_gain_is_that_of_the_algebraic_equation() -> None:
    rng = np.random.default_rng(1)
    A, B = rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    Q, R = np.diag([1.0, 0.5, 2.0, 1.0]), np.diag([0.3, 1.0])
    P = scipy.linalg.solve_discrete_are(A, B, Q, R)
    K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    starts = np.eye(4)
    found = load("lqr", T=80).infer(A=A, B=B, Q=Q, R=R, s0=starts, dtype="float64")
    assert found.method == "riccati"
    assert found.converged.all()
    assert np.allclose(found.a[:, 0].numpy(), -(K @ starts.T).T, rtol=1e-9, atol=1e-9)
    assert np.allclose(found.energy.numpy(), np.diag(P) / 2, rtol=1e-9)


def test_single_precision_stays_at_the_minimum() -> None:
    """An unstable system over a long horizon."""
    rng = np.random.default_rng(2)
    A = rng.normal(size=(6, 6))
    A *= 1.2 / np.abs(np.linalg.eigvals(A)).max()
    values: dict[str, Any] = {
        "A": A,
        "B": rng.normal(size=(6, 2)),
        "Q": np.eye(6),
        "R": np.eye(2),
        "s0": rng.normal(size=(3, 6)),
    }
    exact = load("lqr", T=60).infer(**values, dtype="float64")
    rough = load("lqr", T=60).infer(**values, dtype="float32")
    assert exact.converged.all()
    assert np.allclose(rough.energy.numpy(), exact.energy.numpy(), rtol=2e-4)


def unstable(growth: float, rows: int, own: bool) -> dict[str, Any]:
    """A system whose free motion grows by this factor at every step; `own`: matrices of every example."""
    rng = np.random.default_rng(5)
    A = rng.normal(size=(4, 4))
    A *= growth / np.abs(np.linalg.eigvals(A)).max()
    A = np.stack([A] * rows) if own else A
    return {
        "A": A,
        "B": rng.normal(size=(4, 2)),
        "Q": np.eye(4),
        "R": np.eye(2),
        "s0": rng.normal(size=(rows, 4)),
    }


def least_cost(values: dict[str, Any], steps: int) -> Array:
    """What an optimal motion costs, by the cost to go in float64."""
    A, B, Q, R = (values[n] for n in "ABQR")
    P = Q
    for _ in range(steps):
        K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
        P = (P + P.T) / 2
    return np.asarray(0.5 * np.einsum("ri,ij,rj->r", values["s0"], P, values["s0"]))


@pytest.mark.parametrize(("dtype", "tol"), [("float32", 1e-5), ("float64", 1e-9)])
@pytest.mark.parametrize("growth", [1.0, 1.1, 1.3, 1.6])
@pytest.mark.parametrize("rows", [1, 3])
def test_in_an_unstable_system_converged_means_the_least_cost(
    dtype: str, tol: float, growth: float, rows: int
) -> None:
    """What rounding makes of the actions grows with the free motion, and so does the slope at the start."""
    values = unstable(growth, rows, own=False)
    values = {n: v.astype(dtype).astype(np.float64) for n, v in values.items()}
    found = load("lqr", T=80).infer(**values, dtype=dtype)
    assert found.method == "riccati"
    least = least_cost(values, 80)
    good = (_rolled_cost(values, found.a.double().numpy()) - least) <= 4 * tol * (2 + least)
    assert (good | ~found.converged.numpy()).all()
    stands = growth <= (1.1 if dtype == "float32" else 1.3)
    assert found.converged.tolist() == [stands] * rows


def _rolled_cost(values: dict[str, Any], actions: Array) -> Array:
    """What actions cost, in extended precision: no rounding of this sum decides."""
    A, B, Q, R, s = (np.asarray(values[n], dtype=np.longdouble) for n in ("A", "B", "Q", "R", "s0"))
    total = np.zeros(len(s), dtype=np.longdouble)
    for t in range(actions.shape[1]):
        a = actions[:, t].astype(np.longdouble)
        total += 0.5 * (((s @ Q) * s).sum(1) + ((a @ R) * a).sum(1))
        s = s @ A.T + a @ B.T
    return np.asarray(total + 0.5 * ((s @ Q) * s).sum(1), dtype=np.float64)


def test_the_excess_is_that_of_the_hessian() -> None:
    """Far from the answer too, for one set of matrices and for matrices of every row."""
    rng = np.random.default_rng(6)
    steps, d, m, rows = 5, 3, 2, 3
    step = torch.tensor(rng.normal(size=(1, steps, d, d + m)))
    root = torch.tensor(rng.normal(size=(1, steps + 1, d + m, d + m)))
    curvature = root @ root.mT
    curvature[:, steps, d:], curvature[:, steps, :, d:] = 0.0, 0.0
    first, offset = torch.tensor(rng.normal(size=(rows, d))), torch.zeros(1, steps, d, dtype=torch.float64)
    slope = torch.tensor(rng.normal(size=(1, steps + 1, d + m)))
    slope[:, steps, d:] = 0.0

    def cost(actions: torch.Tensor) -> torch.Tensor:
        state, total = first, torch.zeros(rows, dtype=torch.float64)
        for t in range(steps + 1):
            action = actions[:, t] if t < steps else torch.zeros(rows, m, dtype=torch.float64)
            z = torch.cat((state, action), 1)
            total = total + 0.5 * ((z @ curvature[0, t]) * z).sum(1) + z @ slope[0, t]
            state = z @ step[0, t].mT if t < steps else state
        return total

    point = torch.tensor(rng.normal(size=(rows, steps, m)), requires_grad=True)
    (gradient,) = torch.autograd.grad(cost(point).sum(), point)
    s, o, c, g = (v.expand(rows, *v.shape[1:]) for v in (step, offset, curvature, slope))
    for stages in (Stages(first, step, offset, curvature, slope), Stages(first, s, o, c, g)):
        least = best_actions(stages)
        above = cost(point.detach()) - cost(least.actions)
        assert torch.allclose(least.excess(gradient.flatten(1)), above, rtol=1e-8)
        assert torch.allclose(
            least.excess(torch.zeros(rows, steps * m)), torch.zeros(rows, dtype=torch.float64)
        )
        assert (least.cost >= cost(least.actions).abs() * (1 - 1e-9)).all()


@pytest.mark.parametrize("rows", [1, 3])
def test_without_a_minimum_it_does_not_move(rows: int) -> None:
    body = LINEAR + "  for t in 0..T { energy e[t] = ||s[t+1]||^2 - 100 * ||a[t]||^2 }"
    outcome = solve(question(body, rows), Riccati(), Limits(steps=5))
    assert outcome.status == (Status.SETTLED,) * rows
    assert (outcome.x == 0).all()


def test_a_saddle_at_the_start_is_not_called_a_minimum() -> None:
    body = "  let s[0] = 0 * s0\n  for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t] }\n"
    body += "  for t in 0..T { energy e[t] = ||a[t]||^2 - 100 * ||s[t+1]||^2 }"
    outcome = solve(question(body), Riccati(), Limits(steps=5))
    assert outcome.status == (Status.SETTLED,) * 4


def test_a_start_at_the_minimum_is_found_to_be_one() -> None:
    body = "  let s[0] = 0 * s0\n  for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t] }\n"
    outcome = solve(question(body + PLAIN), Riccati())
    assert outcome.converged.all()
    assert (outcome.x == 0).all()


def test_another_method_takes_over_where_the_cost_is_flat() -> None:
    text = HEAD + LINEAR + "  energy e = ||s[T]||^2\n  infer a\n}\n"
    found = ebmlang.loads(text).infer(**given(2), dtype="float64")
    assert found.method == "quadratic"
    assert "curve upwards" in found.because
    assert (found.energy < 1e-6).all()
    assert all("one of many: a moves along" in status for status in found.status)


@pytest.mark.parametrize(
    ("cost", "why"), [("-a[t, 0]^2", "curvature is negative along a"), ("a[t, 0]", "without end")]
)
def test_a_cost_without_a_minimum_is_named(cost: str, why: str) -> None:
    """Steps that the first action does not enter, and a cost of it that nothing holds."""
    text = """model free(T: int = 4) {
  observed s0 : real[2]
  latent a : real[T, 2]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T { let s[t+1] = [s[t, 0] + s[t, 1], s[t, 1] + a[t, 1]] }
  for t in 0..T { energy run[t] = ||s[t+1]||^2 + a[t, 1]^2 + COST }
  infer a
}""".replace("COST", cost)
    found = ebmlang.loads(text).infer(s0=[[1.0, 0.0]], dtype="float64")
    assert found.status[0].startswith("unbounded")
    assert why in found.status[0]
    assert found.status[0].endswith("caused by term 'run'")


def test_given_actions_are_kept() -> None:
    a = np.full((2, SIZES["T"], SIZES["m"]), np.nan)
    a[:, 2] = 0.25
    text = (
        (HEAD + ACCEPTED["plain"] + "\n  infer a\n}\n")
        .replace("latent a : real[T, m] = 0", "observed a : real[T, m] missing")
        .replace("infer a", "")
    )
    found = ebmlang.loads(text).infer(**given(2), a=a, dtype="float64")
    assert found.method != "riccati"
    assert (found.a[:, 2] == 0.25).all()


def answers(model: ebmlang.Model, values: dict[str, Any]) -> tuple[Any, Any]:
    found = model.infer(**values, dtype="float64")
    assert found.method == "riccati"
    assert found.converged.all()
    return found.a.numpy(), found.energy.numpy()


@pytest.mark.parametrize(
    "name", ["plain", "cross terms", "moves with time", "matrices by example", "two arrays"]
)
def test_every_question_is_answered_from_its_own_values(name: str) -> None:
    """The recursion that a model keeps serves only questions with the same matrices and offsets."""
    text = HEAD + ACCEPTED[name] + "\n  infer a\n}\n"
    model = ebmlang.loads(text)
    values = given(3)
    answers(model, values)
    for change in ("s0", "y", "A", "L", "w", "T"):
        if change == "T":
            values = {
                k: v[:, :4] if k in ("y", "r", "on") else v[:4] if k == "L" else v for k, v in values.items()
            }
        elif change == "w":
            model = ebmlang.loads(text, w=0.7)
            answers(model, given(3))
        else:
            values[change] *= 0.5  # in the memory that the model has seen
        for mine, fresh in zip(
            answers(model, values),
            answers(ebmlang.loads(text, w=model.hypers.get("w", 0.3)), values),
            strict=True,
        ):
            assert np.array_equal(mine, fresh), change


def test_the_recursion_is_not_done_again_for_other_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    stages = Problem.stages

    def counted(problem: Problem) -> Any:
        measured.append(problem.space.rows)
        return stages(problem)

    monkeypatch.setattr(Problem, "stages", counted)
    rng = np.random.default_rng(3)
    values: dict[str, Any] = {
        "A": rng.normal(size=(3, 3)),
        "B": rng.normal(size=(3, 2)),
        "Q": np.eye(3),
        "R": np.eye(2),
    }
    model = load("lqr", T=5)
    for rows in (1, 4, 2):
        answers(model, {**values, "s0": rng.normal(size=(rows, 3))})
    assert measured == [1]
    values["Q"][0, 0] = 2.0
    answers(model, {**values, "s0": rng.normal(size=(2, 3))})
    assert measured == [1, 2]


def test_expensive_and_cheap_actions_together() -> None:
    """An action that costs next to nothing beside one that costs much is no flat direction."""
    rng = np.random.default_rng(4)
    values: dict[str, Any] = {
        "A": np.eye(2),
        "B": rng.normal(size=(2, 2)),
        "Q": 1e-9 * np.eye(2),
        "R": np.diag([1e3, 1e-6]),
        "s0": rng.normal(size=(2, 2)),
    }
    answers(load("lqr", T=8), values)
