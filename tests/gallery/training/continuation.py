"""The lowest of the minima of Rastrigin's function, ten times, by annealing and by continuation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import dual_annealing, minimize

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

RUNS = 10
Point = NDArray[np.float64]


def height(x: Point, centre: Point) -> float:
    """Rastrigin's function around a centre, [5] each; 0 there, and about 1 in the next best minima."""
    off = x - centre
    return float((off**2 + 10 - 10 * np.cos(2 * np.pi * off)).sum())


def _descended(x: Point, centre: Point) -> float:
    """The height of the minimum into which a point falls."""
    return float(minimize(height, x, (centre,), bounds=[(-5.12, 5.12)] * 5, method="L-BFGS-B").fun)


def measure() -> list[Figure]:
    annealed = continued = theirs = plain = 0
    for seed in range(RUNS):
        centre = generate("valley", rows=1, seed=seed)["centre"]
        m = ebmlang.load(SYSTEM.path, seed=seed)
        drawn = m.sample(centre=centre, seed=seed)
        lowest = drawn["x"].reshape(-1, 5)[int(drawn.energy.argmin())].double().numpy()
        annealed += _descended(lowest, centre[0]) < 1e-3
        m.fit(centre=centre, steps=1000, seed=seed)
        continued += height(m.value("w").detach().double().numpy(), centre[0]) < 1e-3
        box = [(-5.12, 5.12)] * 5
        theirs += dual_annealing(height, box, (centre[0],), seed=seed, maxiter=200).fun < 1e-3
        start = np.random.default_rng(seed).uniform(-5.12, 5.12, (256, 5))
        plain += min(_descended(x, centre[0]) for x in start) < 1e-3
    floors = (("dual annealing", float(theirs)), ("descent from 256 draws", float(plain)))
    return [
        Figure(f"annealing: global minimum in, of {RUNS} runs", float(annealed), at_least=9, floors=floors),
        Figure(
            f"continuation: global minimum in, of {RUNS} runs", float(continued), at_least=9, floors=floors
        ),
    ]


SYSTEM = System(
    "annealing and continuation", "training/continuation.ebm", "scipy's dual_annealing", measure, long=True
)
