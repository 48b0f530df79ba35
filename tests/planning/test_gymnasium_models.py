"""Models of gymnasium's tasks say what the tasks do: one step of the one against one step of the other."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import ebmlang
from tests.gallery.figures import GALLERY

STEPS = 25


def expected(name: str, **values: Any) -> torch.Tensor:
    """The states [steps, 1 + T, d] that a model of the gallery expects after each observation."""
    m = ebmlang.load(GALLERY / "planning" / f"{name}.ebm", T=1)
    return m.infer(**values, find=[], dtype="float64")["s"]


def walk(env: Any, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations, random actions, and what is observed after them."""
    env.action_space.seed(seed)
    seen, acts, after = [env.reset(seed=seed)[0]], [], []
    for _ in range(STEPS):
        acts.append(env.action_space.sample())
        observation, _, ended, *_ = env.step(acts[-1])
        after.append(observation)
        seen.append(env.reset()[0] if ended else observation)
    return np.stack(seen[:-1]), np.stack(acts), np.stack(after)


def test_mountain_car() -> None:
    obs, action, after = walk(gymnasium.make("MountainCarContinuous-v0"))
    found = expected("mountain_car", obs=obs, a=action[:, None])
    assert found[:, 1].numpy() == pytest.approx(after, abs=1e-6)


def test_cart_pole() -> None:
    obs, action, after = walk(gymnasium.make("CartPole-v1"))
    found = expected("cart_pole", obs=obs[:8], a=action[:8, None])
    assert found[:, 1].numpy() == pytest.approx(after[:8], abs=1e-5)


def test_acrobot() -> None:
    obs, action, after = walk(gymnasium.make("Acrobot-v1"))
    angles = expected("acrobot_v1", obs=obs, a=action[:, None])[:, 1].numpy()
    one, two = angles[:, 0], angles[:, 1]
    seen = np.stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two), angles[:, 2], angles[:, 3]], axis=1)
    assert seen == pytest.approx(after, abs=1e-5)


def test_lunar_lander() -> None:
    """The engines of the task scatter, so that only the mean over many steps of one kind agrees."""
    pytest.importorskip("Box2D")
    env = gymnasium.make("LunarLander-v3", continuous=True)
    for action in ([-1.0, 0.0], [1.0, 0.0], [0.5, 1.0], [-1.0, -1.0]):
        seen, after = [], []
        for seed in range(30):
            seen.append(env.reset(seed=seed)[0])
            after.append(env.step(np.array(action, np.float32))[0])
        torques = np.tile(np.array(action), (30, 1, 1))
        m = ebmlang.load(GALLERY / "planning" / "lunar_lander.ebm", T=1, dt=1.0)
        found = m.infer(obs=np.stack(seen), a=torques, find=[], dtype="float64")["s"][:, 1].numpy()
        off = np.stack(after)[:, :6] - found
        scatter = off.std(axis=0) / np.sqrt(len(off))
        assert (abs(off.mean(axis=0)) < 4 * scatter + 1e-3).all(), action
