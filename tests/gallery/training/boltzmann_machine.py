"""Bars and stripes: the likelihood by enumeration of all 512 pictures."""

from __future__ import annotations

import itertools

import torch

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System


def log_likelihood(m: ebmlang.Model) -> float:
    """The mean of log p over the 14 pictures, with Z over all 2^9 states."""
    states = torch.tensor(list(itertools.product([False, True], repeat=9)))
    w, b, c = (m.value(name).detach().double() for name in ("W", "b", "c"))
    v = states.double()
    log_p = v @ b + torch.nn.functional.softplus(v @ w + c).sum(-1)
    pictures = torch.from_numpy(generate("bars_and_stripes", rows=1000)["v"]).unique(dim=0)
    rows = (states[:, None] == pictures[None]).all(-1).any(1)
    assert rows.sum() == 14
    return float(log_p[rows].mean() - torch.logsumexp(log_p, 0))


def measure() -> list[Figure]:
    pictures = generate("bars_and_stripes", rows=280)
    m = ebmlang.load(SYSTEM.path, h=16, seed=0)
    m.fit(pictures, steps=2000, seed=0)
    floors = (("uniform", -9 * 0.6931471805599453),)
    return [
        Figure("mean log-likelihood (best possible -2.639)", log_likelihood(m), at_least=-3.0, floors=floors)
    ]


SYSTEM = System("Boltzmann machine", "training/boltzmann_machine.ebm", "enumeration", measure, long=True)
