"""Nested minima as formulas, against searches for the same minima."""

from __future__ import annotations

import pytest
import torch

import ebmlang
from tests.draws import normal

F64 = torch.float64


FORMULAS = [
    (
        "latent z : real[n]; energy e = 1/2 * ||z - q||^2 + w * sum(z^2)",
        "lbfgs",
        "z = q / (1 + 2 * w) of inner",
    ),
    (
        "latent z : real[n]; energy e = 1/2 * ||z - q||^2; regularizer s = w * ||z||_1",
        "fista",
        "z = q - clamp(q, -w, w) of inner",
    ),
    (
        "latent z : real[n]; energy e = sum(exp(q) * (z - q)^2); regularizer s = w * ||z||_1",
        "fista",
        "clamp(",
    ),
    (
        "latent z : real[n] in [-1, w]; energy e = 1/2 * ||z - q||^2",
        "projected_lbfgs",
        "z = clamp(q, -1, w) of inner",
    ),
    (
        "latent z : real[n] in nonnegative; energy e = 1/2 * ||z - q||^2 + w * sum(z)",
        "projected_lbfgs",
        "z = relu(",
    ),
    (
        "latent z : real[n] in simplex; energy e = 1/2 * ||z - q||^2 + w * ||z||^2",
        "projected_gradient",
        "max(",
    ),
]


@pytest.mark.parametrize(("body", "method", "shown"), FORMULAS)
def test_a_formula_is_the_minimum(body: str, method: str, shown: str) -> None:
    """Where every entry has a parabola of its own: the same answer and gradient as by a search."""
    heads = "observed q : real[n]; observed w : real in positive"
    text = f"model inner(n: int) {{ {heads}; {body} }}\nmodel outer(n: int) {{ {heads}; " + (
        "solve inner as p with q = q, w = w METHOD; energy e = sum(p.z ^ 3) + sum(exp(p.z)) }"
    )
    formula = ebmlang.loads(text.replace("METHOD", ""))
    search = ebmlang.loads(text.replace("METHOD", f"using {method}"))
    found = " ".join(formula.explain().split())
    assert "solve p: closed form, z = " in found
    assert shown in found
    assert "solve p: implicit" in " ".join(search.explain().split())
    q, w = (3 * normal(4, 5)).requires_grad_(), normal(4, seed=1).exp().requires_grad_()
    first, second = formula.energy(q=q, w=w), search.energy(q=q, w=w)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(
        torch.autograd.grad(first.sum(), (q, w)), torch.autograd.grad(second.sum(), (q, w))
    )


@pytest.mark.parametrize(
    "body",
    [
        "latent z : real[n]; energy e = 1/2 * ||z - q||^2 - w * sum(z^2)",  # may curve downwards
        "latent z : real[n]; energy e = 1/2 * ||z - q||^2 + w * sum(z)^2",  # joins entries
        "latent z : real[n] in simplex; energy e = 1/2 * sum(exp(q) * (z - w)^2)",  # no projection
        "latent z : real[n]; energy e = 1/2 * ||z - q||^2; regularizer s = w * ||z||",  # a length
        "latent z : real[n]; energy e = sum((z - q)^2 + (z - q)^4)",  # no parabola
    ],
)
def test_what_has_no_formula_is_searched(body: str) -> None:
    heads = "observed q : real[n]; observed w : real in positive"
    text = f"model inner(n: int) {{ {heads}; {body} }}\nmodel outer(n: int) {{ {heads}; " + (
        "solve inner as p with q = q, w = w; energy e = sum(p.z ^ 3) }"
    )
    assert "solve p: implicit" in " ".join(ebmlang.loads(text).explain().split())
