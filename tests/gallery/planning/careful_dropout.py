"""A point and a pit that its net has never seen: plans with and without a cost on the spread over masks."""

from __future__ import annotations

import ebmlang
from tests.gallery.figures import Figure, System
from tests.gallery.planning.careful_point import exploited, transitions

EPISODES = 10


def measure() -> list[Figure]:
    data = transitions()
    careful = ebmlang.load(SYSTEM.path)
    careful.fit(data, steps=1000, batch_size=256)
    bold = ebmlang.load(SYSTEM.path, weight=0).bind(data)
    bold.load_state_dict(careful.state_dict())
    share, distance = exploited(careful, EPISODES)
    without, _ = exploited(bold, EPISODES)
    floors = (("without the cost on doubt", without),)
    return [
        Figure("episodes that end in the pit", share, at_most=0.05, floors=floors),
        Figure("the same without the cost on doubt, for the bar to mean something", without, at_least=0.5),
        Figure("distance to the goal at the end, of the others", distance, at_most=0.5),
    ]


SYSTEM = System(
    "point and pit, dropout", "planning/careful_dropout.ebm", "the model without the cost", measure, long=True
)
