"""A net of the pendulum that is trained on rollouts, against the same net trained on single steps."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
from ebmlang.planning import Acting, Course, RandomActions, episodes_in, world_of
from tests.gallery.figures import Figure, System

STEPS, APART, ROWS = 2000, 1000, 96
AHEAD = 15
SENSORS = 0.1
"""Standard deviation of noisy sensors; of the speed four times that."""

SCALE = np.array([1.0, 1.0, 4.0])


def pieces(episodes: int, steps: int, seed: int, noise: float = 0.0) -> dict[str, np.ndarray]:
    """Rows of so many steps that follow each other, as sensors see them."""
    world = world_of("gymnasium:Pendulum-v1", None, False)
    rows = episodes_in(Acting(RandomActions(world, 3), world, {}, Course(episodes, seed=seed))).windows(steps)
    rng = np.random.default_rng(seed)
    seen = rows["obs"] + noise * SCALE * rng.normal(size=rows["obs"].shape)
    return {"obs": seen.astype(np.float32), "action": rows["action"].astype(np.float32)}


def off(apart: int, data: dict[str, np.ndarray], unseen: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """The error of predictions after 1, 2, ... steps [steps], root mean square; `apart` steps of training
    look at single steps, the rest at rollouts."""
    m = ebmlang.load(SYSTEM.path, seed=seed, apart=apart, rounds=STEPS)
    m.fit(data, steps=STEPS, batch_size=ROWS, seed=seed)
    other = ebmlang.load(SYSTEM.path, K=AHEAD).bind(unseen)
    other.load_state_dict(m.state_dict())
    f, g, found = other.net("f"), torch.from_numpy(unseen["obs"][:, 0]), []
    with torch.no_grad():
        for t in range(AHEAD):
            inputs = torch.cat([g / torch.tensor([1, 1, 8]), torch.from_numpy(unseen["action"][:, t]) / 2], 1)
            g = g + torch.tensor([0.3, 0.3, 1.0]) * f(inputs)
            apart_by = (g.numpy() - unseen["obs"][:, t + 1]) / SCALE
            found.append(float(np.sqrt((apart_by**2).sum(1).mean())))
    return np.array(found)


def measure() -> list[Figure]:
    unseen = pieces(10, AHEAD, seed=500)
    still = np.sqrt((((unseen["obs"][:, -1] - unseen["obs"][:, 0]) / SCALE) ** 2).sum(1).mean())
    figures, shares = [], []
    for seed in range(2):
        data = pieces(40, 5, 100 * seed, SENSORS)
        rolled, single = off(APART, data, unseen, seed), off(STEPS, data, unseen, seed)
        shares.append(rolled[-1] / single[-1])
        figures.append(
            Figure(
                f"noisy sensors, seed {seed}: error {AHEAD} steps ahead",
                float(rolled[-1]),
                floors=(("trained on single steps", float(single[-1])), ("standing still", float(still))),
            )
        )
    data = pieces(40, 5, 0)
    rolled, single = off(APART, data, unseen, 0), off(STEPS, data, unseen, 0)
    return [
        Figure(
            f"noisy sensors: error {AHEAD} steps ahead over that of single steps, the worse of 2 seeds",
            float(max(shares)),
            at_most=0.7,
            floors=(("trained on single steps", 1.0),),
        ),
        *figures,
        Figure("exact sensors: the same share", float(rolled[-1] / single[-1])),
        Figure("exact sensors: the same share, one step ahead", float(rolled[0] / single[0])),
    ]


SYSTEM = System(
    "rolled pendulum",
    "planning/rolled_pendulum.ebm",
    "gymnasium; training on single steps",
    measure,
    long=True,
)
