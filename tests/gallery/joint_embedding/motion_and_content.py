"""The flow between two pictures against the true one, and what stays the same when a picture moves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

EDGE = 3
"""Pixels at each side that have no flow in the model: what moves there may leave the picture."""


def retrieved(u: Tensor, v: Tensor) -> float:
    """The share of rows whose v is nearest to their own u among all of them."""
    return float((torch.cdist(u, v).argmin(0) == torch.arange(len(u))).double().mean())


def answers(m: ebmlang.Model, pairs: dict[str, np.ndarray]) -> tuple[np.ndarray, Tensor, Tensor]:
    """The flow [rows, pixels, 2] and the codes of both pictures."""
    r = m.infer(before=pairs["before"], after=pairs["after"])
    return r["flow.y"].detach().numpy().swapaxes(1, 2), r["u"].detach(), r["v"].detach()


def measure() -> list[Figure]:
    pairs = generate("moving_textures", rows=200, seed=1)
    m = ebmlang.load(SYSTEM.path, seed=0)
    before = answers(m, pairs)
    films = generate("moving_textures", rows=1000)
    m.fit(before=films["before"], after=films["after"], epochs=50, batch_size=64, seed=0)
    flow, u, v = answers(m, pairs)
    true = pairs["flow"][:, EDGE:-EDGE, EDGE:-EDGE].reshape(flow.shape)

    def error(found: np.ndarray) -> float:
        return float(np.linalg.norm(found - true, axis=-1).mean())

    pixels = (torch.from_numpy(pairs[name]).flatten(1) for name in ("before", "after"))
    floors = (("no flow", error(np.zeros_like(true))), ("untrained", error(before[0])))
    return [
        Figure("end-point error in pixels", error(flow), at_most=0.3, floors=floors),
        Figure(
            "codes of moved pictures nearest to that of their own",
            retrieved(u, v),
            floors=(("pixels", retrieved(*pixels)), ("untrained", retrieved(*before[1:])), ("chance", 0.005)),
        ),
    ]


SYSTEM = System(
    "motion and content", "joint_embedding/motion_and_content.ebm", "true flow", measure, long=True
)
