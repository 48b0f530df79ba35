"""Two futures: the mean of them is one away from both; a latent variable says which it is."""

from __future__ import annotations

import torch

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    data, held_out = generate("two_futures", rows=1000), generate("two_futures", rows=1000, seed=1)
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(data, objective="average", steps=500, seed=0)
    m.fit(data, objective="either", steps=500, seed=0)
    found = m.infer(held_out)
    y = torch.from_numpy(held_out["y"]).float()
    blurred = float((found["between"] - y).square().mean())
    best = float(found.energy.mean())
    wrong = m.infer({**held_out, "which": 1 - found["which"].numpy()}).energy.mean()
    return [
        Figure("one prediction: mean squared error (1 is exact)", blurred, at_least=0.95, at_most=1.05),
        Figure(
            "the better of two: mean squared error",
            best,
            at_most=0.01,
            floors=(("one prediction", blurred), ("the worse of two", float(wrong))),
        ),
    ]


SYSTEM = System("blurry average", "training/blurry_average.ebm", "closed form", measure)
