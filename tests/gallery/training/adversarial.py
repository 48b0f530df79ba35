"""A generator against an energy on the ring of eight Gaussians: modes that are reached, and how closely."""

from __future__ import annotations

import numpy as np

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

SEEDS = 3
DRAWS = 2000
FEWEST = DRAWS // 100
"""Draws close to a mode that count as reaching it; a fair share is an eighth of all."""


def _judged(seed: int) -> tuple[int, float]:
    """Modes that draws reach, of 8, and the share of draws within three standard deviations (0.3) of one."""
    y = generate("ring", rows=4000)["y"]
    m = ebmlang.load(SYSTEM.path, seed=seed)
    m.fit(y=y, steps=4000, batch_size=256, seed=seed)
    drawn = m.infer(y=y[:DRAWS], find=[], seed=9)["fake"].detach().numpy()
    angle = 2 * np.pi * np.arange(8) / 8
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    apart = np.linalg.norm(drawn[:, None] - centres, axis=2)
    close = apart.min(1) <= 0.3
    reached = np.bincount(apart.argmin(1)[close], minlength=8) >= FEWEST
    return int(reached.sum()), float(close.mean())


def measure() -> list[Figure]:
    found = [_judged(seed) for seed in range(SEEDS)]
    y = generate("ring", rows=4000)["y"]
    gaussian = np.random.default_rng(0).multivariate_normal(y.mean(0), np.cov(y.T), DRAWS)
    radius = np.abs(np.linalg.norm(gaussian, axis=1) - 2)
    floors = (("a Gaussian, on the ring at all", float((radius <= 0.3).mean())),)
    return [
        Figure(f"modes of 8 that are reached, worst of {SEEDS} seeds", min(n for n, _ in found), at_least=8),
        Figure(
            f"draws within 3 standard deviations of a mode, worst of {SEEDS} seeds",
            min(share for _, share in found),
            at_least=0.9,
            floors=floors,
        ),
    ]


SYSTEM = System(
    "adversarial negatives", "training/adversarial.ebm", "the generator's modes", measure, long=True
)
