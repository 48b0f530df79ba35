"""Patches of digits find their place in another view."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import ebmlang
from tests.gallery.figures import Figure, System
from tests.gallery.probes import TRAINED


def matched(u: Tensor, v: Tensor, at_u: Tensor, at_v: Tensor) -> float:
    """How often the patch of v [rows, 16, ..] most like one of u is that of the same place.

    Patches of u whose place is not in v do not count.
    """
    same = torch.cdist(at_u, at_v) < 1e-3
    nearest = torch.cdist(u, v).argmin(2, keepdim=True)
    return float(same.gather(2, nearest)[same.any(2)].double().mean())


def squares(pictures: Tensor) -> Tensor:
    """Pixels [rows, 8, 8] of each patch: [rows, 16, 4]."""
    return pictures.reshape(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)


def measure() -> list[Figure]:
    images = load_digits().images.astype(np.float32)
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.bind(image=images)
    before = m.infer(image=images[TRAINED:], seed=1)
    m.fit(image=images[:TRAINED], epochs=40, batch_size=128, seed=0)
    after = m.infer(image=images[TRAINED:], seed=1)

    def score(u: Tensor, v: Tensor) -> float:
        return matched(u.detach(), v.detach(), after["at_u"], after["at_v"])

    pixels = score(squares(after["first.y"]), squares(after["second.y"]))
    return [
        Figure(
            "patches matched to the right place",
            score(after["u"], after["v"]),
            at_least=0.95,
            floors=(("pixels", pixels), ("untrained", score(before["u"], before["v"])), ("chance", 1 / 16)),
        )
    ]


SYSTEM = System(
    "VICRegL: local matching", "joint_embedding/vicreg_local_digits.ebm", "known shifts", measure, long=True
)
