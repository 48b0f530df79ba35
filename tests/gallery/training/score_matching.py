"""The precision of a Gaussian by the score: exactly, along random directions, and of noisy data."""

from __future__ import annotations

import torch

import ebmlang
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.2, 0.9]], dtype=torch.float64)
    y = torch.randn(2000, 3, generator=generator, dtype=torch.float64) @ mix.T + 0.5
    precision = torch.linalg.inv(torch.cov(y.T, correction=0))
    noisy = torch.linalg.inv(torch.cov(y.T, correction=0) + 0.3**2 * torch.eye(3, dtype=torch.float64))
    return [
        Figure("exact: error of the precision", _error(y, "exact", precision, steps=20), at_most=1e-4),
        Figure("sliced: error of the precision", _error(y, "some", precision, steps=3000), at_most=0.05),
        Figure(
            "denoising: error against the noisy data's", _error(y, "noisy", noisy, steps=3000), at_most=0.05
        ),
    ]


def _error(y: torch.Tensor, objective: str, expected: torch.Tensor, steps: int) -> float:
    """The largest error of an entry, relative to the largest entry."""
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(y=y, objective=objective, steps=steps, seed=0, dtype="float64")
    return float((m.value("P").detach() - expected).abs().max() / expected.abs().max())


SYSTEM = System("score matching", "training/score_matching.ebm", "closed form", measure, long=True)
