"""The residual of a denoising autoencoder against the score of a mixture of Gaussians."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

SIGMA = 0.5
SPREAD = 0.1
"""Standard deviation of each of the eight modes of `generated:ring`."""


def score(points: torch.Tensor) -> torch.Tensor:
    """The slope of the log-density of data with noise of SIGMA: a mixture with wider modes. [rows, 2]."""
    angle = 2 * torch.pi * torch.arange(8, dtype=torch.float64) / 8
    centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    variance = SPREAD**2 + SIGMA**2
    weights = torch.softmax(-(points[:, None] - centres).square().sum(2) / (2 * variance), 1)
    return (weights @ centres - points) / variance


def measure() -> list[Figure]:
    m = ebmlang.load(SYSTEM.path, sigma=SIGMA, seed=0)
    m.fit(y=generate("ring", rows=20000)["y"], steps=4000, batch_size=500, seed=0)
    rng = np.random.default_rng(0)
    noisy = torch.from_numpy(
        generate("ring", rows=2000, seed=1)["y"] + SIGMA * rng.standard_normal((2000, 2))
    )
    # Without its noise the autoencoder is given points that have it already.
    found = m.infer({"y": noisy, "auto.noise": np.zeros((2000, 2))})["auto.reconstructed"]
    residual, wanted = (found - noisy) / SIGMA**2, score(noisy)

    def cosine(a: torch.Tensor) -> float:
        return float((a * wanted).sum() / (a.norm() * wanted.norm()))

    each = float(torch.cosine_similarity(residual, wanted, dim=1).mean())
    return [
        Figure(
            "cosine of residual and score, as fields",
            cosine(residual),
            at_least=0.99,
            floors=(("towards the middle", cosine(-noisy)),),
        ),
        Figure("mean cosine of a point, most wrong where the score is near 0", each),
    ]


SYSTEM = System("denoising autoencoder", "training/denoising_score.ebm", "closed form", measure, long=True)
