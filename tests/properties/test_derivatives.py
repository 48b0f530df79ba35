"""Derivatives are written out for every built-in that has a row: first, second, in lets and plates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ebmlang.compiler import pipeline
from ebmlang.compiler.builtins import TABLE, Builtin
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Bound, Settings, bind
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import held_values
from tests.properties.generated import close

DECLARATIONS = """
 latent x : real[4]
 latent y : real[4]
 latent z : real[4]
 latent A : real[3, 3]
 latent v : real[3]
 latent b : real[3]
 latent p : real[4]
 observed w : real[4]
 shared observed index : class[4][5]
"""
SOUGHT = ("x", "y", "z", "A", "v", "b", "p")
EXAMPLES = 3

UNWRITTEN = frozenset({"prod", "cov", "sort"})
"""Built-ins of arrays that automatic differentiation stands in for."""
CONSTANT = frozenset({"argmax", "argmin", "all", "any", "onehot", "zeros", "ones", "identity", "not", "sign"})
"""Those that do not move: piecewise constant, or made from sizes."""

ENTRYWISE = tuple(
    r for r in TABLE if r.form in ("operator", "elementwise") and r.derivative and any(r.derivative)
)
FORMS = ("reduction", "axis", "matrix", "shape", "operator")
ARRAYWISE = tuple(r for r in TABLE if r.form in FORMS and r.name not in CONSTANT)


def ids(row: Builtin) -> str:
    return row.name


def bound(energy: str, low: float = -1.0, high: float = 1.0) -> Bound:
    text = f"model m {{\n {DECLARATIONS}\n {energy}\n}}\n"
    found = pipeline.check_source(Source("<row>", text))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    plan = pipeline.plan_for(pipeline.graph_of(found.models[0]), Query(SOUGHT))
    module = load_text(pipeline.generate_for(plan).text, "m")
    rng = np.random.default_rng(0)
    shapes = {"A": (3, 3), "v": (3,), "b": (3,)}
    values: dict[str, object] = {n: rng.uniform(low, high, (EXAMPLES, *shapes.get(n, (4,)))) for n in SOUGHT}
    values["A"] = np.eye(3) + 0.1 * rng.normal(size=(EXAMPLES, 3, 3))
    values["w"] = rng.normal(size=(EXAMPLES, 4))
    values["index"] = np.array([0, 3, 3, 1, 2])
    return bind(module, {}, values, Settings(torch.float64, torch.device("cpu")), frozenset(SOUGHT))


def held_against_autograd(model: Bound) -> None:
    """Gradients, and products with the Hessian, beside those of automatic differentiation."""
    held, instance = held_values(model), model.instance
    leaves = {n: model.values[n].clone().requires_grad_() for n in SOUGHT}
    generator = torch.Generator().manual_seed(1)
    way = {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in leaves.items()}
    energy = instance.energy(leaves, held)
    slopes = torch.autograd.grad(
        energy.sum(), list(leaves.values()), create_graph=True, materialize_grads=True
    )
    plain = {n: v.detach() for n, v in leaves.items()}
    found, gradient = instance.energy_and_gradient(plain, held)
    close(found, energy.detach(), "energy")
    for name, slope in zip(leaves, slopes, strict=True):
        close(gradient[name].expand(slope.shape), slope.detach() + 0.0, f"slope along {name}", 1e-9)
    along = sum((s * way[n]).sum() for n, s in zip(leaves, slopes, strict=True))
    assert isinstance(along, torch.Tensor)
    products = (
        torch.autograd.grad(along, list(leaves.values()), materialize_grads=True)
        if along.requires_grad
        else [torch.zeros_like(v) for v in leaves.values()]
    )
    mine = instance.hessian_times(plain, held, way)
    for name, product in zip(leaves, products, strict=True):
        expected = product + 0.0
        close(mine[name].expand(expected.shape), expected, f"curvature along {name}", 1e-8)


def expression(row: Builtin) -> str:
    """The row applied to arrays of four entries."""
    match row.form, row.operands[1]:
        case "operator", 1:
            return row.example.replace("y", "x")
        case "elementwise", 1:
            return f"{row.name}(x)"
    return row.example


@pytest.mark.parametrize("row", ENTRYWISE, ids=ids)
def test_every_function_of_numbers(row: Builtin) -> None:
    low, high = row.points
    if row.name == "pow":
        low = 0.5
    inside = expression(row)
    model = bound(f"energy e = dot(w, {inside}) + 0.1 * sum(({inside})^2)", max(low, -0.8), min(high, 0.8))
    assert {"energy_and_gradient", "hessian_times"} <= model.module.WRITTEN
    held_against_autograd(model)


@pytest.mark.parametrize("row", ARRAYWISE, ids=ids)
def test_every_function_of_arrays(row: Builtin) -> None:
    model = bound(f"let value = {row.example}\n energy e = sum(sin(value * 0.7)) + 0.1 * ||x||^2", 0.2, 0.9)
    written = model.module.WRITTEN
    if row.name in UNWRITTEN:
        assert not written, f"`{row.name}` has derivatives now: take it out of the list"
        return
    assert {"energy_and_gradient", "hessian_times"} <= written
    held_against_autograd(model)


@pytest.mark.parametrize(
    "energy",
    [
        "for t in 0..3 { energy e[t] = huber(x[t+1] - x[t], delta = 0.3) * w[t] }",
        "for t in 0..4 { let d[t] = x[t] * y[t] }\n for t in 1..4 { energy e[t] = exp(d[t] - d[t-1]) }",
        "for t in 0..2 { energy e[t] = (x[2*t] - y[2*t+1])^4 }",
        "for i in 0..3, j in 0..3 if i < j { energy e[i, j] = (v[i] - v[j])^2 * A[i, j] }",
        "energy e = sum(x[index[k]]^2 * w[k % 4], over = k in 0..5)",
        "energy e = logsumexp(x[i] * y[i], over = i in 0..4)",
        "energy e = mean(sin(A[i, i]) * v[i], over = i in 0..3)",
        "energy e = norm(A @ v - b) + norm(x, order = 1) * 0.1",
        "energy e = ||A.T @ A||^2 + dot(A @ (A @ v), b)",
        'energy e = einsum("ij,j,i->", A, v, b)^2',
        "energy e = dot(x[1..4], y[0..3]) * x[0] + sum(A[.., 1] * v)^2 + ||A[0] - v||^2",
        "energy e = sum(x * x[0]) + sum(v[.., None] * b[None, ..])",
        "energy e = sum(where(w > 0, x^2, exp(y)))",
        "energy e = linear_solve(A, v)[0] * linear_solve(A, b)[1] + logabsdet(A)",
        "energy e = sum([x[0], y[1]^2, x[0] * y[1]])^2",
        "fn f(a: real[n], t: real) -> real[n] = sign(a) * relu(abs(a) - t)\n energy e = ||f(x, 0.1) - y||^2",
    ],
)
def test_chosen_energies(energy: str) -> None:
    model = bound(energy, 0.1, 0.9)
    assert {"energy_and_gradient", "hessian_times"} <= model.module.WRITTEN
    held_against_autograd(model)


def test_losses_of_residuals_of_two_shapes() -> None:
    model = bound("energy e = sum(huber(x[1..4] - x[0..3])) + sum(huber(y - w)) + sum(log1p(v^2))", 0.1, 0.9)
    assert "normal_times" in model.module.WRITTEN
    held_against_autograd(model)
