"""A point and a pit that its net has never seen: plans with and without a cost on the spread over masks."""

from __future__ import annotations

from tests.gallery.figures import Figure, System
from tests.gallery.planning.careful_point import with_and_without


def measure() -> list[Figure]:
    return with_and_without(SYSTEM.path, steps=1000, episodes=10)


SYSTEM = System(
    "point and pit, dropout", "planning/careful_dropout.ebm", "the model without the cost", measure, long=True
)
