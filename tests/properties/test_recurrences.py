"""Recurrences in generated PyTorch = the slow reference evaluator, gradients = finite differences."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

import numpy as np
import pytest
import torch

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.degrees import Degrees
from ebmlang.compiler.query import Query
from ebmlang.compiler.structure.block import Block
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import held_values
from tests.properties.generated import checked
from tests.properties.test_generated import EVERYTHING, examine, model

MODELS = {
    "affine": """let d : real[n+1, n]
  let d[0] = y
  for t in 0..n { let d[t+1] = A @ d[t] + B[0] * x[t] }
  energy e = ||d[n]||^2 + sum(d[1..n])""",
    "smooth": """fn step(a: real[w], b: real) -> real[w] = tanh(a) + 0.3 * sin(a * b)
  let d : real[n+1, 3]
  let d[0] = r
  for t in 0..n { let d[t+1] = step(d[t], x[t]) }
  for t in 0..n+1 { energy e[t] = ||d[t]||^2 * (t + 1) }""",
    "scalar, undeclared, starting at one": """let d[0] = s
  for t in 1..n { let d[t] = 0.5 * d[t-1] + x[t] * y[t] }
  energy e = sum(d^2)""",
    "two lags": """let d : real[n+2]
  let d[1] = u
  let d[0] = s
  for t in 0..n { let d[t+2] = sin(d[t+1]) * 0.5 - 0.3 * d[t] * x[t] }
  energy e = sum(d^2) + d[n+1]""",
    "two arrays that read each other": """let position : real[n+1]
  let speed : real[n+1]
  let position[0] = u
  let speed[0] = s
  for t in 0..n {
    let force = -sin(position[t]) + x[t]
    let speed[t+1] = speed[t] + 0.1 * force
    let position[t+1] = position[t] + 0.1 * speed[t+1]
    energy work[t] = force^2 + position[t+1] * speed[t]
  }
  energy final = position[n]^2""",
    "one that does not read back": """let c1 : real[n+1, n, n]
  let d : real[n+1, n]
  let c1[0] = X
  let d[0] = x
  for t in 0..n {
    let c1[t+1] = 0.5 * c1[t] @ X + identity(n)
    let d[t+1] = c1[t] @ d[t] + y
  }
  energy e = ||d||^2""".replace("||d||^2", "sum(d^2)"),
    "a feedback law": """let d : real[n+1, n]
  let d[0] = y
  for t in 0..n {
    let act[t] = W @ d[t] + Z[.., t]
    let d[t+1] = 0.7 * d[t] + act[t] @ W
  }
  energy e = sum(d^2) + 0.1 * sum(act^2)""",
    "backward": """let d : real[n+1]
  let d[n] = s
  for t in 0..n { let d[t] = 0.9 * d[t+1] + sin(x[t]) }
  energy e = d[0]^2 + sum(d)""",
    "backward with two lags": """let d : real[n+2]
  let d[n] = s
  let d[n+1] = u
  for t in 0..n { let d[t] = 0.9 * d[t+1] - 0.2 * d[t+2] * x[t] }
  energy e = sum(d^2)""",
    "a second index": """let d : real[n+1, m]
  for i in 0..m { let d[0, i] = Z[i, 0] * (i + 1) }
  for t in 0..n, i in 0..m { let d[t+1, i] = sin(d[t, i]) + x[t] * B[i, t] }
  energy e = sum(d^2)""",
    "neighbours": """let d : real[n, m+1]
  for i in 0..n { let d[i, 0] = x[i] }
  for i in 0..n { for t in 0..m { let d[i, t+1] = d[i, t] + 0.2 * (d[(i + 1) % n, t] - d[i, t]) + W[t, i] } }
  energy e = sum(d^2)""",
    "rows of the array": """let d : real[n+1, m]
  let d[0] = U[0, .., 1]
  for t in 0..n, i in 0..m { let d[t+1, i] = sum(d[t]) * 0.3 + x[t] * Z[i, t] }
  energy e = sum(d^2)""",
    "a guard on the index": """let d : real[n+1]
  let d[0] = s
  for t in 0..n if t != 1 { let d[t+1] = d[t] * 0.5 + x[t] }
  energy e = sum(d^2)""",
    "a guard by example": """let d : real[n+1, n]
  let d[0] = y
  for t in 0..n if b[t] { let d[t+1] = sin(d[t]) + x }
  energy e = sum(d^2)""",
    "a guard that keeps subscripts inside": """let d : real[n+1]
  let d[0] = s
  for t in 0..n if t < n - 1 { let d[t+1] = d[t] * x[t+1] + sum(y[t+1] * x) }
  energy e = sum(d^2)""",
    "a guard and a second index": """let d : real[n+1, m]
  for i in 0..m { let d[0, i] = s }
  for t in 0..n, i in 0..m if b[t] and i < t { let d[t+1, i] = d[t, i]^2 + Z[i, t] }
  energy e = sum(d^2)""",
    "whole numbers": """let d : int[n+1]
  let d[0] = 2
  for t in 0..n { let d[t+1] = (d[t] * 5 + t) % 7 }
  for t in 0..n { energy e[t] = x[t] * d[t+1] }""".replace("let d : int[n+1]\n  ", ""),
    "a reduction inside": """let d : real[n+1]
  let d[0] = s
  for t in 0..n { let d[t+1] = sum(sin(d[t] * A[t, j]), over = j in 0..n if j != t) }
  energy e = sum(d^2)""",
    "chosen by a class": """let d : real[n+1, 3]
  let d[0] = r
  for t in 0..n { let d[t+1] = 0.5 * d[t] + d[t, cs[t]] * x[t] }
  energy e = sum(d^2) + d[n, c]""",
    "another recurrence inside": """let d : real[n+1]
  let f : real[n+1]
  let d[0] = s
  for t in 0..n { let d[t+1] = 0.5 * d[t] + x[t] }
  let f[0] = 0
  for t in 0..n { let f[t+1] = f[t] * d[t+1] + d[n - t] }
  energy e = sum(f^2)""",
    "replaced": """let d : real[n+1]
  let d[0] = s
  for t in 0..n { let d[t+1] = 0.5 * d[t] + x[t] }
  energy e = (sum(d^2) with s = 2 * u) + (d[1] with x = y) + sum(d^3)""",
    "replaced inside of plates": """let d : real[n+1]
  let d[0] = s
  for t in 0..n { let d[t+1] = 0.5 * d[t] + x[t] }
  for t in 0..n { energy e[t] = ((d[t] * d[n]) with s = y[t])^2 }""",
    "a start inside": """let d : real[n+1, m]
  for i in 0..m { let d[0, i] = s + Z[i, 1] }
  for t in 0..n, i in 0..m { let d[t+1, i] = d[t, i] * 0.3 + d[0, m - 1 - i] * x[t] }
  energy e = sum(d^2)""",
    "shared": """let d : real[n+1]
  let d[0] = 1.0
  for t in 0..n { let d[t+1] = d[t] * lam + v[t] }
  for t in 0..n { energy e[t] = (x[t] - d[t+1])^2 }""",
    "read by other lets and terms": """let d : real[n+1]
  let d[0] = s
  for t in 0..n {
    let d[t+1] = sin(d[t]) + x[t]
    for i in 0..m { energy e[t, i] = d[t+1] * Z[i, t] }
  }
  let total_d = sum(d)
  for t in 0..n { let f[t] = d[t] * total_d }
  energy g = sum(f)""",
}


@pytest.mark.parametrize("sought", [("x", "s", "A", "Z"), ()], ids=["some", "none"])
@pytest.mark.parametrize("name", MODELS)
def test_as_the_reference(name: str, sought: tuple[str, ...]) -> None:
    asked = examine(model(MODELS[name]), sought, ("y", "Q", "u", "c"))
    assert asked.text.count("    for ") >= 1


@pytest.mark.parametrize("name", ["two arrays that read each other", "a second index", "a guard by example"])
def test_joint_with_parameters(name: str) -> None:
    examine(model(MODELS[name], "energy w = ||p - x||^2"), EVERYTHING, ("y", "Q", "u", "c"))


def block(text: str, *sought: str) -> Block:
    graph = pipeline.graph_of(checked(text))
    return Block(graph, Query(sought))


def test_what_does_not_move_is_computed_before_the_loop() -> None:
    asked = examine(model(MODELS["affine"]), ("x",))
    terms = asked.text[asked.text.index("def terms") : asked.text.index("def energy")]
    lines = terms.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("for t in range"))
    step = "d_at[t + 1] = (A @ d_at[t].unsqueeze(-1)).squeeze(-1) + B_x_at[t]  # [B, n]"
    assert lines[at + 1].strip() == step
    assert not lines[at + 2].startswith(" " * 12)


def test_a_recurrence_of_what_is_known_is_computed_once() -> None:
    asked = examine(model(MODELS["shared"]), ("x",))
    terms = asked.text[asked.text.index("def terms") : asked.text.index("def energy")]
    assert "for t" not in terms
    assert "for t" in asked.text[asked.text.index("def prepare") : asked.text.index("def terms")]


def test_the_loop_is_not_written_out() -> None:
    """The text does not depend on the length."""
    text = "model m(T: int) {{\n observed y : real\n latent x : real[{n}]\n let d[0] = y\n for t in 0..{n} {{ let d[t+1] = sin(d[t]) + x[t] }}\n energy e = d[{n}]^2\n}}\n"
    sizes = {
        n: len(
            pipeline.generate_for(
                pipeline.plan_for(pipeline.graph_of(checked(text.format(n=n))), Query(("x",)))
            ).text
        )
        for n in (5, 100_000)
    }
    assert sizes[100_000] - sizes[5] < 1_000


@pytest.mark.parametrize(
    ("name", "sought", "found"),
    [
        ("affine", ("x",), 1),
        ("affine", ("A",), None),
        ("smooth", ("x",), None),
        ("two lags", ("x",), None),
        ("two lags", ("u",), None),
        ("one that does not read back", ("x",), 1),
        ("a feedback law", ("Z",), 1),
        ("backward", ("s",), 1),
        ("backward", ("x",), None),
        ("a guard on the index", ("x",), 1),
        ("neighbours", ("x",), 1),
        ("shared", ("x",), 0),
        ("another recurrence inside", ("x",), None),
    ],
)
def test_degree(name: str, sought: tuple[str, ...], found: int | None) -> None:
    """Affine in the block: each cell is affine in the cells before it and in the block, together."""
    own = block(model(MODELS[name]), *sought)
    let = next(x for x in reversed(own.graph.model.lets) if isinstance(x.value, typed.Scan))
    assert Degrees(own.depends)(let.value) == found


def test_kinks_inside_are_found() -> None:
    text = model("let d[0] = s\n for t in 0..n { let d[t+1] = |d[t]| + x[t] }\n energy e = d[n]^2")
    graph = pipeline.graph_of(checked(text))
    plan = pipeline.plan_for(graph, Query(("x",)))
    assert plan.structure.find("kinks") is not None


def test_arrays_that_do_not_read_back_stand_alone() -> None:
    lets = {x.name: x.value for x in checked(model(MODELS["one that does not read back"])).lets}
    assert all(isinstance(v, typed.Scan) and len(v.states) == 1 for v in lets.values())
    lets = {x.name: x.value for x in checked(model(MODELS["two arrays that read each other"])).lets}
    assert all(isinstance(v, typed.Scan) and len(v.states) == 2 for v in lets.values())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_which_gradients_are_written(name: str) -> None:
    """All but those of picks with an index that moves what it picks from, and of whole arrays by plates."""
    text = pipeline.generate_for(
        pipeline.plan_for(pipeline.graph_of(checked(model(MODELS[name]))), Query(("x", "s", "A", "Z")))
    ).text
    left = name in ("chosen by a class", "replaced inside of plates")
    assert ("def energy_and_gradient" in text) is not left
    assert ("def hessian_times" in text) is not left


def test_the_gradient_is_one_loop_back() -> None:
    """Against the recursion of adjoint states, written by hand (Bryson & Ho 1975, section 2.2)."""
    text = """model pendulum(T: int, h: real = 0.1) {
      observed p0 : real; observed v0 : real
      latent a : real[T]
      let p[0] = p0
      let v[0] = v0
      for t in 0..T {
        let v[t+1] = v[t] + h * (sin(p[t]) + a[t])
        let p[t+1] = p[t] + h * v[t]
        energy e[t] = cos(p[t+1]) + 0.5 * v[t+1]^2 + 0.1 * a[t]^2
      }
      infer a
    }"""
    T, h, B = 7, 0.1, 3
    rng = np.random.default_rng(0)
    values = {"p0": rng.normal(size=B), "v0": rng.normal(size=B)}
    module = load_text(
        pipeline.generate_for(pipeline.plan_for(pipeline.graph_of(checked(text)), Query(("a",)))).text,
        "pendulum",
    )
    bound = bind(module, {"T": T}, values, Settings(torch.float64, torch.device("cpu")), frozenset(("a",)))
    a = rng.normal(size=(B, T))
    p, v = [values["p0"]], [values["v0"]]
    for t in range(T):
        p.append(p[t] + h * v[t])
        v.append(v[t] + h * (np.sin(p[t]) + a[:, t]))
    slope_p, slope_v = np.zeros(B), np.zeros(B)
    expected = 0.2 * a
    for t in reversed(range(T)):
        slope_p, slope_v = slope_p - np.sin(p[t + 1]), slope_v + v[t + 1]
        expected[:, t] += h * slope_v
        slope_p, slope_v = slope_p + h * np.cos(p[t]) * slope_v, slope_v + h * slope_p
    _, found = bound.instance.energy_and_gradient({"a": torch.from_numpy(a)}, held_values(bound))
    assert np.allclose(found["a"].numpy(), expected, rtol=1e-10, atol=1e-12)
