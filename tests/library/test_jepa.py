"""Joint-embedding predictive architectures against the same networks written in torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ebmlang
from tests.draws import normal
from tests.library.test_embedding import off_diagonal, total

STD = Path(__file__).parents[2] / "models" / "std"
F64 = torch.float64


def spread(u: Tensor) -> Tensor:
    variance = (1 - (u.var(0) + 1e-4).sqrt()).relu().mean()
    centred = u - u.mean(0)
    return variance + off_diagonal(centred.T @ centred / (len(u) - 1)).pow(2).sum() / u.shape[1]


def bound(name: str, data: dict[str, Any], **hypers: Any) -> ebmlang.Model:
    model = ebmlang.load(STD / f"{name}.ebm", **hypers)
    model.bind(data=data)
    return model.double()


def gradients(value: Tensor, parameters: Iterable[torch.nn.Parameter]) -> list[Tensor]:
    found = torch.autograd.grad(value, list(parameters), allow_unused=True, materialize_grads=True)
    return list(found)


def same(model: ebmlang.Model, found: Tensor, expected: Tensor, *names: str) -> None:
    """The loss, and its gradient in the nets of these names."""
    torch.testing.assert_close(found, expected)
    parameters = [p for name in names for p in model.net(name).parameters()]
    for ours, theirs in zip(gradients(found, parameters), gradients(expected, parameters), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_jepa() -> None:
    data: dict[str, Any] = {"x": normal(6, 5), "y": normal(6, 5, seed=1)}
    model = bound("jepa", data, d=4, width=7)
    enc, pred = model.net("enc"), model.net("pred")
    sx, sy = enc(data["x"]), enc(data["y"])
    expected = (sy - pred(sx)).square().mean() + spread(sx) + spread(sy)
    same(model, model(data=data), expected, "enc", "pred")


def test_training_is_the_loop_written_by_hand() -> None:
    data: dict[str, Any] = {"x": normal(8, 5), "y": normal(8, 5, seed=1)}
    model, other = bound("jepa", data, d=4, width=7), bound("jepa", data, d=4, width=7)
    history = model.fit(data=data, epochs=5, dtype="float64")
    enc, pred = other.net("enc"), other.net("pred")
    optimizer = torch.optim.AdamW([*enc.parameters(), *pred.parameters()], lr=1e-3)
    losses = []
    for _ in range(5):
        sx, sy = enc(data["x"]), enc(data["y"])
        loss = (sy - pred(sx)).square().mean() + spread(sx) + spread(sy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert list(history["loss"]) == pytest.approx(losses, rel=1e-9)


def test_latent_jepa() -> None:
    data: dict[str, Any] = {"x": normal(6, 5), "y": normal(6, 5, seed=1)}
    model = bound("latent_jepa", data, d=4, width=7, k=2)
    z = model.infer(data=data)["z"]
    assert z.shape == (6, 2)
    enc, pred = model.net("enc"), model.net("pred")

    def energy(latent: Tensor) -> Tensor:
        joined = torch.cat([enc(data["x"]), latent], -1)
        distance: Tensor = (enc(data["y"]) - pred(joined)).square().mean(-1)
        return distance + 0.1 * latent.square().sum(-1)

    leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(leaf).sum(), leaf)
    assert float(slope.abs().max()) < 1e-6
    assert bool((energy(z) <= energy(torch.zeros_like(z))).all())
    expected = energy(z).mean() + spread(enc(data["x"])) + spread(enc(data["y"]))
    same(model, total(model, **data, z=z), expected, "enc", "pred")


def test_hierarchical_jepa() -> None:
    data: dict[str, Any] = {"x": normal(6, 5, 3)}
    model = bound("hierarchical_jepa", data, d=4, e=2, width=7)
    enc, low, abstract, high = (model.net(n) for n in ("enc", "low", "abstract", "high"))
    s = enc(data["x"])
    u = abstract(s)
    near = (s[:, 1:] - low(s[:, :-1])).square().mean((0, 2)).sum()
    far = (u[:, 2:] - high(u[:, :-2])).square().mean((0, 2)).sum()
    spreads = sum(spread(s[:, t]) + spread(u[:, t]) for t in range(5))
    same(model, model(data=data), near + far + spreads, "enc", "low", "abstract", "high")


def test_masked_jepa() -> None:
    visible = torch.tensor([[True, True, False, False, True]] * 3 + [[True, False, False, True, True]] * 3)
    hidden = torch.tensor([[False, False, True, True, False]] * 3 + [[False, True, True, False, False]] * 3)
    data: dict[str, Any] = {"x": normal(6, 5, 3), "visible": visible, "hidden": hidden}
    model = bound("masked_jepa", data, d=4, width=7)
    with torch.no_grad():
        for parameter in model.net("enc").parameters():
            parameter.add_(0.1)
    enc, pred, target = model.net("enc"), model.net("pred"), model.net("target")

    def patches(net: torch.nn.Module, x: Tensor, seen: Tensor) -> Tensor:
        return net(torch.cat([x.flatten(1), seen.to(F64)], 1)).reshape(6, 5, 4)  # type: ignore[no-any-return]

    context = visible[..., None] * patches(enc, data["x"] * visible[..., None], visible)
    asked = pred(torch.cat([context.flatten(1), hidden.to(F64)], 1)).reshape(6, 5, 4)
    code = patches(target, data["x"], torch.ones(6, 5)).detach()
    torch.testing.assert_close(model.infer(data=data)["code"], code)
    distance = (code - asked).square().sum(-1)
    expected = ((distance * hidden).sum(1) / hidden.sum(1)).mean()
    same(model, model(data=data), expected, "enc", "pred")
    before = [p.clone() for p in target.parameters()]
    model.after_step()
    for old, new, own in zip(before, target.parameters(), enc.parameters(), strict=True):
        torch.testing.assert_close(new, 0.996 * old + 0.004 * own)
