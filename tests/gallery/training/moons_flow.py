"""A flow of two moons: its likelihood against the integral along the moons, its volume against autograd."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

Array = NDArray[np.float64]
NOISE = 0.1
"""Standard deviation around the half circles of `generated:moons`."""


def log_density(y: Array) -> Array:
    """log p of rows [rows, 2]: a Gaussian integrated along both half circles, by trapezoids in the angle."""
    angle = np.linspace(0, np.pi, 2001)
    moons = (np.cos(angle), np.sin(angle)), (1 - np.cos(angle), 0.5 - np.sin(angle))
    density = np.zeros(len(y))
    for first, second in moons:
        squares = (y[:, :1] - first) ** 2 + (y[:, 1:] - second) ** 2
        heights = np.exp(-squares / (2 * NOISE**2)) / (2 * np.pi * NOISE**2)
        density += np.trapezoid(heights, angle, axis=1) / np.pi / 2
    return np.log(density)


def volume_error(m: ebmlang.Model, y: Array) -> float:
    """The largest difference of the sum of log-scales and the log-determinant by autograd."""
    rows = torch.from_numpy(y).requires_grad_()
    found = m.infer(y=rows.detach(), dtype="float64")
    z = found["flow.z"]
    surprise = m.energy(y=rows)
    written = 0.5 * z.square().sum(1) + np.log(2 * np.pi) - surprise.detach()
    return float((written - log_determinants(m, y)).abs().max())


def log_determinants(m: ebmlang.Model, y: Array) -> torch.Tensor:
    """log |det dz/dy| of every row, by autograd through the nets alone."""
    scale, shift = m.net("flow.scale"), m.net("flow.shift")
    assert isinstance(scale, nn.ModuleList)
    assert isinstance(shift, nn.ModuleList)

    def latent(row: torch.Tensor) -> torch.Tensor:
        h = row
        for layer in range(len(scale)):
            moved = (torch.arange(2) + layer) % 2
            seen = (1 - moved) * h
            stretch = 2 * torch.tanh(scale[layer](seen) / 2)
            h = torch.where(moved == 1, stretch.exp() * h + shift[layer](seen), h)
        return h

    slopes = torch.stack([torch.autograd.functional.jacobian(latent, row) for row in torch.from_numpy(y)])
    logs: torch.Tensor = torch.linalg.slogdet(slopes)[1]
    return logs


def measure() -> list[Figure]:
    train, test = (generate("moons", rows=r, seed=s)["y"] for r, s in ((50000, 0), (5000, 1)))
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(y=train, steps=5000, batch_size=500, seed=0)
    true = log_density(test)
    gap = float(true.mean() + m.energy(y=test).detach().mean())
    gaussian = np.linalg.slogdet(2 * np.pi * np.e * np.cov(train.T))[1] / 2
    # The identity holds at any weights; double precision shows it best at those of the start.
    start = ebmlang.load(SYSTEM.path, seed=0).bind(y=torch.from_numpy(test))
    return [
        Figure(
            "nats of the mean log-likelihood below the true one",
            gap,
            at_most=0.02,
            floors=(("Gaussian", float(true.mean() + gaussian)),),
        ),
        Figure("error of the log-determinant", volume_error(start, test[:100]), at_most=1e-8),
    ]


SYSTEM = System("flow of two moons", "training/moons_flow.ebm", "numerical integration", measure, long=True)
