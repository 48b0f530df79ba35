"""Codes of a bouncing dot: where it is, how well they are predicted, what each of the four terms is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System
from tests.gallery.probes import effective_rank

SHORT = 3
"""Epochs of the runs that lack a term, and of the whole model beside them."""

REMOVED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("prediction", {"near": 0.0}),
    ("info_x", {"told": [0.0, 25.0]}),
    ("info_y", {"told": [25.0, 0.0]}),
    ("said", {"low": 0.0}),
    ("info_x and info_y", {"told": [0.0, 0.0]}),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model says of films it was not trained on.

    probe: mean distance in pixels of a linear readout of the position from the truth; root: of its square.
    ahead: squared error of codes predicted this many steps ahead with z = 0, relative to their variance.
    told: the same one step ahead with the best z. deviation, rank: of the codes.
    """

    probe: float
    root: float
    ahead: dict[int, float]
    told: float
    deviation: float
    rank: float


def trained(epochs: int, **hypers: Any) -> ebmlang.Model:
    m = ebmlang.load(SYSTEM.path, seed=0, **hypers)
    film = generate("bouncing_dot", rows=8000)["film"].astype(np.float32)
    m.bind(film=film)
    if epochs:
        m.fit(film=film, epochs=epochs, batch_size=128, seed=0)
    return m


def readout(codes: Tensor, places: Tensor) -> Tensor:
    """The affine map of codes that is nearest to the places."""
    ones = torch.ones(len(codes), 1)
    solution: Tensor = torch.linalg.lstsq(torch.cat([codes, ones], 1), places).solution
    return solution


def seen(m: ebmlang.Model, **hypers: Any) -> Seen:
    other = ebmlang.load(SYSTEM.path, **hypers)
    long = generate("bouncing_dot_long", rows=300, seed=1)
    film = torch.from_numpy(long["film"]).float()
    other.bind(film=film)
    other.load_state_dict(m.state_dict())
    r = other.infer(film=film, z=torch.zeros(30, 2))
    s, g = r["s"].detach(), r["g"].detach()
    places = torch.from_numpy(long["position"]).float()[:, 1:]
    fitted = readout(s[:100].flatten(0, 1), places[:100].flatten(0, 1))
    codes = s[100:].flatten(0, 1)
    found = torch.cat([codes, torch.ones(len(codes), 1)], 1) @ fitted
    apart = found - places[100:].flatten(0, 1)
    variance = codes.var(0).mean()
    z = other.infer(film=film)["z"].detach()
    # z[t] adds B z[t] to what is predicted of step t + 1.
    told = g[:, 1] + z[:, 0] @ m.value("B").detach().T
    return Seen(
        probe=float(apart.norm(dim=1).mean()),
        root=float(apart.square().sum(1).mean().sqrt()),
        ahead={n: float((s[:, n] - g[:, n]).square().mean() / variance) for n in (1, 30)},
        told=float((s[:, 1] - told).square().mean() / variance),
        deviation=float(variance.sqrt()),
        rank=effective_rank(codes.numpy()),
    )


def measure() -> list[Figure]:
    whole = seen(trained(30))
    untrained = seen(trained(0))
    short = seen(trained(SHORT))
    figures = [
        Figure(
            "position probe, mean distance in pixels",
            whole.probe,
            at_most=0.75,
            floors=(("untrained", untrained.probe),),
        ),
        Figure(
            "position probe, root mean square in pixels",
            whole.root,
            floors=(("mean position", 11 / 6**0.5), ("untrained", untrained.root)),
        ),
        Figure(
            "error one step ahead", whole.ahead[1], at_most=5e-4, floors=(("untrained", untrained.ahead[1]),)
        ),
        Figure("error 30 steps ahead", whole.ahead[30], at_most=0.03, floors=(("mean code", 1.0),)),
        Figure("deviation of the codes", whole.deviation),
        Figure("effective rank of the codes, of 16", whole.rank),
    ]
    for name, hypers in REMOVED:
        without = seen(trained(SHORT, **hypers), **hypers)
        beside = (
            ("probe", short.probe, without.probe),
            ("error one step ahead", short.ahead[1], without.ahead[1]),
            ("the same with the best z", short.told, without.told),
            ("deviation of the codes", short.deviation, without.deviation),
        )
        for what, kept, found in beside:
            collapses = name == "info_x and info_y" and what == "deviation of the codes"
            limit = 0.1 if collapses else np.inf
            figures.append(
                Figure(
                    f"{SHORT} epochs without {name}: {what}",
                    found,
                    at_most=limit,
                    floors=(("with it", kept),),
                )
            )
    return figures


SYSTEM = System(
    "JEPA of a bouncing dot",
    "joint_embedding/jepa_bouncing_dot.ebm",
    "linear probe, other films",
    measure,
    long=True,
)
