"""Energies without a lower bound are recognised, whatever method meets them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime.falling import falls_without_end, floor_under
from ebmlang.runtime.problem import Problem
from tests.runtime.fakes import Values, problem

HEAD = "model m(n: int) {{\n observed y : real[n]\n latent x : real[n]{domain} = {start}\n"


def asked(energy: str, dtype: str, start: str = "0.1", domain: str = "") -> ebmlang.Result:
    terms = f" energy pull = ||x - y||^2\n energy push = {energy}\n infer x\n}}"
    model = ebmlang.loads(HEAD.format(domain=domain, start=start) + terms)
    return model.infer(y=torch.tensor([[0.1, 0.2], [1.0, -2.0]]), dtype=dtype, steps=2000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("energy", "start", "domain"),
    [
        ("-sum(x^4)", "2", ""),
        ("sum(x)^3", "-9", ""),
        ("-sum(exp(x))", "9", ""),
        ("-sum(exp(x))", "9", " in [0, inf]"),
        ("-sum(x^4)", "2", " in nonnegative"),
    ],
)
def test_the_term_that_falls_is_named(energy: str, start: str, domain: str, dtype: str) -> None:
    result = asked(energy, dtype, start, domain)
    assert set(result.status) == {"unbounded: the energy falls without end in term 'push' along 'x'"}
    assert not result.converged.any()
    assert torch.isfinite(result.energy).all()


def test_a_deep_minimum_is_none() -> None:
    """An energy whose constant was left out starts at 0 and ends far below."""
    result = asked("-1e9 * sum(x)", "float64")
    assert result.converged.all()
    assert (result.energy < -1e17).all()
    deep = asked("1e8 * sum(cos(x / 50) - 1)", "float32")
    assert not any("unbounded" in status for status in deep.status)


FALLS = "unbounded: the energy falls without end in term 'push' along 'x'"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("domain", "energy"),
    [
        (" in nonnegative", "dot(y, x)"),
        ("", "||x||_1 + 2 * dot(y, x)"),
        (" in [-inf, 3]", "sum(huber(x)) + 2 * dot(y, x)"),
    ],
)
def test_straight_ways_down_are_followed_ahead(domain: str, energy: str, dtype: str) -> None:
    """A search goes only so far along a line in its steps; rows with a minimum are not touched by it."""
    head = HEAD.format(domain=domain, start="0")
    model = ebmlang.loads(head + f" energy push = {energy}\n infer x\n}}")
    low, fine = (-1.0, -0.25) if domain == " in nonnegative" else (1.0, 0.25), (0.25, 0.3)
    result = model.infer(y=torch.tensor([low, fine]), dtype=dtype)
    assert result.status[0] == FALLS
    assert result.converged.tolist() == [False, True]


@pytest.mark.parametrize(
    ("energy", "limit", "domain"),
    [
        ("dot(y, x)", "sum(x) >= 0", ""),
        ("-||x - y||^2", "sum(x) == 1", ""),
        ("-dot(y, y) * sum(x)", "sum(x) >= 1", " in nonnegative"),
    ],
)
def test_constraints_that_do_not_hold_the_energy(energy: str, limit: str, domain: str) -> None:
    head = HEAD.format(domain=domain, start="0")
    model = ebmlang.loads(head + f" energy push = {energy}\n subject to limit : {limit}\n infer x\n}}")
    result = model.infer(y=torch.tensor([[0.5, 0.75]]))
    assert result.status[0] == FALLS
    assert not result.converged.any()
    assert torch.isfinite(result.x).all()


def test_a_penalty_that_has_to_grow_first_is_no_energy_without_end() -> None:
    """At a small penalty the energy beats it everywhere."""
    head = HEAD.format(domain="", start="0.1")
    model = ebmlang.loads(
        head
        + " energy push = -300 * ||x||^2\n for i in 0..n { subject to at[i] : x[i] == y[i] }\n infer x\n}"
    )
    result = model.infer(y=torch.tensor([[0.5, -0.75]]), dtype="float64")
    assert result.converged.all(), result.status
    assert torch.allclose(result.x, torch.tensor([[0.5, -0.75]], dtype=torch.float64), atol=1e-6)


def _quadratic(matrix: Tensor) -> Problem:
    def term(u: Values, h: Values) -> Tensor:
        return ((u["x"] @ matrix) * u["x"]).sum(1)

    return problem(term, torch.zeros(1, 3, dtype=torch.float64))


def test_rounding_is_no_way_down() -> None:
    """Along the null space of a matrix nothing but the last digits change; they grow with the way."""
    model = ebmlang.loads(
        """model m(n: int) {
          shared observed S : real[n, n] in psd
          observed y : real[n]
          latent x : real[n]
          energy bowl = sum(sqrt(1 + square(S @ x - y)))
          energy flat = x @ S @ x
          infer x }"""
    )
    row = torch.tensor([1.0, 1 / 3, -0.1], dtype=torch.float64)
    found = model.infer(
        S=torch.outer(row, row), y=torch.tensor([[0.2, 0.4, 0.1]]), dtype="float64", using="lbfgs"
    )
    assert "unbounded" not in found.status[0]
    flat = _quadratic(torch.outer(row, row))
    start = torch.zeros(1, 3, dtype=torch.float64)
    way = 1e3 * torch.tensor([[1.0, -3.0, 0.0]], dtype=torch.float64)
    floor = floor_under(flat.energy(start))
    assert not bool(falls_without_end(flat, start, way, floor))
    down = _quadratic(torch.outer(row, row) - 1e-3 * torch.eye(3, dtype=torch.float64))
    assert bool(falls_without_end(down, start, way, floor))
