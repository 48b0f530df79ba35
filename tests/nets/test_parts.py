"""Nets of parts, and nets bound to them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

import ebmlang
from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source
from tests.nets.programs import net

PARTS = """
model decoder(n: int, k: int) {
  observed y : real[n]
  latent   z : real[k] = 0
  net dec : real[k] -> real[n] = mlp([2*k], act = tanh)
  net slow : real[k] -> real[n] = ema(dec, decay = 0.9)
  energy fit = ||y - dec(z)||^2 + 0 * sum(slow(z))
  regularizer small = 0.1 * ||z||^2
}

model two(n: int = 4) {
  observed y : real[n]
  net own : real[2] -> real[n] = mlp([5], act = tanh)
  use decoder as first with y = y
  use decoder as second with y = y, dec = own
  infer first.z, second.z
  train first.dec, own
}
"""


def test_nets_of_parts_are_nets_of_the_model_under_the_parts_name() -> None:
    sizes: dict[str, Any] = {"first.k": 3}
    model = ebmlang.loads(PARTS, model="two", **sizes)
    y = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)))
    values = {"y": y, "first.z": torch.ones(5, 3).double(), "second.z": torch.ones(5, 2).double()}
    terms = model.terms(values)
    dec, own = (copy.deepcopy(net(model, name)).double() for name in ("first.dec", "own"))
    assert dec[0].out_features == 6
    torch.testing.assert_close(terms["first.fit"], (y - dec(values["first.z"])).square().sum(-1))
    torch.testing.assert_close(terms["second.fit"], (y - own(values["second.z"])).square().sum(-1))
    names = set(model.state_dict())
    assert {"first.dec.0.weight", "first.slow.0.weight", "own.0.weight", "second.slow.2.bias"} <= names
    assert not any(name.startswith("second.dec") for name in names)
    first = net(model, "second.slow")[0].weight.clone()
    torch.testing.assert_close(first, net(model, "own")[0].weight)
    history = model.fit(y=y, epochs=3)
    assert history.records[-1].loss < history.records[0].loss
    assert not torch.equal(first, net(model, "second.slow")[0].weight)


def test_a_part_that_is_applied_twice_has_one_net() -> None:
    text = """
model block(n: int) {
  observed x : real[n]
  net f : real[n] -> real[n] = mlp([6], act = gelu)
  latent y : real[n] = 0
  energy e = ||y - f(x)||^2
}
model m(n: int = 3) {
  observed x : real[n]
  part b = block(n = n)
  use b as first with x = x
  use b as second with x = x + 1
}
"""
    model = ebmlang.loads(text)
    x = torch.ones(2, 3).double()
    zeros = torch.zeros(2, 3).double()
    terms = model.terms({"x": x, "first.y": zeros, "second.y": zeros})
    f = copy.deepcopy(net(model, "b.f")).double()
    torch.testing.assert_close(terms["first.e"], f(x).square().sum(-1))
    torch.testing.assert_close(terms["second.e"], f(x + 1).square().sum(-1))
    assert [n.name for n in model.checked.nets] == ["b.f"]


def test_a_net_of_another_type_is_refused_with_both_places() -> None:
    for bound, said in (("wrong", "a net, real[3] -> real[n]"), ("y", "`y`")):
        text = PARTS.replace("dec = own", f"dec = {bound}").replace(
            "  use decoder as first", "  net wrong : real[3] -> real[2] = linear()\n  use decoder as first"
        )
        text = text.replace("real[3] -> real[2]", "real[3] -> real[7]")
        found = [d.diagnostic for d in check_source(Source("<text>", text)).diagnostics]
        assert [d.code for d in found] == ["E0604"], [d.message() for d in found]
        assert said.split(",", maxsplit=1)[0] in found[0].message() + found[0].label()
        assert found[0].related()


BLOCKS = """
model block(n: int) {
  observed x : real[n]
  net f : real[n] -> real[n] = mlp([6], act = gelu)
  latent y : real[n] = 0
  energy e = ||y - f(x)||^2
}
"""


def test_a_part_in_a_plate_has_a_net_for_every_position() -> None:
    text = (
        BLOCKS
        + """
model m(L: int = 3, n: int = 2) {
  observed u : real[L, n]
  for l in 0..L { use block as layer[l] with x = u[l] }
}
"""
    )
    model = ebmlang.loads(text)
    rng = np.random.default_rng(1)
    u, y = (torch.from_numpy(rng.normal(size=(4, 3, 2))) for _ in range(2))
    found = model.terms({"u": u, "layer.y": y})["layer.e"]
    f = copy.deepcopy(net(model, "layer.f")).double()
    assert len(f) == 3
    expected = sum((y[:, k] - f[k](u[:, k])).square().sum(-1) for k in range(3))
    torch.testing.assert_close(found, expected)


def test_parts_of_a_plate_are_applied_at_their_indices() -> None:
    text = (
        BLOCKS
        + """
model m(L: int = 3, n: int = 2) {
  observed u : real[L, n]
  for l in 0..L { part b[l] = block(n = n) }
  for l in 0..L { use b[l] as one[l] with x = u[l] }
  for l in 0..L { use b[L-1-l] as two[l] with x = u[l] }
}
"""
    )
    model = ebmlang.loads(text)
    rng = np.random.default_rng(1)
    u, y, w = (torch.from_numpy(rng.normal(size=(4, 3, 2))) for _ in range(3))
    found = model.terms({"u": u, "one.y": y, "two.y": w})
    f = copy.deepcopy(net(model, "b.f")).double()
    assert [n.name for n in model.checked.nets] == ["b.f"]
    one = sum((y[:, k] - f[k](u[:, k])).square().sum(-1) for k in range(3))
    two = sum((w[:, k] - f[2 - k](u[:, k])).square().sum(-1) for k in range(3))
    torch.testing.assert_close(found["one.e"], one)
    torch.testing.assert_close(found["two.e"], two)


def test_a_net_of_a_plate_or_of_another_part_is_bound() -> None:
    text = """
model code(n: int) {
  observed y : real[n]
  latent   z : real[n] = 0
  net dec : real[n] -> real[n] = linear()
  net slow : real[n] -> real[n] = ema(dec, decay = 0.5)
  energy fit = ||y - dec(z)||^2 + ||slow(y) - z||^2
}

model whole(n: int = 2, C: int = 3) {
  observed y : real[C, n]
  observed k : class[C]
  for c in 0..C { net g[c] : real[n] -> real[n] = linear() }
  for c in 0..C { use code as p[c] with y = y[c], dec = g[C-1-c] }
  use code as q with y = y[0], dec = g[k]
  for c in 0..C { use code as r[c] with y = y[c] }
  use code as s with y = y[1], dec = r[2].dec
  use code as t with y = y[1]
  use code as u with y = y[2], dec = t.dec
}
"""
    model = ebmlang.loads(text, model="whole", seed=1)
    draws = np.random.default_rng(0)
    y, k = torch.from_numpy(draws.normal(size=(4, 3, 2))), torch.tensor([0, 1, 2, 1])
    model.bind(y=y, k=k)
    model.double()
    nets = {name: net(model, name) for name in ("g", "p.slow", "q.slow", "r.dec", "r.slow", "s.slow")}
    nets |= {name: net(model, name) for name in ("t.dec", "t.slow", "u.slow")}
    with torch.no_grad():
        for number, name in enumerate(nets):  # averages that differ from what they follow
            for weight in nets[name].parameters():
                weight.add_(0.1 * number if name.endswith("slow") else 0.0)
    z: dict[str, Any] = {name: torch.from_numpy(draws.normal(size=(4, 3, 2))) for name in ("p.z", "r.z")}
    z |= {f"{name}.z": torch.from_numpy(draws.normal(size=(4, 2))) for name in "qstu"}

    def energy(dec: Any, slow: Any, data: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        apart: torch.Tensor = (data - dec(code)).square().sum(-1) + (slow(data) - code).square().sum(-1)
        return apart

    g, p, q = nets["g"], nets["p.slow"], nets["q.slow"]
    r = nets["r.dec"]
    wanted = torch.zeros(4, dtype=torch.float64)
    for c in range(3):
        wanted += energy(g[2 - c], p[2 - c], y[:, c], z["p.z"][:, c])
        wanted += energy(r[c], nets["r.slow"][c], y[:, c], z["r.z"][:, c])
    wanted += torch.stack([energy(g[j], q[j], y[i, 0], z["q.z"][i]) for i, j in enumerate(k.tolist())])
    wanted += energy(r[2], nets["s.slow"][2], y[:, 1], z["s.z"])
    wanted += energy(nets["t.dec"], nets["t.slow"], y[:, 1], z["t.z"])
    wanted += energy(nets["t.dec"], nets["u.slow"], y[:, 2], z["u.z"])
    torch.testing.assert_close(model.energy(y=y, k=k, **z), wanted)
    assert not [name for name in model.state_dict() if name.startswith(("p.dec", "q.dec", "s.dec", "u.dec"))]


def test_a_net_bound_where_a_part_is_applied_takes_the_place_of_the_owned_one() -> None:
    text = """
model block(n: int) {
  observed x : real[n]
  net f : real[n] -> real[n] = linear()
  net h : real[n] -> real[n] = linear()
  energy e = ||f(x) + h(x)||^2
}

model whole(n: int, L: int = 2) {
  observed x : real[n]
  net o : real[n] -> real[n] = linear()
  for l in 0..L { part own[l] = block(n = n) }
  for l in 0..L { use own[l] as b[l] with x = x, f = o }
}
"""
    model = ebmlang.loads(text, model="whole")
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3)))
    model.bind(x=x)
    model.double()
    o, h = net(model, "o"), net(model, "own.h")
    wanted = (o(x) + h[0](x)).square().sum(-1) + (o(x) + h[1](x)).square().sum(-1)
    torch.testing.assert_close(model.energy(x=x), wanted)
