"""CartPole-v1 of gymnasium, planned through its own dynamics with two choices."""

from __future__ import annotations

import ebmlang
from ebmlang.planning import Episodes
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    found = ebmlang.load(SYSTEM.path).plan("gymnasium:CartPole-v1", episodes=5, seed=0)
    assert isinstance(found, Episodes)
    mean = float(found.returns.mean())
    return [Figure("mean return of seeds 0 to 4", mean, at_least=475, floors=(("random pushes", 22.0),))]


SYSTEM = System("cart-pole", "planning/cart_pole.ebm", "gymnasium", measure, long=True)
