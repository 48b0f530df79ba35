"""A modular agent that turns from one task to another while it acts, against agents with one task each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import ebmlang
from ebmlang import planning
from ebmlang.planning.carts import Cart
from tests.gallery.figures import Figure, System

GOAL = np.array([1.5, 0.0])
TARGETS = {"visit": GOAL, "home": np.zeros(2)}
TURN, LAST, EPISODES = 60, 20, 4


class Watched(Cart):
    """The cart, with a note of where it really was."""

    def __init__(self) -> None:
        super().__init__(push=5, sensors=True)
        self.path: list[np.ndarray] = []

    def seen(self, state: np.ndarray) -> np.ndarray:
        self.path.append(state)
        return super().seen(state)


def random_rows() -> Mapping[str, np.ndarray]:
    world = Cart(push=5, sensors=True)
    course = planning.Course(400, 12)
    acting = planning.Acting(planning.RandomActions(world), world, {}, course)
    rows = planning.episodes_in(acting).transitions()
    return {name: rows[name] for name in ("obs", "action", "next_obs", "reward")}


def trained() -> ebmlang.Model:
    """All parts of the agent: the world and the costs from random actions, the quick actor from plans."""
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.fit(random_rows(), steps=2500, batch_size=256, seed=0, objective="learn")
    world = Cart(push=5, sensors=True)
    planned = m.plan(world, episodes=20, steps=40, seed=100, objective="home")
    assert isinstance(planned, planning.Episodes)
    rows = planned.transitions()
    m.fit(obs=rows["obs"], a=rows["plan"], steps=1500, batch_size=128, seed=0, objective="imitate")
    return m


def quick(model: ebmlang.Model) -> list[Figure]:
    """The actor that plans nothing, against the one that does, on the way home."""
    costs, seconds = {}, {}
    for by in planning.BY:
        world = Cart(push=5, sensors=True)
        found = model.plan(world, episodes=10, steps=40, seed=200, objective="home", by=by)
        assert isinstance(found, planning.Episodes)
        costs[by], seconds[by] = -float(found.returns.mean()), float(np.median(found.seconds))
    acting = planning.Acting(
        planning.RandomActions(Cart(push=5)), Cart(push=5), {}, planning.Course(10, 40, 200)
    )
    chance = -float(planning.episodes_in(acting).returns.mean())
    floors = (("actions by chance", chance / costs["plan"]),)
    return [
        Figure(
            "cost of `home` by the actor that plans nothing, over that of plans",
            costs["policy"] / costs["plan"],
            at_most=1.1,
            floors=floors,
        ),
        Figure("time of it, as a share of that of a plan", seconds["policy"] / seconds["plan"], at_most=0.1),
    ]


def off(path: list[np.ndarray], task: str, start: int) -> float:
    """How far from where the task wants it the cart is, at the end of the stretch that begins at a step."""
    stretch = np.stack(path[start + TURN - LAST : start + TURN])
    return float(np.linalg.norm(stretch - TARGETS[task], axis=1).mean())


def acted(model: ebmlang.Model, seed: int, tasks: tuple[str, ...]) -> list[float]:
    """How far off each of several tasks ends, one after the other in one episode."""
    world = Watched()

    def configure(step: int, observed: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"objective": tasks[step // TURN]}

    values = {"goal": Cart(push=5, sensors=True).seen(GOAL)}
    model.plan(
        world, steps=TURN * len(tasks), seed=seed, configure=configure, objective=tasks[0], data=values
    )
    return [off(world.path, task, TURN * k) for k, task in enumerate(tasks)]


def measure() -> list[Figure]:
    m = trained()
    single, both = {"visit": 0.0, "home": 0.0}, {"visit": 0.0, "home": 0.0}
    compiled = 0
    for seed in range(EPISODES):
        first, second = ("visit", "home") if seed % 2 else ("home", "visit")
        _, after = acted(m, seed, (first, second))
        compiled = compiled or len(m._compiled.modules)
        both[second] += 2 * after / EPISODES
        single[second] += 2 * acted(m, seed, (second,))[0] / EPISODES
    away = float(np.linalg.norm(GOAL))
    floors = (("at the place of the other task", 0.0),)
    figures = [
        Figure(
            f"closeness in `{task}` after another task, as a share of that from the start",
            (1 - both[task] / away) / (1 - single[task] / away),
            at_least=0.95,
            floors=(*floors, ("from the start, of the way between the tasks", 1 - single[task] / away)),
        )
        for task in TARGETS
    ]
    again = Figure("modules compiled after the first turns", len(m._compiled.modules) - compiled, at_most=0)
    return [*figures, again, *quick(m)]


SYSTEM = System("modular agent", "planning/agent.ebm", "the same model with one task", measure, long=True)
