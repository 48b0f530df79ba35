"""A net as an energy over the plane: draws against held-out data, and log Z against a sum over a grid."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

FILE = "training/planar_energy.ebm"
STEPS = 1500
LINES = (
    ("contrast", "noise contrast"),
    ("scores", "denoising score matching"),
    ("likelihood", "likelihood by draws"),
    ("chains", "contrastive divergence"),
)
AT_MOST = 0.08
"""Of the discrepancy. Two sets of true draws are within 0.03, a Gaussian with their moments 0.1 or more."""

Points = NDArray[np.float64]


def discrepancy(a: Points, b: Points, width: float = 0.5) -> float:
    """The maximum mean discrepancy of two sets [n, 2] under a Gaussian kernel: the root of its unbiased
    square, 0 where that is negative (Gretton et al. 2012, equation 3)."""

    def kernel(p: Points, q: Points) -> Points:
        apart: Points = ((p[:, None] - q[None]) ** 2).sum(-1)
        return np.exp(-apart / (2 * width**2))

    n, m = len(a), len(b)
    within = (kernel(a, a).sum() - n) / (n * (n - 1)) + (kernel(b, b).sum() - m) / (m * (m - 1))
    return math.sqrt(max(0.0, within - 2 * kernel(a, b).mean()))


def log_normaliser(m: ebmlang.Model) -> float:
    """log of the integral of exp(-E) over [-6, 6]^2, by the midpoints of squares of side 0.02."""
    axis = torch.arange(-6, 6, 0.02) + 0.01
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    energy = m.energy(y=points).detach().double()
    return float(torch.logsumexp(-energy, 0)) + 2 * math.log(0.02)


def measure(data: str) -> list[Figure]:
    y, held_out = generate(data, rows=4000)["y"], generate(data, rows=2000, seed=1)["y"]
    gaussian = np.random.default_rng(0).multivariate_normal(y.mean(0), np.cov(y.T), 2000)
    floors = (
        ("a Gaussian", discrepancy(gaussian, held_out)),
        ("other data", discrepancy(y[:2000], held_out)),
    )
    figures = []
    for objective, title in LINES:
        m = ebmlang.load(MOONS.path, seed=0)
        m.fit(y=y, objective=objective, steps=STEPS, batch_size=256, seed=0)
        drawn = m.sample(find=["y"], using="tempering", chains=20, draws=100, thin=5, warmup=300, seed=0)
        points = drawn["y"].reshape(-1, 2).double().numpy()
        what = f"{title}: discrepancy of draws from held-out data"
        figures.append(Figure(what, discrepancy(points, held_out), at_most=AT_MOST, floors=floors))
        log_z = log_normaliser(m)
        surprise = float(m.energy(y=held_out).detach().mean()) + log_z
        figures.append(Figure(f"{title}: held-out surprise in nats, Z by a grid", surprise))
        if objective == "contrast":
            figures.append(Figure("noise contrast: error of log Z", abs(log_z), at_most=0.1))
    return figures


REFERENCE = "held-out data, a sum over a grid"
MOONS = System("neural energy of two moons", FILE, REFERENCE, partial(measure, "moons"), long=True)
RINGS = System("neural energy of two rings", FILE, REFERENCE, partial(measure, "rings"), long=True)
