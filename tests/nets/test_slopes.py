"""`grad` and `jacobian` through nets, against torch.func of the same modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import ebmlang
from tests.draws import normal

MODEL = """model slopes(n: int = 3, m: int = 2, K: int = 4) {
  observed x : real[n]
  observed u : real[n]
  observed a : real[m]
  observed c : class[K]
  shared observed X : real[K, n]
  net f : real[n] -> real = mlp([8], act = tanh)
  net pair : (real[n], real[m]) -> (real[n], real) = mlp([7], act = silu)
  extern net known : (real[n], class[K]) -> real[m]
  for k in 0..K { net each[k] : real[n] -> real = mlp([5], act = tanh) }
  let (mean, spread) = pair(x, a)
  let first = grad(f(x), x)
  let second = jacobian(first, x)
  let third = grad(dot(second @ u, u), x)
  let of_pair = jacobian(mean, a)
  let across = grad(dot(jacobian(mean, a) @ a, u), x)
  let of_spread = grad(spread * dot(mean, u), a)
  let chosen = jacobian(known(x, c), x)
  let one = grad(each[c](x), x)
  let all : real[K, n]
  for k in 0..K { let all[k] = grad(each[k](X[k]) * f(x), x) }
  energy e = 0
}"""


class Known(nn.Module):
    """A bilinear function of a vector and a class."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(4, 2, 3, seed=5))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return torch.einsum("bij,bj->bi", self.weight[c], x.tanh() ** 2)


@pytest.fixture(scope="module")
def posed() -> tuple[Any, dict[str, Any], Any]:
    data = {
        "x": normal(5, 3),
        "u": normal(5, 3, seed=1),
        "a": normal(5, 2, seed=2),
        "X": normal(4, 3, seed=3),
    }
    data["c"] = torch.tensor([0, 3, 1, 1, 2])
    model = ebmlang.loads(MODEL, nets={"known": Known()}, seed=2).bind(data)
    return model, data, model.infer(data, find=[])


def function(model: Any, name: str) -> Any:
    module = dict(model.named_modules())[name]
    return lambda *v: torch.func.functional_call(
        module, {n: p.double() for n, p in module.named_parameters()}, (torch.cat(v, -1),)
    )


def test_orders_of_one_net(posed: Any) -> None:
    model, data, found = posed
    f = function(model, "f")
    one = torch.func.grad(lambda x: f(x)[0])
    two = torch.func.jacrev(one)
    three = torch.func.grad(lambda x, u: u @ two(x) @ u)
    torch.testing.assert_close(found["first"], torch.vmap(one)(data["x"]))
    torch.testing.assert_close(found["second"], torch.vmap(two)(data["x"]))
    torch.testing.assert_close(found["third"], torch.vmap(three)(data["x"], data["u"]))


def test_several_inputs_and_results(posed: Any) -> None:
    model, data, found = posed
    pair = function(model, "pair")
    x, a, u = data["x"], data["a"], data["u"]
    along = torch.func.jacrev(lambda x, a: pair(x, a)[:3], argnums=1)
    across = torch.func.grad(lambda x, a, u: (along(x, a) @ a) @ u)
    spread = torch.func.grad(lambda a, x, u: pair(x, a)[3] * (pair(x, a)[:3] @ u))
    torch.testing.assert_close(found["of_pair"], torch.vmap(along)(x, a))
    torch.testing.assert_close(found["across"], torch.vmap(across)(x, a, u))
    torch.testing.assert_close(found["of_spread"], torch.vmap(spread)(a, x, u))


def test_nets_from_outside_and_of_plates(posed: Any) -> None:
    model, data, found = posed
    x, c = data["x"], data["c"]
    known = dict(model.named_modules())["known"]
    along = torch.autograd.functional.jacobian(lambda x: known(x, c), x).diagonal(dim1=0, dim2=2)
    torch.testing.assert_close(found["chosen"], along.permute(2, 0, 1))
    each = [function(model, f"each.{k}") for k in range(4)]
    for row in range(5):
        own = torch.func.grad(lambda x, k=int(c[row]): each[k](x)[0])(x[row])
        torch.testing.assert_close(found["one"][row], own)
    slope = torch.vmap(torch.func.grad(lambda x: function(model, "f")(x)[0]))(x)
    for k in range(4):
        torch.testing.assert_close(found["all"][:, k], each[k](data["X"][k]) * slope)


SCORE = """model score(n: int) {
  observed y : real[n]
  random v : real[n] ~ normal()
  net f : real[n] -> real = mlp([9], act = tanh)
  energy e = f(y) + 1/2 * ||y||^2
  train exact: f of 1/2 * ||grad(total, y)||^2 - trace(jacobian(grad(total, y), y))
  train sliced: f of 1/2 * dot(grad(total, y), v)^2 - dot(grad(dot(grad(total, y), v), y), v)
}"""


def test_parameters_are_reached_through_derivatives() -> None:
    """The loss of Hyvärinen (2005, equation 4) and its gradient in the weights of the net."""
    y = normal(6, 3)
    model = ebmlang.loads(SCORE, seed=1).bind(y=y)
    loss = model(y=y, objective="exact")
    net = dict(model.named_modules())["f"]
    weights = {n: p.detach().double().requires_grad_() for n, p in net.named_parameters()}

    def energy(x: Tensor) -> Any:
        return torch.func.functional_call(net, weights, (x,))[0] + 0.5 * x @ x

    slope = torch.vmap(torch.func.grad(energy))(y)
    bend = torch.vmap(lambda x: torch.func.jacrev(torch.func.grad(energy))(x).trace())(y)
    expected = (0.5 * slope.square().sum(-1) - bend).mean()
    torch.testing.assert_close(loss, expected)
    *_, last = net.parameters()
    got = torch.autograd.grad(loss, [p for p in net.parameters() if p is not last])
    slopes: list[Any] = [*torch.autograd.grad(expected, list(weights.values()), allow_unused=True)]
    *wanted, last_bias = slopes
    assert last_bias is None  # a slope does not see a constant
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_a_linear_net_does_not_bend() -> None:
    text = """model line(n: int = 3) {
      observed y : real[n]
      net f : real[n] -> real = linear()
      let bend = jacobian(grad(f(y), y), y)
      energy e = trace(bend) + f(y)
    }"""
    found = ebmlang.loads(text).infer(y=normal(4, 3), find=[])
    assert torch.equal(found["bend"], torch.zeros(4, 3, 3, dtype=torch.float64))


def test_an_energy_that_reads_a_slope_of_a_net_is_minimised() -> None:
    """A search differentiates the slope once more; scipy on the same energy ends at the same value."""
    text = """model pull(n: int = 2) {
      observed y : real[n]
      latent z : real[n] = 0
      net f : real[n] -> real = mlp([6], act = tanh)
      energy slope = ||grad((f(z) with z = z), z) - y||^2
      regularizer near = 0.1 * ||z||^2
      infer z
    }"""
    y = normal(3, 2)
    model = ebmlang.loads(text, seed=3).bind(y=y)
    found = model.infer(y=y)
    assert bool(found.converged.all())
    f = function(model, "f")
    for row in range(3):

        def energy(z: Tensor, target: Tensor = y[row]) -> Any:
            return (torch.func.grad(lambda x: f(x)[0])(z) - target).square().sum() + 0.1 * z @ z

        def pair(z: Any, energy: Any = energy) -> Any:
            value, slope = torch.func.grad_and_value(energy)(torch.as_tensor(z))[::-1]
            return float(value.detach()), slope.detach().numpy()

        best = minimize(pair, torch.zeros(2).double().numpy(), jac=True, options={"gtol": 1e-10})
        assert abs(float(found.energy[row]) - best.fun) < 1e-7 * (1 + abs(best.fun))
