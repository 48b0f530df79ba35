"""Every constructor against layers written by hand with the same weights, alone and in batches."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ebmlang
from ebmlang.compiler.nets.constructors import ACTIVATIONS, CONSTRUCTORS, Constructor
from tests.nets.programs import ROWS, SIZES, arrays, function, net, program

F64, F32 = 1e-12, 1e-6
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@pytest.mark.parametrize("row", CONSTRUCTORS, ids=lambda row: row.name)
def test_every_row_has_an_example_that_runs(row: Constructor) -> None:
    model = ebmlang.loads(program(row.example), **SIZES)
    values = arrays(model)
    found = model.energy(values)
    assert found.shape == (ROWS,)
    assert bool(torch.isfinite(found).all())
    # One example alone, all together.
    alone = [model.energy({n: v[i : i + 1] for n, v in values.items()}) for i in range(ROWS)]
    torch.testing.assert_close(torch.cat(alone), found, rtol=1e-12, atol=1e-12)
    single = model.energy({n: v[0] for n, v in values.items()})
    torch.testing.assert_close(single, found[:1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", CONSTRUCTORS, ids=lambda row: row.name)
def test_gradients_reach_inputs_and_weights(row: Constructor) -> None:
    """Against central differences in float64, with smooth activations."""
    smooth = re.sub(r"act = \w+", "act = tanh", row.example)
    model = ebmlang.loads(program(smooth), **SIZES)
    values = arrays(model)
    model.bind(values)
    model.double()
    real = {n: v.requires_grad_(v.is_floating_point()) for n, v in values.items()}
    weights = dict(net(model, "f").named_parameters())
    leaves = [*(v for v in real.values() if v.requires_grad), *weights.values()]
    slopes = torch.autograd.grad(model.energy(real, dtype="float64").sum(), leaves)
    rng = np.random.default_rng(3)
    for leaf, slope in zip(leaves, slopes, strict=True):
        way = torch.from_numpy(rng.normal(size=tuple(leaf.shape)))
        ends = []
        for sign in (1.0, -1.0):
            leaf.data += sign * 1e-6 * way
            ends.append(float(model.energy(real, dtype="float64").sum().detach()))
            leaf.data -= sign * 1e-6 * way
        difference = (ends[0] - ends[1]) / 2e-6
        assert difference == pytest.approx(float((slope * way).sum()), rel=2e-6, abs=2e-7)


def by_hand(name: str) -> tuple[str, nn.Module, Callable[[nn.Module, list[Tensor]], Tensor]]:
    """A declaration, the same net in torch.nn, and how it is called."""
    n, m, d, k = SIZES["n"], SIZES["m"], SIZES["d"], SIZES["K"]

    def first(module: nn.Module, x: list[Tensor]) -> Tensor:
        found: Tensor = module(x[0])
        return found

    def joined(module: nn.Module, x: list[Tensor]) -> Tensor:
        found: Tensor = module(torch.cat([v.reshape(len(v), -1) for v in x], -1))
        return found

    def states(module: nn.Module, x: list[Tensor]) -> Tensor:
        found: Tensor = module(x[0])[0]
        return found

    table: dict[str, tuple[str, nn.Module, Callable[[nn.Module, list[Tensor]], Tensor]]] = {
        "linear": ("real[n] -> real[d] = linear()", nn.Linear(n, d), first),
        "no bias": ("real[n] -> real[d] = linear(bias = false)", nn.Linear(n, d, bias=False), first),
        "positions": ("real[T, n] -> real[T, d] = linear()", nn.Linear(n, d), first),
        "mlp": (
            "real[n] -> real[d] = mlp([8, 2*n], act = gelu)",
            nn.Sequential(nn.Linear(n, 8), nn.GELU(), nn.Linear(8, 2 * n), nn.GELU(), nn.Linear(2 * n, d)),
            first,
        ),
        "two inputs": (
            "(real[n], real[m]) -> real[d] = mlp([6])",
            nn.Sequential(nn.Linear(n + m, 6), nn.ReLU(), nn.Linear(6, d)),
            joined,
        ),
        "inputs of several ranks": (
            "(real[n, m], real) -> real[d] = mlp([6], act = silu)",
            nn.Sequential(nn.Linear(n * m + 1, 6), nn.SiLU(), nn.Linear(6, d)),
            joined,
        ),
        "norm": (
            "real[n] -> real[d] = mlp([6], act = tanh, norm = layer_norm, dropout = 0.5)",
            nn.Sequential(nn.Linear(n, 6), nn.LayerNorm(6), nn.Tanh(), nn.Dropout(0.0), nn.Linear(6, d)),
            first,
        ),
        "layer_norm": ("real[T, n] -> real[T, n] = layer_norm()", nn.LayerNorm(n), first),
        "embedding": ("class[K][T] -> real[T, d] = embedding()", nn.Embedding(k, d), first),
        "conv": (
            "real[2, 8, 8] -> real[d, 4, 4] = conv(3, stride = 2, padding = 1)",
            nn.Conv2d(2, d, 3, stride=2, padding=1),
            first,
        ),
        "conv in time": ("real[n, 8] -> real[d, 6] = conv(kernel = 3)", nn.Conv1d(n, d, 3), first),
        "rnn": (
            "real[T, n] -> real[T, d] = rnn(act = relu)",
            nn.RNN(n, d, nonlinearity="relu", batch_first=True),
            states,
        ),
        "gru": ("real[T, n] -> real[T, d] = gru(layers = 2)", nn.GRU(n, d, 2, batch_first=True), states),
        "lstm": (
            "real[T, n] -> real[T, d] = lstm(bidirectional = true)",
            nn.LSTM(n, d // 2, bidirectional=True, batch_first=True),
            states,
        ),
        "last state": (
            "real[T, n] -> real[d] = gru()",
            nn.GRU(n, d, batch_first=True),
            lambda module, x: module(x[0])[1][0],
        ),
        "last states of both directions": (
            "real[T, n] -> real[d] = lstm(bidirectional = true)",
            nn.LSTM(n, d // 2, bidirectional=True, batch_first=True),
            lambda module, x: module(x[0])[1][0].movedim(0, 1).reshape(len(x[0]), -1),
        ),
    }  # fmt: skip
    return table[name]


HAND = (
    "linear", "no bias", "positions", "mlp", "two inputs", "inputs of several ranks", "norm", "layer_norm",
    "embedding", "conv", "conv in time", "rnn", "gru", "lstm", "last state", "last states of both directions",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", HAND)
def test_equals_torch_with_the_same_weights(name: str, dtype: torch.dtype) -> None:
    declared, module, call = by_hand(name)
    model = ebmlang.loads(program(f"net f : {declared}"), **SIZES)
    values = arrays(model, dtype)
    model.bind(values)
    own = net(model, "f")
    assert own.state_dict().keys() == module.state_dict().keys()
    own.load_state_dict(module.state_dict())
    model.to(dtype)
    module.to(dtype)
    inputs = [v for n, v in values.items() if n.startswith("x")]
    expected = call(module, inputs)
    tolerance = F64 if dtype == torch.float64 else F32
    torch.testing.assert_close(function(model, values, dtype), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [a.name for a in ACTIVATIONS])
def test_activations(name: str) -> None:
    model = ebmlang.loads(program(f"net f : real[n] -> real[d] = mlp([7], act = {name})"), **SIZES)
    values = arrays(model)
    found = function(model, values)
    first, last = net(model, "f")[0], net(model, "f")[2]
    functions: dict[str, Any] = {
        "leaky_relu": nn.functional.leaky_relu,
        "elu": nn.functional.elu,
        "gelu": nn.functional.gelu,
        "silu": nn.functional.silu,
        "softplus": nn.functional.softplus,
    }
    act = functions.get(name) or getattr(torch, name)
    torch.testing.assert_close(found, last(act(first(values["x0"]))), rtol=F64, atol=F64)


def test_convnet_and_resnet_by_hand() -> None:
    model = ebmlang.loads(program("net f : real[2, 8, 8] -> real[d] = convnet([3, 5], act = gelu)"), **SIZES)
    values = arrays(model)
    found, x, f = function(model, values), values["x0"], net(model, "f")
    for layer in (f[0], f[2]):
        x = nn.functional.gelu(nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1))
    torch.testing.assert_close(found, f[-1](x.mean((2, 3))), rtol=F64, atol=F64)

    whole = "net f : real[2, 7, 8] -> real[d] = convnet([3, 5], kernel = 2, stride = 3, pool = false)"
    model = ebmlang.loads(program(whole), **SIZES)
    values = arrays(model)
    found, x, f = function(model, values), values["x0"], net(model, "f")
    for layer in (f[0], f[2]):
        x = nn.functional.relu(nn.functional.conv2d(x, layer.weight, layer.bias, stride=3, padding=1))
    assert x.shape[1:] == (5, 2, 2)
    torch.testing.assert_close(found, f[-1](x.flatten(1)), rtol=F64, atol=F64)

    declared = "net f : real[2, 8, 8] -> real[d] = resnet_small([4, 6], act = tanh)"
    model = ebmlang.loads(program(declared), **SIZES)
    values = arrays(model)
    found, x, f = function(model, values), values["x0"], net(model, "f")

    def norm(u: Tensor, weights: Any) -> Tensor:
        mean, var = u.mean((1, 2, 3), keepdim=True), u.var((1, 2, 3), unbiased=False, keepdim=True)
        scale, shift = weights.weight[:, None, None], weights.bias[:, None, None]
        value: Tensor = (u - mean) / torch.sqrt(var + 1e-5) * scale + shift
        return value

    x = f[0](x)
    for block, stride in ((f[1], 1), (f[2], 2)):
        u = nn.functional.conv2d(x, block.conv1.weight, stride=stride, padding=1)
        u = torch.tanh(norm(u, block.norm1))
        u = norm(nn.functional.conv2d(u, block.conv2.weight, padding=1), block.norm2)
        skip = x if stride == 1 else nn.functional.conv2d(x, block.skip.weight, stride=2)
        x = torch.tanh(u + skip)
    assert x.shape[1:] == (6, 4, 4)
    torch.testing.assert_close(found, f[-1](x.mean((2, 3))), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_multiplicative_integration(kind: str) -> None:
    """Step by step, entry by entry, with parameters that are not the first ones."""
    declared = f"net f : real[T, n] -> real[T, d] = {kind}(multiplicative = true)"
    model = ebmlang.loads(program(declared), **SIZES)
    values = arrays(model)
    model.bind(values)
    gates = net(model, "f").layers[0]
    generator = torch.Generator().manual_seed(1)
    for p in gates.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.5
    found = function(model, values).detach().numpy()
    w, u, b = (p.detach().numpy() for p in (gates.weight_ih, gates.weight_hh, gates.bias))
    alpha, beta1, beta2 = (p.detach().numpy() for p in (gates.alpha, gates.beta1, gates.beta2))
    d = SIZES["d"]

    def sigmoid(v: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-v)))

    def gate(k: int, x: Array, state: Array) -> Array:
        part = slice(k * d, (k + 1) * d)
        wx, uh = w[part] @ x, u[part] @ state
        return np.asarray(alpha[part] * wx * uh + beta1[part] * uh + beta2[part] * wx + b[part])

    for row, sequence in enumerate(values["x0"].numpy()):
        h, c = np.zeros(d), np.zeros(d)
        for t, x in enumerate(sequence):
            if kind == "rnn":
                h = np.tanh(gate(0, x, h))
            elif kind == "gru":
                r, z = sigmoid(gate(0, x, h)), sigmoid(gate(1, x, h))
                h = (1 - z) * np.tanh(gate(2, x, r * h)) + z * h
            else:
                i, f, o = (sigmoid(gate(k, x, h)) for k in (0, 1, 3))
                g = np.tanh(gate(2, x, h))
                c = f * c + i * g
                h = o * np.tanh(c)
            np.testing.assert_allclose(found[row, t], h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_transformer_is_that_of_torch(heads: int) -> None:
    declared = f"net f : real[T, n] -> real[T, 6] = transformer(layers = 2, heads = {heads}, expand = 3)"
    model = ebmlang.loads(program(declared), **{**SIZES, "d": 6})
    values = arrays(model)
    model.bind(values)
    f = net(model, "f")
    for p in f.parameters():
        p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.3
    x = f.embed(values["x0"]) + f.position
    for own in f.layers:
        layer = nn.TransformerEncoderLayer(
            6, heads, 18, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        ).double()
        attention = layer.self_attn
        pairs = (
            (attention.in_proj_weight, own.asked.weight), (attention.in_proj_bias, own.asked.bias),
            (attention.out_proj.weight, own.told.weight), (attention.out_proj.bias, own.told.bias),
            (layer.linear1.weight, own.feed[0].weight), (layer.linear1.bias, own.feed[0].bias),
            (layer.linear2.weight, own.feed[2].weight), (layer.linear2.bias, own.feed[2].bias),
            (layer.norm1.weight, own.norm1.weight), (layer.norm1.bias, own.norm1.bias),
            (layer.norm2.weight, own.norm2.weight), (layer.norm2.bias, own.norm2.bias),
        )  # fmt: skip
        for theirs, ours in pairs:
            theirs.data = ours.data
        x = layer(x)
    torch.testing.assert_close(function(model, values), f.norm(x), rtol=1e-11, atol=1e-11)


def test_several_results_are_pieces_of_one_layer() -> None:
    text = """model m(n: int, d: int) {
      observed x0 : real[n]
      net f : real[n] -> (real[d], real, real[2, d]) = mlp([6])
      let (mu, s, P) = f(x0)
      energy e = sum(mu) + 2 * s + 3 * sum(P)
    }"""
    model = ebmlang.loads(text, d=3)
    x = torch.randn(ROWS, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = model.energy(x0=x)
    all_ = net(model, "f")(x)
    assert all_.shape == (ROWS, 3 + 1 + 6)
    expected = all_[:, :3].sum(-1) + 2 * all_[:, 3] + 3 * all_[:, 4:].sum(-1)
    torch.testing.assert_close(found, expected, rtol=F64, atol=F64)


def test_the_seed_and_the_name_decide_the_weights() -> None:
    one = "net f : real[n] -> real[d] = mlp([6])"
    two = "net g : real[n] -> real[d] = mlp([6])"

    def weights(seed: int, *nets: str) -> dict[str, Tensor]:
        body = "\n".join(nets)
        text = f"""model m(n: int, d: int = 2) {{
          observed x : real[n]
          {body}
          energy e = {" + ".join(f"sum({s[4]}(x))" for s in nets)}
        }}"""
        state = torch.get_rng_state()
        model = ebmlang.loads(text, seed=seed).bind(x=np.zeros((1, 4), dtype=np.float32))
        assert torch.equal(torch.get_rng_state(), state)
        return dict(model.state_dict())

    a, b, c = weights(0, one, two), weights(0, two, one), weights(1, one, two)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["f.0.weight"], a["g.0.weight"])
    assert not torch.equal(a["f.0.weight"], c["f.0.weight"])
    # torch's documented initialisation: uniform within 1 / sqrt(inputs).
    large = ebmlang.loads(program("net f : real[n] -> real[d] = linear()"), n=400, m=1, d=300, K=2, T=1)
    large.bind(arrays(large, sizes={"n": 400, "m": 1, "d": 300, "K": 2, "T": 1}))
    weight = net(large, "f").weight.detach()
    assert float(weight.abs().max()) <= 1 / 20
    assert float(weight.std()) == pytest.approx(1 / 20 / 3**0.5, rel=0.02)
