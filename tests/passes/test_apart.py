"""Recurrences over short vectors entry by entry: the same numbers as from a loop written by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import ebmlang

STEPS = {
    "entries": ("[s[t, 0] + 0.1 * s[t, 1], s[t, 1] * a[t]]", True),
    "sums": ("s[t] + 0.1 * [sin(s[t, 1]), a[t] - s[t, 0]]", True),
    "stretched": ("where(a[t] > 0, s[t] * [a[t]], 0.5 * s[t] - b)", True),
    "wholes": ("[||s[t]|| + a[t], s[t, 0]]", False),
    "products": ("A @ s[t] + b * a[t]", False),
}


def by_hand(name: str, s: Tensor, a: Tensor, A: Tensor, b: Tensor) -> Tensor:
    first, second = s[:, 0], s[:, 1]
    match name:
        case "entries":
            return torch.stack((first + 0.1 * second, second * a), 1)
        case "sums":
            return s + 0.1 * torch.stack((second.sin(), a - first), 1)
        case "stretched":
            return torch.where(a[:, None] > 0, s * a[:, None], 0.5 * s - b)
        case "wholes":
            return torch.stack((s.norm(dim=1) + a, first), 1)
    return s @ A.T + b * a[:, None]


@pytest.mark.parametrize("name", STEPS)
def test_energies_and_gradients(name: str) -> None:
    step, apart = STEPS[name]
    text = f"""model march(T: int) {{
      shared observed A : real[2, 2]; shared observed b : real[2]; observed s0 : real[2]
      latent a : real[T]
      let s : real[T+1, 2]
      let s[0] = s0
      for t in 0..T {{ let s[t+1] = {step} }}
      for t in 0..T {{ energy e[t] = (s[t+1, 0] - s[t, 1])^2 + a[t]^2 }}
      energy last = ||s[T]||^2 * s[T, 1]
    }}"""
    make = torch.Generator().manual_seed(0)
    a, A, b, s = (torch.randn(n, generator=make, dtype=torch.float64) for n in ((3, 5), (2, 2), (2,), (3, 2)))
    model = ebmlang.loads(text)
    assert ("stack_entries(s_0_at" in model.source) == apart
    point = a.clone().requires_grad_(True)
    states = [s]
    for t in range(5):
        states.append(by_hand(name, states[-1], point[:, t], A, b))
    gaps = [(after[:, 0] - before[:, 1]).square() for before, after in itertools.pairwise(states)]
    last = states[-1].square().sum(1) * states[-1][:, 1]
    expected = torch.stack(gaps, 1).sum(1) + point.square().sum(1) + last
    (slope,) = torch.autograd.grad(expected.sum(), point)
    found = model.energy(a=a, A=A, b=b, s0=s, dtype="float64")
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)
    moved = a.clone().requires_grad_(True)
    (other,) = torch.autograd.grad(model.energy(a=moved, A=A, b=b, s0=s, dtype="float64").sum(), moved)
    torch.testing.assert_close(other, slope, rtol=1e-12, atol=1e-12)


def test_written_gradients_run_against_the_entries() -> None:
    """The loop of slopes is apart as well, and equals differences of the energy."""
    text = """model march(T: int = 6) {
      observed s0 : real[3]
      latent a : real[T, 2]
      let s : real[T+1, 3]
      let s[0] = s0
      for t in 0..T { let s[t+1] = s[t] + 0.2 * [cos(s[t, 2]) * a[t, 0], sin(s[t, 2]) * a[t, 0], a[t, 1]] }
      for t in 0..T { cost e[t] = ||s[t+1]||^2 + log(1 + s[t, 0]^2) }
    }"""
    from ebmlang.inference import given_arrays
    from ebmlang.runtime.posing import make_problem

    model = ebmlang.loads(text)
    given = {"s0": torch.tensor([[1.0, 2.0, 0.3]], dtype=torch.float64)}
    asked = model.asked(None, frozenset(given), None, None, frozenset())
    module = model.compiled(asked, None)[1]
    assert model.source.count("stack_entries(s_slope_0_at, s_slope_1_at, s_slope_2_at)") >= 1
    settings = model.settings({}, "float64", None, 0, None)
    rows = given_arrays(model.ranks, given).chunk(0, 1)
    problem = make_problem(model.bound(module, rows, settings, frozenset()), {})
    x = torch.randn(1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, gradient = problem.energy_and_gradient(x)
    near = 1e-5 * torch.eye(12, dtype=torch.float64)
    several = problem.select(torch.zeros(12, dtype=torch.int64))
    expected = (several.energy(x + near) - several.energy(x - near)) / 2e-5
    torch.testing.assert_close(gradient[0], expected, rtol=1e-7, atol=1e-7)
