"""Acrobot: 50 Euler steps from hanging at rest, against a simulation of the two links by hand."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
from ebmlang.runtime.result import Result
from tests.gallery.figures import Figure, System

STEPS, DT = 50, 0.1


def measure() -> list[Figure]:
    m = ebmlang.load(SYSTEM.path)
    found = m.plan(iterations=100, dtype="float64")
    assert isinstance(found, Result)
    energy, nothing = float(found.energy), simulated(np.zeros(STEPS))
    known = float(m.energy(a=torch.zeros(1, STEPS), dtype="float64"))
    differences = (abs(energy - simulated(found["a"][0].numpy())), abs(known - nothing))
    floors = (("no torque", nothing), ("Adam after 3000 steps", 91.4))
    return [
        Figure("cost of the plan", energy, at_most=44.52, floors=floors),
        Figure("iterations", float(found.iterations), at_most=100),
        Figure("largest difference from the simulation", max(differences), at_most=1e-7),
    ]


def simulated(torques: np.ndarray) -> float:
    """What a course of torques costs; masses, lengths and moments of inertia are 1 (Sutton & Barto 1998)."""
    state, goal, total = np.zeros(4), np.array([np.pi, 0, 0, 0]), 0.0
    for torque in torques:
        total += 0.05 * ((state - goal) ** 2).sum() + 0.005 * torque**2
        state = state + DT * accelerations(state, torque)
    return float(total + 500 * ((state - goal) ** 2).sum())


def accelerations(state: np.ndarray, torque: float, g: float = 9.8) -> np.ndarray:
    """The change of angles and velocities, from the equations of the links as they are usually written."""
    one, two, first, second = state
    d1 = 0.25 + (1 + 0.25 + np.cos(two)) + 2
    d2 = 0.25 + 0.5 * np.cos(two) + 1
    phi2 = 0.5 * g * np.cos(one + two - np.pi / 2)
    phi1 = -0.5 * second**2 * np.sin(two) - second * first * np.sin(two)
    phi1 += 1.5 * g * np.cos(one - np.pi / 2) + phi2
    bent = (torque + d2 / d1 * phi1 - 0.5 * first**2 * np.sin(two) - phi2) / (0.25 + 1 - d2**2 / d1)
    return np.array([first, second, -(d2 * bent + phi1) / d1, bent])


SYSTEM = System("acrobot", "planning/acrobot.ebm", "simulation by hand", measure)
