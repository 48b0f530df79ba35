"""A dot that turns left or right: draws of a code against one prediction, and what limits the code is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import ebmlang
from ebmlang.data.generated import generate
from tests.gallery.figures import Figure, System

DRAWS = 20
STEPS = 2500

Films = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Seen:
    """Squared errors of films that were not trained on, over that of one prediction without a code.

    best: of the best of all draws of the code. told: of what follows, with the code of it. strange: of the
    next picture of another film, with the code of that.
    """

    best: float
    told: float
    strange: float


def films(rows: int, seed: int) -> Films:
    data = generate("turning_dot", rows=rows, seed=seed)
    return {name: torch.from_numpy(data[name]).float() for name in ("past", "next")}


def trained(name: str, **hypers: Any) -> ebmlang.Model:
    m = ebmlang.load(SYSTEM.path, model=name, seed=0, **hypers)
    m.fit(films(8000, 0), steps=STEPS, batch_size=128, seed=0)
    return m


def error(found: Tensor, data: Films) -> Tensor:
    """Of every film."""
    return (found - data["next"].flatten(1)).square().sum(-1)


def seen(m: ebmlang.Model, data: Films, alone: float) -> Seen:
    other = {"past": data["past"], "next": data["next"].roll(1, 0)}
    on = torch.zeros(len(data["next"]), dtype=torch.bool)

    def told(some: Films) -> float:
        found = m.infer({**some, "future.off": on})["future.predicted"].detach()
        return float(error(found, some).mean()) / alone

    draws = [error(m.infer(data, seed=seed)["future.drawn"].detach(), data) for seed in range(DRAWS)]
    best = float(torch.stack(draws).amin(0).mean())
    return Seen(best / alone, told(data), told(other))


def measure() -> list[Figure]:
    data = films(500, 1)
    alone = 2 * float(trained("one_turn").energy(data).detach().mean())
    limited = seen(trained("turning_dot"), data, alone)
    free = seen(trained("turning_dot", weight=0.0), data, alone)
    size = float(data["next"].square().sum((1, 2)).mean())
    what = "over that of one prediction"
    return [
        Figure(
            f"squared error of the best of {DRAWS} draws of z, {what}",
            limited.best,
            at_most=0.1,
            floors=(("nothing predicted", size / alone), ("z without a price", free.best)),
        ),
        Figure(f"with z from what follows, {what}", limited.told, floors=(("z without a price", free.told),)),
        Figure(f"with z from what cannot follow, {what}", limited.strange, at_least=1.0),
        Figure(
            f"the same, z without a price: it says the whole picture, {what}",
            free.strange,
            at_most=1.0,
        ),
    ]


SYSTEM = System("turning dot", "training/turning_dot.ebm", "the deterministic part", measure, long=True)
