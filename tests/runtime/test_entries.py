"""Written entries of Hessians: put in their places, against dense matrices and automatic differentiation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ebmlang.runtime.hessian import HessianForm, hessian
from ebmlang.runtime.linear.iterative import ImplicitMatrix
from ebmlang.runtime.linear.patterns import ArrowPattern, BandedPattern, DensePattern
from ebmlang.runtime.linear.placing import placing
from ebmlang.runtime.problem import Problem
from tests.runtime.hessians import bound_model, hessians, problem_of
from tests.runtime.linear.cases import PATTERNS, symmetric

ROWS = 3


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", [n for n in PATTERNS if not n.startswith("arrow")])
def test_every_pattern_holds_its_entries(name: str) -> None:
    pattern = PATTERNS[name]()
    dense = symmetric(pattern, ROWS)
    at = torch.from_numpy(np.random.default_rng(3).permutation(np.argwhere((dense[0] != 0).numpy())))
    values = dense[:, at[:, 0], at[:, 1]]
    half = len(at) // 2
    # Half of the entries at a time, the second half as the difference of two values at the same places.
    row, column = at[None, :, 0], at[None, :, 1]
    places = [
        (0, 1, row[:, :half], column[:, :half]),
        (1, -1, row[:, half:], column[:, half:]),
        (2, 1, row[:, half:], column[:, half:]),
    ]
    found = placing(pattern, places)
    parts = (values[:, :half], 0.5 * values[:, half:], 1.5 * values[:, half:])
    matrix = found.matrix(parts, ROWS, torch.float64, torch.device("cpu"))
    torch.testing.assert_close(matrix.dense(), dense, rtol=1e-14, atol=1e-14)


def test_runs_need_no_list_of_places() -> None:
    number = torch.arange(6)[None]
    found = placing(
        BandedPattern(6, 1),
        [
            (0, 1, number[:, 1:], number[:, :-1]),
            (0, 1, number[:, :-1], number[:, 1:]),
            (0, 1, number, number),
        ],
    )
    assert [step.target for step in found.steps] == [slice(6, 11), slice(0, 6)]


def test_runs_through_a_shuffled_band_keep_their_order() -> None:
    # The ends of the run stand as far apart as if nothing were shuffled; what is between does not.
    order = np.array([0, 2, 1, 3])
    number = torch.arange(4)[None]
    matrix = placing(BandedPattern(4, 3, order), [(0, 1, number, number)]).matrix(
        (torch.tensor([[1.0, 2.0, 3.0, 4.0]]),), 1, torch.float32, torch.device("cpu")
    )
    assert matrix.diagonal().tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_no_steps_where_places_differ_by_row_or_have_parts() -> None:
    number = torch.arange(4)[None]
    assert not placing(BandedPattern(4, 1), [(0, 1, number.repeat(2, 1), number)]).steps
    hubs = ArrowPattern(4, np.array([0]), BandedPattern(3, 1))
    assert not placing(hubs, [(0, 1, number, number)]).steps


_CHAIN = "model m(T: int, w: real = 3.0) { observed y : real[T]; latent x : real[T] = y; "
_GRID = "model m(n: int, k: int) { observed y : real[n, k]; latent x : real[n, k] = y; "

ENERGIES = {
    "robust chain": (
        _CHAIN + "energy a = sum(huber(x - y)); energy b = w * sum(huber(x[1..] - x[..T-1])) }",
        {"y": normal(0, ROWS, 9)},
    ),
    "curvature in plates, against a neighbour's value": (
        _CHAIN + "for t in 1..T-1 { energy a[t] = (x[t+1] - 2 * x[t] + x[t-1])^4 / w }\n"
        "for t in 0..T { energy b[t] = cosh(x[t] - y[t]) * y[0]^2 }; infer x }",
        {"y": normal(1, ROWS, 8)},
    ),
    "products of neighbours": (
        _CHAIN + "energy a = ||x - y||^2; for t in 0..T-1 { energy b[t] = sin(x[t] * x[t+1]) }; infer x }",
        {"y": normal(2, ROWS, 7)},
    ),
    "a plate under a condition": (
        _CHAIN + "energy a = ||x - y||^2\n"
        "for i in 0..T, j in 0..T if j == i + 2 { energy b[i, j] = log(1 + (x[i] - x[j])^2) }; infer x }",
        {"y": normal(3, ROWS, 7)},
    ),
    "a picture": (
        _GRID
        + "energy a = 1/2 * ||x - y||^2; energy b = sum(huber(x[1.., ..] - x[..n-1, ..], delta = 0.4))\n"
        "energy c = 2 * sum(log(cosh(x[.., 1..] - x[.., ..k-1]))); infer x }",
        {"y": normal(4, ROWS, 5, 4)},
    ),
    "a chain of vectors": (
        _GRID
        + "energy a = sum(cosh(x - y)); for t in 0..n-1 { energy b[t] = sum((x[t+1] - x[t])^4) }; infer x }",
        {"y": normal(5, ROWS, 6, 3)},
    ),
    "steps of two through the same entries": (
        _CHAIN + "energy a = sum(cosh(x - y)); for t in 0..3 { energy b[t] = (x[t] - x[2*t+1])^4 }\n"
        "infer x }",
        {"y": normal(6, ROWS, 6)},
    ),
    "two unknowns": (
        "model m(T: int) { observed y : real[T]; latent x : real[T] = y; latent b : real[T] = 0\n"
        "energy a = sum(cosh(x - b - y)); energy c = sum((x[1..] - b[..T-1])^4) + ||b||^2; infer x, b }",
        {"y": normal(7, ROWS, 6)},
    ),
    "edges": (
        "model m(n: int, m: int) { shared observed a : class[n][m]; shared observed b : class[n][m]\n"
        "observed y : real[n]; latent x : real[n] = y; energy near = sum(cosh(x - y))\n"
        "for e in 0..m { energy tie[e] = (x[a[e]] - x[b[e]])^4 }; infer x }",
        {
            "a": torch.tensor([0, 0, 1, 4, 3]),
            "b": torch.tensor([1, 2, 5, 5, 3]),
            "y": normal(8, ROWS, 6),
        },
    ),
}


def without_entries(problem: Problem) -> Problem:
    assert problem.form is not None
    form = problem.form
    return replace(problem, form=HessianForm(form.find, form.shared, form.constant))


@pytest.mark.parametrize("name", ENERGIES)
def test_entries_are_second_derivatives(name: str) -> None:
    text, given = ENERGIES[name]
    bound = bound_model(text, given, using="newton")
    problem = problem_of(bound)
    assert "hessian_entries" in bound.module.WRITTEN
    x = normal(20, problem.space.rows, problem.space.size)
    placed = None if problem.form is None else problem.form.placing
    assert placed is not None
    assert placed.steps or isinstance(problem.pattern, ArrowPattern)
    matrix = hessian(problem, x)
    torch.testing.assert_close(matrix.dense(), torch.from_numpy(hessians(problem, x)), rtol=1e-9, atol=1e-9)
    measured = hessian(without_entries(problem), x)
    assert type(measured) is type(matrix)
    torch.testing.assert_close(matrix.dense(), measured.dense(), rtol=1e-12, atol=1e-12)


def test_entries_that_differ_by_row_are_measured() -> None:
    text, given = ENERGIES["edges"]
    apart = torch.tensor([[1, 2, 5, 5, 3], [2, 3, 5, 1, 1], [1, 2, 3, 4, 5]])
    bound = bound_model(
        text.replace("shared observed b", "observed b"), {**given, "b": apart}, using="newton"
    )
    problem = problem_of(bound)
    x = normal(21, ROWS, 6)
    found = hessian(problem, x).dense()
    torch.testing.assert_close(found, torch.from_numpy(hessians(problem, x)), rtol=1e-9, atol=1e-9)
    # A single row has places of its own, which must not be taken for those of the others.
    for row in range(ROWS):
        one = problem.select(torch.tensor([row]))
        torch.testing.assert_close(hessian(one, x[row, None]).dense()[0], found[row], rtol=1e-9, atol=1e-9)


def test_products_that_sum_over_a_direction_have_no_entries() -> None:
    text = "model m(n: int) { shared observed A : real[n, n]; observed y : real[n]; latent x : real[n] = y\n"
    bound = bound_model(
        text + "energy a = sum(cosh(A @ x - y)) }", {"A": normal(9, 4, 4), "y": normal(10, 2, 4)}
    )
    assert "hessian_entries" not in bound.module.WRITTEN


def test_a_large_dense_matrix_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    text, given = ENERGIES["robust chain"]
    problem = problem_of(bound_model(text, given, using="newton"))
    assert problem.form is not None
    full = HessianForm(lambda: DensePattern(problem.space.size), place=problem.form.place)
    problem = replace(problem, form=full)
    x = normal(22, ROWS, 9)
    wanted = torch.from_numpy(hessians(problem, x))
    torch.testing.assert_close(hessian(problem, x).dense(), wanted, rtol=1e-9, atol=1e-9)
    monkeypatch.setattr("ebmlang.runtime.hessian.LARGEST_DENSE", 8)
    assert isinstance(hessian(problem, x), ImplicitMatrix)
