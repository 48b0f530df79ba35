"""Derivatives that layers hand down themselves, against automatic differentiation of the same modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ebmlang
from ebmlang.compiler.nets.constructors import ACTIVATIONS
from ebmlang.questions import ask_samples
from ebmlang.runtime import posing, slopes
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.pullbacks import PULLBACKS, plain_stack, pulled_back
from tests.draws import normal

BENT = [row.layer for row in PULLBACKS if row.layer is not nn.Linear]


def automatic(module: nn.Module, x: Tensor, slope: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    y = module(x)
    return torch.autograd.grad(y, x, slope.expand(y.shape))[0]


@pytest.mark.parametrize("kind", BENT, ids=lambda kind: str(kind.__name__))
@pytest.mark.parametrize("last", [True, False])
def test_every_layer_hands_its_slope_down(kind: type[nn.Module], last: bool) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5), kind(), nn.Linear(5, 2, bias=False), *([] if last else [kind()])]
    stack = nn.Sequential(*layers).double()
    x, slope = normal(7, 3, seed=4), normal(7, 2, seed=5)
    for weights in (slope, slope[:1]):
        found = pulled_back(plain_stack(stack) or [], x, weights)
        torch.testing.assert_close(found, automatic(stack, x, weights), rtol=1e-12, atol=1e-12)


def test_a_stack_of_linear_layers_needs_no_input() -> None:
    stack = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    x, slope = normal(6, 3, seed=0), normal(1, 2, seed=1)
    found = pulled_back(plain_stack(stack) or [], x, slope).expand(x.shape)
    torch.testing.assert_close(found, automatic(stack, x, slope), rtol=1e-12, atol=1e-12)


def test_every_activation_of_the_language_is_known() -> None:
    known = {row.layer.__name__ for row in PULLBACKS}
    assert {a.torch.removeprefix("nn.").removesuffix("()") for a in ACTIVATIONS} <= known


def test_stacks_that_somebody_hears_are_called() -> None:
    stack = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    assert plain_stack(stack) is not None
    hook = stack[1].register_forward_hook(lambda own, inputs, result: 2 * result)
    assert plain_stack(stack) is None
    hook.remove()
    assert plain_stack(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))) is None
    assert plain_stack(nn.Linear(2, 2)) is None


ENERGIES = {
    "alone": "f(x)",
    "with a formula": "3 * f(x) + ||x||^2 + dot(b, x)",
    "of a condition": "f(x - b) * g(b)",
    "two nets": "f(x) + g(x)",
    "of rows": "sum(f(x * s[k]), over = k in 0..3)",
    "of itself": "f(x) * g(x)",
    "one in the other": "f(x) + f(h(x))",
}
ONCE = {"alone", "with a formula", "of a condition", "two nets", "of rows"}
"""Where a gradient without the energy passes every net once."""


def sampled(energy: str) -> tuple[Problem, bool]:
    """The problem of drawing x, and whether its gradient is written."""
    model = ebmlang.loads(f"""model drawn {{
  observed b : real[2]
  shared observed s : real[3]
  latent x : real[2]
  net f : real[2] -> real = mlp([6, 5], act = silu)
  net g : real[2] -> real = mlp([4], act = tanh)
  net h : real[2] -> real[2] = mlp([4], act = tanh)
  energy e = {energy}
  sample x using langevin(step = 0.1)
}}""")
    data = {"b": normal(6, 2, seed=1), "s": normal(3, seed=2)}
    asked = ask_samples(model.checked, None, frozenset(data), None, None, frozenset())
    _, module = model.compiled(asked, None)
    settings = model.settings(data, "float64", None, 0, None, False)
    bound = model.bound(module, data, settings, frozenset())
    return posing.make_problem(bound, {}), "gradient" in module.WRITTEN


@pytest.mark.parametrize("name", ENERGIES)
def test_gradients_of_samplers_pass_nets_once(name: str) -> None:
    problem, written = sampled(ENERGIES[name])
    assert written is (name in ONCE)
    x = normal(6, 2, seed=3)
    with torch.no_grad():
        found = problem.gradient(x)
    leaf = x.clone().requires_grad_()
    energy = problem.functions.energy({"x": leaf}, problem.held)
    (wanted,) = torch.autograd.grad(energy.sum(), leaf)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_slopes_that_are_recorded_stay_differentiable() -> None:
    problem, _ = sampled("f(x)")
    net = problem.functions.instance.nets["f"]  # type: ignore[attr-defined]
    x = normal(6, 2, seed=3).requires_grad_()
    one = torch.ones((), dtype=torch.float64)
    with torch.enable_grad():
        first = slopes.of_net(net, (x,), (one,), (), 0)
    (second,) = torch.autograd.grad(first.sum(), x)
    h = 1e-5
    with torch.no_grad():
        ahead, behind = (slopes.of_net(net, (x + d,), (one,), (), 0).sum(1) for d in (h, -h))
    torch.testing.assert_close(second.sum(1), (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)
