"""A cart in a storm: the plan against the worst wind, by a saddle point that is found in another way."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import ebmlang
from ebmlang.runtime.result import Result
from tests.gallery.figures import Figure, System

STEPS, GUSTS, PRICE, FORCE = 10, 0.2, 2.0, 0.1
STARTS = np.random.default_rng(7).normal(size=(8, 2))

A, PUSH, BLOW = np.array([[1, 0.2], [0, 1]]), np.array([0, 0.2]), np.array([0, GUSTS])
WEIGHTS = np.tile([1, 0.1], STEPS)


def after(times: int, drive: np.ndarray) -> np.ndarray:
    """What a push of 1 at every time does to all states, [2 * times, times]."""
    found = np.zeros((2 * times, times))
    for row, column in itertools.product(range(times), range(times)):
        if row >= column:
            found[2 * row : 2 * row + 2, column] = np.linalg.matrix_power(A, row - column) @ drive
    return found


FROM_FORCE, FROM_WIND = after(STEPS, PUSH), after(STEPS, BLOW)
FROM_START = np.concatenate([np.linalg.matrix_power(A, t + 1) for t in range(STEPS)])


def cost(start: np.ndarray, force: np.ndarray, wind: np.ndarray) -> float:
    """What the states and the forces cost, without the price of the wind."""
    states = FROM_START @ start + FROM_FORCE @ force + FROM_WIND @ wind
    return float(WEIGHTS @ states**2 + FORCE * force @ force)


def saddle(start: np.ndarray) -> np.ndarray:
    """The forces at the saddle point of a wind without bounds, where both slopes are zero."""
    free, forced, blown = FROM_START @ start, FROM_FORCE, FROM_WIND
    rows = np.block(
        [
            [forced.T * WEIGHTS @ forced + FORCE * np.eye(STEPS), forced.T * WEIGHTS @ blown],
            [blown.T * WEIGHTS @ forced, blown.T * WEIGHTS @ blown - PRICE * np.eye(STEPS)],
        ]
    )
    right = -np.concatenate([forced.T * WEIGHTS @ free, blown.T * WEIGHTS @ free])
    found: np.ndarray = np.linalg.solve(rows, right)[:STEPS]
    return found


def bounded_saddle(start: np.ndarray, most: float, steps: int = 10_000, rate: float = 0.02) -> np.ndarray:
    """The forces at the saddle point of a wind within bounds, by extragradient steps (Korpelevich 1976)."""

    def slopes(force: np.ndarray, wind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weighted = WEIGHTS * (FROM_START @ start + FROM_FORCE @ force + FROM_WIND @ wind)
        return FROM_FORCE.T @ weighted + FORCE * force, FROM_WIND.T @ weighted - PRICE * wind

    force, wind = np.zeros(STEPS), np.zeros(STEPS)
    for _ in range(steps):
        down, up = slopes(force, wind)
        down, up = slopes(force - rate * down, np.clip(wind + rate * up, -most, most))
        force, wind = force - rate * down, np.clip(wind + rate * up, -most, most)
    return force


def forces(**settings: Any) -> np.ndarray:
    """The plans from all starts, [starts, steps]."""
    found = ebmlang.load(SYSTEM.path, **settings).plan(obs=STARTS, dtype="float64", tol=1e-10)
    assert isinstance(found, Result)
    plans: np.ndarray = found["a"][..., 0].numpy()
    return plans


def worst(plans: np.ndarray) -> float:
    """The highest cost that strongest gusts bring about, all 2^T sequences tried; mean over the starts."""
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=STEPS)))
    return float(
        np.mean(
            [max(cost(x, force, z) for z in corners) for x, force in zip(STARTS[:3], plans[:3], strict=True)]
        )
    )


def measure() -> list[Figure]:
    free, held = forces(most=1e6), forces(most=0.1)
    exact = max(np.abs(force - saddle(x)).max() for x, force in zip(STARTS, free, strict=True))
    pairs = zip(STARTS[:3], held[:3], strict=True)
    near = max(np.abs(force - bounded_saddle(x, 0.1)).max() for x, force in pairs)
    robust, calm = worst(forces()), worst(forces(gusts=0.0))
    return [
        Figure("largest difference from the saddle point, wind without bounds", exact, at_most=1e-6),
        Figure("the same, winds within bounds", near, at_most=1e-6),
        Figure(
            "cost under the worst of 1,024 storms",
            robust,
            at_most=calm,
            floors=(("plan without wind", calm),),
        ),
    ]


SYSTEM = System("storm", "planning/storm.ebm", "linear algebra and extragradient steps", measure)
