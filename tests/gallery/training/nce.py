"""The normaliser of a Gaussian by telling its draws from noise."""

from __future__ import annotations

import math

import torch

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    y = torch.from_numpy(generate("gaussian", rows=20_000)["y"])
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(y=y, steps=400, seed=0)
    P, log_z = m.value("P").detach().double(), float(m.value("log_z").detach())
    of_data = math.log(2 * math.pi) + 0.5 * float(torch.logdet(torch.cov(y.T, correction=0)))
    of_model = math.log(2 * math.pi) - 0.5 * float(torch.logdet(P))
    floors = (("where it begins", abs(of_data)),)
    return [
        Figure("error of log Z against that of the data", abs(log_z - of_data), at_most=0.02, floors=floors),
        Figure("error of log Z against that of the model's precision", abs(log_z - of_model), at_most=0.02),
    ]


SYSTEM = System("noise-contrastive estimation", "training/nce.ebm", "closed form", measure, long=True)
