"""The evidence bound of a linear autoencoder against the likelihood of probabilistic principal components."""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_iris
from torch import Tensor

import ebmlang
from tests.gallery.figures import Figure, System

K = 2


def best_likelihood(x: Tensor) -> float:
    """The highest mean log-likelihood of a model with K factors (Tipping & Bishop 1999, equation 8)."""
    n = x.shape[1]
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    rest = variances[K:].mean()
    logs = variances[:K].log().sum() + (n - K) * rest.log()
    return -0.5 * float(n * math.log(2 * math.pi) + logs + n)


def bound(m: ebmlang.Model, x: Tensor) -> float:
    """The mean over rows and draws, in closed form: the decoder is linear in the draw."""
    p = {name: value.detach().double() for name, value in m.named_parameters()}
    centre, spread = (x @ p["code.weight"].T + p["code.bias"]).split(K, 1)
    out = centre @ p["back.weight"].T + p["back.bias"]
    sigma = m.value("bound.sigma").detach().double()
    squares = (x - out).square().sum(1) + (2 * spread).exp() @ p["back.weight"].square().sum(0)
    surprise = squares / (2 * sigma**2) + x.shape[1] * (sigma.log() + math.log(2 * math.pi) / 2)
    told = 0.5 * (centre**2 + (2 * spread).exp() - 1) - spread
    return -float((surprise + told.sum(1)).mean())


def measure() -> list[Figure]:
    x = torch.from_numpy(load_iris().data)
    best = best_likelihood(x)
    m = ebmlang.load(SYSTEM.path, k=K, seed=0)
    m.bind(x=x.float())
    before = best - bound(m, x)
    m.fit(x=x.float(), steps=4000, seed=0)
    gap = best - bound(m, x)
    return [
        Figure(
            "nats of the bound below the best likelihood",
            gap,
            at_least=0.0,
            at_most=0.01,
            floors=(("untrained", before),),
        )
    ]


SYSTEM = System("linear VAE", "training/linear_vae.ebm", "closed form", measure, long=True)
