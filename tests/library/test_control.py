"""Control against Riccati recursions in numpy, least squares, and the same rollouts written in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from torch import Tensor

import ebmlang
from tests.draws import normal

STD = Path(__file__).parents[2] / "models" / "std"
F64 = torch.float64
Array = np.ndarray[Any, np.dtype[np.float64]]


def system(d: int, m: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    half, small = rng.normal(size=(d, d)), rng.normal(size=(m, m))
    return {
        "A": np.eye(d) + 0.2 * rng.normal(size=(d, d)),
        "B": rng.normal(size=(d, m)),
        "Q": half @ half.T / d,
        "R": small @ small.T + np.eye(m),
        "F": 3 * np.eye(d),
    }


def riccati(c: dict[str, Array], s0: Array, T: int) -> tuple[Array, Array]:
    """Inputs of one start, and the matrix of the optimal cost."""
    P, gains = c["F"], []
    for _ in range(T):
        gains.append(np.linalg.solve(c["R"] + c["B"].T @ P @ c["B"], c["B"].T @ P @ c["A"]))
        P = c["Q"] + c["A"].T @ P @ (c["A"] - c["B"] @ gains[-1])
    inputs, s = [], s0
    for gain in reversed(gains):
        inputs.append(-gain @ s)
        s = c["A"] @ s + c["B"] @ inputs[-1]
    return np.array(inputs), P


def tensors(c: dict[str, Array]) -> dict[str, Any]:
    return {name: torch.from_numpy(value) for name, value in c.items()}


def found_method(model: ebmlang.Model) -> str:
    return model.explain().split("method   ")[1].split(":")[0]


@pytest.mark.parametrize(("d", "m", "T", "rows"), [(4, 2, 20, 3), (1, 1, 1, 1), (6, 3, 7, 2)])
def test_lqr(d: int, m: int, T: int, rows: int) -> None:
    c = system(d, m, seed=d)
    s0 = np.random.default_rng(1).normal(size=(rows, d))
    model = ebmlang.load(STD / "lqr.ebm", T=T)
    assert found_method(model) == "riccati"
    r = model.infer(**tensors(c), s0=torch.from_numpy(s0))
    assert all(status.startswith(("exact", "converged")) for status in r.status)
    for row in range(rows):
        inputs, P = riccati(c, s0[row], T)
        np.testing.assert_allclose(r["a"][row], inputs, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(r.energy[row], s0[row] @ P @ s0[row] / 2, rtol=1e-9)


def test_lqr_with_the_cost_of_an_endless_horizon_has_one_gain() -> None:
    c = system(3, 2)
    c["F"] = scipy.linalg.solve_discrete_are(c["A"], c["B"], c["Q"], c["R"])
    gain = np.linalg.solve(c["R"] + c["B"].T @ c["F"] @ c["B"], c["B"].T @ c["F"] @ c["A"])
    s0 = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    r = ebmlang.load(STD / "lqr.ebm", T=9).infer(**tensors(c), s0=s0)
    np.testing.assert_allclose(r["a"], -r["s"][:, :-1].numpy() @ gain.T, rtol=1e-9, atol=1e-9)


def test_lqr_in_a_plate_and_with_the_cost_of_a_state_at_the_end() -> None:
    """Without F, the last state costs what every state costs; two systems in one model."""
    text = """
    import std.lqr
    model pair(d: int, m: int, T: int) {
      shared observed A : real[2, d, d];  shared observed B : real[2, d, m]
      shared observed Q : real[d, d];     shared observed R : real[m, m]
      observed s0 : real[2, d]
      for i in 0..2 { use lqr(T = T) as c[i] with A = A[i], B = B[i], Q = Q, R = R, s0 = s0[i] }
      infer c.a
    }
    """
    one, two = system(3, 2), system(3, 2, seed=5)
    data = tensors({"A": np.stack([one["A"], two["A"]]), "B": np.stack([one["B"], two["B"]])})
    s0 = np.random.default_rng(1).normal(size=(2, 2, 3))
    given = tensors({"Q": one["Q"], "R": one["R"], "s0": s0})
    r = ebmlang.loads(text, T=6).infer(**data, **given)
    for i, c in enumerate((one, two)):
        c |= {"Q": one["Q"], "R": one["R"], "F": one["Q"]}
        for row in range(2):
            np.testing.assert_allclose(r["c.a"][row, i], riccati(c, s0[row, i], 6)[0], rtol=1e-7, atol=1e-7)


def test_lqr_inside_another_model() -> None:
    """`solve`: the first input is linear in the start, so the outer minimum is known."""
    text = """
    import std.lqr
    model outer(d: int, m: int, T: int) {
      observed s0 : real[d]
      shared observed A : real[d, d];  shared observed B : real[d, m]
      shared observed Q : real[d, d];  shared observed R : real[m, m];  shared observed F : real[d, d]
      latent g : real = 1
      solve lqr(T = T) as c with A = A, B = B, Q = Q, R = R, F = F, s0 = g * s0
      energy e = ||c.a[0]||^2 + (g - 3)^2
      infer g
    }
    """
    c = system(3, 2)
    s0 = np.random.default_rng(1).normal(size=(2, 3))
    model = ebmlang.loads(text, T=5)
    assert "lqr over a by riccati" in " ".join(model.explain().split())
    r = model.infer(**tensors(c), s0=torch.from_numpy(s0))
    first = [riccati(c, s, 5)[0][0] for s in s0]
    np.testing.assert_allclose(r["g"], [3 / (1 + a @ a) for a in first], rtol=1e-8)


# --- plans under models of the world ----------------------------------------------------------------

AFFINE = """
import std.mpc
model planner(d: int, m: int, T: int) {
  observed s0 : real[d];  observed goal : real[d]
  net world : (real[d], real[m]) -> real[d] = linear()
  use mpc(T = T, effort = 0.3, tracking = 0.7, arrival = 2) as c with s0 = s0, goal = goal, step = world
  infer c.a
}
"""
BOUNDED = AFFINE.replace("  use mpc", "  latent b : real[T, m] in [-0.2, 0.3]\n  use mpc").replace(
    "step = world\n  infer c.a", "step = world, a = b\n  infer b"
)


def rollout(step: Any, s: Tensor, a: Tensor) -> Tensor:
    states = [s]
    for t in range(a.shape[-2]):
        states.append(step(torch.cat([states[-1], a[:, t]], -1)))
    return torch.stack(states, 1)


def plan_cost(step: Any, s0: Tensor, goal: Tensor, a: Tensor, weights: tuple[float, float, float]) -> Tensor:
    effort, tracking, arrival = weights
    away = (rollout(step, s0, a)[:, 1:] - goal[:, None]).square().sum(-1)
    return effort * a.square().sum((1, 2)) + tracking * away.sum(1) + arrival * away[:, -1]


def least_squares(residual: Any, size: int, bounds: tuple[float, float] | None = None) -> Array:
    """The minimiser of a sum of squares whose residuals are affine."""
    at = torch.zeros(size, dtype=F64)
    J = torch.autograd.functional.jacobian(residual, at).detach().numpy()
    r = residual(at).detach().numpy()
    if bounds is None:
        return np.asarray(np.linalg.lstsq(J, -r, rcond=None)[0])
    return np.asarray(scipy.optimize.lsq_linear(J, -r, bounds, tol=1e-14).x)


@pytest.mark.parametrize("bounds", [None, (-0.2, 0.3)])
def test_mpc_with_an_affine_model_is_least_squares(bounds: tuple[float, float] | None) -> None:
    model = ebmlang.loads(AFFINE if bounds is None else BOUNDED, T=5, m=2)
    data: dict[str, Any] = {"s0": normal(3, 4), "goal": normal(3, 4, seed=1)}
    model.bind(data=data)
    step = model.double().net("world")
    assert found_method(model) == ("riccati" if bounds is None else "ilqr")
    r = model.infer(data=data)

    def residual(row: int, a: Tensor) -> Tensor:
        actions = a.reshape(1, 5, 2)
        away = rollout(step, data["s0"][row, None], actions)[0, 1:] - data["goal"][row]
        parts = (0.3**0.5 * a, 0.7**0.5 * away.flatten(), 2**0.5 * away[-1])
        return torch.cat(parts)

    for row in range(3):
        expected = least_squares(lambda a, row=row: residual(row, a), 10, bounds)
        found = r["c.a" if bounds is None else "b"][row].flatten()
        np.testing.assert_allclose(found, expected, atol=1e-8 if bounds is None else 1e-6)


def test_mpc_with_a_net() -> None:
    data: dict[str, Any] = {"s0": normal(3, 4), "goal": normal(3, 4, seed=1), "warm": normal(3, 6, 2, seed=2)}
    model = ebmlang.load(STD / "mpc.ebm", effort=0.3, arrival=2.0, width=8)
    model.bind(data=data)
    step = model.double().net("step")
    weights = (0.3, 1.0, 2.0)

    def cost(a: Tensor) -> Tensor:
        return plan_cost(step, data["s0"], data["goal"], a, weights)

    leaf = normal(3, 6, 2, seed=3).requires_grad_()
    found = model.energy(data=data, a=leaf)
    torch.testing.assert_close(found, cost(leaf))
    inputs = [leaf, *step.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(cost(leaf).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    r = model.infer(data=data)
    a = r["a"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(cost(a).sum(), a)
    assert float(slope.abs().max()) < 1e-6
    assert bool((cost(a) <= cost(data["warm"])).all())
    torch.testing.assert_close(r["first"], r["a"][:, 0])


HIERARCHY = """
import std.hierarchical_mpc
model planner(d: int, m: int, e: int, K: int) {
  observed s0 : real[d];  observed goal : real[e]
  net abstract : real[d] -> real[e] = linear()
  net high : (real[e], real[e]) -> real[e] = linear()
  net low  : (real[d], real[m]) -> real[d] = linear()
  use hierarchical_mpc(K = K, m = m, stride = 3, effort = 0.3, obedience = 4) as h with s0 = s0, goal = goal,
      abstract = abstract, high = high, low = low
  infer h.upper.a, h.lower.a
}
"""


def test_hierarchical_mpc_of_affine_models_is_least_squares() -> None:
    model = ebmlang.loads(HIERARCHY, K=2, m=2)
    data: dict[str, Any] = {"s0": normal(2, 4), "goal": normal(2, 3, seed=1)}
    model.bind(data=data)
    model.double()
    r = model.infer(data=data)

    def residual(row: int, x: Tensor) -> Tensor:
        upper, lower = x[:6].reshape(1, 2, 3), x[6:].reshape(1, 6, 2)
        s0, goal = data["s0"][row, None], data["goal"][row]
        abstract = model.net("abstract")
        away = rollout(model.net("high"), abstract(s0), upper)[0, 1:] - goal
        reached = abstract(rollout(model.net("low"), s0, lower)[0, 3::3])
        return torch.cat([0.3**0.5 * x, away.flatten(), 2 * (reached - upper[0]).flatten()])

    for row in range(2):
        expected = least_squares(lambda x, row=row: residual(row, x), 18)
        found = torch.cat([r["h.upper.a"][row].flatten(), r["h.lower.a"][row].flatten()])
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_hierarchical_mpc_with_nets() -> None:
    data: dict[str, Any] = {"s0": normal(3, 4), "goal": normal(3, 2, seed=1)}
    model = ebmlang.load(STD / "hierarchical_mpc.ebm", K=2, m=2, stride=3, width=6, tracking=0.7)
    model.bind(data=data)
    abstract, high, low = (model.double().net(name) for name in ("abstract", "high", "low"))

    def cost(upper: Tensor, lower: Tensor) -> Tensor:
        above = plan_cost(high, abstract(data["s0"]), data["goal"], upper, (0.1, 0.7, 0.0))
        below = plan_cost(low, data["s0"], torch.zeros(3, 4, dtype=F64), lower, (0.1, 0.0, 0.0))
        reached = abstract(rollout(low, data["s0"], lower)[:, 3::3])
        gap: Tensor = (reached - upper).square().sum((1, 2))
        return above + below + gap

    upper, lower = normal(3, 2, 2, seed=4).requires_grad_(), normal(3, 6, 2, seed=5).requires_grad_()
    found = model.energy(data={**data, "upper.a": upper, "lower.a": lower})
    torch.testing.assert_close(found, cost(upper, lower))
    inputs = [upper, lower, *low.parameters(), *high.parameters(), *abstract.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), inputs),
        torch.autograd.grad(cost(upper, lower).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    r = model.infer(data=data)
    upper, lower = (r[name].clone().requires_grad_() for name in ("upper.a", "lower.a"))
    slopes = torch.autograd.grad(cost(upper, lower).sum(), [upper, lower])
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-6


# --- what models of the world disagree about --------------------------------------------------------


def test_uncertainty_of_an_ensemble() -> None:
    data: dict[str, Any] = {"s": normal(4, 3), "a": normal(4, 2, seed=1)}
    model = ebmlang.load(STD / "uncertainty_cost.ebm", K=5, width=6, weight=0.5)
    model.bind(data=data)
    nets = list(model.double().net("f").children())
    s, a = (value.requires_grad_() for value in data.values())
    guesses = torch.stack([f(torch.cat([s, a], -1)) for f in nets])
    expected = 0.5 * guesses.var(0).sum(-1)
    found = model.energy(s=s, a=a)
    torch.testing.assert_close(found, expected)
    inputs = [s, a, *(p for f in nets for p in f.parameters())]
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_uncertainty_of_dropout() -> None:
    data: dict[str, Any] = {"s": normal(4, 3), "a": normal(4, 2, seed=1)}
    drop = torch.rand(4, 7, 6, generator=torch.Generator().manual_seed(2)) < 0.3
    model = ebmlang.load(STD / "uncertainty_cost.ebm", model="dropout", K=7, width=6, p=0.3)
    model.bind(data=data)
    body, head = model.double().net("body"), model.net("head")
    s, a = (value.requires_grad_() for value in data.values())
    hidden = torch.tanh(body(torch.cat([s, a], -1)))
    guesses = head(hidden[:, None] * ~drop / 0.7)
    expected = guesses.var(1).sum(-1)
    found = model.energy(s=s, a=a, drop=drop)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), [s, a]), torch.autograd.grad(expected.sum(), [s, a]), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    drawn = model.energy(data=data)
    assert bool((drawn > 0).all())
    torch.testing.assert_close(drawn, model.energy(data=data), msg="draws are held")


UNSURE = """
import std.uncertainty_cost
model planner(d: int, m: int, T: int, K: int) {
  observed s0 : real[d]
  latent   a  : real[T, m]
  for k in 0..K { net f[k] : (real[d], real[m]) -> real[d] = linear() }
  let s : real[T+1, d]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = f[0](s[t], a[t])
    cost work[t] = 0.2 * ||a[t]||^2 + ||s[t+1]||^2
    use uncertainty_cost(K = K, weight = 3) as unsure[t] with s = s[t], a = a[t], f = f
  }
  infer a
}
"""


def test_a_plan_that_keeps_away_from_what_is_not_known() -> None:
    """Along a rollout, with an ensemble of affine models that is bound: still a Riccati recursion."""
    model = ebmlang.loads(UNSURE, T=4, m=2, K=3)
    data: dict[str, Any] = {"s0": normal(2, 3)}
    model.bind(data=data)
    nets = list(model.double().net("f").children())
    assert found_method(model) == "riccati"
    r = model.infer(data=data)

    def residual(row: int, x: Tensor) -> Tensor:
        a = x.reshape(1, 4, 2)
        s = rollout(nets[0], data["s0"][row, None], a)
        guesses = torch.stack([f(torch.cat([s[:, :-1], a], -1)) for f in nets])
        unsure = (guesses - guesses.mean(0)).flatten() * (3 / 2) ** 0.5
        return torch.cat([0.2**0.5 * x, s[0, 1:].flatten(), unsure])

    for row in range(2):
        expected = least_squares(lambda x, row=row: residual(row, x), 8)
        np.testing.assert_allclose(r["a"][row].flatten(), expected, atol=1e-8)
