"""Two rooms that are only seen: codes that are learnt from pictures, and plans through them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ebmlang
from ebmlang.planning import Acting, Course, Episodes, RandomActions, episodes_in, world_of
from ebmlang.planning.rooms import TwoRooms
from tests.gallery.figures import Figure, System

FIXED = "generated:two_rooms,pixels=true,limit=30"
MOVED = f"{FIXED},wall=random,door=random"
"""Wall and door are elsewhere in every episode."""

SEEDS, EPISODES, STEPS = 3, 50, 800
LONGER = 2400
"""Steps of training where walls differ: there is more to learn."""

TOLD = 5.0
"""What the terms weigh that keep codes apart, as in the file."""

SEEN_FROM = 1000
"""The seed of the first episode of the films, apart from those of the figures."""


def by_chance(world: str, episodes: int, hold: float, seed: int) -> Episodes:
    there = world_of(world, None, False)
    return episodes_in(Acting(RandomActions(there, hold), there, {}, Course(episodes, seed=seed)))


def films(world: str, episodes: int = 700, seed: int = SEEN_FROM) -> dict[str, np.ndarray]:
    rows = by_chance(world, episodes, 4, seed).windows(10)
    return {"film": rows["obs.pixels"], "moves": rows["action"].astype(np.float32)} | {
        "position": rows["obs.position"]
    }


def trained(seen: dict[str, np.ndarray], seed: int, steps: int = STEPS, told: float = TOLD) -> ebmlang.Model:
    m = ebmlang.load(SYSTEM.path, seed=seed, rounds=steps, told=told)
    data = {name: seen[name] for name in ("film", "moves")}
    m.fit(data, steps=steps, batch_size=128, seed=seed)
    return m


def planned(model: ebmlang.Model, world: str, objective: str | None = None) -> Episodes:
    found = model.plan(world, episodes=EPISODES, seed=0, objective=objective)
    assert isinstance(found, Episodes)
    return found


def ended(found: Episodes) -> float:
    return float(np.mean([episode.rewards[-1] == 0 for episode in found]))


def straight() -> float:
    """The share of episodes that end at the goal where every step leads straight towards it."""
    world, there = TwoRooms(limit=30), []
    for seed in range(EPISODES):
        seen, over, reward = world.begin(seed), False, -1.0
        while not over:
            step = world.step(np.clip(seen["goal"] - seen["position"], -1, 1))
            seen, over, reward = step.observation, step.cut, step.reward
        there.append(reward == 0)
    return float(np.mean(there))


def probe(model: ebmlang.Model, seen: dict[str, np.ndarray], fresh: dict[str, np.ndarray]) -> float:
    """Mean distance in pixels of the position that an affine map reads off the code, in films not seen."""

    def codes(data: dict[str, np.ndarray]) -> Tensor:
        pictures = torch.from_numpy(data["film"][:400, :, :1]).flatten(0, 1)
        with torch.no_grad():
            found = model.net("enc")(pictures)
        return torch.cat([found, torch.ones(len(found), 1)], 1)

    def places(data: dict[str, np.ndarray]) -> Tensor:
        return torch.from_numpy(data["position"][:400]).float().flatten(0, 1)

    readout = torch.linalg.lstsq(codes(seen), places(seen)).solution
    return float((codes(fresh) @ readout - places(fresh)).norm(dim=1).mean())


def fixed() -> list[Figure]:
    seen, fresh = films(FIXED), films(FIXED, 70, seed=5000)
    models = [trained(seen, seed) for seed in range(SEEDS)]
    runs = [planned(m, FIXED) for m in models]
    shares = [ended(run) for run in runs]
    sampled = planned(models[0], FIXED, "sampled")
    mean = float(np.linalg.norm(fresh["position"] - seen["position"].mean((0, 1)), axis=-1).mean())
    by_walk = ended(by_chance(FIXED, EPISODES, 1, 0))
    floors = (("random walk", by_walk), ("straight to the goal", straight()))
    return [
        Figure(
            f"share of {EPISODES} episodes that end at the goal, worst of {SEEDS} seeds",
            min(shares),
            at_least=0.95,
            floors=floors,
        ),
        Figure("the mean of the seeds", float(np.mean(shares)), floors=floors),
        Figure("less than by drawn courses (MPPI)", ended(sampled) - shares[0], at_most=0.03),
        Figure(
            "time of a plan over that by drawn courses",
            float(np.median(runs[0].seconds) / np.median(sampled.seconds)),
            at_most=0.5,
        ),
        Figure(
            "the share without the terms that keep codes apart",
            ended(planned(trained(seen, 0, told=0.0), FIXED)),
            at_most=0.14,
            floors=(("random walk", by_walk),),
        ),
        Figure(
            "position probe, mean distance in pixels",
            probe(models[0], seen, fresh),
            floors=(("mean position", mean),),
        ),
    ]


def moved() -> list[Figure]:
    seen = films(MOVED, 2400)
    share = ended(planned(trained(seen, 0, LONGER), MOVED))
    floors = (("random walk", ended(by_chance(MOVED, EPISODES, 1, 0))),)
    return [
        Figure(
            f"share of {EPISODES} episodes that end at the goal, one seed",
            share,
            at_least=0.9,
            floors=floors,
            shortfall="drawn courses reach no more; its door is read off the code of a wall to 1.5 pixels",
        )
    ]


_FILE = "planning/pixel_rooms.ebm"

SYSTEM = System("two rooms in pixels", _FILE, "a random walk, the way straight on", fixed, long=True)

ANYWHERE = System(
    "two rooms in pixels, wall anywhere", _FILE, "a random walk in the same rooms", moved, long=True
)
