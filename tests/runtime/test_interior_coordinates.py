"""Second derivatives along the coordinates of positive unknowns, against automatic differentiation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ebmlang.runtime.hessian import entry_places, hessian
from tests.runtime.hessians import bound_model, hessians, problem_of

ROWS = 3

CHAIN = """model m(T: int) {
  observed y : real[T]; latent s : real[T] in positive; latent b : real
  for t in 0..T { energy fit[t] = log(s[t]) + (y[t] - b)^2 / s[t] }
  for t in 0..T-1 { energy near[t] = cosh(s[t+1] - s[t]) }
}"""

MIXED = """model m(T: int) {
  observed y : real[T]; latent s : real[T] in positive; latent x : real[T]
  for t in 0..T { energy fit[t] = -cos(x[t] - s[t]) + s[t]^2 * y[t] }
  for t in 0..T-1 { energy near[t] = (x[t+1] * s[t] - x[t])^2 }
}"""

JOINT = """model m(n: int) {
  observed y : real[n]; param w : real[n] in positive; latent x : real[n]
  energy fit = sum((y - w * x)^2) + sum(w^3)
}"""

DECAY = """model m(n: int) {
  shared observed t : real[n]; observed y : real[n]; latent a : real; latent r : real in positive
  for i in 0..n { energy fit[i] = (a * exp(-r * t[i]) - y[i])^2 }
}"""


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("text", "entries"), [(CHAIN, False), (MIXED, True), (JOINT, False)])
def test_hessians_are_second_derivatives_along_coordinates(text: str, entries: bool) -> None:
    sought = ("w", "x") if text is JOINT else None
    using = "lbfgs" if text is JOINT else "trust_region"
    problem = problem_of(bound_model(text, {"y": normal(1, ROWS, 5)}, sought=sought, using=using))
    assert (entry_places(problem) is not None) == entries
    x = 2 * normal(2, problem.space.rows, problem.space.size)
    wanted = torch.from_numpy(hessians(problem, x))
    torch.testing.assert_close(hessian(problem, x).dense(), wanted, rtol=1e-9, atol=1e-9)
    directions = normal(3, problem.space.rows, 4, problem.space.size)
    found = problem.hessian_times(x, directions)
    torch.testing.assert_close(found, directions @ wanted, rtol=1e-9, atol=1e-9)


def test_squared_jacobians_are_along_coordinates() -> None:
    t = torch.linspace(0, 2, 6, dtype=torch.float64)
    problem = problem_of(bound_model(DECAY, {"t": t, "y": normal(4, 1, 6)}, using="gauss_newton"))
    x = normal(5, 1, 2)

    def residuals(u: Tensor) -> Tensor:
        return u[0] * torch.exp(-torch.nn.functional.softplus(u[1]) * t)

    jacobian = torch.autograd.functional.jacobian(residuals, x[0])
    eye = torch.eye(2, dtype=torch.float64)[None]
    torch.testing.assert_close(problem.normal_times(x, eye)[0], 2 * jacobian.T @ jacobian)


def test_given_entries_are_rows_of_the_identity() -> None:
    problem = problem_of(bound_model(MIXED, {"y": normal(6, ROWS, 4)}, using="trust_region"))
    free = torch.tensor([[True, False, True, True]]).repeat(1, 2)
    space = replace(problem.space, mask=free, held=torch.zeros(1, 8, dtype=torch.float64))
    problem = replace(problem, space=space)
    matrix = hessian(problem, normal(7, ROWS, 8)).dense()
    eye = torch.eye(8, dtype=torch.float64)
    for place in (1, 5):
        assert torch.equal(matrix[:, place], eye[place].expand(ROWS, 8))
        assert torch.equal(matrix[:, :, place], eye[place].expand(ROWS, 8))
