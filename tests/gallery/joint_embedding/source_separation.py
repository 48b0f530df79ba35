"""Sources that were mixed and whitened come out again, if there is an expander."""

from __future__ import annotations

import numpy as np

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System
from tests.gallery.probes import amari


def separation(objective: str, seed: int, steps: int = 80) -> float:
    """The Amari index of what is left of the mixing."""
    data = generate("white_mixtures", rows=20000, seed=seed)
    m = ebmlang.load(SYSTEM.path, seed=seed)
    m.fit(x=data["x"], objective=objective, steps=steps, seed=seed)
    found = data["x"] @ m.value("V").detach().double().numpy()
    return amari(np.linalg.lstsq(data["source"], found, rcond=None)[0])


def measure() -> list[Figure]:
    seeds = range(3)
    wide = [separation("wide", seed) for seed in seeds]
    plain = [separation("plain", seed) for seed in seeds]
    floors = (("without the expander", float(np.mean(plain))),)
    return [
        Figure("Amari index, worst of 3 seeds", max(wide), at_most=0.05, floors=floors),
        Figure("without the expander, mean of 3 seeds", float(np.mean(plain)), at_least=0.2),
    ]


SYSTEM = System("source separation", "joint_embedding/source_separation.ebm", "generator", measure, long=True)
