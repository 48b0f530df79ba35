"""A code that is left out half of the time: the error without it, and both futures among draws."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

DRAWS = 20
NEAR = 0.7
"""A draw this close to a future is a draw of it: a fifth of the distance between both."""


def futures(x: torch.Tensor) -> torch.Tensor:
    """Both values that may follow x, in the words of `generated:two_futures`: [2, rows, 3]."""
    a, b = x.T
    middle = torch.stack([torch.sin(2 * a), a * b, torch.cos(2 * b)], -1)
    return torch.stack([middle - 1, middle + 1])


def trained(name: str) -> ebmlang.Model:
    data = generate("two_futures", rows=2000)
    m = ebmlang.load(SYSTEM.path, model=name, seed=0)
    m.fit(x=data["x"], y=data["y"], steps=2000, batch_size=200, seed=0)
    return m


def measure() -> list[Figure]:
    other = generate("two_futures", rows=1000, seed=1)
    test = {name: torch.from_numpy(values).float() for name, values in other.items()}
    m, plain = trained("two_futures"), trained("one_future")
    deterministic = float(2 * plain.energy(test).detach().mean())
    typical = float((m.infer(test)["future.typical"] - test["y"]).square().sum(1).mean())
    draws = torch.stack([m.infer(test, seed=seed)["future.drawn"] for seed in range(DRAWS)])
    apart = (draws[:, None] - futures(test["x"])).norm(dim=-1)  # [draws, 2, rows]
    both = float((apart < NEAR).any(0).all(0).double().mean())
    best = float((draws - test["y"]).square().sum(-1).amin(0).mean())
    moments = float(np.var(other["y"], axis=0).sum())
    return [
        Figure(
            "error at z = 0 over that of a deterministic prediction",
            typical / deterministic,
            at_most=1.05,
            floors=(("mean of all places", moments / deterministic),),
        ),
        Figure(
            f"rows with both futures among {DRAWS} draws", both, at_least=0.9, floors=(("deterministic", 0),)
        ),
        Figure(
            f"squared error of the best of {DRAWS} draws",
            best,
            at_most=0.1 * deterministic,
            floors=(("deterministic", deterministic),),
        ),
    ]


SYSTEM = System("two futures", "training/two_futures.ebm", "the deterministic part", measure, long=True)
