"""Outputs with gaps: the loss and the parameters of a masked loss in plain torch, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

STEPS = 100


def _masked(layers: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The mean over the rows of the squared errors of the entries that are there."""
    w, b, v, c = layers
    error = torch.tanh(x @ w.T + b) @ v.T + c - y
    return torch.where(y.isnan(), 0.0, error).square().sum(1).mean()


def measure() -> list[Figure]:
    data = {name: torch.from_numpy(value) for name, value in generate("incomplete", rows=500).items()}
    m = ebmlang.load(SYSTEM.path, seed=0).bind(data)
    own = [nn.Parameter(p.detach().double().clone()) for p in m.parameters()]
    history = m.fit(data, steps=STEPS, dtype="float64", seed=0)
    optimiser = torch.optim.Adam(own, lr=1e-2)
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = _masked(list(own), data["x"], data["y"])
        losses.append(float(loss.detach()))
        loss.backward()
        optimiser.step()
    apart = max(abs(a - b) for a, b in zip(history.loss, losses, strict=True))
    moved = max(
        float((p.detach() - q.detach()).abs().max()) for p, q in zip(m.parameters(), own, strict=True)
    )
    share = float(data["y"].isnan().double().mean())
    return [
        Figure("share of outputs that are missing", share, at_least=0.25, at_most=0.35),
        Figure(f"largest difference of the loss in {STEPS} steps", apart, at_most=1e-12),
        Figure(f"largest difference of a parameter after {STEPS} steps", moved, at_most=1e-10),
    ]


SYSTEM = System("missing outputs", "training/missing_outputs.ebm", "a masked loss in torch", measure)
