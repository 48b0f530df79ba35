"""Dynamics learned from rollouts that grow longer, beside those of the whole length from the start."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import ebmlang
from ebmlang.data.generated import generate
from ebmlang.runtime.training.history import History
from tests.gallery.figures import Figure, System

SEEDS, STEPS, LEARNED, STAYS = 5, 600, 0.04, 10
"""Noise alone leaves an error of 0.015."""


def steps_of(history: History) -> int:
    """The step from which on whole rollouts are right ten times in a row; all steps where they never are."""
    small = sliding_window_view(history["ahead"] < LEARNED, STAYS).all(1)
    return int(np.argmax(small)) if small.any() else STEPS


def measure() -> list[Figure]:
    steps: dict[str, list[int]] = {"staged": [], "whole": []}
    for seed in range(SEEDS):
        y = generate("turning_states", rows=100, seed=seed)["y"]
        for line, found in steps.items():
            m = ebmlang.load(SYSTEM.path, seed=seed)
            found.append(steps_of(m.fit(y=y, objective=line, steps=STEPS, seed=seed)))
    staged, whole = (float(np.sum(found)) for found in steps.values())
    floors = (("steps with the curriculum", staged / SEEDS), ("without", whole / SEEDS))
    fewest = [1 - a / b for a, b in zip(steps["staged"], steps["whole"], strict=True)]
    return [
        Figure(
            f"share of steps saved, {SEEDS} seeds together", 1 - staged / whole, at_least=0.3, floors=floors
        ),
        Figure("share of steps saved in the worst seed", min(fewest), at_least=0.0),
    ]


SYSTEM = System(
    "curriculum", "training/curriculum.ebm", "the same line over whole rollouts", measure, long=True
)
