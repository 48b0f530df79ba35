"""The model as an nn.Module: parameters, energies, gradients, compiled text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ebmlang

MODEL = """
model autoencoder(n: int, k: int) {
  observed y : real[n]
  latent z : real[k]
  param D : real[n, k] in unit_columns = normal()
  param b : real[n]
  energy fit = ||y - b - D @ z||^2
  regularizer weights = 0.01 * ||D||^2
  infer z
}
"""


def test_parameters_exist_once_sizes_are_known() -> None:
    model = ebmlang.loads(MODEL)
    assert isinstance(model, nn.Module)
    with pytest.raises(ebmlang.EbmError, match="sizes are not known"):
        list(model.parameters())
    model = ebmlang.loads(MODEL, k=3)
    model.bind(y=np.ones((2, 5)))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes == {"D": (5, 3), "b": (5,)}
    torch.testing.assert_close(model.value("D").norm(dim=0), torch.ones(3))
    with pytest.raises(ebmlang.DataError, match="no parameter `E`"):
        model.value("E")


def test_a_state_is_loaded_once_sizes_are_known() -> None:
    text = """model m(n: int, k: int = 2) {
      observed y : real[n]
      latent z : real[k]
      param D : real[n, k] = normal()
      net f : real[k] -> real[n] = linear()
      energy e = ||y - D @ z - f(z)||^2 + ||z||^2
    }"""
    first = ebmlang.loads(text, n=3, seed=1)
    first.bind(y=torch.zeros(1, 3))
    again = ebmlang.loads(text, seed=2)
    with pytest.raises(ebmlang.DataError, match="no parameters to load into yet"):
        again.load_state_dict(first.state_dict())
    again.bind(y=torch.zeros(1, 3))
    again.load_state_dict(first.state_dict())
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_seeds_reproduce_to_the_bit() -> None:
    values = [ebmlang.loads(MODEL, k=3, seed=s).bind(y=np.ones(5)).value("D") for s in (1, 1, 2)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_energies_are_differentiable_in_everything() -> None:
    model = ebmlang.loads(MODEL, n=5, k=3)
    y = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    energy = model.energy(y=y, z=z)
    assert energy.shape == (4,)
    energy.sum().backward()
    weights, offset = model.value("D"), model.value("b")
    residual = y - offset - z @ weights.T
    assert z.grad is not None
    assert weights.grad is not None
    torch.testing.assert_close(z.grad, (-2 * residual @ weights).detach())
    wanted = (-2 * residual.T @ z + 4 * 0.02 * weights).detach()
    torch.testing.assert_close(weights.grad, wanted)
    terms = model.terms(y=y, z=z)
    torch.testing.assert_close(terms["fit"] + terms["weights"], energy)


def test_graph_structure_and_source() -> None:
    model = ebmlang.loads(MODEL)
    graph = model.graph
    assert set(graph.nodes) == {"y", "z", "D", "b", "fit", "weights"}
    assert set(graph["fit"]) == {"y", "z", "D", "b"}
    with pytest.raises(Exception, match=r"[Ff]rozen"):
        graph.add_node("x")
    assert any("differentiable" in finding for finding in model.structure)
    assert model.source == ebmlang.loads(MODEL).source
    compile(model.source, "generated", "exec")
    assert "lbfgs" in model.explain()


def test_results_read_by_name_and_attribute() -> None:
    r = ebmlang.loads(MODEL, k=2).infer(y=np.ones((3, 4)))
    assert torch.equal(r["z"], r.z)
    with pytest.raises(KeyError, match="no value called 'q'"):
        r["q"]
    with pytest.raises(AttributeError):
        _ = r.q


def test_the_same_values_shared_or_repeated_give_the_same_answer() -> None:
    text = """
    model scaled(n: int) {
      observed a : real[n]; observed b : real; latent x : real[n]
      energy e = ||x - b * a||^2
      infer x
    }"""
    a, b = np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    one = ebmlang.loads(text).infer(a=a, b=b, dtype="float64")
    two = ebmlang.loads(text).infer(a=np.tile(a, (3, 1)), b=b, dtype="float64")
    torch.testing.assert_close(one.x, two.x)
    assert one.x.shape == (3, 2)
