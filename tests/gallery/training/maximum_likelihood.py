"""The covariance of a Gaussian by draws of Hamiltonian chains, against that of the data."""

from __future__ import annotations

import torch

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    y = torch.from_numpy(generate("gaussian", rows=2000)["y"])
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(y=y, steps=300, seed=0)
    found, wanted = torch.linalg.inv(m.value("P").detach().double()), torch.cov(y.T, correction=0)
    error = float((found - wanted).abs().max() / wanted.abs().max())
    start = float((torch.eye(2, dtype=torch.float64) - wanted).abs().max() / wanted.abs().max())
    what = "largest error of the covariance, relative to its largest entry"
    return [Figure(what, error, at_most=0.03, floors=(("identity", start),))]


SYSTEM = System("maximum likelihood, HMC", "training/maximum_likelihood.ebm", "closed form", measure)
