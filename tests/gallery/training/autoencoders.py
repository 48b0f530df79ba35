"""Contracting and saturating autoencoders: their penalties by autograd, their energies off the digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import ebmlang
from tests.gallery.figures import Figure, System


def jacobian_squared(m: ebmlang.Model, x: Tensor) -> Tensor:
    """lam times the squared length of dh/dx of every row, by autograd."""
    w, b = m.value("auto.W"), m.value("auto.b")

    def encode(row: Tensor) -> Tensor:
        h: Tensor = torch.sigmoid(nn.functional.linear(row / 16, w, b))
        return h

    # The part sees x / 16, so a step in it is 16 steps in x.
    slopes = torch.func.vmap(torch.func.jacrev(encode))(x) * 16
    squares: Tensor = slopes.square().sum((1, 2))
    return 0.1 * squares


def from_the_flat(m: ebmlang.Model, x: Tensor) -> Tensor:
    """alpha times how far every unit is from where its slope by autograd is 0, on the side that is nearer."""
    u = nn.functional.linear(x / 16, m.value("auto.W"), m.value("auto.b")).detach().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.hardtanh(u).sum(), u)
    nearer = torch.minimum((u - 1).abs(), (u + 1).abs())
    distance: Tensor = (slope * nearer).sum(1)
    return 0.03 * distance


def measured(
    path: Path, penalty: str, written: Callable[[ebmlang.Model, Tensor], Tensor], off: str
) -> list[Figure]:
    """`off` is the hyperparameter that turns the penalty off."""
    rng = np.random.default_rng(0)
    x = rng.permutation(load_digits().data)
    train, test = x[:1500], torch.from_numpy(x[1500:])
    shuffled = torch.from_numpy(rng.permuted(x[1500:], axis=1))
    ratios = {}
    settings: dict[str, Any] = {off: 0.0}
    plain = ebmlang.load(path, seed=0, **settings)
    m = ebmlang.load(path, seed=0).bind(x=test.float())
    ratios["untrained"] = ratio(m, test, shuffled)
    for name, model in (("penalty", m), ("no penalty", plain)):
        model.fit(x=train, steps=1200, batch_size=200, seed=0)
        ratios[name] = ratio(model, test, shuffled)
    m.double()
    ours = m.terms(x=test, dtype="float64")[penalty]
    error = float(((ours - written(m, test)) / ours).abs().max().detach())
    floors = (("untrained", ratios["untrained"]), ("no penalty", ratios["no penalty"]))
    return [
        Figure("largest relative error of the penalty", error, at_most=1e-10),
        Figure("energy of shuffled pixels over that of digits", ratios["penalty"], at_least=3, floors=floors),
    ]


def ratio(m: ebmlang.Model, on: Tensor, off: Tensor) -> float:
    above, below = (m.energy(x=x.float()).detach().mean() for x in (off, on))
    return float(above / below)


def contracting() -> list[Figure]:
    return measured(CONTRACTING.path, "auto.contraction", jacobian_squared, "lam")


def saturating() -> list[Figure]:
    return measured(SATURATING.path, "auto.saturation", from_the_flat, "alpha")


CONTRACTING = System(
    "contracting autoencoder", "training/contracting.ebm", "autograd", contracting, long=True
)
SATURATING = System("saturating autoencoder", "training/saturating.ebm", "autograd", saturating, long=True)
